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
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray
from benchmark.errors import BenchmarkError, SystemFailure, shortened, text_of
from benchmark.faults import MachineFault, machine_cause
from benchmark.files import (
    atomic_path,
    build_folder,
    check_manifest,
    finished_in,
    is_complete,
    read_json,
    remove_folder,
    sha256_of_json,
    write_bytes,
    write_json,
)
from benchmark.jobs.describe import dataset_part, protocol_part
from benchmark.jobs.evaluation import Evaluation, evaluate
from benchmark.jobs.identity import JobChanged, refuse_if_changed, refuse_other_code
from benchmark.jobs.machine import (
    environment_of,
    peak_memory,
    reset_peak_memory,
    set_torch_threads,
    threads,
)
from benchmark.jobs.precision import rank_changes
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
    Metrics,
    RankChanges,
    Run,
    RunRecord,
    SettingsPart,
    SystemPart,
)
from benchmark.jobs.scores import write_best, write_scores
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.locks import LockedElsewhere
from benchmark.protocol import graded
from benchmark.protocol.metrics import VIEWS, Ranks, View, every_metric, mean_metrics
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, load_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose, refuse_without_text
from benchmark.systems.precisions import SINGLE_PRECISION, products_in
from benchmark.systems.processes import (
    agreed,
    is_first_process,
    number_of_processes,
    wait_for_all,
)
from benchmark.systems.provenance import code_fingerprint

if TYPE_CHECKING:
    from benchmark.systems.contract import RunContext, System

Progress = Callable[[str], None]

LOG_FILE = "log.txt"
_FIT_FILE = "fit.json"
_LONGEST_ERROR = 500  # characters of a record's sentence


@dataclass(frozen=True)
class Failure:
    """Why a job has no result; ``retryable`` if it was the machine's fault."""

    sentence: str
    retryable: bool = False


@lru_cache(maxsize=2)
def load_data(
    recipe: str, prepared_root: str, settings: ProtocolSettings, candidates_folder: str | None
) -> tuple[Dataset, dict[str, Task]]:
    """The data set and its tasks; the last ones stay in memory for the next job.

    Raises:
        BenchmarkError: the recipe, the data, the protocol or the outside lists are not usable.
    """
    from benchmark.data.prepare import load

    dataset = load(recipe, root=Path(prepared_root))
    tasks = load_tasks(dataset, settings, Path(prepared_root))
    if candidates_folder is not None:
        from benchmark.protocol.exchange import read_candidates

        outside = read_candidates(Path(candidates_folder), dataset, tasks)
        tasks = {
            name: task.with_test_candidates(outside[name]) if name in outside else task
            for name, task in tasks.items()
        }
    return dataset, tasks


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
            settings, dataset, tasks = _planned_data(job)
            artifacts = _artifacts(job, waits=waits)
            try:
                with _job_log(store.open_work(job)) as logger:
                    context = _context(job, store.work_folder(job), progress, logger, artifacts)
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
        settings, dataset, tasks = _planned_data(job)
        artifacts = _artifacts(job, waits=False)
        with (
            products_in(job.precision, job.device),
            _job_log(store.open_work(job)) as logger,
        ):
            context = _context(job, store.work_folder(job), progress, logger, artifacts)
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


def _artifacts(job: JobSpec, *, waits: bool) -> ArtifactStore:
    root = Path(job.results) / "artifacts"
    return ArtifactStore(root, verify=partial(refuse_other_code, job), waits=waits)


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
    settings, dataset, tasks = _planned_data(job)
    with (
        TemporaryDirectory() as folder,
        threads(job.threads),
        products_in(job.precision, job.device),
    ):
        work = Path(folder) / "work"
        logger = logging.getLogger("benchmark.follower")
        artifacts = _artifacts(job, waits=True)
        context = _context(job, work, lambda message: None, logger, artifacts)
        # The first process records the failure.
        with suppress(SystemFailure):
            if tasks.keys() & set(choose(job.system).entry.tasks):
                _fit_if_needed(job, dataset, tasks, settings, context)


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
            record = _record(job, dataset, tasks, CostPart(), (), "", {}, {}, failure)
            _publish(job, store, record, settings, {}, {}, store.work_folder(job))
    return _just_written(job, store)


