"""One job from start to published run folder: load, fit, score, record.

Every stage leaves what the next one needs in the job's work folder, so a job that is killed at any
moment goes on where it was. Scores always come from a system that was saved and loaded again, so a
resumed job and an uninterrupted one score with the same bits.

Whatever a system raises is recorded as its failure, and the suite goes on. What the machine does
(see :mod:`benchmark.faults`) is not: where the results cannot be written, everything stops; where
memory or a permission is missing, the record says so and the next command tries the job again.
"""

from __future__ import annotations

import logging
import math
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmark.data.dataset import Dataset
from benchmark.errors import SystemFailure, shortened
from benchmark.faults import MachineFault
from benchmark.jobs.context import (
    Progress,
    artifacts_of,
    context_of,
    job_log,
    load_data,
    planned_data,
)
from benchmark.jobs.evaluation import Evaluation, evaluate
from benchmark.jobs.failure import Failure, failure_of
from benchmark.jobs.fitting import fit_if_needed, fitted_system, loaded_in_single_precision
from benchmark.jobs.identity import JobChanged, refuse_other_code
from benchmark.jobs.machine import peak_memory, reset_peak_memory, threads
from benchmark.jobs.precision import rank_changes
from benchmark.jobs.publish import publish, record_of
from benchmark.jobs.record import CostPart, IdentifierQuality, RankChanges, Run
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.locks import LockedElsewhere
from benchmark.protocol.metrics import View
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.catalogue import choose
from benchmark.systems.precisions import SINGLE_PRECISION, products_in
from benchmark.systems.processes import agreed, number_of_processes

if TYPE_CHECKING:
    from benchmark.systems.contract import RunContext, System


def execute(
    job: JobSpec,
    progress: Progress = lambda message: None,
    *,
    waits: bool = True,
    afresh: bool = False,
) -> Run:
    """Run a job unless it is done; returns the finished or failed run.

    Args:
        progress: is told what goes on.
        waits: whether to wait where another process runs the job or builds what it needs.
        afresh: forget what is there of it, once no other process is at it.

    Raises:
        BenchmarkError: the input is bad.
        MachineFault: the results cannot be written; the job is unfinished.
        LockedElsewhere: another process runs the job or builds what it needs, and this one is not
            to wait; the job is unfinished.
    """
    store = RunStore(Path(job.results))
    say = partial(progress, "waiting for another run of the same job")
    with store.locked(job, waits=waits, waiting=say):
        if afresh:
            store.discard(job)
        done = store.read(job)
        if done is not None and done.record.retryable:
            done = None
        if agreed(done is not None) and done is not None:
            return done
        with threads(job.threads), products_in(job.precision, job.device):
            settings, dataset, tasks = planned_data(job)
            artifacts = artifacts_of(job, waits=waits)
            try:
                with job_log(store.open_work(job)) as logger:
                    context = context_of(job, store.work_folder(job), progress, logger, artifacts)
                    _execute_locked(job, dataset, tasks, settings, store, context)
            except JobChanged:
                store.discard_work(job)
                raise
    return _just_written(job, store)


def fit_shared(job: JobSpec, name: str, progress: Progress = lambda message: None) -> None:
    """Fit ``name``, which the job is of or builds on, so that this and other jobs find it fitted.

    A system that fails says so in each of those jobs, which try it again.

    Raises:
        BenchmarkError: the input is bad.
        MachineFault: the results cannot be written.
        LockedElsewhere: another process runs the job, or builds what is needed.
    """
    from benchmark.systems.upstream import shared_fit, upstream
    from benchmark.systems.view import TrainingView

    store = RunStore(Path(job.results))
    with store.locked(job, waits=False), threads(job.threads):
        settings, dataset, tasks = planned_data(job)
        artifacts = artifacts_of(job, waits=False)
        with (
            products_in(job.precision, job.device),
            job_log(store.open_work(job)) as logger,
        ):
            context = context_of(job, store.work_folder(job), progress, logger, artifacts)
            progress(f"fitting {name} for all that build on it")
            try:
                view = TrainingView(dataset, tasks, settings)
                if name == job.system:
                    shared_fit(name, job.configuration, view, context)
                else:
                    upstream(context, view, name)
            except (MachineFault, JobChanged, LockedElsewhere, KeyboardInterrupt):
                raise
            except BaseException:  # also sys.exit: whatever a system does, the suite goes on
                logger.error("%s failed:\n%s", name, traceback.format_exc())


def _just_written(job: JobSpec, store: RunStore) -> Run:
    run = store.read(job)
    if run is None:
        raise MachineFault(f"{store.folder(job)}: the run just written cannot be read back.")
    return run


