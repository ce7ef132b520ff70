"""What an undisturbed suite gives, for comparison."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.suite import TRAINED, SmallSuite, done, folder_in_memory, goes_on
from tests.listed import listed_rows

Truth = dict[tuple[str, int], str]


@pytest.fixture(scope="package", autouse=True)
def listed() -> Iterator[None]:
    """The suite's own system has a row while these tests run, and no longer."""
    with listed_rows(TRAINED):
        yield


@pytest.fixture(scope="package")
def truth(listed: None) -> Truth:
    """(system, seed) → a hash of its figures."""
    with folder_in_memory() as place:
        errors = place / "errors"
        suite = SmallSuite(place / "calm")
        suite.prepare()
        assert done(suite.run, errors) == 0, errors.read_text()
        found = suite.outcome()
        goes_on(suite, found, errors)
        return found
