"""From a suite to jobs with identities, and what is there of each already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError, SystemUnavailable, unknown_value
from benchmark.jobs.context import load_data
from benchmark.jobs.evaluation import fingerprint_of_lists
from benchmark.jobs.identity import job_code, job_identity
from benchmark.jobs.record import SettingsPart
from benchmark.jobs.store import JobSpec, JobState, RunStore
from benchmark.overrides import PROTOCOL_KEY
from benchmark.protocol.settings import ProtocolSettings, configure_protocol
from benchmark.protocol.task import Task
from benchmark.run.suite import Suite
from benchmark.systems.catalogue import SystemChoice, choose
from benchmark.systems.configuration import Preset, configure, load_preset
from benchmark.systems.precisions import SINGLE_PRECISION


@dataclass(frozen=True)
class Options:
    """What the command line adds to a suite."""

    results: Path
    prepared_root: Path
    device: str = "cpu"
    precision: str = SINGLE_PRECISION
    threads: int = 2
    trackers: tuple[str, ...] = ()
    candidates: Path | None = None


@dataclass(frozen=True)
class PlannedJob:
    """A job and what is there of it."""

    spec: JobSpec
    state: JobState


@dataclass(frozen=True)
class Plan:
    """The jobs in the order in which they run, and sentences on what was left out of the data.

    ``unavailable`` has a sentence for each system whose code cannot be loaded.
    """

    jobs: tuple[PlannedJob, ...]
    notes: tuple[str, ...]
    unavailable: tuple[str, ...]

    def with_threads(self, number: int) -> Plan:
        """The same jobs, each with so many threads."""
        jobs = tuple(replace(job, spec=replace(job.spec, threads=number)) for job in self.jobs)
        return replace(self, jobs=jobs)


def plan(suite: Suite, assignments: Mapping[str, Mapping[str, Any]], options: Options) -> Plan:
    """All jobs of a suite. Data sets and candidate lists are prepared on the way.

    Raises:
        BenchmarkError: anything that the user gave is unknown or malformed.
    """
    preset = load_preset(suite.preset)
    choices = suite.chosen_systems()
    names = [choice.base_name for choice in choices]
    names += [name for choice in choices for name in choice.entry.upstream]
    for owner in assignments:
        if owner != PROTOCOL_KEY and owner not in names:
            known = [*dict.fromkeys(names), PROTOCOL_KEY]
            raise unknown_value("system of this suite", owner, known, "--set")
    available, unavailable = _available(choices)
    configurations = {
        choice.name: configure(
            choice,
            preset.overrides_for(choice.base_name),
            choice.settings,
            assignments.get(choice.base_name, {}),
        ).model_dump(mode="json")
        for choice in available
    }
    upstream = {choice.name: preset.upstream_of(choice.entry, assignments) for choice in available}
    settings = {
        choice.name: _how_chosen(choice, configurations[choice.name], preset, assignments)
        for choice in available
    }
    protocols = [
        configure_protocol(name, assignments.get(PROTOCOL_KEY, {})) for name in suite.protocols
    ]
    store = RunStore(options.results)
    jobs: list[PlannedJob] = []
    notes: list[str] = []
    for recipe in suite.datasets:
        for protocol in protocols:
            subject = _subject(recipe, *protocol, options)
            notes += _notes(subject)
            for seed in suite.seeds:
                for choice in available:
                    if set(choice.entry.tasks) & set(subject.tasks):
                        configuration = configurations[choice.name]
                        spec = _job(
                            subject,
                            choice,
                            configuration,
                            upstream[choice.name],
                            settings[choice.name],
                            suite.preset,
                            seed,
                            options,
                        )
                        jobs.append(PlannedJob(spec, store.state(spec)))
    if not jobs:
        raise BenchmarkError("nothing to run: no chosen system does a task of a chosen data set.")
    return Plan(tuple(jobs), tuple(dict.fromkeys(notes)), tuple(map(str, unavailable)))


def _available(
    choices: Sequence[SystemChoice],
) -> tuple[list[SystemChoice], list[SystemUnavailable]]:
    """The systems whose code can be loaded, and what is wrong with the others, once each.

    Raises:
        SystemUnavailable: no system can be loaded.
    """
    available, unavailable = [], {}
    for choice in choices:
        try:
            for name in (choice.name, *choice.entry.upstream):
                choose(name).entry.load()
            available.append(choice)
        except SystemUnavailable as error:
            unavailable[str(error)] = error
    if unavailable and not available:
        raise next(iter(unavailable.values()))
    return available, list(unavailable.values())


def _how_chosen(
    choice: SystemChoice,
    configuration: Mapping[str, Any],
    preset: Preset,
    assignments: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What the record says of how the settings were chosen; see ``SettingsPart``."""
    tuning = preset.tuning.get(choice.base_name)
    chosen: Literal["published", "preset", "tuned"] = "preset" if tuning is None else "tuned"
    if tuning is None and configuration == configure(choice).model_dump(mode="json"):
        chosen = "published"
    is_changed = bool(choice.settings or assignments.get(choice.base_name))
    return SettingsPart(chosen=chosen, is_changed=is_changed, tuning=tuning).model_dump(mode="json")


