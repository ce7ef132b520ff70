"""Writes the report: every table in three forms and every plot in two, from a folder of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmark.errors import BenchmarkError, unknown_value
from benchmark.files import atomic_path, finished_in, sha256_of_json, write_text
from benchmark.protocol.metrics import VIEWS
from benchmark.report.claims import STEM as CLAIMS
from benchmark.report.claims import claims_grid, read_claims
from benchmark.report.group import TASKS, Drawing, GroupReport, group_report
from benchmark.report.latex import figures_latex, to_latex
from benchmark.report.plots.agreement import agreement_figure
from benchmark.report.plots.style import PAGE_WIDTH, save_figure
from benchmark.report.reading.collect import Collection, collect
from benchmark.report.reading.papers import bibliographies
from benchmark.report.reading.text import file_name
from benchmark.report.reading.views import with_view
from benchmark.report.reference import refresh_pages, write_references
from benchmark.report.statistics.inference import collect_events
from benchmark.report.submissions import (
    SUBMISSIONS_FOLDER,
    read_submissions,
    submissions_grid,
)
from benchmark.report.tables.audit import audits_of, diagnostics_grid, views_grid
from benchmark.report.tables.grid import Grid, to_csv, to_markdown
from benchmark.report.tables.identifiers import identifier_grids
from benchmark.report.tables.overviews import datasets_grid
from benchmark.report.tables.printed import as_grid, figures_csv, side_by_side
from benchmark.report.tables.published import PUBLISHED_FOLDER, published_grids, read_published
from benchmark.report.tables.rows import Table
from benchmark.report.tables.summary import summary_grid

TABLES = "tables"
PLOTS = "plots"
AUDITS = "audit"  # beside the folder of runs
PAGE = "report.html"
FORMS: dict[str, Callable[[Grid], str]] = {".tex": to_latex, ".md": to_markdown, ".csv": to_csv}
FIGURES = "figures.tex"
FIGURE_SUFFIXES = (".pdf", ".png")
_OWN_SHOWN = ("ceiling", "tuning")  # tables about neither view that stand beside reference runs
_AGREEMENT = (
    "Kendall's tau between the orders that protocols, metrics and views give the trained systems."
)


@dataclass(frozen=True)
class ReportFiles:
    """What was written (``paths``), the tables themselves, and what the reader must be told.

    ``identifiers`` are the tables of identifier quality, of the groups that have one.
    """

    tables: tuple[Table, ...]
    paths: tuple[Path, ...]
    sentences: tuple[str, ...]
    identifiers: tuple[Grid, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole report as values; nothing is written yet."""

    groups: tuple[GroupReport, ...]
    grids: tuple[Grid, ...]  # that are about several groups
    drawings: tuple[Drawing, ...]  # likewise
    published: tuple[Grid, ...]  # others' figures
    submissions: Grid | None  # systems that others ran, if there are any
    sentences: tuple[str, ...]


def make_report(
    runs_root: Path,
    published: Path = PUBLISHED_FOLDER,
    submissions: Path = SUBMISSIONS_FOLDER,
    width: float = PAGE_WIDTH,
) -> Report:
    """Read all runs below ``runs_root`` and make every table and figure.

    Args:
        runs_root: a folder of run folders or of reference runs, at any depth.
        published: a folder of others' figures; it need not exist.
        submissions: a folder of what others handed in; it need not exist.
        width: of the figures, in inches.

    Raises:
        BenchmarkError: there is no readable run.
    """
    collection = collect(runs_root)
    if not collection.groups:
        raise _nothing_to_report(runs_root, collection)
    groups = tuple(group_report(group, width) for group in collection.groups)
    rows, unreadable = read_published(published)
    handed_in, not_shown = read_submissions(submissions)
    audits, not_audits = audits_of(collection.groups, runs_root.parent / AUDITS)
    of_audits = [
        make_grid(found)
        for found in audits.values()
        for make_grid in (diagnostics_grid, views_grid)
    ]
    claimed = claims_grid(read_claims(), [(group.group, group.events) for group in groups])
    return Report(
        groups=groups,
        grids=(
            datasets_grid(collection.groups),
            *of_audits,
            *_several(groups),
            *((claimed,) if claimed is not None else ()),
        ),
        drawings=tuple(_agreements(groups, width)),
        published=published_grids(rows),
        submissions=submissions_grid(handed_in),
        sentences=(
            *collection.sentences,
            *(f"{group.stem}: {sentence}" for group in groups for sentence in group.sentences),
            *unreadable,
            *not_shown,
            *not_audits,
        ),
    )


def _several(groups: Sequence[GroupReport]) -> list[Grid]:
    """The main tables of several data sets side by side, where protocol and preset are the same."""
    alike: defaultdict[str, list[GroupReport]] = defaultdict(list)
    for group in groups:
        key, record = group.group.key, group.group.runs[0].record
        alike[sha256_of_json([key.protocol, record.protocol.settings, key.preset])].append(group)
    grids: list[Grid] = []
    for of_protocol in alike.values():
        for view, task in product(VIEWS, TASKS):
            tables = [g.views[view].main[task] for g in of_protocol if view in g.views]
            tables = [table for table in tables if table.groups]
            if len(tables) > 1:
                grids += side_by_side(tables)
    return grids


