"""Which rows without learning no trained system beats, and the sentence above a table about them.

A table of trained systems means little where something that learns nothing stands above them. So it
is said for each metric which of these rows no trained system is better than, and which none is
*significantly* better than, by the simultaneous tests of
:mod:`benchmark.report.statistics.inference`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.report.statistics.inference import PairTests

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row

HOW_TESTED = "all pairs of a trained system and such a row tested at once, in each column"


def not_clearly_beaten(tests: PairTests | None) -> dict[str, frozenset[str]]:
    """Metric → the rows without learning that no trained system is significantly better than.

    Args:
        tests: those of pairs (trained system, row without learning); without them nothing was
            tested, and no metric has an entry.
    """
    if tests is None:
        return {}
    tested = {reference for _, reference in tests.pairs}
    better = tests.differences.significant & (tests.differences.value > 0)
    return {
        metric: frozenset(tested)
        - {reference for (_, reference), is_so in zip(tests.pairs, column, strict=True) if is_so}
        for metric, column in zip(tests.metrics, better.T, strict=True)
    }


def unbeaten_sentences(
    references: Sequence[Row],
    trained: Sequence[Row],
    metrics: Sequence[str],
    level: Mapping[str, frozenset[str]],
    decimals: int,
) -> tuple[str, ...]:
    """What to say above a table; nothing if each reference row is beaten significantly.

    Args:
        references: rows without learning.
        trained: the others; without any that has figures, nothing is said.
        metrics: of the rows' cells.
        level: metric → the rows that were tested and are beaten by no system significantly.
        decimals: means are compared as they are printed.
    """
    never: defaultdict[str, list[str]] = defaultdict(list)
    not_clearly: defaultdict[str, list[str]] = defaultdict(list)
    for column, metric in enumerate(metrics):
        means = [row.cells[column].mean for row in trained]
        best = max((round(mean, decimals) for mean in means if mean is not None), default=None)
        if best is None:
            continue
        reached = [row.cells[column].mean for row in (*references, *trained)]
        if all(mean is None or mean >= 1.0 for mean in reached):
            continue  # lists no longer than the cutoff: the metric says nothing
        for row in references:
            mean = row.cells[column].mean
            if mean is None:
                continue
            if round(mean, decimals) >= best:
                never[row.display_name].append(metric)
            elif row.system in level.get(metric, ()):
                not_clearly[row.display_name].append(metric)
    sentences = []
    if never:
        listed = _listed(never, metrics)
        sentences.append(f"Without learning, unbeaten by any trained system: {listed}.")
    if not_clearly:
        sentences.append(
            "Without learning, beaten by no trained system significantly: "
            f"{_listed(not_clearly, metrics)} ({HOW_TESTED})."
        )
    return tuple(sentences)


def _listed(found: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> str:
    """The rows with their metrics."""
    every = list(metrics)
    named = {n: "every metric" if own == every else ", ".join(own) for n, own in found.items()}
    return "; ".join(f"{name} at {own}" for name, own in named.items())