@dataclass(frozen=True)
class _Subject:
    """A data set under a protocol; ``lists`` is a hash of the test lists if they are others."""

    recipe: str
    dataset: Dataset
    tasks: Mapping[str, Task]
    protocol: str
    settings: ProtocolSettings
    lists: str | None


def _notes(subject: _Subject) -> list[str]:
    of_data = [f"{subject.dataset.name}: {note}" for note in subject.dataset.notes]
    of_tasks = [note for task in subject.tasks.values() for note in task.notes]
    return of_data + [f"{subject.dataset.name}, {subject.protocol}: {note}" for note in of_tasks]


def _subject(recipe: str, name: str, settings: ProtocolSettings, options: Options) -> _Subject:
    """Prepare data and lists; lists from outside that differ make the protocol a custom one."""
    root = str(options.prepared_root)
    dataset, tasks = load_data(recipe, root, settings, None)
    if options.candidates is None:
        return _Subject(recipe, dataset, tasks, name, settings, None)
    _, given = load_data(recipe, root, settings, str(options.candidates))
    lists = fingerprint_of_lists(given)
    if lists == fingerprint_of_lists(tasks):
        return _Subject(recipe, dataset, tasks, name, settings, None)
    custom = name if name.startswith("custom:") else f"custom:{name}"
    return _Subject(recipe, dataset, given, custom, settings, lists)


def _job(
    subject: _Subject,
    choice: SystemChoice,
    configuration: dict[str, Any],
    upstream: dict[str, dict[str, Any]],
    how_chosen: dict[str, Any],
    preset: str,
    seed: int,
    options: Options,
) -> JobSpec:
    settings = subject.settings.model_dump(mode="json")
    code = job_code(choice.name, upstream)
    identity = partial(
        job_identity,
        system=choice.name,
        configuration=configuration,
        upstream=upstream,
        data=subject.dataset.content_and_salt,
        protocol=settings,
        candidates=subject.lists,
        seed=seed,
        device=options.device,
        precision=options.precision,
    )
    return JobSpec(
        identity=identity(code=code),
        identity_but_code=identity(code={}),
        code=code,
        recipe=subject.recipe,
        dataset=subject.dataset.name,
        # Absolute, since a system may change its process's folder.
        prepared_root=str(options.prepared_root.absolute()),
        protocol=subject.protocol,
        protocol_settings=settings,
        candidates_folder=_absolute(options.candidates if subject.lists is not None else None),
        system=choice.name,
        display_name=choice.display_name,
        configuration=configuration,
        upstream=upstream,
        preset=preset,
        seed=seed,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        trackers=options.trackers,
        results=str(options.results.absolute()),
        settings=how_chosen,
    )


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def due(jobs: Sequence[PlannedJob], retry_failed: bool) -> list[JobSpec]:
    """The jobs that are to run: finished ones never, failed ones only if asked for."""
    return [
        job.spec
        for job in jobs
        if job.state in ("missing", "unfinished") or (retry_failed and job.state == "failed")
    ]
