"""The systems of these tests have rows while they run, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from benchmark.systems.catalogue import entries
from tests.cluster.catalogue import ENTRIES

collect_ignore_glob = [] if find_spec("distributed") else ["test_*.py"]


@pytest.fixture(scope="package", autouse=True)
def listed() -> Iterator[None]:
    rows = entries()
    rows |= {entry.name: entry for entry in ENTRIES}
    yield
    for entry in ENTRIES:
        del rows[entry.name]
