PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# pip at work, a line for each package.
INSTALL = PYTHONUNBUFFERED=1 $(1)/python -m pip install --disable-pip-version-check -c $(2) | \
	sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected packages:.*/  installing/p'

.PHONY: demo test mitmproxy lint bench clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo ## set up, run the embedded lab, tell the story, print the verdicts
	@$(BIN)/certreplay demo

test: $(VENV)/.dev $(VENV)/mitmproxy/.done ## set up, run every test
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/.bench ## set up, measure, and write the tables in docs/benchmarks.md; takes some minutes
	@$(BIN)/python -m bench --write

clean: ## remove what `make` has set up; runs/ stays
	rm -rf $(VENV)

# mitmproxy needs older libraries than the lab, so it has an environment of its own. Only the leak `interception`,
# which `certreplay claims --new` tries too, needs it.
mitmproxy: $(VENV)/mitmproxy/.done ## set up mitmproxy
$(VENV)/mitmproxy/.done: attacker/mitmproxy-constraints.txt | $(VENV)/.python
	@echo "setting up mitmproxy in $(VENV)/mitmproxy, once"
	@$(PYTHON) -m venv --clear $(VENV)/mitmproxy
	@$(call INSTALL,$(VENV)/mitmproxy/bin,$< mitmproxy)
	@touch $@

# An environment without this stamp was left half-made, and is made again from nothing.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "certreplay needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "setting up $(VENV), once"
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@touch $@

# Each stamp means that its extra is installed as pyproject.toml and constraints.txt have it now.
$(VENV)/.demo: EXTRA :=
$(VENV)/.dev: EXTRA := [dev]
$(VENV)/.bench: EXTRA := [bench]
$(VENV)/.demo $(VENV)/.dev $(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.python
	@$(call INSTALL,$(BIN),constraints.txt -e '.$(EXTRA)')
	@touch $@
