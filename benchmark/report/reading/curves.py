"""Training curves: from the lines that training writes, and in the compact form of a reference.

Training leaves ``*.jsonl`` files in a run folder, a line an epoch. A system may train several
models (an encoder, then a ranker), each with a file of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.files import finished_in, write_text

CURVE_METRIC = "NDCG@5"
DIGITS = 5
"""After the point, in a reference run."""


@dataclass(frozen=True)
class Curve:
    """One model's training: ``loss`` and, for each task, validation NDCG@5, by epoch.

    Epochs without a validation have NaN.
    """

    name: str
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    validation: Mapping[str, tuple[float, ...]]


def read_curves(folder: Path) -> tuple[Curve, ...]:
    """The curves of a run folder; a file or a line that is no training log is passed over."""
    curves = []
    for path in finished_in(folder, "*.jsonl"):
        rows = list(_rows(path))
        tasks = dict.fromkeys(task for row in rows for task in _validation(row))
        if rows:
            curves.append(
                Curve(
                    name=path.stem,
                    epochs=tuple(int(row["epoch"]) for row in rows),
                    loss=tuple(_number(row.get("loss")) for row in rows),
                    validation={
                        task: tuple(_validation(row).get(task, math.nan) for row in rows)
                        for task in tasks
                    },
                )
            )
    return tuple(curves)


def write_curves(folder: Path, curves: Iterable[Curve]) -> None:
    """Write what :func:`read_curves` reads, and no more of it."""
    for curve in curves:
        lines = []
        for place, epoch in enumerate(curve.epochs):
            validation = {
                task: {CURVE_METRIC: round(values[place], DIGITS)}
                for task, values in curve.validation.items()
                if math.isfinite(values[place])
            }
            row: dict[str, Any] = {"epoch": epoch}
            if math.isfinite(curve.loss[place]):
                row["loss"] = round(curve.loss[place], DIGITS)
            if validation:
                row["validation"] = validation
            lines.append(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
        write_text(folder / f"{curve.name}.jsonl", "".join(lines))


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("epoch"), int):
            yield row


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _validation(row: Mapping[str, Any]) -> dict[str, float]:
    found = row.get("validation")
    if not isinstance(found, dict):
        return {}
    return {
        task: _number(metrics[CURVE_METRIC])
        for task, metrics in found.items()
        if isinstance(metrics, dict) and CURVE_METRIC in metrics
    }