def _planned_data(job: JobSpec) -> tuple[ProtocolSettings, Dataset, dict[str, Task]]:
    """The protocol, the data set and the tasks, once it is sure that the job is the planned one.

    Raises:
        BenchmarkError: this process has other code, data or libraries.
    """
    settings = ProtocolSettings.model_validate(job.protocol_settings)
    dataset, tasks = load_data(job.recipe, job.prepared_root, settings, job.candidates_folder)
    refuse_if_changed(job, dataset, tasks)
    return settings, dataset, tasks


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
        system, fitted = _fitted(job, dataset, tasks, settings, context)
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
                lambda: _loaded_in_single_precision(job, dataset, context),
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
    record = _record(
        job, dataset, chosen, cost, stand_ins, ranking_of_all_items, identifiers, found, failure
    )
    record = record.model_copy(update={"rank_changes": changes})
    users = {name: dataset.log.user[chosen[name].test.position] for name in found}
    _publish(job, store, record, settings, found, users, work)


def failure_of(error: BaseException, work: Path) -> Failure:
    """What is recorded of ``error``, which came out of a system that works in ``work``.

    Raises:
        MachineFault: the results cannot be written, so that nothing can be recorded.
    """
    cause = machine_cause(error)
    if cause is not None and cause.is_full:
        raise MachineFault(f"{work}: cannot be written ({cause.reason}).") from error
    probe = work / "probe"
    write_bytes(probe, bytes(1 << 12))
    probe.unlink(missing_ok=True)
    name = "" if isinstance(error, (SystemFailure, BenchmarkError)) else f"{type(error).__name__}: "
    if isinstance(error, SystemExit):
        sentence = f"it called sys.exit({error.code!r})."
    elif cause is not None:
        sentence = f"{cause.reason} ({name}{text_of(error)})"
    else:
        sentence = f"{name}{text_of(error)}"
    # Half a character has no bytes and could not be stored.
    whole = sentence[: 4 * _LONGEST_ERROR].encode("utf-8", "replace").decode("utf-8")
    shown = whole if isinstance(error, SystemFailure) else " ".join(whole.split())[:_LONGEST_ERROR]
    return Failure(shown, retryable=cause is not None)


def _fitted(
    job: JobSpec,
    dataset: Dataset,
    tasks: dict[str, Task],
    settings: ProtocolSettings,
    context: RunContext,
) -> tuple[System, dict[str, Any]]:
    """The system as loaded from its saved state, fitted first if it was not yet."""
    from benchmark.systems.view import Corpus

    _fit_if_needed(job, dataset, tasks, settings, context)
    loaded = _made(job, context)
    saved = context.folder / SYSTEM_FOLDER
    loaded.load(saved, Corpus.of(dataset))
    return loaded, read_json(saved / _FIT_FILE)


def _loaded_in_single_precision(job: JobSpec, dataset: Dataset, context: RunContext) -> System:
    from benchmark.systems.view import Corpus

    system = _made(job, replace(context, precision=SINGLE_PRECISION))
    system.load(context.folder / SYSTEM_FOLDER, Corpus.of(dataset))
    return system


def _context(
    job: JobSpec,
    work: Path,
    progress: Progress,
    logger: logging.Logger,
    artifacts: ArtifactStore,
) -> RunContext:
    from benchmark.systems.contract import RunContext

    return RunContext(
        seed=job.seed,
        folder=work,
        artifacts=artifacts,
        device=job.device,
        precision=job.precision,
        threads=job.threads,
        trackers=job.trackers,
        logger=logger,
        progress=progress,
        code=code_fingerprint(choose(job.system).entry.module),
        identity=job.identity,
        upstream=job.upstream,
    )


def _made(job: JobSpec, context: RunContext) -> System:
    system_class = choose(job.system).entry.load()
    system: System = system_class(system_class.Config.model_validate(job.configuration), context)
    if "torch" in sys.modules:
        set_torch_threads(job.threads)
    return system


def _fit_if_needed(
    job: JobSpec,
    dataset: Dataset,
    tasks: dict[str, Task],
    settings: ProtocolSettings,
    context: RunContext,
) -> None:
    """Leave the fitted system in the work folder, unless it is there."""
    from benchmark.systems.upstream import is_upstream, shared_fit
    from benchmark.systems.view import TrainingView

    refuse_without_text(choose(job.system), dataset)
    _share_work(context.folder)
    system = _made(job, context)
    saved = context.folder / SYSTEM_FOLDER
    if is_complete(saved):
        try:
            check_manifest(saved)
            if read_json(saved / _FIT_FILE).get("identity") != job.identity:
                raise BenchmarkError(f"{saved}: is another job's.")
            return
        except BenchmarkError as error:
            context.logger.warning("the saved system is not used: %s", error)
            remove_folder(saved)
    resumed = (context.folder / "checkpoint").exists()
    context.progress("fitting")
    started = time.perf_counter()
    view = TrainingView(dataset, tasks, settings)
    with context.artifacts.shared_with_all_processes():
        if is_upstream(job.system):
            system = shared_fit(job.system, job.configuration, view, context)
        else:
            system.fit(view)
    seconds = time.perf_counter() - started + context.artifacts.reused_seconds

    refuse_other_code(job)

    def fill(folder: Path) -> None:
        system.save(folder)
        _refuse_what_is_no_file(folder)
        write_json(
            folder / _FIT_FILE,
            {
                "identity": job.identity,
                "seconds": seconds,
                "resumed": resumed,
                "peak_memory_bytes": peak_memory(),
            },
        )

    build_folder(saved, fill)


