PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test mitmproxy lint bench clean
.DEFAULT_GOAL := demo

demo: $(VENV)/all ## set up, run the embedded lab, tell the story, print the verdicts
	@$(BIN)/certreplay demo

test: $(VENV)/dev $(VENV)/mitmproxy/.done ## set up, run every test
	@$(BIN)/python -m pytest

lint: $(VENV)/dev ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/bench ## set up, measure, and write the tables in docs/benchmarks.md; takes some minutes
	@$(BIN)/python -m bench --write

clean: ## remove what `make` has set up; runs/ stays
	rm -rf $(VENV)

# mitmproxy wants older libraries than the lab uses, so it has an environment of its own; only the leak
# `interception`, which `certreplay claims` tries too, needs it.
mitmproxy: $(VENV)/mitmproxy/.done ## set up mitmproxy
$(VENV)/mitmproxy/.done: attacker/mitmproxy-constraints.txt
	@$(PYTHON) -m venv $(VENV)/mitmproxy
	@echo "setting up $(VENV)/mitmproxy, once"
	@$(VENV)/mitmproxy/bin/python -m pip install --quiet --disable-pip-version-check -c $< mitmproxy
	@touch $@

# Each stamp says that its extra is installed as pyproject.toml and constraints.txt have it now.
$(VENV)/%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "certreplay needs Python 3.11 or newer, $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ($*), once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
