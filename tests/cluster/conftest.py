"""The systems of these tests have rows while they run, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.cluster.catalogue import ENTRIES
from tests.listed import listed_rows

collect_ignore_glob = [] if find_spec("distributed") else ["test_*.py"]


@pytest.fixture(scope="package", autouse=True)
def listed() -> Iterator[None]:
    with listed_rows(*ENTRIES):
        yield