def _agreements(groups: Sequence[GroupReport], width: float) -> Iterator[Drawing]:
    """How alike protocols and views of one data set and preset order the systems, by task."""
    alike: defaultdict[tuple[str, str], list[GroupReport]] = defaultdict(list)
    for group in groups:
        alike[group.group.key.dataset, group.group.key.preset].append(group)
    for names, of_dataset in alike.items():
        for task in TASKS:
            views = [view for group in of_dataset for view in group.views.values()]
            figure = agreement_figure([view.main[task] for view in views], width)
            if figure is not None:
                yield Drawing(file_name(*names, task, "agreement"), _AGREEMENT, figure)


def build_report(
    runs_root: Path,
    out: Path,
    *,
    html: bool = False,
    published: Path = PUBLISHED_FOLDER,
    submissions: Path = SUBMISSIONS_FOLDER,
    width: float = PAGE_WIDTH,
) -> ReportFiles:
    """Read all runs below ``runs_root`` and write ``out/tables`` and ``out/plots``.

    Args:
        runs_root: a folder of run folders or of reference runs, at any depth.
        out: where the files are written.
        html: whether to write ``out/report.html`` too, all of it in one page.
        published: a folder of others' figures; it need not exist.
        submissions: a folder of what others handed in; it need not exist.
        width: of the figures, in inches.

    Raises:
        BenchmarkError: there is no readable run, or ``out`` cannot be written.
    """
    report = make_report(runs_root, published, submissions, width)
    paths: list[Path] = []
    for group in report.groups:
        own_csv = {table.stem: figures_csv(table) for table in group.tables}
        for grid in group.grids:
            paths += write_grid(grid, out / TABLES, own_csv.get(grid.stem))
    handed_in = (report.submissions,) if report.submissions is not None else ()
    for grid in (*report.grids, *report.published, *handed_in):
        paths += write_grid(grid, out / TABLES)
    drawings = [*(d for group in report.groups for d in group.drawings), *report.drawings]
    for drawing in drawings:
        paths += write_drawing(drawing, out / PLOTS)
    paths += _write_for_papers(drawings, out)
    if html:
        from benchmark.report.page import render_page

        paths.append(out / PAGE)
        write_text(out / PAGE, render_page(report, str(runs_root)))
    sentences = (*report.sentences, *_left_from_before(out, paths))
    tables = tuple(table for group in report.groups for table in group.tables)
    identifiers = tuple(g for group in report.groups for g in identifier_grids(group.group))
    return ReportFiles(tables, tuple(paths), sentences, identifiers)


def _write_for_papers(drawings: Sequence[Drawing], out: Path) -> list[Path]:
    """All figures with their captions as LaTeX, and what the tables cite."""
    figures = out / PLOTS / FIGURES
    write_text(figures, figures_latex(drawings))
    paths = [figures]
    for bibliography in bibliographies():
        paths.append(out / TABLES / bibliography.name)
        write_text(paths[-1], bibliography.read_text(encoding="utf-8"))
    return paths


def _nothing_to_report(root: Path, collection: Collection) -> BenchmarkError:
    if collection.sentences:
        return BenchmarkError(
            f"{root}: none of its run folders can be read: {' '.join(collection.sentences)}"
        )
    return BenchmarkError(
        f"{root}: there are no runs to report; make some with `python -m benchmark.run`, "
        "or name another folder with --from."
    )


def write_grid(grid: Grid, folder: Path, own_csv: str | None = None) -> list[Path]:
    """Write every form; ``own_csv`` in place of the grid's where a table has more figures."""
    paths = []
    for suffix, render in FORMS.items():
        path = folder / f"{grid.stem}{suffix}"
        write_text(path, own_csv if own_csv and suffix == ".csv" else render(grid))
        paths.append(path)
    return paths


def write_drawing(drawing: Drawing, folder: Path) -> list[Path]:
    """Write a figure as PDF and as PNG."""
    paths = [folder / f"{drawing.stem}{suffix}" for suffix in FIGURE_SUFFIXES]
    for path in paths:
        with atomic_path(path) as temporary:
            save_figure(drawing.figure, temporary)
    return paths


def _left_from_before(out: Path, written: list[Path]) -> list[str]:
    """A sentence about files that an earlier report wrote and this one did not."""
    suffixes = {TABLES: set(FORMS), PLOTS: set(FIGURE_SUFFIXES)}
    old = sorted(
        path
        for folder, kinds in suffixes.items()
        for path in finished_in(out / folder, "*")
        if path.suffix in kinds and path not in written
    )
    if not old:
        return []
    names = ", ".join(path.name for path in old[:3]) + (" …" if len(old) > 3 else "")
    return [f"{out}: {len(old)} older files are not from these runs and were left: {names}."]


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
        refresh_pages(pages, summary_as_markdown(chosen), main_tables_as_markdown(chosen))
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
