"""The diagnostics that need trained systems, from the run folders of a data set and protocol.

D10: how often systems give several items one identifier; D14: how often a beam pruned the target.
Fitted systems that lie in the folders also rank the sample against the whole catalogue.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark.audit.diagnostics import Figures
from benchmark.audit.rankers import Ranker
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.jobs.record import (
    RANKS_FILE,
    SYSTEM_FOLDER,
    Run,
    find_run_folders,
    finished_at,
    read_run,
)
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import base_name, choose, entries
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus

_COLLISIONS = "collision"


def runs_of(folder: Path, dataset: Dataset, settings: ProtocolSettings) -> list[Run]:
    """The finished runs below ``folder`` on this very data set and protocol.

    Of each system the newest one, which counts in the report too.
    """
    runs: list[tuple[datetime, Run]] = []
    for place in find_run_folders(folder):
        try:
            run = read_run(place)
            finished = finished_at(run)
        except BenchmarkError:
            continue  # the report names damaged runs
        record = run.record
        same_data = record.dataset.fingerprint == dataset.fingerprint
        same_protocol = record.protocol.settings == settings.model_dump(mode="json")
        if record.status == "finished" and same_data and same_protocol:
            runs.append((finished, run))
    newest_last = sorted(runs, key=lambda of_run: of_run[0])
    return list({run.record.system.name: run for _, run in newest_last}.values())


def collisions(runs: list[Run]) -> Figures:
    """D10: every figure about collisions that the systems report of their identifiers."""
    return {
        f"{run.record.system.display_name}, {kind}: {name}": value
        for run in runs
        for kind, figures in run.record.identifiers.items()
        for name, value in figures.items()
        if _COLLISIONS in name
    }


def pruned(runs: list[Run]) -> Figures:
    """D14: the share of each task's test events whose target the system did not return."""
    figures = {}
    for run in runs:
        path = run.folder / RANKS_FILE
        if not path.is_file():
            continue
        table = pq.read_table(path)
        if "view" in table.column_names:
            table = table.filter(pc.equal(table["view"], "lists"))
        for task in run.metrics:
            returned = table.filter(pc.equal(table["task"], task))["returned"]
            share = 1 - (pc.mean(pc.cast(returned, "float64")).as_py() or 0.0)
            if share:
                figures[f"{run.record.system.display_name}, {task}"] = share
    return figures


def fitted(runs: list[Run], dataset: Dataset, artifacts: Path) -> list[Ranker]:
    """The systems of the runs that can be loaded again; not those that the catalogue lacks now."""
    rankers = []
    for run in runs:
        saved, record = run.folder / SYSTEM_FOLDER, run.record
        if not saved.is_dir() or base_name(record.system.name).partition(":")[0] not in entries():
            continue
        system_class = choose(record.system.name).entry.load()
        context = RunContext(
            seed=record.seed, folder=run.folder, artifacts=ArtifactStore(artifacts)
        )
        config = system_class.Config.model_validate(record.system.configuration)
        system = system_class(config, context)
        system.load(saved, Corpus.of(dataset))
        rankers.append(
            Ranker(record.system.name, record.system.display_name, record.system.tasks, system)
        )
    return rankers
