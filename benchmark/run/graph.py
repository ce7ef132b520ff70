"""What several jobs of a suite build on, so that it is fitted once and before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.files import sha256_of_json
from benchmark.jobs.store import JobSpec
from benchmark.systems.upstream import is_upstream


@dataclass(frozen=True)
class Shared:
    """A fit that ``jobs`` share: ``system`` as ``job``, one of them, has it."""

    system: str
    job: JobSpec
    jobs: tuple[JobSpec, ...]


def shared_fits(jobs: Sequence[JobSpec]) -> list[Shared]:
    """The fits of declared upstream systems that two jobs or more need, in the order of the jobs.

    Whatever else jobs share (vectors of texts, identifiers) shows itself when they ask for it.
    """
    needing: dict[str, list[JobSpec]] = {}
    systems: dict[str, str] = {}
    for job in jobs:
        needed: dict[str, Mapping[str, Any]] = dict(job.upstream)
        if is_upstream(job.system):
            needed[job.system] = job.configuration
        for system, configuration in needed.items():
            key = sha256_of_json(
                {
                    "system": system,
                    "configuration": dict(configuration),
                    "data": [job.recipe, job.prepared_root, job.candidates_folder],
                    "protocol": job.protocol_settings,
                    "seed": job.seed,
                    "device": job.device,
                    "precision": job.precision,
                }
            )
            needing.setdefault(key, []).append(job)
            systems[key] = system
    return [
        Shared(systems[key], _fitting(systems[key], those), tuple(those))
        for key, those in needing.items()
        if len(those) > 1
    ]


def _fitting(system: str, jobs: Sequence[JobSpec]) -> JobSpec:
    """The system's own job, if it is among them, because its checkpoints are that fit's."""
    return next((job for job in jobs if job.system == system), jobs[0])
