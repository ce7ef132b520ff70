"""What a training was: its rows, the best epoch, and the lines of its log."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingHistory:
    """What happened: one row an epoch (epoch, step, loss, learning rate, validation metrics)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    resumed: bool = False

    @property
    def best_share(self) -> float:
        """How far training had come when the weights that were kept were reached, 0 to 1."""
        epochs = self.rows[-1]["epoch"] if self.rows else 0
        return self.best_epoch / epochs if self.best_epoch else 1.0


def write_line(row: dict[str, Any]) -> str:
    """One line of a training log."""
    return json.dumps(row, sort_keys=True, allow_nan=False) + "\n"


def flattened(row: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """A row as trackers take it: values of the mappings in it under ``mapping/key``."""
    flat: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat.update(flattened(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
