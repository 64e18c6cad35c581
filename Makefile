# Two commands do everything on a fresh machine with Python 3.11 or newer and make: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONDONTWRITEBYTECODE =
export LOCKGATE_PROJECT := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-fault check test selftest soak bench bench-serving docs down lock

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v[:2] <= (3, 14); \
	    sys.exit(0 if ok else "Lockgate needs Python 3.11 to 3.14; this is %d.%d. Set PYTHON=/path/to/python" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies (about two minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# Without compiled bytecode every process start takes seconds longer.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src flows tasks deployments > /dev/null 2>&1 || true
	@touch $@

install: $(STAMP)  ## Make .venv from the lock

demo: $(STAMP)  ## Release a model of real flights, from landed data to production (YES=1 answers the approval)
	@$(BIN)/lockgate demo $(if $(YES),--yes)

demo-fault: $(STAMP)  ## Plant a fault into production beside the champion, and see it rolled back (after make demo)
	@$(BIN)/lockgate demo --fault

down: $(STAMP)  ## End every process of the local stack
	@$(BIN)/lockgate down

check: $(STAMP)  ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP)  ## Every test but the long matrices
	$(BIN)/python -m pytest -p tests.side_by_side -m "not soak" --durations=15

selftest: $(STAMP)  ## Push known-bad candidates through the real line; each must be stopped by its gate
	$(BIN)/lockgate selftest

soak: $(STAMP)  ## The long matrices; results go to docs/results/
	$(BIN)/python -m pytest -m soak --hypothesis-profile=default
	$(BIN)/python -m pytest tests/unit -m "not soak" --hypothesis-profile=default

bench: $(STAMP)  ## What one release costs, stage by stage
	$(BIN)/python benchmarks/release_time.py

bench-serving: $(STAMP)  ## The server beside others of its class, each in its own environment (QUICK=1: once, short)
	$(BIN)/python -m benchmarks.serving $(if $(QUICK),--quick,--write --results docs/results)

docs: $(STAMP)  ## Write the reference pages that are generated from the code
	$(BIN)/python -m lockgate.cli.reference

lock:  ## Compile requirements.lock anew for every supported Python (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header --upgrade -o requirements.lock
