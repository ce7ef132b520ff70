"""The journal of a data set's studies, and whose turn it is: which trial runs next, and where.

Trials are numbered from 0; a number says which values a trial has: the first ones are given, each
later one is drawn by a sampler that is seeded with its number, from the trials before it. A trial
that runs holds a lock which dies with its process. One whose lock is free is dead: it is marked as
failed, and its number is run again with the same values. So one process alone comes to the same
trials however often it is killed; of several, each draws from what has ended by then.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from benchmark.errors import BenchmarkError, shortened
from benchmark.faults import MachineFault
from benchmark.locks import is_free, locked
from benchmark.randomness import stable_random
from benchmark.systems.effort import Effort
from benchmark.systems.space import Choice, Real, Whole
from benchmark.tune.studies import Outcome, Study, Trial, seconds_spent

JOURNAL = "journal.log"

DRAWN_AT_RANDOM = 5
"""Trials that have ended before the sampler learns from them."""

NEVER_PRUNED = 4
"""Trials that have to be trained to their end before one is measured by them."""

BORNE = 2
"""Validations of a trial before it may be pruned."""

_NUMBER, _OUTCOME = "number", "outcome"


class _Lock(JournalFileOpenLock):
    """A lock that dies with its process; Optuna's own outlive theirs by half a minute."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._held = ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._held.enter_context(locked(self._path))
        return True

    def release(self) -> None:
        """Let others have it."""
        self._held.close()


