"""Whose turn it is: kills change no trial, processes share a study, and budgets end it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import BenchmarkError
from benchmark.locks import is_free
from benchmark.systems.effort import Effort
from benchmark.tune import journal as module
from benchmark.tune.journal import JOURNAL, Ledger, Turn, open_journal
from benchmark.tune.studies import Outcome, Study, Trial

Make = Callable[..., Study]


def ledger_of(study: Study) -> Ledger:
    """As another process opens it."""
    return Ledger(study, open_journal(study.folder))


def figure(values: Any) -> float:
    """As smooth as a system's: best at a rate of 0.003 and a dropout of 0.2."""
    distance = math.log10(values["training.learning_rate"] / 0.003) ** 2
    return 0.5 - 0.2 * distance - 0.3 * (values["dropout_prob"] - 0.2) ** 2


def finished(turn: Turn) -> Outcome:
    value = figure(turn.values)
    curve = tuple(value * share for share in (0.5, 0.8, 0.9, 1.0))
    return Outcome(value, own=Effort(1.0, 1.0), curve=curve)


def run_all(study: Study) -> list[Trial]:
    ledger = ledger_of(study)
    while (turn := ledger.take()) is not None:
        for step in range(4):
            if turn.is_hopeless(finished(turn).curve[: step + 1]):
                curve = finished(turn).curve[: step + 1]
                ledger.end(turn, Outcome(None, Effort(1.0, 1.0), {}, curve, is_pruned=True))
                break
        else:
            ledger.end(turn, finished(turn))
    return ledger.ended()


def in_another_place(study: Make, tmp_path: Path, name: str, **how: Any) -> Study:
    return study(results=str(tmp_path / name), **how)


def test_trials_have_the_numbers_of_the_budget(study: Make) -> None:
    trials = run_all(study(trials=7))
    assert [trial.number for trial in trials] == list(range(7))
    assert ledger_of(study(trials=7)).is_done()
    assert not ledger_of(study(trials=8)).is_done()


def test_a_larger_budget_goes_on_with_the_study(study: Make, tmp_path: Path) -> None:
    run_all(study(trials=5))
    longer = run_all(study(trials=9))
    assert longer == run_all(in_another_place(study, tmp_path, "at-once", trials=9))


def test_the_sampler_learns(study: Make) -> None:
    trials = run_all(study(trials=40))
    drawn = [figure(trial.values) for trial in trials]
    assert sum(drawn[20:]) > sum(drawn[:20])


class Killed(BaseException):
    pass


