# Every verb is one line; `make setup` is implied where it is needed.
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # the proofs start hundreds of interpreters, which would compile everything anew
# Most tests wait for processes: four at a time are quicker than two cores would let one expect.
SIDE_BY_SIDE := -n 4 --dist worksteal
QUICK := -m "not long and not walk"

.PHONY: help machine setup check lint laws test long mutants long-enough conformance browser demo
.PHONY: oldest oldest-quick newest-systemd
.PHONY: bench bench-upgrade bench-patch docs clean
help:    ; @grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
setup: .venv/ready  ## put everything that is needed into .venv
machine:  ## what the proofs want of the operating system: real servers and tools (Debian, as root)
	sh tests/machine.sh
check: lint  ## ruff, mypy, layers, unit stories and laws
	$(BIN)/pytest $(QUICK) $(SIDE_BY_SIDE) tests/unit tests/laws tests/test_layers.py
lint: setup  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
laws: setup  ## walk every reachable world within a bound, and print how many there are
	$(BIN)/pytest -s -m walk
test: setup  ## the quick suite: under three minutes
	$(BIN)/pytest $(QUICK) $(SIDE_BY_SIDE)
long: setup  ## the long proofs: soaks, exhaustive searches, mutations
	$(BIN)/pytest -m long
mutants: setup  ## seed the heart with faults and see stories and laws catch them: five minutes
	$(BIN)/python -m tests.laws.mutants
long-enough: .venv/servers  ## the part of the long proofs that continuous integration can afford
	$(BIN)/pytest -m "long and not very_long" -n 3 --dist worksteal
browser: .venv/browser  ## a page in headless Chromium, over restarts: what a browser sees
	sh tests/machine.sh chromium && $(BIN)/pytest -s tests/process/test_serve_browser.py
conformance: setup  ## the public suite of TUF clients against ours, and its figure: SUITE=CHECKOUT, or it is cloned
	$(BIN)/python -m tests.conformance.suite $(SUITE)
newest-systemd: setup  ## the proofs of systemd once more, with the one of Debian 13, which is fetched first
	sh tests/systemd/trixie.sh && OVERSEER_SYSTEMD_ROOT=/var/cache/overseer-proofs/trixie $(BIN)/pytest -n 2 tests/systemd
oldest: .venv-oldest/ready  ## overseer.serve with the oldest versions of its servers that are supported
	.venv-oldest/bin/pytest -m "not very_long" -n 2 tests/process/test_serve*.py
oldest-quick: .venv-oldest/ready  ## the quick ones of these
	.venv-oldest/bin/pytest $(QUICK) $(SIDE_BY_SIDE) tests/process/test_serve*.py
demo: setup  ## the main job, seen live: three upgrades under load, no failed request
	$(BIN)/python -m examples.hello.demo
bench: .venv/peers  ## the figures: the master against the bare program, as ratios
	$(BIN)/python -m bench.master
bench-upgrade: setup  ## time and memory of a release of 1 GiB, against curl and sha256sum
	$(BIN)/python -m bench.upgrade
bench-patch: setup  ## an update as a patch against the same as a whole: bytes, time, memory
	$(BIN)/python -m bench.patch
.PHONY: bench-trust attacks matrix bench-serve storms
bench-serve: .venv/peers  ## restarts under load: overseer.serve and other servers, 13 minutes; FAST=1: one, only to try it
	sh tests/machine.sh libserver-starter-perl uwsgi-core uwsgi-plugin-python3 && $(BIN)/python -m bench.serve $(if $(FAST),--fast)
storms: setup  ## 200 restarts of each server of overseer.serve under all kinds of clients, with what these saw
	$(BIN)/pytest -svv -m very_long -k 200 tests/process/test_serve*.py
matrix: .venv/servers  ## real servers below `overseer run`: 20 restarts each under load, ten minutes; into the docs, too
	$(BIN)/python -m bench.matrix --restarts 20 --write
bench-trust: setup  ## what signatures cost: a poll, a release of 20 MB, the same as a patch
	$(BIN)/python -m bench.trust
attacks: setup  ## each attack on signed releases, live against a service under load; the table goes into the docs
	$(BIN)/python -m tests.process.attacks --write
docs: setup  ## write the parts of the pages that are made from the code
	$(BIN)/python -m docs.generate
clean:  ## remove what setup and the tests made
	rm -rf .venv .venv-oldest .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

.venv/servers: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group servers
	@touch $@

.venv/browser: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group browser
	@touch $@

.venv-oldest/ready: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c tests/oldest.txt --editable . --group dev
	@touch $@

.venv/peers: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@
