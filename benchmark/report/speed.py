"""What ``python -m benchmark.speed report`` measures: rebuilding a report, and saving its plots.

The runs are the committed ones of twenty systems and three that learn nothing, each written once
for three data sets and three seeds. Seconds are those of the processor, with one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.files import build_folder, remove_folder, write_json
from benchmark.jobs.ranks import write_ranks
from benchmark.jobs.record import METRICS_FILE, RANKS_FILE, RUN_FILE, Run
from benchmark.report.plots.style import report_style
from benchmark.report.plots.typeface import FAMILY, WHOLE
from benchmark.report.reading.collect import REFERENCE_FAMILY, collect
from benchmark.report.reading.curves import read_curves, write_curves
from benchmark.report.reading.top import TOP_FILE, KeptRanks, read_top
from benchmark.report.whole import make_report
from benchmark.speed.contest import Board, Line, Task, Way, race
from benchmark.speed.measure import Measurement, processor_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOPIC = "report"

DATASETS = ("first", "second", "third")
SEEDS = (1, 2, 3)
SYSTEMS, REFERENCES = 20, 3
REFERENCES_FOLDER = Path("results/reference")
_TYPEFACES = {f"from the whole of {WHOLE}": WHOLE, "from the reduced typeface (ours)": FAMILY}
_ALONE = "no library builds tables, tests and plots of such runs, so it has nothing beside it."


def report() -> list[Measurement]:
    """A report rebuilt from nothing but its runs; then its plots with either typeface."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        runs = place / "runs"
        count = _multiply(REFERENCES_FOLDER, runs)
        seconds = processor_seconds(partial(_rebuild, runs, place / "report"))
        what = f"a report of {SYSTEMS} systems, {len(DATASETS)} data sets, {len(SEEDS)} seeds"
        return [
            Measurement(what, f"all tables and plots of {count} runs", seconds, count),
            *_saving(runs, place),
        ]


def _rebuild(runs: Path, out: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "benchmark.report", "--from", str(runs), "--out", str(out)],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def lines(largest: int) -> Iterator[Line]:
    """The board's: reports of growing numbers of runs, then plots saved with either typeface."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        runs = place / "runs"
        for datasets, seeds in ((1, 1), (1, 3), (3, 3)):
            remove_folder(runs)
            count = _multiply(REFERENCES_FOLDER, runs, DATASETS[:datasets], SEEDS[:seeds])
            rebuild = partial(processor_seconds, partial(_rebuild, runs, place / "report"))
            ways = [Way("suite (ours)", rebuild, is_ours=True, warms_up=False, rounds=1)]
            task = Task(TOPIC, "report built from its runs", count, "runs", count, "runs")
            yield race(replace(task, limit=_ALONE), ways)
            if count > largest:
                break
        drawn = make_report(runs)
        figures = [drawing.figure for group in drawn.groups for drawing in group.drawings]
        ways = [
            Way(
                name,
                partial(processor_seconds, partial(_save, figures, typeface, place)),
                is_ours="(ours)" in name,
                warms_up=False,
                rounds=2,
            )
            for name, typeface in _TYPEFACES.items()
        ]
        yield race(Task(TOPIC, "plots saved as PDF", len(figures), "plots"), ways)


def _saving(runs: Path, place: Path) -> Iterator[Measurement]:
    """The same plots with the typeface as matplotlib has it, and as it is reduced here."""
    drawn = make_report(runs)
    figures = [drawing.figure for group in drawn.groups for drawing in group.drawings]
    what = f"saving {len(figures)} plots as PDF"
    for way, typeface in _TYPEFACES.items():
        started = time.process_time()
        _save(figures, typeface, place)
        yield Measurement(what, way, time.process_time() - started, len(figures))


def _save(figures: Sequence[Figure], typeface: str, place: Path) -> None:
    import matplotlib as mpl
    from matplotlib.text import Text

    with report_style():
        mpl.rcParams["font.family"] = [typeface]  # of the ticks that saving makes
        for text in (text for figure in figures for text in figure.findobj(Text)):
            text.set_fontfamily(typeface)
        for figure in figures:
            figure.savefig(place / "figure.pdf")


def _multiply(
    references: Path,
    root: Path,
    datasets: Sequence[str] = DATASETS,
    seeds: Sequence[int] = SEEDS,
) -> int:
    """Write the first reference runs once for every data set and seed; returns how many."""
    (group, *_) = collect(references).groups
    learned = [run for run in group.runs if run.record.system.family != REFERENCE_FAMILY]
    others = [run for run in group.runs if run.record.system.family == REFERENCE_FAMILY]
    chosen = (*others[:REFERENCES], *learned[:SYSTEMS])
    copies = list(product(chosen, datasets, seeds))
    for run, dataset, seed in copies:
        _copy(run, root / f"{run.record.system.name}-{dataset}-{seed}", dataset, seed)
    return len(copies)


def _copy(run: Run, target: Path, dataset: str, seed: int) -> None:
    """A run folder as a run leaves it, with ranks as Parquet."""
    known = run.record.dataset.model_copy(update={"name": dataset, "fingerprint": dataset})
    record = run.record.model_copy(update={"dataset": known, "seed": seed})
    kept = read_top(run.folder / TOP_FILE)
    ranks = {
        view: {task: of_task.placed for task, of_task in tasks.items()}
        for view, tasks in kept.items()
    }
    others = {
        view: {task: _others(of_task) for task, of_task in tasks.items()}
        for view, tasks in kept.items()
    }
    users = {
        task: (np.arange(len(k.placed)) if k.users is None else k.users).astype(np.int32)
        for task, k in kept["lists"].items()
    }

    def write(folder: Path) -> None:
        write_json(folder / RUN_FILE, record.model_dump(mode="json"))
        write_json(folder / METRICS_FILE, run.metrics_of_views())
        write_ranks(folder / RANKS_FILE, ranks, others, users)
        write_curves(folder, read_curves(run.folder))

    build_folder(target, write)


def _others(kept: KeptRanks) -> NDArray[np.int64]:
    """Among how many others the targets were ranked; as few as their ranks allow if unknown."""
    if kept.whole is not None and kept.whole.others is not None:
        return kept.whole.others
    return (kept.placed.above + kept.placed.tied).astype(np.int64)


TOPICS = {TOPIC: report}
BOARD = (Board(TOPIC, lines),)
