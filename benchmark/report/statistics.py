"""How far a table's figures can be trusted: bootstrap intervals, and tests against the best system.

All systems rank the same test events, so every comparison is paired. Runs with several seeds have
two sources of chance, the events and the seeds. The events are the *same* ones under each seed, so
they are resampled once for all seeds and never drawn anew within each: that would divide
their share of the variance by the number of seeds, as if more training made the test set larger.

The tests ask one question, in one direction: is the best trained system of a column better than
this other one? p-values of a column are corrected by Holm's method (1979), since as many are looked
at as there are other systems.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import METRIC_NAMES
from benchmark.randomness import stable_random
from benchmark.report.collect import REFERENCE_FAMILY
from benchmark.report.events import TaskEvents, read_events
from benchmark.runs.record import Run, TaskName
from benchmark.systems.catalogue import base_name

LEVEL = 0.05
CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 2024
_CELLS_AT_ONCE = 8_000_000  # of the matrix of resampled counts, so that memory stays small

SeedsByEvents = NDArray[np.float64]
"""(seeds, events): one metric of one system."""


@dataclass(frozen=True)
class ColumnTest:
    """The tests of one metric: the best trained system against each other one.

    ``p_values`` are those of the other systems after Holm's correction.
    """

    best: str
    p_values: Mapping[str, float]

    @property
    def best_is_clear(self) -> bool:
        """Whether the best is significantly better than every other."""
        return bool(self.p_values) and max(self.p_values.values()) < LEVEL

    def is_level_with_best(self, system: str) -> bool:
        """Whether ``system`` was tested and not found significantly worse than the best."""
        return self.p_values.get(system, 0.0) >= LEVEL


@dataclass(frozen=True)
class Statistics:
    """Everything that is said of one task's figures besides their means.

    ``intervals``: system → (metrics, 2), low and high end. ``tests``: metric → test; empty if fewer
    than two trained systems have ranks. ``seeds`` is the largest number of seeds of a system.
    ``sentences`` say which runs could not take part.
    """

    intervals: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    tests: Mapping[str, ColumnTest] = field(default_factory=dict)
    seeds: int = 0
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventsOfRuns:
    """Task → system → the events of its finished runs, one entry a seed.

    ``sentences`` say which runs have none.
    """

    by_task: Mapping[str, Mapping[str, Sequence[TaskEvents]]]
    sentences: tuple[str, ...]


def collect_events(runs: Sequence[Run]) -> EventsOfRuns:
    """Read the events of comparable runs."""
    found: defaultdict[str, dict[str, list[TaskEvents]]] = defaultdict(dict)
    sentences: list[str] = []
    without: list[str] = []
    for run in sorted(runs, key=lambda run: (run.record.system.name, run.record.seed)):
        if run.record.status != "finished":
            continue
        try:
            events = read_events(run)
        except BenchmarkError as error:
            sentences.append(f"{error} It takes no part in the statistics.")
            continue
        if not events:
            without.append(run.record.system.name)
        for task, of_task in events.items():
            found[task].setdefault(run.record.system.name, []).append(of_task)
    if without:
        names = ", ".join(dict.fromkeys(without))
        sentences.append(f"Without ranks of single events, hence without intervals: {names}.")
    return EventsOfRuns(dict(found), tuple(sentences))


def compare(
    task: TaskName, events: Mapping[str, Sequence[TaskEvents]], trained: Sequence[str]
) -> Statistics:
    """Intervals for all systems and tests among the ``trained`` ones.

    Systems whose number of events differs from that of most take no part, and are named.
    """
    values = {name: np.stack([e.gains for e in seeds]) for name, seeds in _equally_long(events)}
    odd = sorted(set(events) - set(values))
    sentences = tuple(f"{name}: its number of {task} events differs from others'." for name in odd)
    if not values:
        return Statistics(sentences=sentences)
    replicates = bootstrap_means(values, purpose=task)
    tail = (1.0 - CONFIDENCE) / 2.0
    intervals = {
        name: np.quantile(of_system, (tail, 1.0 - tail), axis=0).T
        for name, of_system in replicates.items()
    }
    competing = {name: values[name] for name in trained if name in values}
    tests = {}
    if len(competing) > 1:
        for column, metric in enumerate(METRIC_NAMES):
            tests[metric] = against_best(
                {name: of_system[:, :, column] for name, of_system in competing.items()}
            )
    return Statistics(intervals, tests, max(len(v) for v in values.values()), sentences)


def statistics_of(runs: Sequence[Run], events: EventsOfRuns) -> dict[TaskName, Statistics]:
    """Task → the statistics of comparable runs; rows with other settings are not tested."""
    families = {run.record.system.name: run.record.system.family for run in runs}
    trained = [
        name
        for name, family in families.items()
        if family != REFERENCE_FAMILY and name == base_name(name)
    ]
    tasks: tuple[TaskName, ...] = ("recommendation", "search")
    return {task: compare(task, events.by_task.get(task, {}), trained) for task in tasks}


def _equally_long(
    events: Mapping[str, Sequence[TaskEvents]],
) -> list[tuple[str, Sequence[TaskEvents]]]:
    lengths = {name: {len(e.gains) for e in seeds} for name, seeds in events.items()}
    counted: defaultdict[int, int] = defaultdict(int)
    for of_system in lengths.values():
        for length in of_system:
            counted[length] += 1
    if not counted:
        return []
    usual = max(counted, key=lambda length: (counted[length], length))
    return [(name, seeds) for name, seeds in events.items() if lengths[name] == {usual} and usual]


def bootstrap_means(
    values: Mapping[str, NDArray[np.float64]], purpose: str = "", resamples: int = RESAMPLES
) -> dict[str, NDArray[np.float64]]:
    """Resampled means of every system: (resamples, metrics).

    Every system meets the same resampled events, so differences between two systems' resampled
    means are a paired bootstrap. The seeds of each system are resampled on their own, since seed 1
    of one system and seed 1 of another have nothing in common; with few seeds that understates
    their variance by the factor (seeds - 1) / seeds.

    Args:
        values: system → (seeds, events, metrics); the number of events is the same for all.
        purpose: part of the random generator's seed.
        resamples: how many resampled test sets.
    """
    names = sorted(values)
    _, events, metrics = values[names[0]].shape
    flat = np.concatenate([values[name] for name in names])  # (runs, events, metrics)
    columns = flat.transpose(1, 0, 2).reshape(events, -1)
    random = stable_random(_SEED, "bootstrap", purpose, "events")
    of_runs = np.empty((resamples, columns.shape[1]))
    at_once = max(1, _CELLS_AT_ONCE // events)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(events, size=(rows, events))
        drawn += np.arange(rows)[:, None] * events
        counts = np.bincount(drawn.ravel(), minlength=rows * events).reshape(rows, events)
        of_runs[start : start + rows] = counts.astype(np.float64) @ columns
    of_runs = of_runs.reshape(resamples, len(flat), metrics) / events
    means, first = {}, 0
    for name in names:
        seeds = len(values[name])
        own = of_runs[:, first : first + seeds]
        first += seeds
        chance = stable_random(_SEED, "bootstrap", purpose, "seeds", name)
        chosen = chance.integers(seeds, size=(resamples, seeds))
        means[name] = np.take_along_axis(own, chosen[:, :, None], axis=1).mean(axis=1)
    return means


def against_best(values: Mapping[str, SeedsByEvents]) -> ColumnTest:
    """One-sided tests of the system with the highest mean against each other, Holm-corrected."""
    best = max(sorted(values), key=lambda name: values[name].mean())
    others = [name for name in sorted(values) if name != best]
    raw = [p_value_of_better(values[best], values[name]) for name in others]
    return ColumnTest(best, dict(zip(others, holm(raw), strict=True)))


def p_value_of_better(first: SeedsByEvents, second: SeedsByEvents) -> float:
    """How likely a difference as large as this is if ``first`` is *not* better than ``second``.

    Small values speak for ``first``. With one seed each this is the one-sided paired t-test over
    the events (``scipy.stats.ttest_rel(first, second, alternative="greater")``). With several, the
    variance of the seeds' means is added to that of the events, with degrees of freedom after
    Satterthwaite: events do not become more numerous by training again.
    """
    from scipy.special import stdtr

    difference = first.mean(axis=0) - second.mean(axis=0)
    parts = [(_variance_of_mean(difference), len(difference) - 1)]
    parts += [
        (_variance_of_mean(of_system.mean(axis=1)), len(of_system) - 1)
        for of_system in (first, second)
        if len(of_system) > 1
    ]
    mean, variance = float(difference.mean()), sum(part for part, _ in parts)
    if variance <= 0.0:
        return 0.0 if mean > 0.0 else 1.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if degrees > 0)
    return float(stdtr(freedom, -mean / np.sqrt(variance)))


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = highest
    return corrected
