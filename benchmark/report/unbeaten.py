"""Which rows without learning no trained system beats, and the sentence above a table about them.

A table of trained systems means little where something that learns nothing stands above them. So it
is said for each metric which of these rows no trained system is better than, and which none is
*significantly* better than.

The second needs tests between trained systems and reference rows. :func:`significantly_better` is
the one place that knows how they are made: whatever procedure it uses, it returns the pairs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.protocol.metrics import METRIC_NAMES
from benchmark.report.statistics import LEVEL, SeedsByEvents, holm, p_value_of_better

if TYPE_CHECKING:
    from benchmark.report.events import TaskEvents
    from benchmark.report.tables import Row

Pairs = frozenset[tuple[str, str]]
"""(better, worse), by the systems' names."""

HOW_TESTED = (
    "one-sided paired t-test per event, Holm-corrected over the trained systems for each row, "
    f"level {LEVEL:g}"
)


def significantly_better(
    values: Mapping[str, SeedsByEvents], trained: Sequence[str], references: Sequence[str]
) -> Pairs:
    """The pairs (trained system, reference) of one metric of which the first is better.

    Args:
        values: system → (seeds, events), the same events for all.
        trained: systems that learn.
        references: those that do not.
    """
    found = set()
    for reference in references:
        raw = [p_value_of_better(values[name], values[reference]) for name in trained]
        found |= {
            (name, reference)
            for name, p_value in zip(trained, holm(raw), strict=True)
            if p_value < LEVEL
        }
    return frozenset(found)


def pairs_by_metric(
    events: Mapping[str, Sequence[TaskEvents]], trained: Sequence[str], references: Sequence[str]
) -> dict[str, Pairs]:
    """Metric → pairs; empty if there are no events of both kinds of systems.

    Systems whose number of events differs from that of most are left out.
    """
    lengths = Counter(len(one.gains) for seeds in events.values() for one in seeds)
    if not lengths:
        return {}
    usual = max(lengths, key=lambda length: (lengths[length], length))
    values = {
        name: np.stack([one.gains for one in seeds])
        for name, seeds in events.items()
        if usual and all(len(one.gains) == usual for one in seeds)
    }
    learn = [name for name in trained if name in values]
    do_not = [name for name in references if name in values]
    if not learn or not do_not:
        return {}
    return {
        metric: significantly_better(
            {name: of_system[:, :, column] for name, of_system in values.items()}, learn, do_not
        )
        for column, metric in enumerate(METRIC_NAMES)
    }


def unbeaten_sentences(
    references: Sequence[Row], trained: Sequence[Row], better: Mapping[str, Pairs], decimals: int
) -> tuple[str, ...]:
    """What to say above a table; nothing if each reference row is beaten significantly.

    Args:
        references: rows without learning.
        trained: the others; without any that has figures, nothing is said.
        better: metric → the pairs (trained, reference) that differ significantly; metrics without
            an entry were not tested.
        decimals: means are compared as they are printed.
    """
    never: defaultdict[str, list[str]] = defaultdict(list)
    not_clearly: defaultdict[str, list[str]] = defaultdict(list)
    for column, metric in enumerate(METRIC_NAMES):
        means = [row.cells[column].mean for row in trained]
        best = max((round(mean, decimals) for mean in means if mean is not None), default=None)
        if best is None:
            continue
        for row in references:
            mean = row.cells[column].mean
            if mean is None:
                continue
            if round(mean, decimals) >= best:
                never[row.display_name].append(metric)
            elif metric in better and not any(low == row.system for _, low in better[metric]):
                not_clearly[row.display_name].append(metric)
    sentences = []
    if never:
        sentences.append(f"Without learning, unbeaten by any trained system: {_listed(never)}.")
    if not_clearly:
        sentences.append(
            f"Without learning, beaten by no trained system significantly: {_listed(not_clearly)} "
            f"({HOW_TESTED})."
        )
    return tuple(sentences)


def _listed(found: Mapping[str, Sequence[str]]) -> str:
    """The rows with their metrics."""
    return "; ".join(f"{name} at {', '.join(metrics)}" for name, metrics in found.items())