def follow(job: JobSpec) -> None:
    """Fit a job's system together with the first process, which alone scores and records it.

    Raises:
        BenchmarkError: the input is bad.
    """
    if agreed(False):
        return
    settings, dataset, tasks = planned_data(job)
    with (
        TemporaryDirectory() as folder,
        threads(job.threads),
        products_in(job.precision, job.device),
    ):
        work = Path(folder) / "work"
        logger = logging.getLogger("benchmark.follower")
        artifacts = artifacts_of(job, waits=True)
        context = context_of(job, work, lambda message: None, logger, artifacts)
        # The first process records the failure.
        with suppress(SystemFailure):
            if tasks.keys() & set(choose(job.system).entry.tasks):
                fit_if_needed(job, dataset, tasks, settings, context)


def record_death(job: JobSpec, failure: Failure) -> Run:
    """Record as failed a job whose process ended each time it was tried.

    Raises:
        BenchmarkError: as :func:`execute`.
    """
    store = RunStore(Path(job.results))
    settings = ProtocolSettings.model_validate(job.protocol_settings)
    dataset, tasks = load_data(job.recipe, job.prepared_root, settings, job.candidates_folder)
    with store.locked(job):
        done = store.read(job)
        if done is None or done.record.retryable:
            record = record_of(job, dataset, tasks, CostPart(), (), "", {}, {}, failure)
            publish(job, store, record, settings, {}, {}, store.work_folder(job))
    return _just_written(job, store)


def _execute_locked(
    job: JobSpec,
    dataset: Dataset,
    tasks: dict[str, Task],
    settings: ProtocolSettings,
    store: RunStore,
    context: RunContext,
) -> None:
    reset_peak_memory()
    work, progress, logger = context.folder, context.progress, context.logger
    own = choose(job.system).entry.tasks
    chosen: dict[str, Task] = {name: task for name, task in tasks.items() if name in own}
    cost = CostPart()
    found: dict[str, dict[View, Evaluation]] = {}
    stand_ins: tuple[str, ...] = ()
    ranking_of_all_items = ""
    identifiers: IdentifierQuality = {}
    changes: dict[str, RankChanges] = {}
    failure: Failure | None = None
    try:
        if not chosen:
            raise SystemFailure(f"data set {dataset.name} has no events of its tasks.")
        system, fitted = fitted_system(job, dataset, tasks, settings, context)
        stand_ins = _texts("stand_ins()", tuple(system.stand_ins()))
        (ranking_of_all_items,) = _texts("ranking_of_all_items()", (system.ranking_of_all_items(),))
        identifiers = _identifier_quality(system)
        for name, task in chosen.items():
            found[name] = evaluate(
                system, job.system, dataset, task, settings, work / "ranks", job.identity, progress
            )
        if job.precision != SINGLE_PRECISION:
            lists = {name: views["lists"].ranks for name, views in found.items()}
            changes = rank_changes(
                lambda: loaded_in_single_precision(job, dataset, context),
                job.system,
                dataset,
                chosen,
                lists,
                job.seed,
                job.device,
            )
        rates = {name: views["lists"].events_per_second for name, views in found.items()}
        cost = CostPart(
            parameters=system.number_of_parameters(),
            fit_seconds=fitted["seconds"],
            score_seconds={name: views["lists"].seconds for name, views in found.items()},
            all_items_seconds={name: views["all-items"].seconds for name, views in found.items()},
            events_per_second={name: rate for name, rate in rates.items() if rate is not None},
            peak_memory_bytes=max(peak_memory(), fitted["peak_memory_bytes"]),
            resumed=fitted["resumed"],
        )
    except (MachineFault, JobChanged, LockedElsewhere, KeyboardInterrupt):
        raise
    except BaseException as error:  # also sys.exit: whatever a system does, the suite goes on
        logger.error("failed:\n%s", traceback.format_exc())
        if number_of_processes() > 1 and not isinstance(error, SystemFailure):
            raise  # the others may be waiting for this one in the middle of a training
        failure = failure_of(error, work)
    refuse_other_code(job)
    record = record_of(
        job, dataset, chosen, cost, stand_ins, ranking_of_all_items, identifiers, found, failure
    )
    record = record.model_copy(update={"rank_changes": changes})
    users = {name: dataset.log.user[chosen[name].test.position] for name in found}
    publish(job, store, record, settings, found, users, work)


def _texts(what: str, values: tuple[Any, ...]) -> tuple[str, ...]:
    """What a system says of itself, in characters that a record can hold."""
    if not all(isinstance(value, str) for value in values):
        raise SystemFailure(f"{what} gives {shortened(repr(values))}, which is no text.")
    return tuple(value.encode("utf-8", "replace").decode("utf-8") for value in values)


def _identifier_quality(system: System) -> IdentifierQuality:
    quality = {
        kind: {name: float(value) for name, value in figures.items()}
        for kind, figures in system.identifier_quality().items()
    }
    for kind, figures in quality.items():
        for name, value in figures.items():
            if not math.isfinite(value):
                raise SystemFailure(f"{name} of its {kind} identifiers is {value}.")
    return quality
