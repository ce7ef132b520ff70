"""Upstream systems: one system builds on what another one learned, without importing it.

A row of the catalogue declares the rows that it builds on (``SystemEntry.upstream``). What such a
system learned is an artifact: the first run that needs it fits it, all others load it, and the
system's own row in the tables is that same fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.systems.catalogue import choose, entries
from benchmark.systems.contract import RunContext, System
from benchmark.systems.provenance import code_fingerprint, library_versions
from benchmark.systems.view import TrainingView


def upstream(context: RunContext, view: TrainingView, name: str) -> System:
    """The system ``name`` fitted on ``view``, with the configuration that this run gives it.

    Raises:
        BenchmarkError: the catalogue row of the running system does not declare ``name``.
    """
    if name not in context.upstream:
        declared = ", ".join(context.upstream) or "none"
        raise BenchmarkError(
            f"upstream system {name!r} is not declared in the catalogue row of the system that "
            f"asks for it; declared are: {declared}."
        )
    folder = context.folder / "upstream" / name
    # How well it validates says nothing of the system that builds on it.
    own = replace(context, folder=folder, validated=lambda metrics: None)
    return shared_fit(name, context.upstream[name], view, own)


def is_upstream(name: str) -> bool:
    """Whether some row of the catalogue builds on the row ``name``."""
    return any(name in row.upstream for row in entries().values())


def shared_fit(
    name: str, configuration: Mapping[str, Any], view: TrainingView, context: RunContext
) -> System:
    """The system ``name`` as loaded from its artifact, fitted first if it is not there.

    Checkpoints of the fit stand in ``context.folder``, so a killed one goes on.
    """
    entry = choose(name).entry
    system_class: type[System] = entry.load()
    config = system_class.Config.model_validate(configuration)
    own = replace(context, code=code_fingerprint(entry.module))
    own.folder.mkdir(parents=True, exist_ok=True)

    def build(folder: Path) -> None:
        system = system_class(config, own)
        system.fit(view)
        system.save(folder)

    determined_by = {
        "system": name,
        "configuration": config.model_dump(mode="json"),
        "view": view.fingerprint,
        "seed": context.seed,
        "device": context.device.partition(":")[0],
        "precision": context.precision,
        "libraries": library_versions(),
        "code": own.code,
    }
    folder = context.artifacts.get("fitted-system", determined_by, build)
    system = system_class(config, own)
    system.load(folder, view.corpus)
    return system
