"""What a README shows of reference runs: their main tables, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import unknown_value
from benchmark.files import atomic_path, write_text
from benchmark.report.claims import STEM as CLAIMS
from benchmark.report.claims import claims_grid, findings, read_claims
from benchmark.report.group import GroupReport
from benchmark.report.plots.style import save_figure
from benchmark.report.reading.collect import collect
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.reading.text import file_name
from benchmark.report.reading.views import with_view
from benchmark.report.reference import refresh_pages, write_references
from benchmark.report.sentences import sentences_as_markdown
from benchmark.report.tables.grid import Grid, to_markdown
from benchmark.report.tables.printed import as_grid
from benchmark.report.tables.rows import Table
from benchmark.report.tables.summary import summary_grid
from benchmark.report.whole import make_report

_OWN_SHOWN = ("ceiling", "tuning")  # tables about neither view that stand beside reference runs


def refresh_references(
    runs_root: Path, out: Path, pages: Sequence[Path] = (), group: str | None = None
) -> tuple[list[Path], tuple[str, ...]]:
    """Write the reference runs and beside them what a README shows of each group.

    That is what :func:`write_shown` writes, and for all groups together what they show of the
    claims; all other tables follow from the reference runs.

    Args:
        runs_root: the runs that the references are made from; where it is ``out`` itself, they
            stay as they are.
        out: a folder a group is written below it.
        pages: files that show one group's tables, or a summary of them, between marks.
        group: the name of that group's folder; the first one's if absent.

    Returns:
        The folders and files that were written, and what the reader must be told.

    Raises:
        BenchmarkError: there are no runs, the group is unknown, or something cannot be written.
    """
    paths: list[Path] = []
    if runs_root.resolve() != out.resolve():
        paths, _ = write_references(runs_root, out)
    report = make_report(out)
    groups = {of_group.stem: of_group for of_group in report.groups}
    if group is not None and group not in groups:
        raise unknown_value("group of reference runs", group, groups, "--group")
    for stem, of_group in groups.items():
        paths += write_shown(of_group, out / stem)
    paths += _write_claims(next((g for g in report.grids if g.stem == CLAIMS), None), out)
    if pages:
        chosen = report.groups[0] if group is None else groups[group]
        refresh_pages(
            pages,
            summary=summary_as_markdown(chosen),
            tables=main_tables_as_markdown(chosen),
            sentences=told_as_markdown(chosen, report.groups),
        )
        paths += pages
    return paths, report.sentences


def write_shown_of(out: Path, stem: str) -> tuple[str, ...]:
    """Write what a README shows of one group of reference runs, the folder ``out/stem``.

    Beside all groups stands what they show of the claims.

    Returns:
        What the reader must be told.

    Raises:
        BenchmarkError: there is no readable run, or something cannot be written.
    """
    report = make_report(out / stem)
    for group in report.groups:
        write_shown(group, out / stem)
    groups = collect(out).groups
    _write_claims(
        claims_grid(read_claims(), [(group, collect_events(group.runs)) for group in groups]), out
    )
    return report.sentences


def _write_claims(grid: Grid | None, out: Path) -> list[Path]:
    """What all groups together show of the claims."""
    if grid is None:
        return []
    path = out / f"{CLAIMS}.md"
    write_text(path, to_markdown(grid))
    return [path]


def write_shown(group: GroupReport, folder: Path) -> list[Path]:
    """Write what a README shows of a group into ``folder``, and return the files.

    These are the main tables of both views and those of ablations, of a ceiling and of what tuning
    took, in Markdown, and the trade-off as PNG.
    """
    paths = []
    for table in _main_tables(group):
        paths.append(folder / f"{with_view(table.task, table.view)}.md")
        write_text(paths[-1], to_markdown(as_grid(table)))
    for grid in _of_ablations(group):
        paths.append(folder / f"{grid.stem.removeprefix(f'{group.stem}-')}.md")
        write_text(paths[-1], to_markdown(grid))
    for grid in group.own_grids:
        for name in _OWN_SHOWN:
            if grid.stem == file_name(group.stem, name):
                paths.append(folder / f"{name}.md")
                write_text(paths[-1], to_markdown(grid))
    for view, of_view in group.views.items():
        name = with_view("tradeoff", view)
        for drawing in of_view.drawings:
            if drawing.stem.endswith(f"-{name}"):
                paths.append(folder / f"{name}.png")
                with atomic_path(paths[-1]) as temporary:
                    save_figure(drawing.figure, temporary)
    return paths


def summary_as_markdown(group: GroupReport) -> str:
    """One figure a system, task and view, as README has it; empty where no task has a table."""
    tables = _main_tables(group)
    return to_markdown(summary_grid(tables)) if tables else ""


def told_as_markdown(group: GroupReport, groups: Sequence[GroupReport]) -> str:
    """What a group shows, in sentences, as README has them.

    Args:
        group: one of ``groups``.
        groups: all that the claims are judged on together.
    """
    found = findings(read_claims(), [(one.group, one.events) for one in groups])
    return sentences_as_markdown(group, [one for one in found if one.group is group.group])


def main_tables_as_markdown(group: GroupReport) -> list[str]:
    """The main tables of a group as the guide has them, those of the lists first."""
    return [to_markdown(as_grid(table)) for table in _main_tables(group)]


def _of_ablations(group: GroupReport) -> list[Grid]:
    """The tables of a group's ablations, and those of what they change."""
    stems = [table.stem for table in group.tables if table.kind]
    return [
        g for g in group.grids if g.stem in stems or g.stem.removesuffix("-differences") in stems
    ]


def _main_tables(group: GroupReport) -> list[Table]:
    tables = (table for view in group.views.values() for table in view.main.values())
    return [table for table in tables if table.groups]