def _share_work(work: Path) -> None:
    """Give every other process a copy of the first one's checkpoints, so that all resume alike."""
    if number_of_processes() > 1:
        source = agreed(str(work))
        if not is_first_process():
            shutil.copytree(source, work)
        wait_for_all()


def _texts(what: str, values: tuple[Any, ...]) -> tuple[str, ...]:
    """What a system says of itself, in characters that a record can hold."""
    if not all(isinstance(value, str) for value in values):
        raise SystemFailure(f"{what} gives {shortened(repr(values))}, which is no text.")
    return tuple(value.encode("utf-8", "replace").decode("utf-8") for value in values)


def _refuse_what_is_no_file(folder: Path) -> None:
    """Links and pipes cannot be copied to another machine, nor hashed."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = shortened(path.relative_to(folder).as_posix())
            raise SystemFailure(f"save() left {name}, which is neither a file nor a folder.")


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


def _record(
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


def _publish(
    job: JobSpec,
    store: RunStore,
    record: RunRecord,
    settings: ProtocolSettings,
    found: dict[str, dict[View, Evaluation]],
    users: dict[str, IntArray],
    work: Path,
) -> None:
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


def metrics_of_views(
    ranks: Mapping[View, Mapping[str, Ranks]], settings: ProtocolSettings
) -> dict[View, Metrics]:
    """Every metric at the cut-offs of each view: view → task → metric → mean over the events.

    What a beam left out of the list scores 0; of all items it is ranked last.
    """
    found: dict[View, Metrics] = {}
    for view, tasks in ranks.items():
        names = every_metric(settings.cutoffs_of(view))
        found[view] = {
            name: mean_metrics(of_task.placed(view), settings.ties, names)
            for name, of_task in tasks.items()
        }
    return found


def write_ranks(
    path: Path,
    ranks: Mapping[View, Mapping[str, Ranks]],
    others: Mapping[View, Mapping[str, NDArray[np.integer]]],
    users: Mapping[str, IntArray],
) -> None:
    """One row an event, task and view: view, task, event, user, above, tied, returned, others.

    Args:
        path: the file.
        ranks: view → task → those of its test events.
        others: view → task → (events,) among how many other items each target was ranked.
        users: task → (events,) the data set's number of each event's user; who tests or resamples
            must know which events are of the same one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [(view, task) for view, tasks in ranks.items() for task in tasks]
    found = [ranks[view][task] for view, task in parts]
    events = [len(one) for one in found]
    table = pa.table(
        {
            "view": pa.array(np.repeat([view for view, _ in parts], events), pa.string()),
            "task": pa.array(np.repeat([task for _, task in parts], events), pa.string()),
            "event": np.concatenate([np.arange(number) for number in events]),
            "user": np.concatenate([users[task] for _, task in parts]).astype(np.int32),
            "above": np.concatenate([one.above for one in found]),
            "tied": np.concatenate([one.tied for one in found]),
            "returned": np.concatenate([one.returned for one in found]),
            "others": np.concatenate([others[view][task] for view, task in parts]).astype(np.int32),
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def write_judged(path: Path, ranks: Mapping[View, Mapping[str, Ranks]]) -> None:
    """One row a judged item with a gain: view, task, event, gain, above, tied, returned.

    No file where relevance is not graded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [
        (view, task, one.judged)
        for view, tasks in ranks.items()
        for task, one in tasks.items()
        if one.judged is not None
    ]
    if not found:
        return
    rows = [len(judged.event) for _, _, judged in found]
    names = {
        "view": pa.array(np.repeat([view for view, _, _ in found], rows), pa.string()),
        "task": pa.array(np.repeat([task for _, task, _ in found], rows), pa.string()),
    }
    columns = {
        name: np.concatenate([getattr(judged, name) for _, _, judged in found])
        for name in graded.COLUMNS
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({**names, **columns}), temporary, write_page_checksum=True)


class _LogOfJob(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose a line that cannot be written: the next thing that must be written says why."""


@contextmanager
def _job_log(work: Path) -> Iterator[logging.Logger]:
    """A logger that writes to the job's log file."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        handler = _LogOfJob(work / LOG_FILE, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MachineFault(f"{work}: cannot be written ({error.strerror}).") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(f"benchmark.job.{work.name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