def test_kills_at_any_call_of_the_journal_change_no_trial(
    study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is cut off after any number of appended lines, as a kill does it."""
    truth = run_all(in_another_place(study, tmp_path, "truth", trials=9))
    appended = module.JournalFileBackend.append_logs
    random_moments, kills = random.Random(3), 0
    for place in range(4):
        killed = in_another_place(study, tmp_path, f"killed-{place}", trials=9)
        while True:
            left = [random_moments.randint(0, 40)]

            def append(self: Any, logs: Any, left: list[int] = left) -> None:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                appended(self, logs)

            monkeypatch.setattr(module.JournalFileBackend, "append_logs", append)
            try:
                run_all(killed)
                break
            except Killed:
                kills += 1
            finally:
                monkeypatch.setattr(module.JournalFileBackend, "append_logs", appended)
        assert run_all(killed) == truth
    assert kills >= 10


def test_a_dead_trial_is_marked_and_run_again_with_its_values(study: Make) -> None:
    run_all(study(trials=6))
    dead = ledger_of(study(trials=7)).take()
    assert dead is not None and dead.number == 6
    dead.held.close()  # as the death of its process does
    again = ledger_of(study(trials=7)).take()
    assert again is not None
    assert (again.number, again.values) == (6, dead.values)
    assert again.trial.number == dead.trial.number + 1
    states = [one.state.name for one in again.trial.study.trials]
    assert states[dead.trial.number] == "FAIL"


def test_its_values_stay_though_others_have_ended_meanwhile(study: Make) -> None:
    run_all(study(trials=6))
    first, second = (ledger_of(study(trials=9)).take() for _ in range(2))
    assert first is not None and second is not None
    first.held.close()
    ledger_of(study(trials=9)).end(second, finished(second))
    again = ledger_of(study(trials=9)).take()
    assert again is not None
    assert (again.number, again.values) == (first.number, first.values)


def test_a_trial_whose_process_died_after_its_outcome_is_not_run_again(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_of(study(trials=2))
    turn = ledger.take()
    assert turn is not None
    monkeypatch.setattr(Ledger, "_tell", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        ledger.end(turn, finished(turn))
    monkeypatch.undo()
    turn.held.close()
    following = ledger_of(study(trials=2)).take()
    assert following is not None and following.number == 1
    (ended,) = ledger_of(study(trials=2)).ended()
    assert ended.outcome == finished(turn)
    assert following.trial.study.trials[0].state.name == "COMPLETE"


def test_processes_get_different_trials(study: Make) -> None:
    ledgers = [ledger_of(study(trials=3)) for _ in range(4)]
    turns = [ledger.take() for ledger in ledgers]
    assert turns[3] is None
    taken = [turn.number for turn in turns if turn is not None]
    assert taken == [0, 1, 2]
    assert len(ledgers[3].running_elsewhere()) == 3
    for ledger, turn in zip(ledgers, turns, strict=True):
        if turn is not None:
            ledger.end(turn, finished(turn))
    assert ledgers[3].running_elsewhere() == []
    assert ledgers[3].is_done()


def test_a_trial_below_the_median_of_the_others_is_given_up(study: Make) -> None:
    ledger = ledger_of(study(trials=9))
    for _ in range(4):
        turn = ledger.take()
        assert turn is not None
        curve = (0.1, 0.2, 0.3, 0.3)
        assert not any(turn.is_hopeless(curve[: step + 1]) for step in range(4))
        ledger.end(turn, Outcome(0.3, curve=curve))
    worse, better = ledger.take(), ledger_of(study(trials=9)).take()
    assert worse is not None and better is not None
    low = (0.05, 0.1, 0.15, 0.15)
    assert [worse.is_hopeless(low[: step + 1]) for step in range(3)] == [False, False, True]
    high = (0.05, 0.1, 0.35, 0.4)
    assert not any(better.is_hopeless(high[: step + 1]) for step in range(4))


def test_a_trial_of_given_values_is_never_given_up(study: Make) -> None:
    """Also where others have ended before it, as the trials of several processes may."""
    made = study(trials=9)
    ledger = ledger_of(made)
    given = ledger.take()
    assert given is not None and given.is_given
    for _ in range(5):
        turn = ledger_of(made).take()
        assert turn is not None
        for step in range(3):
            turn.is_hopeless((0.4,) * (step + 1))
        ledger_of(made).end(turn, Outcome(0.4, curve=(0.4,) * 3))
    assert not any(given.is_hopeless((0.01,) * (step + 1)) for step in range(3))


def test_figures_that_came_without_a_report_are_measured_by_all_the_same(study: Make) -> None:
    """An artifact that a killed process had built trains no more, so nothing reports."""
    ledger = ledger_of(study(trials=9))
    for _ in range(4):
        turn = ledger.take()
        assert turn is not None
        ledger.end(turn, Outcome(0.3, curve=(0.1, 0.2, 0.3)))
    worse = ledger.take()
    assert worse is not None
    assert [worse.is_hopeless((0.05,) * (step + 1)) for step in range(3)] == [False, False, True]


def test_no_trial_begins_when_the_minutes_are_spent(study: Make) -> None:
    made = study(trials=9, minutes=1.0)
    ledger = ledger_of(made)
    for seconds in (40.0, 25.0):
        turn = ledger.take()
        assert turn is not None
        ledger.end(turn, Outcome(0.1, own=Effort(seconds, 1.0)))
    assert ledger.take() is None
    assert ledger.is_done()
    assert ledger_of(study(trials=9, minutes=1.1)).take() is not None


def test_a_trial_that_nobody_could_end_has_failed_and_is_not_run_again(study: Make) -> None:
    ledger = ledger_of(study(trials=2))
    turn = ledger.take()
    assert turn is not None
    turn.held.close()
    ledger.give_up(0, "its process was ended by SIGSEGV twice.")
    following = ledger.take()
    assert following is not None and following.number == 1
    (ended,) = ledger.ended()
    assert ended.outcome.failure == "its process was ended by SIGSEGV twice."


@pytest.mark.parametrize("torn", [b'{"op_code"', b'{"op_code": 1}', b"\x00"])
def test_a_line_that_was_not_finished_is_taken_off(study: Make, torn: bytes) -> None:
    run_all(study(trials=4))
    path = study().folder / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(ledger_of(study(trials=4)).ended()) == 4
    mended = path.read_bytes()
    assert mended.startswith(whole) and not mended.startswith(whole + torn + b"\n")
    run_all(study(trials=6))
    assert len(ledger_of(study(trials=6)).ended()) == 6


@pytest.mark.parametrize("content", ["nonsense\nmore\n", '{"op_code": "x"}\n[]\n', "[1]\n"])
def test_what_is_no_journal_is_refused_by_its_name(study: Make, content: str) -> None:
    folder = study().folder
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_text(content)
    with pytest.raises(BenchmarkError, match=r"journal\.log: is no journal of studies"):
        open_journal(folder)


def test_locks_are_free_when_all_have_ended(study: Make) -> None:
    run_all(study(trials=3))
    locks = list((study().folder / "locks").glob("*.lock"))
    assert len(locks) >= 4 and all(map(is_free, locks))
