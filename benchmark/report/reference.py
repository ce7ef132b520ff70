"""Reference runs: run folders made small enough to be committed.

A reference run is a run folder without what is large: the fitted system and the log are left out,
ranks are in their compact form (see :mod:`benchmark.report.reading.top`), training curves are cut
to what is drawn. ``run.json``, ``metrics.json`` and the manifest are those of any run, so a report
reads both alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import (
    build_folder,
    is_partial,
    read_json,
    remove_folder,
    write_json,
    write_text,
)
from benchmark.jobs.record import JUDGED_FILE, METRICS_FILE, RANKS_FILE, RUN_FILE, Run
from benchmark.protocol.metrics import VIEWS
from benchmark.report.reading.collect import RunGroup, collect, group_key
from benchmark.report.reading.curves import read_curves, write_curves
from benchmark.report.reading.ranks import read_ranks
from benchmark.report.reading.text import file_name
from benchmark.report.reading.top import TOP_FILE, write_top
from benchmark.report.reading.views import cutoffs_of
from benchmark.report.tables.expected import TASK, is_drawn_uniformly
from benchmark.systems.catalogue import entries

RUNS = "runs"


def write_references(runs_root: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Write the counting runs below ``runs_root`` as ``out/<group>/runs/<system>-<seed>``.

    Reference runs that a group had before and that are not among these are removed.

    Returns:
        The folders of the groups, and what the reader must be told.

    Raises:
        BenchmarkError: there are no runs, or ``out`` cannot be written or is inside the runs.
    """
    if out.resolve().is_relative_to(runs_root.resolve()):
        raise BenchmarkError(f"{out}: lies inside {runs_root}, which it would be made from.")
    collection = collect(runs_root)
    if not collection.groups:
        raise BenchmarkError(f"{runs_root}: there are no runs to make references of.")
    folders = [
        _write_group(group, out / group.key.stem(group.variant)) for group in collection.groups
    ]
    return folders, list(collection.sentences)


def _write_group(group: RunGroup, folder: Path) -> Path:
    names = [file_name(run.record.system.name, str(run.record.seed)) for run in group.runs]
    for name, run in zip(names, group.runs, strict=True):
        target = folder / RUNS / name
        remove_folder(target)
        write_run(run, target)
    for path in sorted((folder / RUNS).iterdir()):
        if path.is_dir() and not is_partial(path) and path.name not in names:
            remove_folder(path)
    return folder


def reference_folder(out: Path, stem: str, system: str, seed: int) -> Path:
    """Where the reference run of a system and seed stands; ``stem`` is its group's."""
    return out / stem / RUNS / file_name(system, str(seed))


def write_reference(run: Run, out: Path) -> Path:
    """Write one run as ``out/<group>/runs/<system>-<seed>``, in place of what is there.

    Unlike :func:`write_references` it looks at no other run, so that runs may be kept as they come.

    Raises:
        MachineFault: it cannot be written.
    """
    record = run.record
    target = reference_folder(out, group_key(run).stem(), record.system.name, record.seed)
    remove_folder(target)
    write_run(run, target)
    return target


def write_run(run: Run, target: Path) -> None:
    """Write one run in the small form as the folder ``target``, which must not be there."""

    def fill(folder: Path) -> None:
        write_json(folder / RUN_FILE, read_json(run.folder / RUN_FILE))
        if run.record.status == "finished":
            write_json(folder / METRICS_FILE, run.metrics_of_views())
        if (run.folder / RANKS_FILE).is_file():
            largest = {view: cutoffs_of(run.record, view)[-1] for view in VIEWS}
            whole = (TASK,) if is_drawn_uniformly(run.record) else ()
            write_top(folder / TOP_FILE, read_ranks(run.folder / RANKS_FILE), largest, whole)
        elif (run.folder / TOP_FILE).is_file():
            shutil.copyfile(run.folder / TOP_FILE, folder / TOP_FILE)
        if (run.folder / JUDGED_FILE).is_file():
            shutil.copyfile(run.folder / JUDGED_FILE, folder / JUDGED_FILE)
        write_curves(folder, read_curves(run.folder))

    build_folder(target, fill)


def with_block(readme: str, name: str, block: str) -> str:
    """``readme`` with ``block`` in place of what stands between the two marks of ``name``.

    Raises:
        BenchmarkError: the marks are not there, once each and in order.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = readme.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise BenchmarkError(f"the file needs one line {first} and below it one line {last}.")
    return f"{before}{first}\n{block.rstrip()}\n{last}{after}"


def status_table() -> str:
    """The catalogue as the guide has it: each system, its name, its tasks and what it is."""
    lines = ["| system | name | tasks | state |", "|---|---|---|---|"]
    for name, entry in entries().items():
        asked = f"{name}:<Model>" if entry.variant_field else name
        by_name_only = "" if entry.in_suite else " Runs by name; not in the suite `all`."
        cells = (entry.display_name, f"`{asked}`", ", ".join(entry.tasks))
        state = entry.status.replace("|", r"\|") + by_name_only
        lines.append(f"| {' | '.join(cells)} | {state} |")
    return "\n".join(lines)


def refresh_pages(
    paths: Sequence[Path], *, summary: str, tables: Sequence[str], sentences: str
) -> None:
    """Put what files show of a group and of the catalogue between the marks that each of them has.

    ``summary`` is one table of a figure a system, ``tables`` are the main ones, ``sentences`` say
    what they show, and ``status`` is the catalogue. Nothing is written unless every file can be.

    Raises:
        BenchmarkError: a file is missing, has no marks, or has some twice or alone.
    """
    blocks = {
        "summary": summary,
        "sentences": sentences,
        "tables": "\n".join(tables),
        "status": status_table(),
    }
    texts = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BenchmarkError(f"{path}: cannot be read ({error.strerror}).") from None
        own = [name for name in blocks if f"<!-- {name}: " in text]
        if not own:
            lines = ", ".join(f"<!-- {name}: begin -->" for name in blocks)
            raise BenchmarkError(f"{path}: the file has none of the lines {lines}.")
        for name in own:
            try:
                text = with_block(text, name, blocks[name])
            except BenchmarkError as error:
                raise BenchmarkError(f"{path}: {error}") from None
        texts[path] = text
    for path, text in texts.items():
        write_text(path, text)
