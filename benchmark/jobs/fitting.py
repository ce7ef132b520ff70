"""From a job to its fitted system, which is saved in its work folder and loaded from there."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError, SystemFailure, shortened
from benchmark.files import (
    build_folder,
    check_manifest,
    is_complete,
    read_json,
    remove_folder,
    write_json,
)
from benchmark.jobs.identity import refuse_other_code
from benchmark.jobs.machine import peak_memory, set_torch_threads
from benchmark.jobs.record import SYSTEM_FOLDER
from benchmark.jobs.store import JobSpec
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.catalogue import choose, refuse_without_text
from benchmark.systems.precisions import SINGLE_PRECISION
from benchmark.systems.processes import agreed, is_first_process, number_of_processes, wait_for_all

if TYPE_CHECKING:
    from benchmark.systems.contract import RunContext, System

_FIT_FILE = "fit.json"


def fitted_system(
    job: JobSpec,
    dataset: Dataset,
    tasks: dict[str, Task],
    settings: ProtocolSettings,
    context: RunContext,
) -> tuple[System, dict[str, Any]]:
    """The system as loaded from its saved state, fitted first if it was not yet."""
    from benchmark.systems.view import Corpus

    fit_if_needed(job, dataset, tasks, settings, context)
    loaded = _made(job, context)
    saved = context.folder / SYSTEM_FOLDER
    loaded.load(saved, Corpus.of(dataset))
    return loaded, read_json(saved / _FIT_FILE)


def loaded_in_single_precision(job: JobSpec, dataset: Dataset, context: RunContext) -> System:
    """The fitted system as single precision computes it."""
    from benchmark.systems.view import Corpus

    system = _made(job, replace(context, precision=SINGLE_PRECISION))
    system.load(context.folder / SYSTEM_FOLDER, Corpus.of(dataset))
    return system


def _made(job: JobSpec, context: RunContext) -> System:
    system_class = choose(job.system).entry.load()
    system: System = system_class(system_class.Config.model_validate(job.configuration), context)
    if "torch" in sys.modules:
        set_torch_threads(job.threads)
    return system


def fit_if_needed(
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


def _refuse_what_is_no_file(folder: Path) -> None:
    """Links and pipes cannot be copied to another machine, nor hashed."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = shortened(path.relative_to(folder).as_posix())
            raise SystemFailure(f"save() left {name}, which is neither a file nor a folder.")
