"""Finished identifiers with the figures about them, on disk and as an artifact of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.files import read_json, write_json
from benchmark.kit.identifiers.value import Identifiers
from benchmark.systems.contract import RunContext

FIGURES = "figures.json"


@dataclass(frozen=True)
class LearnedIdentifiers:
    """Identifiers of items 1, 2, … and figures about them, for ``System.identifier_quality``."""

    identifiers: Identifiers
    figures: dict[str, float]

    def save(self, folder: Path) -> None:
        """Write both into ``folder``."""
        self.identifiers.save(folder)
        write_json(folder / FIGURES, self.figures)

    @classmethod
    def load(cls, folder: Path) -> LearnedIdentifiers:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: a file is missing or damaged.
        """
        return cls(Identifiers.load(folder), read_json(folder / FIGURES))


def learned_once(
    context: RunContext,
    name: str,
    determined_by: Mapping[str, Any],
    learn: Callable[[], LearnedIdentifiers],
) -> LearnedIdentifiers:
    """What ``learn`` gives, as an artifact that later runs and other systems find again.

    Args:
        determined_by: what identifiers depend on, beside the run's seed, device, precision and
            code, which count in any case.
    """
    of_run = {
        "seed": context.seed,
        "device": torch.device(context.device).type,
        "precision": context.precision,
        "code": context.code,
    }
    folder = context.artifacts.get(
        name, {**determined_by, **of_run}, lambda folder: learn().save(folder)
    )
    return LearnedIdentifiers.load(folder)
