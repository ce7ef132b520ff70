"""What an undisturbed suite gives, for comparison."""

from __future__ import annotations

import pytest

from tests.faults.suite import SmallSuite, done, folder_in_memory, goes_on

Truth = dict[tuple[str, int], str]


@pytest.fixture(scope="session")
def truth() -> Truth:
    """(system, seed) → a hash of its figures."""
    with folder_in_memory() as place:
        errors = place / "errors"
        suite = SmallSuite(place / "calm")
        suite.prepare()
        assert done(suite.run, errors) == 0, errors.read_text()
        found = suite.outcome()
        goes_on(suite, found, errors)
        return found
