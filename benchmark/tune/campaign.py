"""One command of tuning: from what was asked for to studies, their trials and the preset.

Systems that others build on are tuned first, so that in the trials of those they have the settings
which they will have in the preset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from benchmark.data.prepare import sweep
from benchmark.errors import BenchmarkError, SystemFailure, SystemUnavailable, unknown_value
from benchmark.files import remove_folder
from benchmark.jobs.context import load_data
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.leftovers import ABANDONED, seconds_untouched, sweep_locks
from benchmark.overrides import PROTOCOL_KEY, Overrides, merged, parse_assignments
from benchmark.protocol.settings import ProtocolSettings
from benchmark.run.backend import Dask, Processes
from benchmark.run.parts import find_parts
from benchmark.run.plan import Options, plan
from benchmark.run.suite import Suite, refuse_repetitions
from benchmark.systems.catalogue import choose, entries, refuse_without_text
from benchmark.systems.configuration import load_preset
from benchmark.tune.crew import run_studies
from benchmark.tune.journal import Ledger, open_journal
from benchmark.tune.preset import preset_path, refuse_other_base, tuned_settings, write_preset
from benchmark.tune.studies import Budget, Found, Study, folder_of, make_study, space_of
from benchmark.tune.trial import clear_up


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; ``systems`` may be the word "all"."""

    dataset: str
    systems: tuple[str, ...]
    preset: str
    protocol: str
    seed: int
    assignments: tuple[str, ...]
    budget: Budget
    backend: Processes | Dask
    threads: int | None
    device: str | None
    precision: str
    results: Path
    presets: Path
    prepared_root: Path


