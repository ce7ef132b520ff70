"""Writes the report: every table in three forms and every plot in two, from a folder of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path, write_text
from benchmark.report.collect import Collection, collect
from benchmark.report.plots import save_figure, tradeoff_figure
from benchmark.report.tables import (
    Table,
    ablated_systems,
    ablation_table,
    main_table,
    to_csv,
    to_latex,
    to_markdown,
)
from benchmark.runs.record import TaskName

TASKS: tuple[TaskName, ...] = ("recommendation", "search")
TABLES = "tables"
PLOTS = "plots"
FORMS: dict[str, Callable[[Table], str]] = {".tex": to_latex, ".md": to_markdown, ".csv": to_csv}
FIGURE_SUFFIXES = (".pdf", ".png")


@dataclass(frozen=True)
class ReportFiles:
    """What was written (``paths``), the tables themselves, and what the reader must be told."""

    tables: tuple[Table, ...]
    paths: tuple[Path, ...]
    sentences: tuple[str, ...]


def build_report(runs_root: Path, out: Path) -> ReportFiles:
    """Read all runs below ``runs_root`` and write ``out/tables`` and ``out/plots``.

    Raises:
        BenchmarkError: there is no readable run, or ``out`` cannot be written.
    """
    collection = collect(runs_root)
    if not collection.groups:
        raise _nothing_to_report(runs_root, collection)
    tables: list[Table] = []
    paths: list[Path] = []
    sentences = list(collection.sentences)
    for group in collection.groups:
        recommendation = main_table("recommendation", group.runs, group.variant)
        search = main_table("search", group.runs, group.variant)
        ablations = [
            ablation_table(task, system, group.runs, group.variant)
            for system in ablated_systems(group.runs)
            for task in TASKS
        ]
        for table in (recommendation, search, *ablations):
            if table.groups:
                tables.append(table)
                paths += _write_table(table, out / TABLES)
        stem = group.key.stem(group.variant)
        drawn = _write_tradeoff(recommendation, search, out / PLOTS / f"{stem}-tradeoff")
        paths += drawn
        if not drawn:
            sentences.append(f"{stem}: no system finished both tasks, so no trade-off plot.")
    sentences += _left_from_before(out, paths)
    return ReportFiles(tuple(tables), tuple(paths), tuple(sentences))


def _nothing_to_report(root: Path, collection: Collection) -> BenchmarkError:
    if collection.sentences:
        return BenchmarkError(
            f"{root}: none of its run folders can be read: {' '.join(collection.sentences)}"
        )
    return BenchmarkError(
        f"{root}: there are no runs to report; make some with `python -m benchmark.run`, "
        "or name another folder with --from."
    )


def _write_table(table: Table, folder: Path) -> list[Path]:
    paths = []
    for suffix, render in FORMS.items():
        path = folder / f"{table.stem}{suffix}"
        write_text(path, render(table))
        paths.append(path)
    return paths


def _write_tradeoff(recommendation: Table, search: Table, place: Path) -> list[Path]:
    figure = tradeoff_figure(recommendation, search)
    if figure is None:
        return []
    # Not with_suffix: a stem may hold dots of its own.
    paths = [place.with_name(place.name + suffix) for suffix in FIGURE_SUFFIXES]
    for path in paths:
        with atomic_path(path) as temporary:
            save_figure(figure, temporary)
    return paths


def _left_from_before(out: Path, written: list[Path]) -> list[str]:
    """A sentence about files that an earlier report wrote and this one did not."""
    suffixes = {TABLES: set(FORMS), PLOTS: set(FIGURE_SUFFIXES)}
    old = sorted(
        path
        for folder, kinds in suffixes.items()
        for path in (out / folder).glob("*")
        if path.suffix in kinds and path not in written
    )
    if not old:
        return []
    names = ", ".join(path.name for path in old[:3]) + (" …" if len(old) > 3 else "")
    return [f"{out}: {len(old)} older files are not from these runs and were left: {names}."]
