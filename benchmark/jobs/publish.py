"""What a job leaves: the record of what came of it, and the run folder that is published whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmark.data.dataset import Dataset, IntArray
from benchmark.files import build_folder, finished_in, remove_folder, sha256_of_json, write_json
from benchmark.jobs.context import LOG_FILE
from benchmark.jobs.describe import dataset_part, protocol_part
from benchmark.jobs.evaluation import Evaluation
from benchmark.jobs.failure import Failure
from benchmark.jobs.machine import environment_of
from benchmark.jobs.ranks import metrics_of_views, write_judged, write_ranks
from benchmark.jobs.record import (
    BEST_FILE,
    JUDGED_FILE,
    METRICS_FILE,
    RANKS_FILE,
    RUN_FILE,
    SCORES_FILE,
    SYSTEM_FOLDER,
    CostPart,
    IdentifierQuality,
    RunRecord,
    SettingsPart,
    SystemPart,
)
from benchmark.jobs.scores import write_best, write_scores
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.protocol.metrics import VIEWS, View
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.catalogue import choose


def record_of(
    job: JobSpec,
    dataset: Dataset,
    tasks: dict[str, Task],
    cost: CostPart,
    stand_ins: tuple[str, ...],
    ranking_of_all_items: str,
    identifiers: IdentifierQuality,
    found: Mapping[str, Mapping[View, Evaluation]],
    failure: Failure | None,
) -> RunRecord:
    """All that ``run.json`` says of a job.

    Args:
        tasks: those of the system.
        found: task → view → what the system made of it.
        failure: why there is no result; None where there is one.
    """
    choice = choose(job.system)
    return RunRecord(
        identity=job.identity,
        code=sha256_of_json(job.code),
        identity_but_code=job.identity_but_code,
        status="finished" if failure is None else "failed",
        error=failure.sentence if failure else None,
        retryable=failure is not None and failure.retryable,
        dataset=dataset_part(dataset),
        protocol=protocol_part(
            job.protocol,
            job.protocol_settings,
            dataset,
            tasks,
            {name: float(views["all-items"].others.mean()) + 1 for name, views in found.items()},
        ),
        system=SystemPart(
            name=job.system,
            display_name=job.display_name,
            family=choice.entry.family,
            tasks=choice.entry.tasks,
            reference=choice.entry.reference,
            configuration=job.configuration,
            stand_ins=stand_ins,
            ranking_of_all_items=ranking_of_all_items,
            left_out={
                name: float(np.mean(~views["all-items"].ranks.returned))
                for name, views in found.items()
            },
        ),
        preset=job.preset,
        settings=SettingsPart.model_validate(job.settings) if job.settings else None,
        seed=job.seed,
        cost=cost,
        identifiers=identifiers,
        environment=environment_of(job),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def publish(
    job: JobSpec,
    store: RunStore,
    record: RunRecord,
    settings: ProtocolSettings,
    found: dict[str, dict[View, Evaluation]],
    users: dict[str, IntArray],
    work: Path,
) -> None:
    """Put the run folder in its place, whole, and clear up unless the job is to be tried again.

    Args:
        found: task → view → what the system made of it.
        users: task → (events,) the data set's number of each event's user.
        work: the folder that the job's logs and its fitted system lie in.
    """
    target = store.folder(job)
    remove_folder(target)  # a damaged folder, or it would have been read

    def fill(folder: Path) -> None:
        write_json(folder / RUN_FILE, record.model_dump(mode="json"))
        if record.status == "finished":
            views = {view: {name: found[name][view] for name in found} for view in VIEWS}
            ranks = {view: {n: one.ranks for n, one in of.items()} for view, of in views.items()}
            others = {view: {n: one.others for n, one in of.items()} for view, of in views.items()}
            write_json(folder / METRICS_FILE, metrics_of_views(ranks, settings))
            write_ranks(folder / RANKS_FILE, ranks, others, users)
            write_judged(folder / JUDGED_FILE, ranks)
            write_scores(folder / SCORES_FILE, {n: of["lists"].parts for n, of in found.items()})
            write_best(folder / BEST_FILE, {n: of["all-items"].parts for n, of in found.items()})
        for path in (work / LOG_FILE, *finished_in(work, "*.jsonl")):
            if path.is_file():
                shutil.copy2(path, folder / path.name)
        if record.status == "finished" and (work / SYSTEM_FOLDER).is_dir():
            shutil.copytree(
                work / SYSTEM_FOLDER,
                folder / SYSTEM_FOLDER,
                ignore=shutil.ignore_patterns("manifest.json"),
            )

    build_folder(target, fill)
    if not record.retryable:
        store.discard_work(job)