def open_journal(folder: Path) -> JournalStorage:
    """The journal in ``folder``, which is made if it is not there.

    A line that a killed writer has left unfinished is taken off its end.

    Raises:
        BenchmarkError: it is damaged.
        MachineFault: it cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path, lock = folder / JOURNAL, folder / "locks" / "journal.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock):
            _mend(path)
        return JournalStorage(JournalFileBackend(str(path), _Lock(lock)))
    except OSError as error:
        raise MachineFault(f"{path}: cannot be written ({error.strerror}).") from error
    except Exception as error:  # what a line of another program makes of Optuna's reader
        raise BenchmarkError(
            f"{path}: is no journal of studies ({shortened(str(error))}); move it away to begin "
            "anew."
        ) from None


def _mend(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as journal:
        content = journal.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            journal.truncate(whole)


@dataclass
class Turn:
    """A trial that this process runs; it is ended by :meth:`Ledger.end`.

    ``is_given`` says that its values are the published or the preset's; ``before`` are the
    study's trials that had ended when it began.
    """

    number: int
    values: Mapping[str, Any]
    trial: optuna.Trial
    held: ExitStack
    is_given: bool
    before: Sequence[Trial]

    def is_hopeless(self, curve: Sequence[float]) -> bool:
        """Report the newest of the validation figures; whether to give the trial up.

        It is given up when its best so far is below the median of the others at this validation.
        Trials of given values are not: every system has a figure of them.
        """
        self.trial.report(curve[-1], len(curve) - 1)
        return not self.is_given and self.trial.should_prune()


class Ledger:
    """One study in the journal."""

    def __init__(self, study: Study, journal: JournalStorage) -> None:
        self.study = study
        self._locks = study.folder / "locks"
        self._lock = self._locks / f"{study.name}.lock"
        with locked(self._lock):
            self._optuna = optuna.create_study(
                study_name=study.name,
                storage=journal,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=NEVER_PRUNED, n_warmup_steps=BORNE
                ),
            )

    def ended(self) -> list[Trial]:
        """The trials that have ended and count for the budget, by number."""
        return self._ended(self._trials())

    def is_done(self) -> bool:
        """Whether the budget is spent and no trial is left to end."""
        trials = self._trials()
        ended = self._ended(trials)
        is_open = any(not one.state.is_finished() for one in trials)
        return not is_open and (len(ended) >= self.study.budget.trials or self._is_spent(ended))

    def running_elsewhere(self) -> list[Path]:
        """The locks of trials that other processes run now."""
        running = [one for one in self._trials() if one.state == TrialState.RUNNING]
        locks = [self._lock_of(one.user_attrs[_NUMBER]) for one in running]
        return [lock for lock in locks if not is_free(lock)]

    def take(self) -> Turn | None:
        """The next trial to run; None if the budget is spent or others run what is left of it."""
        with locked(self._lock):
            self._bury()
            trials = self._trials()
            ended = self._ended(trials)
            number = _next_number(trials, {trial.number for trial in ended})
            if number >= self.study.budget.trials or self._is_spent(ended):
                return None
            with ExitStack() as stack:
                stack.enter_context(locked(self._lock_of(number), waits=False))
                trial = self._asked(number, trials)
                held = stack.pop_all()
        is_given = number < len(self.study.first)
        return Turn(number, dict(trial.params), trial, held, is_given, ended)

    def end(self, turn: Turn, outcome: Outcome) -> None:
        """Record how a trial ended."""
        reported = self._optuna.trials[turn.trial.number].intermediate_values
        for step in range(len(reported), len(outcome.curve)):
            # Those of an artifact that an earlier process had built came without a report.
            turn.trial.report(outcome.curve[step], step)
        turn.trial.set_user_attr(_OUTCOME, _as_json(outcome))
        self._tell(turn.trial.number, outcome)
        turn.held.close()

    def give_up(self, number: int, failure: str) -> None:
        """Record as failed a trial whose process died."""
        with locked(self._lock):
            self._optuna.set_user_attr(_failure_of(number), failure)
            self._bury()

    # ----------------------------------------------------------------------------------- inside

    def _trials(self) -> list[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False)

    def _is_spent(self, ended: Sequence[Trial]) -> bool:
        return seconds_spent(self.study, ended) >= 60 * self.study.budget.minutes

    def _lock_of(self, number: int) -> Path:
        return self._locks / f"{self.study.name}-{number:04d}.lock"

    def _bury(self) -> None:
        """Mark what dead processes have left; one that had said how its trial ended is heard."""
        for one in self._trials():
            if one.state == TrialState.RUNNING and is_free(self._lock_of(one.user_attrs[_NUMBER])):
                outcome = one.user_attrs.get(_OUTCOME)
                self._tell(one.number, _from_json(outcome) if outcome else Outcome(None))

    def _tell(self, number: int, outcome: Outcome) -> None:
        """End a trial, by Optuna's number of it; one without a figure has failed."""
        if outcome.is_pruned:
            self._optuna.tell(number, state=TrialState.PRUNED)
        elif outcome.value is None:
            self._optuna.tell(number, state=TrialState.FAIL)
        else:
            self._optuna.tell(number, outcome.value)

    def _ended(self, trials: Sequence[FrozenTrial]) -> list[Trial]:
        found, failures = dict[int, Trial](), self._optuna.user_attrs
        for one in trials:
            number, outcome = one.user_attrs[_NUMBER], one.user_attrs.get(_OUTCOME)
            if not one.state.is_finished() or number >= self.study.budget.trials:
                continue
            if outcome is not None:
                found[number] = Trial(number, dict(one.params), _from_json(outcome))
            elif _failure_of(number) in failures:
                failed = Outcome(None, failure=failures[_failure_of(number)])
                found.setdefault(number, Trial(number, dict(one.params), failed))
        return [found[number] for number in sorted(found)]

    def _asked(self, number: int, trials: Sequence[FrozenTrial]) -> optuna.Trial:
        """The trial of a number. One that a dead process had queued is taken from the queue."""
        if not any(one.state == TrialState.WAITING for one in trials):
            self._optuna.enqueue_trial(self._given(number, trials), user_attrs={_NUMBER: number})
        seed = int(stable_random(self.study.job.seed, self.study.name, number).integers(2**31))
        self._optuna.sampler = optuna.samplers.TPESampler(
            n_startup_trials=DRAWN_AT_RANDOM, seed=seed
        )
        space = {key: _distribution(one) for key, one in self.study.space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Optuna's experimental parts
            return self._optuna.ask(space)

    def _given(self, number: int, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
        """The values that a trial has to have: the first ones', and those of a dead one."""
        if number < len(self.study.first):
            return dict(self.study.first[number])
        for one in trials:
            if one.user_attrs[_NUMBER] == number and one.params.keys() == self.study.space.keys():
                return dict(one.params)
        return {}


def _next_number(trials: Sequence[FrozenTrial], ended: Collection[int]) -> int:
    """That of a queued trial, which a dead process has left, or the first that nobody has."""
    for one in trials:
        if one.state == TrialState.WAITING:
            return int(one.user_attrs[_NUMBER])
    running = {one.user_attrs[_NUMBER] for one in trials if one.state == TrialState.RUNNING}
    return next(number for number in count() if number not in ended and number not in running)


def _failure_of(number: int) -> str:
    return f"failure of {number}"


def _distribution(parameter: Choice | Real | Whole) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Real):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "value": outcome.value,
        "own": outcome.own._asdict(),
        "artifacts": {name: effort._asdict() for name, effort in outcome.artifacts.items()},
        "curve": list(outcome.curve),
        "failure": outcome.failure,
        "is_pruned": outcome.is_pruned,
    }


def _from_json(content: Mapping[str, Any]) -> Outcome:
    return Outcome(
        value=content["value"],
        own=Effort(**content["own"]),
        artifacts={name: Effort(**took) for name, took in content["artifacts"].items()},
        curve=tuple(content["curve"]),
        failure=content["failure"],
        is_pruned=content["is_pruned"],
    )
