"""The tables of both views' orders: how alike they are, and which systems change places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from benchmark.report.reading.text import clean
from benchmark.report.reading.views import headline
from benchmark.report.statistics.agreement import Agreement, ChangedPlaces, OrdersOfViews
from benchmark.report.statistics.bootstrap import CONFIDENCE, RESAMPLES
from benchmark.report.statistics.studentised import LEVEL
from benchmark.report.tables.captions import tested_how
from benchmark.report.tables.differences import difference_entry
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup, number
from benchmark.report.tables.rows import DECIMALS, Table

_NONE_CHANGES = "No pair of systems changes places significantly in any of these metrics."
_AND_REFERENCES = "With the rankers without learning"


def agreement_grid(table: Table, orders: Sequence[OrdersOfViews]) -> Grid | None:
    """Kendall's tau between the views in each metric; None if there are too few systems.

    Args:
        table: the main table of the task's lists.
        orders: of the same runs.
    """
    trained = [_agreement_row(of, found, (of.changed,)) for of in orders if (found := of.trained)]
    everyone = [
        _agreement_row(of, found, (of.changed, of.changed_references))
        for of in orders
        if (found := of.everyone)
    ]
    groups = [
        GridGroup(title, tuple(rows))
        for title, rows in (("Trained systems", trained), (_AND_REFERENCES, everyone))
        if rows
    ]
    if not groups:
        return None
    return Grid(
        stem=f"{table.stem}-views",
        caption=clean(
            f"How alike both views order the systems. {_summary(table)} Kendall's tau-b between "
            "the means among candidate lists and among all items, in brackets its "
            f"{CONFIDENCE:.0%} percentile interval over {RESAMPLES:,} resamples of the users, "
            "the same ones in both views. Reversed: pairs of systems that the views order "
            "otherwise. Significantly: those of which one view calls one system "
            "significantly better, and the other view "
            f"the other system{_only_with_learning(everyone)}. {_family(_seeds(table))}"
        ),
        head=("Metric", "Systems", "Tau", "Pairs", "Reversed", "Significantly"),
        groups=tuple(groups),
        footnotes=() if _has_changes(orders) else (Footnote("", _NONE_CHANGES),),
    )


def _has_changes(orders: Sequence[OrdersOfViews]) -> bool:
    return any(
        changed.pairs
        for of in orders
        for changed in (of.changed, of.changed_references)
        if changed is not None
    )


def _only_with_learning(everyone: Sequence[object]) -> str:
    return "; two rankers without learning are not tested" if everyone else ""


def _agreement_row(
    orders: OrdersOfViews, found: Agreement, changed: Sequence[ChangedPlaces | None]
) -> tuple[Entry, ...]:
    tested = [one for one in changed if one is not None]
    significantly = sum(len(one.pairs) for one in tested)
    tau = Entry(DASH)
    if math.isfinite(found.tau):
        tau = Entry(
            f"{found.tau:.2f}",
            value=found.tau,
            spread=f"[{found.low:.2f}, {found.high:.2f}]",
            ends=(found.low, found.high),
        )
    return (
        Entry(metric_named(orders)),
        number(found.systems, str(found.systems)),
        tau,
        number(found.pairs, str(found.pairs)),
        number(found.reversed_pairs, str(found.reversed_pairs)),
        number(significantly if tested else None, str(significantly)),
    )


def metric_named(orders: OrdersOfViews) -> str:
    """The metric, or both where the views have none in common."""
    lists, all_items = orders.metrics
    return lists if lists == all_items else f"{lists} and {all_items}"


def changed_places_grid(table: Table, orders: Sequence[OrdersOfViews]) -> Grid | None:
    """The pairs that change places, with their figures; None without any.

    First those that do so significantly, in every metric; then, in the metric that stands for the
    view of all items in plots, those of trained systems that do so, but not significantly.

    Args:
        table: the main table of the task's lists.
        orders: of the same runs.
    """
    names = {row.system: row.display_name for row in table.rows}
    groups = []
    for of_metric in orders:
        rows = [
            row
            for changed in (of_metric.changed, of_metric.changed_references)
            if changed is not None
            for row in _pairs(of_metric, changed, names)
        ]
        if rows:
            groups.append(GridGroup(metric_named(of_metric), tuple(rows)))
    groups += _uncertain(table, orders, names)
    if not groups:
        return None
    return Grid(
        stem=f"{table.stem}-changed-places",
        caption=clean(
            f"Systems that change places between the views. {_summary(table)} The first of each "
            "pair is better among candidate lists, the second among all items, significantly so "
            "unless the title over them says otherwise; differences are first minus second, in "
            f"brackets simultaneous {CONFIDENCE:.0%} intervals. {_family(_seeds(table))}"
        ),
        head=("First", "Second", *("First", "Second", "Difference") * 2),
        groups=tuple(groups),
        spans=(("", 1), ("Lists", 3), ("All items", 3)),
        left=(1,),
    )


def _uncertain(
    table: Table, orders: Sequence[OrdersOfViews], names: Mapping[str, str]
) -> list[GridGroup]:
    """The pairs of trained systems whose order differs without being significant in both views."""
    if not orders:
        return []
    wanted = headline([of.metrics[1] for of in orders], "all-items")
    shown = next(of for of in orders if of.metrics[1] == wanted)
    certain = {frozenset(pair) for pair in (shown.changed.pairs if shown.changed else ())}
    trained = [
        row.system
        for group in table.groups
        if not group.is_reference
        for row in group.rows
        if row.system in shown.means
    ]
    rows = []
    for pair in combinations(trained, 2):
        lists, all_items = (
            shown.means[pair[0]][view] - shown.means[pair[1]][view] for view in range(2)
        )
        if lists * all_items >= 0.0 or frozenset(pair) in certain:
            continue
        first, second = pair if lists > 0.0 else pair[::-1]
        entries: list[Entry] = []
        for view in range(2):
            means = [shown.means[name][view] for name in (first, second)]
            entries += [number(mean, f"{mean:.{DECIMALS}f}") for mean in means]
            entries.append(number(means[0] - means[1], f"{means[0] - means[1]:+.{DECIMALS}f}"))
        rows.append((Entry(names.get(first, first)), Entry(names.get(second, second)), *entries))
    title = f"{metric_named(shown)}: trained systems, reversed but not significantly"
    return [GridGroup(title, tuple(rows))] if rows else []


def _pairs(
    orders: OrdersOfViews, changed: ChangedPlaces, names: Mapping[str, str]
) -> list[tuple[Entry, ...]]:
    rows = []
    for place, pair in enumerate(changed.pairs):
        sign = 1 if changed.differences.value[place, 0] > 0 else -1
        first, second = pair[::sign]
        entries: list[Entry] = []
        for view in range(2):
            means = (orders.means[name][view] for name in (first, second))
            entries += [number(mean, f"{mean:.{DECIMALS}f}") for mean in means]
            entries.append(difference_entry(changed.differences, place, view, sign))
        rows.append((Entry(names.get(first, first)), Entry(names.get(second, second)), *entries))
    return rows


def _summary(table: Table) -> str:
    record = table.key
    variant = f" ({table.variant})" if table.variant else ""
    return (
        f"{table.task.capitalize()} on {record.dataset}, protocol {record.protocol}{variant}, "
        f"preset {record.preset}."
    )


def _seeds(table: Table) -> int:
    return max((len(row.seeds) for row in table.rows), default=0)


def _family(seeds: int) -> str:
    return (
        f"{tested_how(seeds)}: in each metric the differences of all pairs of trained systems in "
        "both views are one family, and those of a trained system and a ranker without learning "
        f"another; the chance of naming any pair of a family falsely is at most {LEVEL:g}."
    )
