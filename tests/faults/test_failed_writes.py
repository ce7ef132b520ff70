"""Every n-th call that changes what is stored fails: no system's failure, no traceback, no loss."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from benchmark.jobs.record import find_run_folders, read_run
from tests.faults.interposed import Calls
from tests.faults.suite import SmallSuite, done, folder_in_memory, goes_on, report

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@pytest.mark.parametrize(
    "step", [127, *(pytest.param(step, marks=pytest.mark.slow) for step in (7, 1))]
)
def test_a_suite_whose_nth_write_fails(step: int, truth: dict[tuple[str, int], str]) -> None:
    counts: Counter[str] = Counter()
    with folder_in_memory() as place:
        for which, number in enumerate(ERRORS):
            for lasting in (False, True):
                call = 1 + (7 * which + 3 * lasting) % step
                while _fails_at(call, number, lasting, place, counts, truth):
                    call += step
    report({**counts, "lost": 0, "different": 0, "tracebacks": 0})
    assert counts["failed writes"] >= 6 * (200 // step)


def _fails_at(
    call: int,
    number: int,
    lasting: bool,
    place: Path,
    counts: Counter[str],
    truth: dict[tuple[str, int], str],
) -> bool:
    """Whether a suite came to the call, which failed, and perhaps all later ones too."""
    errors, reached = place / "errors", place / "reached"
    errors.unlink(missing_ok=True)
    reached.unlink(missing_ok=True)
    suite = SmallSuite(place / f"{number}-{lasting}-{call}")
    suite.prepare()

    def run() -> None:
        def fail(now: int, name: str) -> None:
            if now == call or (lasting and now > call):
                os.close(os.open(reached, os.O_CREAT | os.O_WRONLY))
                raise OSError(number, os.strerror(number), str(suite.root / name))

        Calls(suite.root, fail).install()
        suite.run()

    code = done(run, errors)
    said = errors.read_text() if errors.exists() else ""
    assert code in (0, 2), f"call {call}, {os.strerror(number)}:\n{said}"
    for folder in find_run_folders(suite.results / "runs"):
        record = read_run(folder).record
        assert record.status == "finished" or record.retryable, (call, record.error)
    if code == 2:
        assert said.startswith("error: ") and str(suite.root) in said and said.endswith(".")
        assert len(said.splitlines()) == 1
    goes_on(suite, truth, errors)
    counts["failed writes"] += reached.exists()
    counts[os.strerror(number)] += reached.exists()
    return reached.exists()
