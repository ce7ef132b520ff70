"""What the tables of a group show and do not show, in a few sentences, each by figures.

A README has them below its summary. Nothing is said that the tables, the views' agreement and the
claims do not say themselves, so the sentences follow the runs wherever these are made anew.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmark.report.claims import Finding
from benchmark.report.group import GroupReport
from benchmark.report.reading.text import clean, counted
from benchmark.report.reading.views import headline
from benchmark.report.tables.rows import DECIMALS, Cell, Row, Table

_WORDS = {"shown": "shown", "opposite shown": "shown to be the opposite", "not shown": "not shown"}


def sentences_of(group: GroupReport, found: Sequence[Finding] = ()) -> list[str]:
    """Which systems may be the best, what needs no learning, how alike the views are, and so on.

    Args:
        group: whose tables are told.
        found: of the claims, those of this group's runs.

    Returns:
        Sentences in Markdown, at most five; one for which there are no figures is left out.
    """
    tables = [table for table in group.views["lists"].main.values() if table.groups]
    told = (
        _the_best(tables),
        _without_learning(tables),
        _both_views(group, tables),
        _claims(found),
        _deviations(tables),
    )
    return [clean(sentence) for sentence in told if sentence]


def sentences_as_markdown(group: GroupReport, found: Sequence[Finding] = ()) -> str:
    """The sentences as a list; empty where there are none."""
    return "\n".join(f"{place}. {one}" for place, one in enumerate(sentences_of(group, found), 1))


def _trained(table: Table) -> list[tuple[Row, Cell]]:
    """The trained systems with their headline figure, best first."""
    column = table.columns.index(headline(table.columns, table.view))
    rows = [row for group in table.groups if not group.is_reference for row in group.rows]
    cells = [(row, row.cells[column]) for row in rows if row.cells]
    measured = [(row, cell) for row, cell in cells if cell.mean is not None]
    return sorted(measured, key=lambda one: -(one[1].mean or 0.0))


def _the_best(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        trained = _trained(table)
        may_be = [(row, cell) for row, cell in trained if cell.verdict]
        if not may_be:
            continue
        listed = ", ".join(f"{row.display_name} {_figure(cell)}" for row, cell in may_be)
        others = len(trained) - len(may_be)
        if others:
            verb = "is" if others == 1 else "are"
            listed += f", while {others} of {len(trained)} {verb} significantly worse than another"
        parts.append(f"on {table.task} {listed}")
    if not parts:
        return ""
    metric = headline(tables[0].columns, tables[0].view)
    return f"Of the trained systems these may be the best in lists ({metric}): {'; '.join(parts)}."


def _figure(cell: Cell) -> str:
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.{DECIMALS}f}"
    return f"{cell.mean:.{DECIMALS}f}{spread}"


def _without_learning(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        column = table.columns.index(headline(table.columns, table.view))
        rows = [row for group in table.groups if group.is_reference for row in group.rows]
        means = [(row.cells[column].mean, row) for row in rows if row.cells]
        known = [(mean, row) for mean, row in means if mean is not None]
        if not known:
            continue
        mean, best = max(known, key=lambda one: one[0])
        trained = [cell.mean for _, cell in _trained(table)]
        below = sum(one is not None and one < mean for one in trained)
        parts.append(
            f"{best.display_name} reaches {mean:.{DECIMALS}f} on {table.task}, above "
            f"{below} of {counted(len(trained), 'trained system')}"
        )
    return f"Without learning anything, {'; '.join(parts)}." if parts else ""


def _both_views(group: GroupReport, tables: Sequence[Table]) -> str:
    grids = {grid.stem: grid for grid in group.own_grids}
    parts = []
    for table in tables:
        grid = grids.get(f"{table.stem}-views")
        if grid is None:
            continue
        # The rows of a group are metrics; the first group are the trained systems.
        metric, _, tau, pairs, reversed_pairs, changed = grid.groups[0].rows[-1]
        parts.append(
            f"{reversed_pairs.text} of {pairs.text} pairs on {table.task} (by {metric.text}, tau "
            f"{tau.text} {tau.spread}), {changed.text} of them significantly"
        )
    if not parts:
        return ""
    return f"Ranked among all items instead, trained systems change places: {'; '.join(parts)}."


def _claims(found: Sequence[Finding]) -> str:
    by_verdict: defaultdict[str, list[str]] = defaultdict(list)
    for finding in found:
        by_verdict[finding.verdict].append(finding.claim.claim)
    if not found:
        return ""
    parts = []
    for verdict, word in _WORDS.items():
        claims = by_verdict[verdict]
        if claims:
            named = f" ({'; '.join(claims)})" if verdict != "not shown" else ""
            parts.append(f"{len(claims)} {'is' if len(claims) == 1 else 'are'} {word}{named}")
    return f"Of {counted(len(found), 'claim')} of the kind that papers make {_listed(parts)}."


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _deviations(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        known = [cell.deviation for _, cell in _trained(table) if cell.deviation is not None]
        if known:
            parts.append(
                f"{statistics.median(known):.{DECIMALS}f} in the median system and "
                f"{max(known):.{DECIMALS}f} at most on {table.task}"
            )
    if not parts:
        return ""
    metric = headline(tables[0].columns, tables[0].view)
    return (
        f"Trained again with another seed, which another processor amounts to, {metric} deviates "
        f"by {'; '.join(parts)}."
    )
