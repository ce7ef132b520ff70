"""The checkpoints of a training in files: each in a folder of its own, whole or not there."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.files import build_folder, check_manifest, is_complete, read_json, write_json
from benchmark.kit.modules import copy_of_state, load_state, save_state

CHECKPOINTS_KEPT = 2
"""The newest, and the one before it in case the newest turns out damaged."""

_WEIGHTS, _BEST = "model.safetensors", "best.safetensors"
_OPTIMIZER, _PROGRESS = "optimizer.pt", "progress.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in its folder, whose parts are read one by one."""

    folder: Path

    def weights(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Those of the model, on ``device``."""
        return load_state(self.folder / _WEIGHTS, device)

    def best(self, device: torch.device) -> dict[str, torch.Tensor] | None:
        """The best weights by then, on ``device``; None where none were validated yet."""
        path = self.folder / _BEST
        return load_state(path, device) if path.is_file() else None

    def optimizer(self, device: torch.device) -> dict[str, Any]:
        """The states of optimiser and schedule, under these names."""
        stored: dict[str, Any] = torch.load(
            self.folder / _OPTIMIZER, map_location=device, weights_only=True
        )
        return stored

    def progress(self) -> dict[str, Any]:
        """The job's ``identity``, and what :meth:`Checkpoints.write` was given."""
        progress: dict[str, Any] = read_json(self.folder / _PROGRESS)
        return progress


class Checkpoints:
    """The checkpoints of one training of a job.

    Args:
        folder: what holds them, a folder each.
        identity: the job's, so that no other one's are taken.
        logger: is told which are not used, and why.
    """

    def __init__(self, folder: Path, identity: str, logger: logging.Logger) -> None:
        self.folder, self.identity, self.logger = folder, identity, logger

    def write(
        self,
        step: int,
        model: nn.Module,
        best: dict[str, torch.Tensor] | None,
        optimizer: dict[str, Any],
        progress: dict[str, Any],
    ) -> None:
        """Publish a new checkpoint folder, then remove all but the newest ones."""

        def fill(folder: Path) -> None:
            save_state(copy_of_state(model), folder / _WEIGHTS)
            if best is not None:
                save_state(best, folder / _BEST)
            torch.save(optimizer, folder / _OPTIMIZER)
            write_json(folder / _PROGRESS, {"identity": self.identity, **progress})

        build_folder(self.folder / f"step-{step:012d}", fill)
        for older in self._whole()[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(older, ignore_errors=True)

    def newest(self) -> Checkpoint | None:
        """The newest that is sound and this job's, None without one; newer ones are removed."""
        for folder in reversed(self._whole()):
            checkpoint = Checkpoint(folder)
            try:
                check_manifest(folder)
                if checkpoint.progress().get("identity") != self.identity:
                    raise BenchmarkError(f"{folder}: is a checkpoint of another job.")
            except BenchmarkError as error:
                self.logger.warning("checkpoint is not used: %s", error)
                # Out of the way, or the good one of this step would not be written later.
                shutil.rmtree(folder, ignore_errors=True)
                continue
            return checkpoint
        return None

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        """From the oldest to the newest."""
        return sorted(path for path in self.folder.glob("step-*") if is_complete(path))