class Campaign:
    """What is tuned, and where it goes: ``preset`` and ``folder``.

    Raises:
        BenchmarkError: something that was asked for is unknown, or cannot be tuned.
    """

    def __init__(self, wanted: Wanted, console: Console) -> None:
        self._wanted, self._console = wanted, console
        self._said: set[str] = set()
        device = wanted.backend.device(wanted.device)
        self._options = Options(
            results=wanted.results,
            prepared_root=wanted.prepared_root,
            device=device,
            precision=wanted.precision,
            threads=wanted.backend.threads(wanted.threads, device, 1),
        )
        self._assignments = parse_assignments(wanted.assignments)
        systems = _systems(wanted.systems)
        _refuse_others(self._assignments, systems)
        load_preset(wanted.preset)
        RunStore(wanted.results).prepare()
        sweep(wanted.prepared_root)
        with console.status("preparing data and candidate lists"):
            jobs = self._planned(systems)
        if not jobs:
            raise BenchmarkError("nothing to tune: no chosen system can be run on the data set.")
        self._systems = [job.system for job in jobs]
        self.folder = folder_of(wanted.results, jobs[0].dataset)
        self.preset = preset_path(wanted.presets, jobs[0].dataset)
        refuse_other_base(self.preset, wanted.preset)
        find_parts(jobs)
        for job in jobs:
            self._study(job)

    @property
    def systems(self) -> tuple[str, ...]:
        """What is tuned; systems that cannot be on the data are left out."""
        return tuple(self._systems)

    def planned(self, system: str) -> JobSpec:
        """A system's job with the settings that its tuning begins from.

        What it builds on has the settings that the preset has found by now.
        """
        (job,) = self._planned([system], self._above([system]))
        return job

    def run(
        self,
        goes_on: Callable[[], bool] = lambda: True,
        systems: Sequence[str] | None = None,
    ) -> Found:
        """Run what is left of studies, and write the preset; returns studies and trials.

        Args:
            goes_on: is asked before each trial, on a cluster before a worker is given trials. When
                it says no, those that were given come to their end, and of the studies those that
                are done by then stand in the preset.
            systems: some of those that are tuned; all of them if absent.
        """
        found: dict[str, tuple[Study, Any]] = {}
        chosen = self._systems if systems is None else systems
        for stage in _stages(chosen):
            studies = [self._study(job) for job in self._planned(stage, self._above(stage))]
            self._sweep()
            ledgers = [Ledger(study, open_journal(study.folder)) for study in studies]
            if not all(ledger.is_done() for ledger in ledgers):
                self._run(studies, goes_on)
            of_stage = []
            for study, ledger in zip(studies, ledgers, strict=True):
                if not ledger.is_done():
                    continue
                trials = Ledger(study, open_journal(study.folder)).ended()
                for trial in trials:
                    clear_up(study, trial.number)
                of_stage.append((study, trials))
            lock = self.folder / "locks" / "preset.lock"
            if of_stage:
                for sentence in write_preset(self.preset, self._wanted.preset, of_stage, lock):
                    self._console.print(sentence)
            found |= {study.job.system: (study, trials) for study, trials in of_stage}
            if len(of_stage) < len(studies):
                break  # what builds on them waits for their settings
        return [found[system] for system in chosen if system in found]

    def _run(self, studies: Sequence[Study], goes_on: Callable[[], bool]) -> None:
        backend = self._wanted.backend
        if isinstance(backend, Processes):
            run_studies(studies, backend.number or 1, self._console, goes_on)
            return
        from benchmark.tune.cluster import run_studies_on_cluster

        run_studies_on_cluster(studies, backend.client, self._console, goes_on)

    def _above(self, systems: Sequence[str]) -> dict[str, Overrides]:
        return {name: tuned_settings(self.preset, name) for name in _upstream(systems)}

    def _study(self, job: JobSpec) -> Study:
        return make_study(job, self._wanted.budget, self._assignments.get(job.system, {}))

    def _planned(
        self, systems: Sequence[str], above: Mapping[str, Overrides] = MappingProxyType({})
    ) -> list[JobSpec]:
        """The jobs with the preset's settings, in the order of the systems.

        Systems that read texts are left out, with a sentence, where there are none to read.

        Args:
            systems: to be tuned.
            above: settings of systems that they build on, laid over the preset's.
        """
        wanted = self._wanted
        suite = Suite(
            datasets=(wanted.dataset,),
            systems=tuple(systems),
            protocols=(wanted.protocol,),
            seeds=(wanted.seed,),
            preset=wanted.preset,
        )
        known = {*systems, *_upstream(systems), PROTOCOL_KEY}
        assignments = merged(above, {k: v for k, v in self._assignments.items() if k in known})
        planned = plan(suite, assignments, self._options)
        for sentence in planned.unavailable:
            self._say(f"{sentence} It is left out.")
        return [job.spec for job in planned.jobs if self._has_its_texts(job.spec)]

    def _has_its_texts(self, job: JobSpec) -> bool:
        settings = ProtocolSettings.model_validate(job.protocol_settings)
        dataset, _ = load_data(job.recipe, job.prepared_root, settings, job.candidates_folder)
        try:
            refuse_without_text(choose(job.system), dataset)
        except SystemFailure as error:
            self._say(f"{error} It is left out.")
            return False
        return True

    def _say(self, sentence: str) -> None:
        """Say it, once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._console.print(sentence)

    def _sweep(self) -> None:
        """Remove what trials have left that nobody goes on with."""
        work = self.folder / "work"
        for path in sorted(work.iterdir()) if work.is_dir() else ():
            if seconds_untouched(path) >= ABANDONED:
                remove_folder(path)
        sweep_locks(self.folder / "locks")


def _refuse_others(assignments: Mapping[str, Any], systems: Sequence[str]) -> None:
    known = [*dict.fromkeys((*systems, *sorted(_upstream(systems)), PROTOCOL_KEY))]
    for owner in assignments:
        if owner not in known:
            raise unknown_value("system of this tuning", owner, known, "--set")


def _systems(asked: Sequence[str]) -> list[str]:
    """The systems that were asked for.

    Raises:
        BenchmarkError: one is unknown, stands twice, or has nothing to tune.
    """
    refuse_repetitions(asked, "--systems")
    if not asked:
        raise BenchmarkError("--systems: names no system.")
    if tuple(asked) == ("all",):
        return [name for name, row in entries().items() if row.in_suite and may_be_tuned(name)]
    for name in asked:
        if not space_of(name):
            raise BenchmarkError(
                f"--systems: {name!r} has nothing to tune: its Config declares no search_space."
            )
    return list(asked)


def may_be_tuned(name: str) -> bool:
    """Whether a system declares a search space; one whose code cannot be loaded may."""
    try:
        return bool(space_of(name))
    except SystemUnavailable:
        return True  # the plan leaves it out and says why


def in_order(systems: Sequence[str]) -> list[str]:
    """Systems in their order, but each behind those of them that it builds on."""
    return [name for stage in _stages(systems) for name in stage]


def _upstream(systems: Sequence[str]) -> set[str]:
    return {name for system in systems for name in choose(system).entry.upstream}


def _stages(systems: Sequence[str]) -> list[list[str]]:
    """Systems in their order, those that others of them build on in an earlier stage."""
    left, stages = list(systems), list[list[str]]()
    while left:
        stage = [name for name in left if not _upstream([name]) & set(left)]
        if not stage:
            raise BenchmarkError(f"{', '.join(left)}: build on each other.")
        stages.append(stage)
        left = [name for name in left if name not in stage]
    return stages
