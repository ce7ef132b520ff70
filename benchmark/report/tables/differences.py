"""The table of differences: every pair of systems behind the marks of a main table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmark.report.reading.text import clean, counted
from benchmark.report.statistics.bootstrap import CONFIDENCE
from benchmark.report.statistics.inference import PairTests, Statistics
from benchmark.report.statistics.studentised import LEVEL, Differences
from benchmark.report.tables.captions import CLEAR, tested_how
from benchmark.report.tables.grid import Entry, Grid, GridGroup
from benchmark.report.tables.printed import DECIMALS_OF_ENDS
from benchmark.report.tables.rows import DECIMALS, Row, Table

Pair = tuple[str, str]


def differences_grid(table: Table, statistics: Statistics) -> Grid | None:
    """First minus second of every tested pair, with simultaneous intervals; None without tests.

    Pairs stand in the order of the table's rows: under each trained system those below it, then
    the rankers without learning.
    """
    if statistics.trained is None:
        return None
    tests = _index(statistics.trained)
    families = f"all {counted(len(statistics.trained.pairs), 'pair')} of trained systems"
    if statistics.over_references is not None:
        tests |= _index(statistics.over_references)
        number = counted(len(statistics.over_references.pairs), "pair")
        families += f", and the {number} of a trained system and a ranker without learning"
    rows = [row for group in table.groups if not group.is_reference for row in group.rows]
    references = [row for group in table.groups if group.is_reference for row in group.rows]
    groups = []
    for place, row in enumerate(rows):
        others = [*rows[place + 1 :], *references]
        shown = tuple(_rows(row, others, tests))
        if shown:
            groups.append(GridGroup(f"{row.display_name} minus", shown))
    summary = table.caption.partition(". ")[0]
    return Grid(
        stem=f"{table.stem}-differences",
        caption=clean(
            f"Differences of means. {summary}. {tested_how(statistics.seeds)}; in brackets "
            f"simultaneous {CONFIDENCE:.0%} intervals of the same procedure. {CLEAR}: the interval "
            f"leaves out zero. In each column, {families} are one family each: the chance of any "
            f"false {CLEAR} in it is at most {LEVEL:g}."
        ),
        head=("System", *table.columns),
        groups=tuple(groups),
    )


def _rows(
    row: Row, others: list[Row], tests: Mapping[Pair, tuple[Differences, int]]
) -> Iterator[tuple[Entry, ...]]:
    for other in others:
        for pair, sign in (((row.system, other.system), 1), ((other.system, row.system), -1)):
            if pair in tests:
                differences, place = tests[pair]
                entries = (
                    difference_entry(differences, place, column, sign)
                    for column in range(differences.value.shape[1])
                )
                yield (Entry(other.display_name), *entries)


def _index(tests: PairTests) -> dict[Pair, tuple[Differences, int]]:
    return {pair: (tests.differences, place) for place, pair in enumerate(tests.pairs)}


def difference_entry(differences: Differences, place: int, column: int, sign: int = 1) -> Entry:
    """One difference with its simultaneous interval; with ``sign`` -1, second minus first."""
    ends = sorted(sign * float(end[place, column]) for end in (differences.low, differences.high))
    p_value = float(differences.p_value[place, column])
    # Rounding leaves -0 where there is no difference at all.
    value, low, high = (
        round(number, 12) + 0.0
        for number in (sign * float(differences.value[place, column]), *ends)
    )
    # Without plus and zero, so that five columns fit on a page.
    shown = (f"{end:.{DECIMALS_OF_ENDS}f}".replace("0.", ".", 1) for end in (low, high))
    return Entry(
        f"{value:+.{DECIMALS}f}",
        value=value,
        raised=CLEAR if p_value <= LEVEL else "",
        spread=f"[{', '.join(shown)}]",
        detail=(
            f"{value:+.6f}, simultaneous {CONFIDENCE:.0%} interval {low:+.6f} to {high:+.6f}, "
            f"corrected p = {p_value:.2g}"
        ),
        ends=(low, high),
        p_value=p_value,
    )
