"""One trial: fit a system with its values on a view without any test event, and validate it.

Its figure is that of every selection in the suite: the mean, over the system's tasks, of validation
NDCG@5, of the system as it is after ``fit``. A trial that was killed begins anew, in an empty
folder; only artifacts are kept, which others have or would have built as well.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.faults import MachineFault
from benchmark.files import read_json, remove_folder, sha256_of_json, write_json
from benchmark.jobs.context import load_data
from benchmark.jobs.failure import failure_of
from benchmark.jobs.identity import JobChanged, refuse_if_changed, refuse_other_code
from benchmark.jobs.machine import set_torch_threads, threads
from benchmark.jobs.store import JobSpec
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.leftovers import sweep_partial_of
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.contract import RunContext, System
from benchmark.systems.effort import effort_so_far
from benchmark.systems.provenance import code_fingerprint
from benchmark.systems.upstream import is_upstream, shared_fit
from benchmark.systems.view import TrainingView, ValidationMetrics, selection_score
from benchmark.tune.journal import Turn
from benchmark.tune.studies import Outcome, Study, Trial, seconds_spent

_LOGGER = logging.getLogger("benchmark.tune.trial")
_LOGGER.propagate = False  # what a system warns of is in the log of a run with the same settings


class _GivenUp(BaseException):
    """Ends a training; no ``except Exception`` of a system holds it up."""


def view_for_tuning(jobs: Sequence[JobSpec]) -> TrainingView:
    """What all trials of jobs on one data set are handed; of the data, this process keeps no more.

    A view is made of a data set and its test, and holds no test event; both go here.

    Raises:
        BenchmarkError: the data, the code or the libraries are not those that were planned.
    """
    first = jobs[0]
    settings = ProtocolSettings.model_validate(first.protocol_settings)
    dataset, tasks = load_data(first.recipe, first.prepared_root, settings, first.candidates_folder)
    for job in jobs:
        refuse_if_changed(job, dataset, tasks)
    view = TrainingView(dataset, tasks, settings)
    load_data.cache_clear()
    del dataset, tasks
    gc.collect()
    return view


class _Ones(Instances):
    def __len__(self) -> int:
        return 1

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        return {"ones": torch.ones(len(rows), 1)}


def warm_up(job: JobSpec) -> None:
    """Train one weight for one step, since what trains first in a process loads much for all."""
    with TemporaryDirectory() as folder:
        context = RunContext(
            0, Path(folder), ArtifactStore(Path(folder)), job.device, job.precision, job.threads
        )
        optimizers: tuple[Literal["adam", "adamw"], ...] = ("adam", "adamw")
        for optimizer in optimizers:
            model = torch.nn.Linear(1, 1)
            settings = TrainingSettings(epochs=1, optimizer=optimizer)
            train(model, _Ones(), partial(_mean, model), settings, context, name=optimizer)


def _mean(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    mean: torch.Tensor = model(batch["ones"]).mean()
    return mean


def run_trial(
    study: Study, turn: Turn, view: TrainingView, progress: Callable[[str], None]
) -> Outcome:
    """Run a trial to its end, or until it is given up.

    Raises:
        MachineFault: the results cannot be written.
        BenchmarkError: the code has changed.
    """
    folder = folder_of_trial(study, turn.number)
    remove_folder(folder)
    folder.mkdir(parents=True)
    watch = _Watch(study, turn, view, progress)
    value, failure, is_pruned = None, "", False
    try:
        with threads(study.job.threads):
            value = _validated(study, turn, view, watch.context(folder))
    except _GivenUp:
        is_pruned = True
    except (MachineFault, JobChanged, KeyboardInterrupt):
        raise
    except BaseException as error:  # also sys.exit: whatever a system does, the study goes on
        failure = failure_of(error, folder).sentence
    refuse_other_code(study.job)
    return watch.outcome(value, failure, is_pruned)


def folder_of_trial(study: Study, number: int) -> Path:
    """Where a trial works."""
    return study.folder / "work" / f"{study.name}-{number:04d}"


def clear_up(study: Study, number: int) -> None:
    """Remove what a trial that has ended leaves, and what killed processes left of it."""
    folder = folder_of_trial(study, number)
    remove_folder(folder)
    _curve_file(folder).unlink(missing_ok=True)
    for path in (folder, _curve_file(folder)):
        sweep_partial_of(path)


def _validated(study: Study, turn: Turn, view: TrainingView, context: RunContext) -> float:
    """The figure of the fitted system.

    Raises:
        SystemFailure: its scores are not finite, or the values do not fit together.
    """
    job = study.job
    try:
        config = study.configured(turn.values)
    except BenchmarkError as error:
        raise SystemFailure(str(error)) from None
    if is_upstream(job.system):
        system = shared_fit(job.system, config.model_dump(mode="json"), view, context)
    else:
        system_class: type[System] = choose(job.system).entry.load()
        system = system_class(config, context)
        set_torch_threads(job.threads)
        system.fit(view)
    return selection_score(view.validate(system, _own_tasks(study, view)))


def _own_tasks(study: Study, view: TrainingView) -> tuple[str, ...]:
    return tuple(task for task in view.tasks if task in study.tasks)


class _Watch:
    """Looks on while a trial is trained: counts its work, keeps its figures, and gives it up.

    The figures are kept on disk too. Where an earlier process was killed after it had built an
    artifact, the training in it is not done again and tells nothing.
    """

    def __init__(
        self, study: Study, turn: Turn, view: TrainingView, progress: Callable[[str], None]
    ) -> None:
        self._study, self._turn, self._progress = study, turn, progress
        self._tasks = _own_tasks(study, view)
        self._path = _curve_file(folder_of_trial(study, turn.number))
        self._before = _kept(self._path, turn.values)
        self._now: list[float] = []
        verify = partial(refuse_other_code, study.job)
        self._store = ArtifactStore(Path(study.job.results) / "artifacts", verify=verify)
        self._started = effort_so_far()

    def context(self, folder: Path) -> RunContext:
        """What the system runs in."""
        job = self._study.job
        return RunContext(
            seed=job.seed,
            folder=folder,
            artifacts=self._store,
            device=job.device,
            precision=job.precision,
            threads=job.threads,
            logger=_LOGGER,
            progress=self._progress,
            validated=self.validated,
            code=code_fingerprint(choose(job.system).entry.module),
            identity=sha256_of_json([job.identity, dict(self._turn.values)]),
            upstream=job.upstream,
        )

    def validated(self, metrics: ValidationMetrics) -> None:
        """Take the metrics of a validation; of a stage for one task of two there is none to take.

        Raises:
            _GivenUp: the other trials were better by then, or the budget is spent.
        """
        if not metrics.keys() >= set(self._tasks):
            return
        self._now.append(selection_score({task: metrics[task] for task in self._tasks}))
        if len(self._now) > len(self._before):
            write_json(self._path, {"values": dict(self._turn.values), "curve": self._now})
        if self._turn.is_hopeless(self._now) or self._is_over_budget():
            raise _GivenUp

    def _is_over_budget(self) -> bool:
        now = Trial(self._turn.number, self._turn.values, self.outcome(None, "", False))
        spent = seconds_spent(self._study, [*self._turn.before, now])
        return not self._turn.is_given and spent > 60 * self._study.budget.minutes

    def outcome(self, value: float | None, failure: str, is_pruned: bool) -> Outcome:
        """The trial as it is now."""
        return Outcome(
            value=value,
            own=effort_so_far().minus(self._started).minus(self._store.built),
            artifacts=dict(self._store.used),
            curve=max(self._before, tuple(self._now), key=len),
            failure=failure,
            is_pruned=is_pruned,
        )


def _curve_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _kept(path: Path, values: Mapping[str, Any]) -> tuple[float, ...]:
    """The figures that an earlier process saw of the same trial."""
    try:
        content = read_json(path)
        return tuple(content["curve"]) if content["values"] == dict(values) else ()
    except (BenchmarkError, KeyError, TypeError):
        return ()
