"""The pretrained models that jobs need are found before the first of them starts."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.jobs.store import JobSpec
from benchmark.systems.catalogue import choose
from benchmark.systems.contract import SystemConfig


def find_parts(jobs: Iterable[JobSpec]) -> None:
    """Find, and download where need be, every pretrained model that the jobs' settings ask for.

    Raises:
        BenchmarkError: some cannot be had; one sentence says of each what is missing, why, and the
            first system that needs it.
    """
    missing: dict[str, str] = {}
    configurations = {
        name: configuration
        for job in jobs
        for name, configuration in ((job.system, job.configuration), *job.upstream.items())
    }
    for name, configuration in configurations.items():
        kind: type[SystemConfig] = choose(name).entry.load().Config
        for part in kind.model_validate(configuration).pretrained_parts():
            try:
                part.find()
            except BenchmarkError as error:
                missing.setdefault(str(error).rstrip("."), name)
            except SystemFailure:
                continue  # of this installation, not of the settings: its own jobs will say so
    if missing:
        listed = "; ".join(f"{name} needs {why}" for why, name in missing.items())
        raise BenchmarkError(f"{listed}.")
