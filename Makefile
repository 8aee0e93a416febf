# Everything that a fresh machine needs is installed here: only Python 3.11+ and make are presumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long lint types bench clean

$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/.run  ## compile, run and cost a trained model on two kinds of memory
	@$(BIN)/python samples/demo.py

test: $(VENV)/.test lint types  ## the default test run
	$(BIN)/pytest -q -n 2 -m "not slow"

test-long: $(VENV)/.test  ## tests that take minutes
	$(BIN)/pytest -q -n 2 --dist worksteal -m slow

lint: $(VENV)/.test
	@$(BIN)/ruff check .

types: $(VENV)/.test
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(VENV)/.test  ## the figures that the project promises
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
