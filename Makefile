# Every verb is one line; `make setup` is implied where it is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup check test long long-enough demo bench bench-upgrade docs clean
help:    ; @grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
setup: .venv/ready  ## put everything that is needed into .venv
check: setup  ## ruff, mypy, layers, unit stories and laws
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/pytest tests/unit tests/laws tests/test_layers.py
test: setup  ## the quick suite: under three minutes
	$(BIN)/pytest -m "not long"
long: setup  ## the long proofs: soaks, exhaustive searches, mutations
	$(BIN)/pytest -m long
long-enough: setup  ## the part of the long proofs that continuous integration can afford
	$(BIN)/pytest -m "long and not very_long"
demo: setup  ## the main job, seen live: three upgrades under load, no failed request
	$(BIN)/python -m examples.hello.demo
bench: .venv/peers  ## the figures: the master against the bare program, as ratios
	$(BIN)/python -m bench.master
bench-upgrade: setup  ## time and memory of a release of 1 GiB, against curl and sha256sum
	$(BIN)/python -m bench.upgrade
docs: setup  ## write the parts of the pages that are made from the code
	$(BIN)/python -m docs.generate
clean:  ## remove what setup and the tests made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

.venv/peers: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@
