"""Writes the report: every table in three forms and every plot in two, from a folder of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import atomic_path, finished_in, write_text
from benchmark.report.group import Drawing
from benchmark.report.latex import figures_latex, to_latex
from benchmark.report.page import render_page
from benchmark.report.plots.style import PAGE_WIDTH, save_figure
from benchmark.report.reading.papers import bibliographies
from benchmark.report.submissions import (
    SUBMISSIONS_FOLDER,
)
from benchmark.report.tables.grid import Grid, to_csv, to_markdown
from benchmark.report.tables.identifiers import identifier_grids
from benchmark.report.tables.printed import figures_csv
from benchmark.report.tables.published import PUBLISHED_FOLDER
from benchmark.report.tables.rows import Table
from benchmark.report.whole import make_report

TABLES = "tables"
PLOTS = "plots"
PAGE = "report.html"
FORMS: dict[str, Callable[[Grid], str]] = {".tex": to_latex, ".md": to_markdown, ".csv": to_csv}
FIGURES = "figures.tex"
FIGURE_SUFFIXES = (".pdf", ".png")


@dataclass(frozen=True)
class ReportFiles:
    """What was written (``paths``), the tables themselves, and what the reader must be told.

    ``identifiers`` are the tables of identifier quality, of the groups that have one.
    """

    tables: tuple[Table, ...]
    paths: tuple[Path, ...]
    sentences: tuple[str, ...]
    identifiers: tuple[Grid, ...] = ()


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
