"""What identifies a job: a hash of everything that determines its result.

That is the system with its tasks and full configuration, the data set's content, the protocol, the
seed, the device kind and precision, the versions of the numerical libraries, the configurations of
the systems that it builds on, and the code of all these (see :mod:`benchmark.systems.provenance`).
It is computed where the job is planned and again where it runs, from what that process has loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.jobs.evaluation import fingerprint_of_lists
from benchmark.jobs.store import JobSpec
from benchmark.protocol.task import Task
from benchmark.systems.catalogue import choose
from benchmark.systems.provenance import code_digests, library_versions, loaded_from_others

_NAMED = 3  # of the changed modules, in a sentence


class JobChanged(BenchmarkError):
    """A job is no longer the planned one: nothing that was made since belongs to its identity."""


def job_code(system: str, upstream: Iterable[str]) -> dict[str, str]:
    """Module → hash of its source, for a system and those that it builds on.

    Raises:
        BenchmarkError: see :func:`benchmark.systems.provenance.code_digests`.
    """
    return code_digests(*(choose(name).entry.module for name in (system, *upstream)))


def job_identity(
    *,
    system: str,
    configuration: dict[str, Any],
    upstream: Mapping[str, dict[str, Any]],
    code: Mapping[str, str],
    data: str,
    protocol: dict[str, Any],
    candidates: str | None,
    seed: int,
    device: str,
    precision: str,
) -> str:
    """The identity of a job, 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "system": system,
            "tasks": list(choose(system).entry.tasks),
            "configuration": configuration,
            "dataset": data,
            "protocol": protocol,
            "candidates": candidates,
            "seed": seed,
            "device": device.partition(":")[0],
            "precision": precision,
            "libraries": library_versions(),
            "code": dict(code),
            "upstream": dict(upstream),
        }
    )


def refuse_if_changed(job: JobSpec, dataset: Dataset, tasks: Mapping[str, Task]) -> None:
    """Stop a job that would not be the planned one in this process.

    Raises:
        JobChanged: the code, the data, the candidate lists or the libraries are others.
        BenchmarkError: see :func:`job_code`.
    """
    code = job_code(job.system, job.upstream)
    others = [name for name in {**code, **job.code} if code.get(name) != job.code.get(name)]
    if others:
        raise _changed(job, _named(others))
    identity = job_identity(
        system=job.system,
        configuration=job.configuration,
        upstream=job.upstream,
        code=code,
        data=dataset.content_and_salt,
        protocol=job.protocol_settings,
        candidates=fingerprint_of_lists(dict(tasks)) if job.candidates_folder else None,
        seed=job.seed,
        device=job.device,
        precision=job.precision,
    )
    if identity != job.identity:
        raise _changed(job, "its data set, candidate lists, tasks or libraries")


def refuse_other_code(job: JobSpec) -> None:
    """Stop a job for which this process has loaded, since it began, other code than was planned.

    Raises:
        JobChanged: it has, or nobody knows what it has loaded.
    """
    try:
        others = loaded_from_others(job.code)
    except BenchmarkError as error:
        raise JobChanged(str(error)) from None
    if others:
        raise _changed(job, _named(others))


def _changed(job: JobSpec, what: str) -> JobChanged:
    return JobChanged(
        f"{job.label}: {what} changed after the job was planned, so it is not stored; start the "
        "command again."
    )


def _named(modules: list[str]) -> str:
    more = f" and {len(modules) - _NAMED} more modules" if len(modules) > _NAMED else ""
    return ", ".join(sorted(modules)[:_NAMED]) + more
