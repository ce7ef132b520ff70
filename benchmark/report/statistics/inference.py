"""How far a table's figures can be trusted: intervals of means, and tests of all pairs of systems.

All systems rank the same test events, so every comparison is paired. There are two sources of
chance, the test events and the runs (seeds). Events of one user hang together, so users
are resampled, each with all its events. The users are the *same* ones under each seed, so
they are resampled once for all seeds and never drawn anew within each: that would divide
their share of the variance by the number of seeds, as if more training made the test set larger.

What is said of several systems holds for all of them at once
(:mod:`benchmark.report.statistics.simultaneous`): in a column, the chance that *any* system is
called worse than one that is not better stays below the level. Systems that are not significantly
worse than any other form the set that may be the best, as in multiple comparisons with the best
(Hsu 1996), but by the stricter rule of all pairs: Hsu's own promises only that the truly best one
is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs.record import Run, TaskName
from benchmark.protocol.metrics import View
from benchmark.randomness import stable_random
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.collected_events import EventsOfRuns, of_the_same_events, users_of
from benchmark.report.reading.events import TaskEvents
from benchmark.report.statistics.bootstrap import CONFIDENCE, SEED, bootstrap_means
from benchmark.report.statistics.simultaneous import all_pairs, judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import LEVEL, Differences
from benchmark.systems.catalogue import base_name

NOTABLE_DESIGN_EFFECT = 1.2


@dataclass(frozen=True)
class PairTests:
    """Pairs of systems, (first, second), and their differences, judged together in each metric.

    ``metrics`` are the columns of the differences.
    """

    pairs: tuple[tuple[str, str], ...]
    differences: Differences
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ColumnTest:
    """What the pairs of trained systems say in one metric.

    ``best`` has the highest mean. ``p_values`` are the corrected ones of each other system being
    worse than another: the smallest of its pairs.
    """

    best: str
    p_values: Mapping[str, float]
    beaten_by_best: frozenset[str]

    @property
    def best_is_clear(self) -> bool:
        """Whether the best is significantly better than every other."""
        return bool(self.p_values) and self.beaten_by_best == set(self.p_values)

    @cached_property
    def with_the_best(self) -> frozenset[str]:
        """The systems that may be the best: none of them is significantly worse than any other."""
        return frozenset({self.best, *(s for s, p in self.p_values.items() if p > LEVEL)})


@dataclass(frozen=True)
class Statistics:
    """Everything that is said of one task's figures besides their means.

    ``intervals``: system → (metrics, 2), low and high end. ``tests``: metric → test; empty if fewer
    than two trained systems have ranks. ``trained`` are the differences of all pairs of trained
    systems, ``over_references`` those of each trained system and each ranker without learning.
    ``seeds`` is the largest number of seeds of a system. ``design_effect`` is the lowest
    and highest factor by which users with several events make the variance of a trained
    system's mean larger than that of as many independent events. ``sentences`` say which runs
    could not take part.
    """

    intervals: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    tests: Mapping[str, ColumnTest] = field(default_factory=dict)
    trained: PairTests | None = None
    over_references: PairTests | None = None
    seeds: int = 0
    design_effect: tuple[float, float] = (1.0, 1.0)
    sentences: tuple[str, ...] = ()


def compare(
    task: TaskName,
    events: Mapping[str, Sequence[TaskEvents]],
    trained: Sequence[str],
    references: Sequence[str] = (),
    split: str = "leave-one-out",
    view: View = "lists",
) -> Statistics:
    """Intervals for all systems, tests among the ``trained`` ones and against the ``references``.

    Systems whose test events are not those of most take no part, and are named.

    Args:
        task: the task.
        events: system → its events, one entry a seed.
        trained: the systems that are compared with each other.
        references: the rankers without learning, with which each of the trained is compared.
        split: of the protocol; under leave-one-out no user has two test events.
        view: the one that the events are of; chance is drawn anew for each.
    """
    usual, sentences = of_the_same_events(task, events)
    if not usual:
        return Statistics(sentences=tuple(sentences))
    values = {name: np.stack([e.gains for e in seeds]) for name, seeds in usual.items()}
    metrics = next(iter(usual.values()))[0].metrics
    purpose = task if view == "lists" else f"{task} {view}"
    users = users_of(usual)
    if users is None:
        number = next(iter(values.values())).shape[1]
        users = np.arange(number)
        if split != "leave-one-out":
            sentences.append(
                f"The {task} ranks were written before users were kept: every test event counts "
                "as a user of its own, so that intervals are too narrow and tests too bold."
            )
    tail = (1.0 - CONFIDENCE) / 2.0
    intervals = {
        name: np.quantile(of_system, (tail, 1.0 - tail), axis=0).T
        for name, of_system in bootstrap_means(values, users, purpose=purpose).items()
    }
    tested = [name for name in sorted(trained) if name in values]
    pairs = [(tested[i], tested[j]) for i, j in all_pairs(len(tested))]
    others = [name for name in sorted(references) if name in values]
    across = [(name, other) for name in tested for other in others]
    among_trained = pair_tests(values, metrics, users, pairs, f"{purpose} trained")
    return Statistics(
        intervals,
        _columns(tested, values, among_trained) if among_trained else {},
        among_trained,
        pair_tests(values, metrics, users, across, f"{purpose} references"),
        max(len(v) for v in values.values()),
        _design_effect([values[name] for name in tested], users),
        tuple(sentences),
    )


def pair_tests(
    values: Mapping[str, NDArray[np.float64]],
    metrics: tuple[str, ...],
    users: NDArray[np.int64],
    pairs: Sequence[tuple[str, str]],
    purpose: str,
    alike: bool = False,
) -> PairTests | None:
    """The differences of ``pairs``, one family in each metric; None if there is nothing to test.

    Args:
        values: system → (seeds, events, metrics), all of the same events.
        metrics: what the last axis is.
        users: (events,) the user of each event.
        pairs: names of two systems each; the difference is first minus second.
        purpose: part of the random generator's seed.
        alike: whether the runs of all systems tell of one deviation from run to run.
    """
    if not pairs or len(np.unique(users)) < 2:
        return None
    names = sorted({name for pair in pairs for name in pair})
    means = means_of([values[name] for name in names], users, alike)
    places = np.array([[names.index(name) for name in pair] for pair in pairs])
    largest = largest_by_chance(means, places, stable_random(SEED, "pairs", purpose))
    return PairTests(tuple(pairs), judged(means, places, largest), metrics)


def _columns(
    names: Sequence[str], values: Mapping[str, NDArray[np.float64]], tests: PairTests
) -> dict[str, ColumnTest]:
    """Metric → what the pairs say of each system."""
    found = {}
    for column, metric in enumerate(tests.metrics):
        best = max(names, key=lambda name: values[name][:, :, column].mean())
        p_values = dict.fromkeys((name for name in names if name != best), 1.0)
        beaten = set()
        for (first, second), difference, p_value in zip(
            tests.pairs,
            tests.differences.value[:, column],
            tests.differences.p_value[:, column],
            strict=True,
        ):
            better, worse = (first, second) if difference > 0 else (second, first)
            if worse in p_values and difference:
                p_values[worse] = min(p_values[worse], float(p_value))
            if better == best and difference and p_value <= LEVEL:
                beaten.add(worse)
        found[metric] = ColumnTest(best, p_values, frozenset(beaten))
    return found


def _design_effect(
    values: Sequence[NDArray[np.float64]], users: NDArray[np.int64]
) -> tuple[float, float]:
    """The lowest and the highest over systems and metrics."""
    if not values or len(np.unique(users)) in (1, len(users)):
        return 1.0, 1.0
    by_user = means_of(values, users).variance_of_events
    by_event = means_of(values, np.arange(len(users))).variance_of_events
    varies = by_event > 0.0
    if not varies.any():
        return 1.0, 1.0
    effects = by_user[varies] / by_event[varies]
    return float(effects.min()), float(effects.max())


def statistics_of(
    runs: Sequence[Run], events: EventsOfRuns, view: View = "lists"
) -> dict[TaskName, Statistics]:
    """Task → the statistics of comparable runs; rows with other settings are not tested."""
    trained, references = systems_of(runs)
    splits = {str(run.record.protocol.settings.get("split", "leave-one-out")) for run in runs}
    split = splits.pop() if len(splits) == 1 else ""
    tasks: tuple[TaskName, ...] = ("recommendation", "search")
    return {
        task: compare(task, events.of(view, task), trained, references, split, view)
        for task in tasks
    }


def systems_of(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The trained systems and the rankers without learning, rows with other settings left out."""
    families = {run.record.system.name: run.record.system.family for run in runs}
    own = {name: family for name, family in families.items() if name == base_name(name)}
    trained = [name for name, family in own.items() if family != REFERENCE_FAMILY]
    references = [name for name, family in own.items() if family == REFERENCE_FAMILY]
    return trained, references
