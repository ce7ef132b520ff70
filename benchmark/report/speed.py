"""What ``python -m benchmark.speed report`` measures: rebuilding a report, and saving its plots.

The runs are invented: twenty systems of the catalogue and three that learn nothing, on three data
sets with three seeds each, a thousand test events a task. Seconds are those of the processor, with
one thread.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.files import build_folder, sha256_of_json, write_json
from benchmark.protocol.metrics import Ranks, mean_metrics
from benchmark.protocol.settings import PRESETS
from benchmark.report.build import make_report
from benchmark.report.collect import REFERENCE_FAMILY
from benchmark.report.curves import Curve, write_curves
from benchmark.report.plots import report_style
from benchmark.report.typeface import FAMILY, WHOLE
from benchmark.runs.execute import write_ranks
from benchmark.runs.record import (
    METRICS_FILE,
    RANKS_FILE,
    RUN_FILE,
    CostPart,
    DatasetPart,
    ProtocolPart,
    RunRecord,
    SystemPart,
)
from benchmark.speed.measure import Measurement
from benchmark.systems.catalogue import SystemEntry, entries

DATASETS = ("first", "second", "third")
SEEDS = (1, 2, 3)
SYSTEMS, REFERENCES = 20, 3
EVENTS, CANDIDATES, EPOCHS = 1_000, 100, 40


def report() -> list[Measurement]:
    """A report rebuilt from nothing but its runs; then its plots with either typeface."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        runs = place / "runs"
        count = sum(1 for _ in _invent(runs))
        command = [sys.executable, "-m", "benchmark.report"]
        options = ["--from", str(runs), "--out", str(place / "report")]
        started = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, *options],
            check=True,
            capture_output=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
        what = f"a report of {SYSTEMS} systems, {len(DATASETS)} data sets, {len(SEEDS)} seeds"
        return [
            Measurement(what, f"all tables and plots of {count} runs", seconds, count),
            *_saving(runs, place),
        ]


def _saving(runs: Path, place: Path) -> Iterator[Measurement]:
    """The same plots with the typeface as matplotlib has it, and as it is reduced here."""
    import matplotlib as mpl
    from matplotlib.text import Text

    drawn = make_report(runs)
    figures = [drawing.figure for group in drawn.groups for drawing in group.drawings]
    what = f"saving {len(figures)} plots as PDF"
    ways = {f"from the whole of {WHOLE}": WHOLE, "from the reduced typeface (ours)": FAMILY}
    for way, typeface in ways.items():
        started = time.process_time()
        with report_style():
            mpl.rcParams["font.family"] = [typeface]  # of the ticks that saving makes
            for text in (text for figure in figures for text in figure.findobj(Text)):
                text.set_fontfamily(typeface)
            for figure in figures:
                figure.savefig(place / "figure.pdf")
        yield Measurement(what, way, time.process_time() - started, len(figures))


def _invent(root: Path) -> Iterator[Path]:
    """Write the folders of all runs."""
    rows = entries().values()
    systems = islice((row for row in rows if row.family != REFERENCE_FAMILY), SYSTEMS)
    references = islice((row for row in rows if row.family == REFERENCE_FAMILY), REFERENCES)
    draw = np.random.default_rng(0)
    for row in (*references, *systems):
        learns = row.family != REFERENCE_FAMILY
        for dataset in DATASETS:
            level = float(draw.uniform(0.1, 0.4)) if learns else 0.05
            for seed in SEEDS:
                yield _invented_run(root, row, dataset, seed, level, draw)


def _invented_run(
    root: Path,
    row: SystemEntry,
    dataset: str,
    seed: int,
    level: float,
    draw: np.random.Generator,
) -> Path:
    ranks = {}
    for task in row.tasks:
        above = draw.geometric(level, size=EVENTS).clip(max=CANDIDATES) - 1
        ranks[str(task)] = Ranks(
            above.astype(np.int32), np.zeros(EVENTS, np.int32), np.ones(EVENTS, np.bool_)
        )
    record = RunRecord(
        identity=sha256_of_json([row.name, dataset, seed]),
        status="finished",
        dataset=DatasetPart(
            name=dataset,
            fingerprint=dataset,
            users=EVENTS,
            items=EVENTS,
            queries=EVENTS,
            recommendation_events=EVENTS,
            search_events=EVENTS,
        ),
        protocol=ProtocolPart(
            name="paper",
            settings=PRESETS["paper"].model_dump(mode="json"),
            candidates=dict.fromkeys(ranks, dataset),
            test_events=dict.fromkeys(ranks, EVENTS),
        ),
        system=SystemPart(
            name=row.name,
            display_name=row.display_name,
            family=row.family,
            tasks=row.tasks,
            reference=row.reference,
            configuration={},
        ),
        preset="laptop",
        seed=seed,
        cost=CostPart(parameters=EVENTS, fit_seconds=float(10 ** draw.uniform(1, 4))),
        environment={},
        finished_at="2026-01-01T00:00:00+00:00",
    )
    epochs = tuple(range(1, EPOCHS + 1))
    rising = tuple(level * (1 - np.exp(-np.array(epochs) / 8)))
    curve = Curve("training", epochs, epochs, dict.fromkeys(ranks, rising))

    def write(folder: Path) -> None:
        write_json(folder / RUN_FILE, record.model_dump(mode="json"))
        write_json(
            folder / METRICS_FILE, {t: mean_metrics(of_task) for t, of_task in ranks.items()}
        )
        write_ranks(folder / RANKS_FILE, ranks)
        if row.family != REFERENCE_FAMILY:
            write_curves(folder, [curve])

    folder = root / record.identity[:16]
    build_folder(folder, write)
    return folder


TOPICS = {"report": report}
