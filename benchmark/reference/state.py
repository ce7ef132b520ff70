"""What is done of a part, and what is left: read off the files that are committed.

A system is tuned if the tuned preset says so of the same data, protocol, seed, start and budget; a
run is there if its reference run is. Both know the code that they were made by. Whether other code
counts is the caller's choice, since nobody but he knows whether a change of the code mattered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.data.prepare import load
from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.jobs.record import read_run
from benchmark.jobs.store import JobSpec
from benchmark.reference.programme import Part, Tuning, base_names
from benchmark.report.reading.text import file_name
from benchmark.report.reference import reference_folder
from benchmark.run.plan import Options, plan
from benchmark.systems.catalogue import named_files
from benchmark.systems.configuration import Preset, read_typed
from benchmark.tune.campaign import in_order, may_be_tuned
from benchmark.tune.preset import preset_path

State = Literal["done", "failed", "other code", "left"]

_TUNED = "tuned/"


@dataclass(frozen=True)
class Place:
    """Where everything goes, and what it is made with.

    ``out`` and ``presets`` are committed, ``work`` is not. ``jobs`` units are made at the same
    time, with ``threads`` each. ``keeps_other_code`` says that what other code has made is done as
    well.
    """

    out: Path
    presets: Path
    work: Path
    prepared_root: Path
    device: str
    threads: int
    jobs: int = 1
    keeps_other_code: bool = False

    @property
    def options(self) -> Options:
        """Of the runs."""
        return Options(
            results=self.work,
            prepared_root=self.prepared_root,
            device=self.device,
            threads=self.threads,
        )

    def preset(self, part: Part) -> str:
        """The preset of a part's runs, by its name in the index or by its path.

        A tuned one is looked for among those that are written here.
        """
        name = part.preset
        if part.tuning is not None:
            name = f"{_TUNED}{load(part.dataset, root=self.prepared_root).name}"
        if not name.startswith(_TUNED):
            return name
        path = preset_path(self.presets, name.removeprefix(_TUNED))
        listed = named_files("presets").get(name)
        is_listed = listed is not None and listed.resolve() == path.resolve()
        return name if is_listed else str(path)

    def has_preset(self, part: Part) -> bool:
        """Whether the preset of a part's runs is there; a tuned one may not be yet."""
        name = self.preset(part)
        return name in named_files("presets") or Path(name).exists()


def systems_to_tune(part: Part) -> list[str]:
    """Those of a part that may be tuned, each after what it builds on.

    Raises:
        BenchmarkError: there is none.
    """
    found = in_order([name for name in base_names(part.chosen()) if may_be_tuned(name)])
    if not found:
        raise BenchmarkError(f"{part.label}: none of its systems can be tuned; leave tuning out.")
    return found


def state_of_tuning(job: JobSpec, tuning: Tuning, place: Place) -> State:
    """Whether the tuned preset has the system of ``job``, whose settings tuning begins from."""
    path = preset_path(place.presets, job.dataset)
    found = read_typed(Preset, path).tuning.get(job.system) if path.exists() else None
    if found is None or found.base != job.identity_but_code:
        return "left"
    if (found.most_trials, found.most_minutes) != (tuning.trials, tuning.minutes):
        return "left"
    if found.code == sha256_of_json(job.code) or place.keeps_other_code:
        return "done"
    return "other code"


@dataclass(frozen=True)
class Runs:
    """The runs of a part with the state of each; ``sentences`` are on systems that are missing."""

    states: tuple[tuple[JobSpec, State], ...]
    sentences: tuple[str, ...]

    @property
    def stem(self) -> str:
        """How the folder of the part's reference runs is called."""
        return stem_of(self.states[0][0])

    def due(self, retry_failed: bool) -> list[JobSpec]:
        """Those that are to run, in their order."""
        done = ("done",) if retry_failed else ("done", "failed")
        return [job for job, state in self.states if state not in done]


def stem_of(job: JobSpec) -> str:
    """How the folder of a job's reference runs is called."""
    return file_name(job.dataset, job.protocol, job.preset)


def runs_of(part: Part, place: Place) -> Runs:
    """The runs of a part, whose preset must be there.

    Raises:
        BenchmarkError: the preset, the data set or the protocol is unknown.
    """
    planned = plan(part.suite(place.preset(part)), {}, place.options)
    states = tuple((job.spec, _state_of(job.spec, place)) for job in planned.jobs)
    return Runs(states, planned.unavailable)


def _state_of(job: JobSpec, place: Place) -> State:
    try:
        folder = reference_folder(place.out, stem_of(job), job.system, job.seed)
        record = read_run(folder).record
    except BenchmarkError:
        return "left"
    is_same = record.identity == job.identity
    if not is_same and record.identity_but_code != job.identity_but_code:
        return "left"
    if not is_same and not place.keeps_other_code:
        return "other code"
    return "done" if record.status == "finished" else "failed"
