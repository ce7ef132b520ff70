"""What is tuned: one study a system, the values that its first trials have, and its budget.

The first trial has the published values, the second those of the preset that tuning begins from,
unless they are the same; what a space does not name is the preset's in every trial. A study is
named by all that its outcomes depend on, as a job is, and by its space; a larger budget goes on
with the study of a smaller one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.jobs.store import JobSpec
from benchmark.overrides import Overrides, merged
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure
from benchmark.systems.contract import SystemConfig
from benchmark.systems.effort import Effort
from benchmark.systems.space import (
    Choice,
    Parameter,
    Plain,
    Real,
    UntilPatience,
    Whole,
    overrides_of,
    value_at,
)

PROCEDURE = 1
"""Raised when trials are drawn, pruned or judged in another way, so that none are mixed."""

_DIGITS = 3  # of a drawn number


@dataclass(frozen=True)
class Budget:
    """No trial begins after so many, or once so many minutes were spent; the same for all."""

    trials: int
    minutes: float


@dataclass(frozen=True)
class Study:
    """One system's tuning.

    ``job`` has the settings of the preset; ``space`` is what is drawn, wide enough for the
    published and the preset's values; ``fixed`` is what every trial has instead of the preset's;
    ``given`` is what the user has laid over the preset, of which nothing is searched; ``first`` are
    the values of the first trials.
    """

    name: str
    job: JobSpec
    budget: Budget
    space: Mapping[str, Choice | Real | Whole]
    fixed: Mapping[str, int]
    given: Overrides
    first: tuple[Mapping[str, Plain], ...]

    @property
    def folder(self) -> Path:
        """Where journal, locks and unfinished trials of the data set's studies are."""
        return folder_of(Path(self.job.results), self.job.dataset)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The system's tasks."""
        return choose(self.job.system).entry.tasks

    def seconds(self, effort: Effort) -> float:
        """What counts of an effort: CPU seconds, or, on a device, those that it was held for."""
        return effort.cpu if self.job.device == "cpu" else effort.wall

    def changes(self, values: Mapping[str, Plain]) -> Overrides:
        """What a preset says of a trial's values."""
        drawn = {key: rounded(value) for key, value in values.items()}
        return merged(self.given, overrides_of({**self.fixed, **drawn}))

    def configured(self, values: Mapping[str, Plain]) -> SystemConfig:
        """The system's configuration in a trial.

        Raises:
            BenchmarkError: the values do not fit together.
        """
        own = dataclasses.replace(choose(self.job.system), overrides={})
        return configure(own, self.job.configuration, self.changes(values))

    def sent(self) -> dict[str, Any]:
        """A JSON value that :func:`received` makes the study of again."""
        return {
            "job": dataclasses.asdict(self.job),
            "budget": dataclasses.asdict(self.budget),
            "given": self.given,
        }


def folder_of(results: Path, dataset: str) -> Path:
    """The folder of a data set's studies."""
    return results / "tuning" / dataset


def space_of(system: str) -> Mapping[str, Parameter]:
    """What the system declares beside its ``Config``; empty where nothing is trained."""
    config: type[SystemConfig] = choose(system).entry.load().Config
    return config.search_space


def received(sent: Mapping[str, Any]) -> Study:
    """The study that another process has sent."""
    job = {**sent["job"], "trackers": tuple(sent["job"]["trackers"])}
    return make_study(JobSpec(**job), Budget(**sent["budget"]), sent["given"])


def make_study(job: JobSpec, budget: Budget, given: Overrides) -> Study:
    """The study of a job's system that begins with the job's settings.

    Args:
        job: with the preset's settings, and what was laid over them.
        budget: of this study.
        given: what was laid over them.

    Raises:
        BenchmarkError: nothing is left to choose.
    """
    declared = {
        key: parameter
        for key, parameter in space_of(job.system).items()
        if not _stands_in(given, key)
    }
    choice = choose(job.system)
    published = configure(choice).model_dump(mode="json")
    fixed: dict[str, int] = {}
    space: dict[str, Choice | Real | Whole] = {}
    first: list[dict[str, Plain]] = [{}, {}]
    for key, parameter in sorted(declared.items()):
        of_preset = value_at(job.configuration, key)
        if isinstance(parameter, UntilPatience):
            fixed[key] = max(parameter.epochs, of_preset)
            continue
        is_budget = isinstance(parameter, Whole) and parameter.is_budget
        values = [of_preset if is_budget else value_at(published, key), of_preset]
        if isinstance(parameter, Real):
            values = [float(value) for value in values]
        space[key] = parameter.with_value(values[0]).with_value(values[1])
        for trial, value in zip(first, values, strict=True):
            trial[key] = value
    if not space:
        raise BenchmarkError(f"system {job.system!r}: nothing of it is left to tune.")
    identity = sha256_of_json(
        {
            "procedure": PROCEDURE,
            "job": job.identity,
            "space": {key: [type(one).__name__, repr(one)] for key, one in space.items()},
            "fixed": fixed,
        }
    )
    distinct = first if first[0] != first[1] else first[:1]
    name = f"{job.system.replace(':', '-')}-{identity[:16]}"
    return Study(name, job, budget, space, fixed, given, tuple(distinct))


def _stands_in(given: Overrides, key: str) -> bool:
    try:
        value_at(given, key)
    except KeyError:
        return False
    return True


def rounded(value: Plain) -> Plain:
    """A drawn number with as many digits as a person would write."""
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Outcome:
    """How one trial ended.

    ``own`` is its work without the building of artifacts; ``artifacts`` what each took that it was
    handed, whoever built it; ``curve`` its validation figures as they came.
    """

    value: float | None
    own: Effort = field(default_factory=Effort)
    artifacts: Mapping[str, Effort] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    failure: str = ""
    is_pruned: bool = False


@dataclass(frozen=True)
class Trial:
    """A trial that has ended; ``number`` counts from 0 and says which values it had to have."""

    number: int
    values: Mapping[str, Plain]
    outcome: Outcome

    @property
    def is_finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.outcome.value is not None and not self.outcome.is_pruned


Found = Sequence[tuple[Study, Sequence[Trial]]]
"""Studies and their trials."""


def seconds_spent(study: Study, trials: Sequence[Trial]) -> float:
    """What trials took, each artifact once."""
    own, artifacts = Effort(), dict[str, Effort]()
    for trial in trials:
        own = own.plus(trial.outcome.own)
        artifacts |= trial.outcome.artifacts
    return study.seconds(own) + sum(map(study.seconds, artifacts.values()))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the best validation figure, the first of equal ones; None if none finished."""
    values = {
        trial.number: trial.outcome.value
        for trial in trials
        if trial.is_finished and trial.outcome.value is not None
    }
    best = max(values, key=lambda number: (values[number], -number), default=None)
    return next((trial for trial in trials if trial.number == best), None)
