"""Whether both views put the systems into one order: Kendall's tau, and pairs that change places.

Systems are compared by the metrics that both views have. *Tau* (tau-b) is between the means of the
two views; its interval is a percentile one over resampled users, each with all events in both
views. *Changed places*: a pair of which one view calls one system significantly better, and the
other view the other system. In each metric the differences of all pairs in both views are one
family, judged as in the main tables (:mod:`benchmark.report.statistics.simultaneous`). A pair can
be named falsely only if one of its two differences is significant in the wrong direction, so the
chance that any pair is named falsely is at most the level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import VIEWS, View
from benchmark.randomness import stable_random
from benchmark.report.reading.collected_events import of_the_same_events, users_of
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.views import headline
from benchmark.report.statistics.bootstrap import CONFIDENCE, SEED, bootstrap_means
from benchmark.report.statistics.simultaneous import all_pairs, judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import Differences

FEWEST_SYSTEMS = 3  # below it, the agreement of two orders says nothing

Floats = NDArray[np.float64]
Pair = tuple[str, str]
Events = Mapping[str, Sequence[TaskEvents]]  # system → one entry a seed


@dataclass(frozen=True)
class Agreement:
    """How alike two orders of ``systems`` are. ``reversed_pairs`` of ``pairs`` stand otherwise."""

    systems: int
    tau: float
    low: float
    high: float
    pairs: int
    reversed_pairs: int


@dataclass(frozen=True)
class ChangedPlaces:
    """The pairs of a family that change places significantly, of ``tested`` pairs.

    ``differences`` are (pairs, views), first minus second.
    """

    tested: int
    pairs: tuple[Pair, ...]
    differences: Differences


@dataclass(frozen=True)
class OrdersOfViews:
    """One metric in both views, perhaps by two names: lists first.

    ``means`` is system → its mean in either view; ``trained`` and ``everyone`` say how alike the
    orders of the trained systems and of all rows are, ``changed`` which trained systems change
    places with each other, ``changed_references`` which do with a ranker without learning.
    """

    metrics: tuple[str, str]
    means: Mapping[str, tuple[float, float]]
    trained: Agreement | None
    everyone: Agreement | None
    changed: ChangedPlaces | None
    changed_references: ChangedPlaces | None


def metrics_in_both(lists: Sequence[str], all_items: Sequence[str]) -> list[tuple[str, str]]:
    """The metrics that are compared: those in both views, else one of each."""
    common = [(name, name) for name in lists if name in all_items]
    return common or [(headline(lists, "lists"), headline(all_items, "all-items"))]


def orders_of_views(
    task: TaskName,
    events: Mapping[View, Events],
    trained: Sequence[str],
    references: Sequence[str],
) -> tuple[OrdersOfViews, ...]:
    """How both views order the systems that have ranks in both, a value a metric.

    Args:
        task: the task.
        events: of both views.
        trained: the systems that learn.
        references: the rankers without learning.
    """
    usual = [of_the_same_events(task, events.get(view, {}))[0] for view in VIEWS]
    names = sorted((usual[0].keys() & usual[1].keys()) & {*trained, *references})
    names = [name for name in names if len({_shape(of_view[name]) for of_view in usual}) == 1]
    if not names:
        return ()
    known = users_of({name: usual[0][name] for name in names})
    columns = [usual[0][names[0]][0].metrics, usual[1][names[0]][0].metrics]
    compared = metrics_in_both(*columns)
    places = [
        [of_view.index(metric) for metric in metrics]
        for of_view, metrics in zip(columns, zip(*compared, strict=True), strict=True)
    ]
    # The columns are those of the lists, then those of all items.
    values = {
        name: np.concatenate(
            [
                np.stack([e.gains[:, own] for e in of_view[name]])
                for of_view, own in zip(usual, places, strict=True)
            ],
            axis=2,
        )
        for name in names
    }
    users = np.arange(next(iter(values.values())).shape[1]) if known is None else known
    resampled = bootstrap_means(values, users, purpose=f"{task} views")
    found = []
    for place, metrics in enumerate(compared):
        own = [place, place + len(compared)]
        of_metric = {name: values[name][:, :, own] for name in names}
        drawn = {name: resampled[name][:, own] for name in names}
        learned = [name for name in names if name in trained]
        others = [name for name in names if name in references]
        pairs = [(learned[i], learned[j]) for i, j in all_pairs(len(learned))]
        across = [(name, other) for name in learned for other in others]
        purpose = f"{task} {' '.join(metrics)}"
        found.append(
            OrdersOfViews(
                metrics,
                {name: _both_means(of_metric[name]) for name in names},
                _agreement(of_metric, drawn, learned),
                _agreement(of_metric, drawn, names) if others else None,
                _changed(of_metric, users, pairs, f"{purpose} trained"),
                _changed(of_metric, users, across, f"{purpose} references"),
            )
        )
    return tuple(found)


def _shape(seeds: Sequence[TaskEvents]) -> tuple[int, int]:
    return len(seeds), len(seeds[0].gains)


def _both_means(values: Floats) -> tuple[float, float]:
    lists, all_items = values.mean(axis=(0, 1))
    return float(lists), float(all_items)


def _agreement(
    values: Mapping[str, Floats], resampled: Mapping[str, Floats], names: Sequence[str]
) -> Agreement | None:
    if len(names) < FEWEST_SYSTEMS:
        return None
    means = np.stack([values[name].mean(axis=(0, 1)) for name in names])  # (systems, views)
    signs = _signs(means[None])[0]
    tail = (1.0 - CONFIDENCE) / 2.0
    taus = taus_of(np.stack([resampled[name] for name in names], axis=1))
    low, high = (
        np.nanquantile(taus, (tail, 1.0 - tail)) if np.isfinite(taus).any() else (np.nan, np.nan)
    )
    (tau,) = taus_of(means[None])
    reversed_pairs = int(np.count_nonzero(signs[:, 0] * signs[:, 1] < 0))
    return Agreement(len(names), float(tau), float(low), float(high), len(signs), reversed_pairs)


def taus_of(means: Floats) -> Floats:
    """Kendall's tau-b between two views, of each resample: (resamples, systems, 2) → (resamples,).

    NaN where a view holds all systems equal.
    """
    signs = _signs(means)
    agreeing = (signs[:, :, 0] * signs[:, :, 1]).sum(axis=1)
    untied = np.abs(signs).sum(axis=1)
    scale = np.sqrt(untied[:, 0] * untied[:, 1])
    return np.asarray(np.where(scale > 0, agreeing / np.maximum(scale, 1.0), np.nan))


def _signs(means: Floats) -> Floats:
    """Which of each pair is better in each view, (resamples, pairs, views) of -1, 0 and 1."""
    first, second = all_pairs(means.shape[1]).T
    difference = means[:, first] - means[:, second]
    return np.asarray(np.where(np.abs(difference) < 1e-12, 0.0, np.sign(difference)))


def _changed(
    values: Mapping[str, Floats], users: NDArray[np.int64], pairs: Sequence[Pair], purpose: str
) -> ChangedPlaces | None:
    if not pairs or len(np.unique(users)) < 2:
        return None
    names = sorted({name for pair in pairs for name in pair})
    means = means_of([values[name] for name in names], users)
    places = np.array([[names.index(name) for name in pair] for pair in pairs])
    random = stable_random(SEED, "views", purpose)
    # Both views are one family: what is compared is the larger of their differences.
    largest = largest_by_chance(means, places, random).max(axis=1, keepdims=True)
    found = judged(means, places, largest)
    both = found.significant.all(axis=1) & (found.value[:, 0] * found.value[:, 1] < 0)
    rows = np.flatnonzero(both).tolist()
    kept = (array[rows] for array in (found.value, found.low, found.high, found.p_value))
    return ChangedPlaces(len(pairs), tuple(pairs[row] for row in rows), Differences(*kept))
