"""A system's figures: of the reference runs, as curves, and as others published them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO

from benchmark.jobs.record import Run
from benchmark.protocol.metrics import VIEWS, View
from benchmark.report.plots.curves import curves_figure
from benchmark.report.plots.style import report_style
from benchmark.report.reading.collect import collect
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup, to_markdown
from benchmark.report.tables.published import PublishedRow, read_published
from benchmark.systems.catalogue import SystemEntry
from docs.hooks.differences import ROOT

RESULTS = ROOT / "results"
VIEW_TITLES: dict[View, str] = {"lists": "candidate lists", "all-items": "all items"}
_SHOWN: dict[View, tuple[str, ...]] = {
    "lists": ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10"),
    "all-items": ("HR@10", "HR@100", "NDCG@10", "NDCG@100"),
}


@cache
def _runs() -> Mapping[str, Sequence[Sequence[Run]]]:
    """System → its reference runs, those that may stand in one table together."""
    found: dict[str, list[list[Run]]] = defaultdict(list)
    for group in collect(RESULTS / "reference").groups:
        of_system: dict[str, list[Run]] = defaultdict(list)
        for run in group.runs:
            if run.record.status == "finished":
                of_system[run.record.system.name].append(run)
        for name, runs in of_system.items():
            found[name].append(runs)
    return found


def figures_of(entry: SystemEntry, has_curves: bool) -> str:
    """The section of a system's own figures."""
    groups = _runs().get(entry.name, ())
    if not groups:
        return (
            "## Figures\n\nNo reference run of it is kept, so there is no figure to show: the "
            "command above makes one."
        )
    sections = ["## Figures"]
    for view in VIEWS:
        grid = _grid_of_view(entry, groups, view)
        if grid is not None:
            sections.append(to_markdown(grid).rstrip())
    sections.append("The tables with all systems, marks and notes: [results](../results.md).")
    if has_curves:
        sections.append(f"![Validation NDCG@5 by epoch of {entry.display_name}]({entry.name}.svg)")
    return "\n\n".join(sections)


def _grid_of_view(entry: SystemEntry, groups: Sequence[Sequence[Run]], view: View) -> Grid | None:
    """Means over the seeds, a row for each task and group of runs."""
    rows = []
    for runs in groups:
        record = runs[0].record
        names = f"{record.dataset.name}, {record.protocol.name}, {record.preset}"
        seeds = ", ".join(str(run.record.seed) for run in runs)
        for task in entry.tasks:
            found = [run.metrics_of(view).get(task, {}) for run in runs]
            if all(found):
                cells = [_mean([of_run.get(name) for of_run in found]) for name in _SHOWN[view]]
                rows.append((Entry(f"{task}: {names}, seeds {seeds}"), *cells))
    if not rows:
        return None
    records = [run.record for runs in groups for run in runs]
    stand_ins = dict.fromkeys(text for record in records for text in record.system.stand_ins)
    return Grid(
        stem=entry.name,
        caption=f"Reference runs, ranked among {VIEW_TITLES[view]}; means over seeds.",
        head=("Task and runs", *_SHOWN[view]),
        groups=(GridGroup("", tuple(rows)),),
        footnotes=tuple(Footnote("", text) for text in stand_ins),
    )


def _mean(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    return Entry(f"{sum(known) / len(known):.4f}" if len(known) == len(values) else DASH)


def curves_of(entry: SystemEntry) -> bytes | None:
    """The validation curves of its reference runs as SVG; None where no run kept any."""
    runs = [run for group in _runs().get(entry.name, ()) for run in group]
    figure = curves_figure(runs, entry.display_name) if runs else None
    if figure is None:
        return None
    drawn = BytesIO()
    with report_style():
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of ``results/published``."""
    return read_published(RESULTS / "published")[0]


def published_of(entry: SystemEntry) -> str:
    """The section of what others published of the system; empty if nothing is kept."""
    wanted = _letters(entry.heading or entry.display_name.partition(" (")[0])
    rows = [row for row in published_rows() if _letters(row.system.partition(" (")[0]) == wanted]
    if not rows:
        return ""
    names = sorted({name for row in rows for name in row.figures}, key=_by_metric)
    grid = Grid(
        stem=entry.name,
        caption=(
            "As printed there: other data, splits and candidates, so not to be compared with the "
            "figures above."
        ),
        head=("Task, data, candidates", *names, "source"),
        groups=(
            GridGroup(
                "",
                tuple(
                    (
                        Entry(f"{row.task}, {row.data}, {row.candidates}"),
                        *(Entry(row.figures.get(name, DASH)) for name in names),
                        Entry(row.source),
                    )
                    for row in rows
                ),
            ),
        ),
        footnotes=tuple(
            Footnote("", f"{row.data}: {why}") for row in rows for why in row.contradictions
        ),
        left=(len(names) + 1,),
    )
    links = "\n".join(f"- <{url}>" for url in dict.fromkeys(row.url for row in rows))
    return f"## Published figures\n\n{to_markdown(grid).rstrip()}\n\nSources:\n\n{links}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _by_metric(name: str) -> tuple[str, int]:
    kind, _, cutoff = name.partition("@")
    return kind, int(cutoff)
