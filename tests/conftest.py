"""One thread for numerical libraries, and which tests `make check` leaves to `make test`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tiny models are faster with one thread, and equal everywhere.
os.environ["OMP_NUM_THREADS"] = os.environ.get("TRAINING_THREADS", "1")

TESTS = Path(__file__).parent

THOROUGH = frozenset(
    [
        *("baselines", "cluster", "docs", "faults", "gensar", "interface", "reference"),
        *("reproduce", "run", "speed", "tune"),
        *("data/test_large_input.py", "data/test_validate.py"),
        *("kit/identifiers/test_rqvae.py", "kit/test_micro_batches.py", "kit/test_training.py"),
        *("protocol/test_orders.py", "protocol/test_same_lists.py"),
        *("report/test_build.py", "report/test_charts.py", "report/test_damaged_runs.py"),
        *("report/test_page.py", "report/test_reference.py", "report/test_simultaneous.py"),
        *("report/test_tables.py", "retrieval/test_bm25.py", "retrieval/test_lucene.py"),
        *("systems/test_both_views.py", "systems/test_check.py"),
        *("test_package.py", "test_pythons.py"),
    ]
)
"""Folders and files below ``tests`` that train, start processes, draw, or are long otherwise."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of :data:`THOROUGH`."""
    for item in items:
        place = item.path.relative_to(TESTS)
        if place.parts[0] in THOROUGH or place.as_posix() in THOROUGH:
            item.add_marker("thorough")
