"""Suites that are killed, at random moments and at each call that changes what is stored."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.faults.interposed import Calls
from tests.faults.suite import SmallSuite, done, ended, folder_in_memory, forked, goes_on, report

LARGE = pytest.mark.slow


@pytest.mark.parametrize("kills", [20, pytest.param(2_000, marks=LARGE)])
def test_a_suite_that_is_killed_at_random_moments(
    kills: int, truth: dict[tuple[str, int], str]
) -> None:
    random_moments = random.Random(7)
    counts = Counter(kills=0, suites=0)
    with folder_in_memory() as place:
        errors = place / "errors"
        suite = SmallSuite(place / "timed")
        suite.prepare()
        started = time.monotonic()
        assert done(suite.run, errors) == 0
        duration = time.monotonic() - started
        while counts["kills"] < kills:
            suite = SmallSuite(place / str(counts["suites"]))
            suite.prepare()
            for _ in range(random_moments.randint(1, 8)):
                child = forked(suite.run, errors)
                time.sleep(random_moments.uniform(0, 1.1 * duration))
                os.kill(child, signal.SIGKILL)
                code = ended(child)
                assert code in (0, -signal.SIGKILL), errors.read_text()
                counts["kills"] += code == -signal.SIGKILL
            goes_on(suite, truth, errors)
            counts["suites"] += 1
    report({**counts, "lost": 0, "doubled": 0, "different": 0, "tracebacks": 0})
    assert counts["kills"] >= kills


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=LARGE)])
def test_a_suite_that_is_killed_at_every_nth_call(
    step: int, truth: dict[tuple[str, int], str]
) -> None:
    """The loop ends with a suite that comes to its end without reaching its call."""
    killed_at: Counter[str] = Counter()
    with folder_in_memory() as place:
        errors, log = place / "errors", place / "log"
        number, code = 1, -signal.SIGKILL
        while code == -signal.SIGKILL:
            suite = SmallSuite(place / str(number))
            suite.prepare()

            def run(suite: SmallSuite = suite, number: int = number) -> None:
                def die(now: int, name: str) -> None:
                    if now == number:
                        log.open("a").write(f"{name}\n")
                        os.kill(os.getpid(), signal.SIGKILL)

                Calls(suite.root, die).install()
                suite.run()

            code = done(run, errors)
            assert code in (0, -signal.SIGKILL), errors.read_text()
            goes_on(suite, truth, errors)
            number += step
        killed_at.update(log.read_text().splitlines())
    report({"kills": killed_at.total(), **killed_at, "lost": 0, "doubled": 0, "different": 0})
    assert killed_at.total() >= 200 // step
    if step == 1:
        assert {"fsync", "replace", "open", "mkdir", "write_table", "savez"} <= killed_at.keys()
