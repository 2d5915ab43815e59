# Set-up is one file's age: .venv/ready is newer than everything it was built from, or is remade.
# uv is used where it is installed, pip where it is not; both honour constraints.txt.

# The first that is here, those first for which every framework has wheels; TensorFlow has none for
# 3.14.
PYTHON ?= $(shell for name in python3.12 python3.13 python3.11 python3.14 python3; do \
	$$name -c 'import ensurepip' 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
SUITE ?= suites/cats_dogs.toml
ARGS ?=
# Two gigabytes each, with the frameworks; a module's tests share what its fixtures start.
JOBS ?= $(shell cores=$$(nproc 2>/dev/null || echo 1); echo $$((cores < 4 ? cores : 4)))
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile

PACKAGES := -e '.[dev]' -e plugins/benchharness-torch -e 'plugins/benchharness-keras[tensorflow]' \
	-e plugins/benchharness-jax
# A framework that none of our plugins is for: a test writes one for it. 11 MB.
OPTIONAL := --only-binary :all: 'mlx[cpu]'
WITHOUT := echo "mlx has no wheel here: its test is skipped"
SOURCES := pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)

.PHONY: help run test fast full lint type fix bench schema clean

help:
	@echo "make run    set up, then run $(SUITE) (SUITE=..., ARGS='--profile smoke')"
	@echo "make test   set up, then style, types, import rules and tests"
	@echo "make fast   core tests only, a minute   make full   the frameworks too"
	@echo "make bench  each backend against plain programs of its framework, then pytest-benchmark"
	@echo "make fix    format and mend lint        make clean  remove the environment"

$(VENV)/ready: $(SOURCES)
	@echo "setting up $(VENV) (PyTorch, TensorFlow and JAX: some minutes, about 8.5 GB)"
	@if command -v uv >/dev/null 2>&1; then \
	    test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
	    uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt $(PACKAGES) && \
	    { uv pip install --quiet --python $(BIN)/python -c constraints.txt $(OPTIONAL) 2>/dev/null \
	      || $(WITHOUT); }; \
	else \
	    test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	    $(BIN)/python -m pip install --quiet -c constraints.txt $(PACKAGES) && \
	    { $(BIN)/python -m pip install --quiet -c constraints.txt $(OPTIONAL) 2>/dev/null \
	      || $(WITHOUT); }; \
	fi
	@$(BIN)/benchharness list | grep 'has no wheel' || true
	@touch $@

run: $(VENV)/ready
	@$(BIN)/benchharness run $(SUITE) $(ARGS)

test: lint type full

fast: $(VENV)/ready
	@$(PYTEST) -m "not full and not slow and not bench" $(ARGS)

full: $(VENV)/ready
	@$(PYTEST) -m "not bench" $(ARGS)

lint: $(VENV)/ready
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }

type: $(VENV)/ready
	@$(BIN)/mypy
	@cd benchharness/testing/template && $(abspath $(BIN))/mypy --cache-dir $(CURDIR)/.mypy_cache/template

fix: $(VENV)/ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/ready
	@$(PYTEST) -q -m bench tests/test_ceilings.py
	@$(BIN)/python -P tests/benchmarks/ceilings/run.py $(ARGS)
	@$(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-only

schema: $(VENV)/ready
	@$(BIN)/benchharness schema > suites/suite.schema.json

clean:
	rm -rf $(VENV)
