"""What a job is run with: its data and tasks, its artifacts, its log and its system's context."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.dataset import Dataset
from benchmark.faults import MachineFault
from benchmark.jobs.identity import refuse_if_changed, refuse_other_code
from benchmark.jobs.store import JobSpec
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.provenance import code_fingerprint

if TYPE_CHECKING:
    from benchmark.systems.contract import RunContext


Progress = Callable[[str], None]

LOG_FILE = "log.txt"


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


def artifacts_of(job: JobSpec, *, waits: bool) -> ArtifactStore:
    """What systems share below the job's results; ``waits`` for what another process builds."""
    root = Path(job.results) / "artifacts"
    return ArtifactStore(root, verify=partial(refuse_other_code, job), waits=waits)


def planned_data(job: JobSpec) -> tuple[ProtocolSettings, Dataset, dict[str, Task]]:
    """The protocol, the data set and the tasks, once it is sure that the job is the planned one.

    Raises:
        BenchmarkError: this process has other code, data or libraries.
    """
    settings = ProtocolSettings.model_validate(job.protocol_settings)
    dataset, tasks = load_data(job.recipe, job.prepared_root, settings, job.candidates_folder)
    refuse_if_changed(job, dataset, tasks)
    return settings, dataset, tasks


def context_of(
    job: JobSpec,
    work: Path,
    progress: Progress,
    logger: logging.Logger,
    artifacts: ArtifactStore,
) -> RunContext:
    """What the job's system is told, whose files lie in ``work``."""
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


class _LogOfJob(logging.FileHandler):
    """A log whose lines may be lost where the disk is full.

    Python's own would print a traceback for each of them. Nothing depends on a line of the log, and
    what a job must write, its checkpoint and its run, then stops it with one sentence.
    """

    # The name by which `logging` calls it, hence not one of ours.
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing, which is all that there is to do; see the class."""


@contextmanager
def job_log(work: Path) -> Iterator[logging.Logger]:
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
