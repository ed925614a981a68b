PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: arm64 demo test mitmproxy hub lint bench pictures pins clean
.DEFAULT_GOAL := demo
.NOTPARALLEL:

demo: $(VENV)/lab ## set up, run the embedded lab, tell the story, print the verdicts
	@$(BIN)/certreplay demo --page

test: $(VENV)/dev $(VENV)/mitmproxy/.done ## set up, run every test
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev $(VENV)/node/.done ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(VENV)/node/node_modules/.bin/tsc -p . && \
		$(VENV)/node/node_modules/.bin/prettier --check --log-level warn 'lab/page/assets/*' tsconfig.json

# They check the page's modules, as mypy and ruff check Python. Nothing that runs comes from them.
$(VENV)/node/.done: Makefile
	@command -v npm >/dev/null || { echo "npm checks the page's modules and is missing (Debian: npm)"; exit 2; }
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/node typescript@7.0.2 prettier@3.10.1
	@touch $@

bench: $(VENV)/bench ## set up, measure, and write the tables in docs/benchmarks.md; takes some minutes
	@$(BIN)/python -m bench --write

pictures: $(VENV)/dev ## set up, make pictures of every scene in pictures/, and the README's anew; takes a minute
	@$(BIN)/python -m bench.pictures --write

# The base is the one for 64-bit Arm, whatever this machine is; docs/arm64.md says how to get it and what was seen.
ARM64_BASE ?= debian:trixie-slim-arm64
ARM64 := CERTREPLAY_BASE=$(ARM64_BASE) CERTREPLAY_TAG=arm64 CERTREPLAY_ONCE=1 docker compose -p certreplay-arm64

arm64: ## build every image for 64-bit Arm, run the embedded demo on it, then a class; takes an hour under emulation
	$(ARM64) --profile leaks build
	docker build --target embedded --build-arg BASE=$(ARM64_BASE) --tag certreplay-embedded:arm64 .
	docker run --rm --network none --read-only --tmpfs /tmp certreplay-embedded:arm64 \
		sh -c 'uname -m && python -m lab demo --runs /tmp/runs --short'
	$(ARM64) up --exit-code-from lab; status=$$?; $(ARM64) down --volumes; exit $$status

pins: $(VENV)/pins/.done ## write requirements/ anew, from the versions in the constraints; docs/images.md says more
	@for part in victim-client victim-server attacker lab; do \
		$(PIN) -c constraints.txt --group $$part -o requirements/$$part.txt || exit; done
	@echo mitmproxy | $(PIN) -c attacker/mitmproxy-constraints.txt - -o requirements/mitmproxy.txt
	@printf '%s\n' $(STUDENT) | $(PIN) -c requirements/hub-constraints.txt - -o requirements/student.txt

STUDENT := jupyterhub jupyterlab jupyter-server-proxy
PIN := $(VENV)/pins/bin/uv pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-annotate --no-header

$(VENV)/pins/.done: constraints.txt
	@$(PYTHON) -m venv --clear $(VENV)/pins
	@$(call install,$(VENV)/pins,-c $< uv)
	@touch $@

clean: ## remove what `make` has set up; runs/ stays
	rm -rf $(VENV)

# mitmproxy wants older libraries than the lab uses, so it has an environment of its own; only the leak
# `interception`, which `certreplay claims` tries too, needs it.
mitmproxy: $(VENV)/mitmproxy/.done ## set up mitmproxy
$(VENV)/mitmproxy/.done: attacker/mitmproxy-constraints.txt
	@$(PYTHON) -m venv --clear $(VENV)/mitmproxy
	@$(call install,$(VENV)/mitmproxy,-c $< mitmproxy)
	@touch $@

# JupyterHub, for the tests that `pytest -m hub` runs (docs/class.md), with the checkout installed as in a student's place.
hub: $(VENV)/hub/.done ## set up JupyterHub for its tests
$(VENV)/hub/.done: requirements/hub-constraints.txt pyproject.toml
	@command -v npm >/dev/null || { echo "npm installs JupyterHub's proxy and is missing (Debian: npm)"; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)/hub
	@$(call install,$(VENV)/hub,-c $< -e . $(STUDENT))
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/hub/node configurable-http-proxy@5.3.0
	@touch $@

# Each stamp says that its extra is installed as pyproject.toml and constraints.txt have it now. `.whole` says that
# nothing was interrupted in the environment: without it the next `make` makes all of it again.
$(VENV)/%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "certreplay needs Python 3.11 or newer, $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=python3.12"; exit 2; }
	@test -e $(VENV)/.whole || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/.whole
	@$(call install,$(VENV),-c constraints.txt -e $(if $(filter lab,$*),.,'.[$*]'))
	@touch $(VENV)/.whole $@

# install ENVIRONMENT, PIP'S ARGUMENTS: a dot for each package that pip looks at; pip's errors are shown in full.
define install
printf '%s' 'setting up $(1), once '; \
{ $(1)/bin/python -u -m pip install --disable-pip-version-check $(2) || echo failed; } | \
	{ while read -r word rest; do case $$word in Collecting|Installing) printf .;; failed) echo; exit 1;; esac; done; echo; }
endef
