# Everything a developer types. `make` alone lists it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.demo-installed

# Arguments for pytest: make test ARGS="tests/bundle -k layout"
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench soak fuzz fmt lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP)  ## make .venv with bundler and all it takes to work on it, as locked

# --no-build-isolation: hatchling comes from the lock too, so nothing unpinned runs.
$(STAMP): pyproject.toml requirements-dev.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@ $(DEMO_STAMP)

# What a user would install: no lock, no developers' tools.
$(DEMO_STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[build,site]'
	touch $@

demo:  ## the whole job on this machine: build, carry, install, use it from a node without a network (root: in namespaces)
	scripts/install-system-packages.sh
	$(MAKE) --no-print-directory $(DEMO_STAMP)
	$(BIN)/python -m scripts.demo $(ARGS)

# End-to-end tests have the machine to themselves: they measure, they kill, and each makes its network.
test: $(STAMP)  ## every test, the end-to-end ones too; ARGS=tests/site: those alone
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(BIN)/python -m pytest -n 2 -m "not e2e" && $(BIN)/python -m pytest -m e2e)

check: $(STAMP)  ## what must pass before a change goes in: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

bench: $(STAMP)  ## bundler beside the tools people use in its place, measured; ARGS=--small for a quick look
	scripts/install-system-packages.sh
	$(BIN)/python -m scripts.bench $(ARGS)

soak: $(STAMP)  ## half an hour of faults and load: builds and installs killed at 50 points each, 50 clients during upgrades
	scripts/install-system-packages.sh
	BUNDLER_FAULT_POINTS=50 BUNDLER_LOAD_SECONDS=60 $(BIN)/python -m pytest -q tests/e2e/test_fault_matrix.py tests/e2e/test_load.py

fuzz: $(STAMP)  ## an hour of coverage-guided fuzzing of all that reads what others wrote; ARGS="--seconds 60"
	$(BIN)/python -m pip install --quiet 'atheris>=3'
	$(BIN)/python -m scripts.fuzz $(ARGS)

fmt: $(STAMP)  ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# PIP_CONFIG_FILE and find-links off: the lock must not depend on one machine's package index.
lock: $(STAMP)  ## lock the development environment anew (UPGRADE=1: at the newest versions)
	env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
	CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --generate-hashes --all-extras --allow-unsafe \
	  --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(if $(UPGRADE),--upgrade) \
	  --output-file requirements-dev.lock pyproject.toml

clean:  ## remove what make made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
