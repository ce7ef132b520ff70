"""Stages of a fit that are finished: kept until the system is, so that a killed run goes on there.

The loop resumes within one training (``loop``); what a system does between two of them is its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.files import build_folder, check_manifest, is_complete, write_array
from benchmark.kit.modules import load_state, save_state
from benchmark.systems.contract import RunContext

_WEIGHTS, _ARRAY = "model.safetensors", "codes.npy"


class FinishedStages:
    """The network, and an array, as the last finished stage left them.

    Args:
        context: whose folder they are in, among its checkpoints.
        name: what the stages are, "positions".
        one: what a warning calls one of them, "a learned position".
        most: the number of the last one that there may be, counted from 1.
    """

    def __init__(self, context: RunContext, name: str, one: str, most: int) -> None:
        self.context, self.one, self.most = context, one, most
        self._folder = context.folder / "checkpoint" / name

    def keep(self, stage: int, network: nn.Module, array: NDArray[np.int64]) -> None:
        """Write what ``stage`` has made; that of the one before goes."""

        def fill(folder: Path) -> None:
            save_state(network.state_dict(), folder / _WEIGHTS)
            write_array(folder / _ARRAY, array)

        build_folder(self._folder / str(stage), fill)
        shutil.rmtree(self._folder / str(stage - 1), ignore_errors=True)

    def resumed(self, network: nn.Module, first: NDArray[np.int64]) -> NDArray[np.int64]:
        """The array of the last sound stage, whose weights are read into ``network``.

        Args:
            first: what it is where no stage is finished; then the network stays as it is.
        """
        for stage in range(self.most, 0, -1):
            folder = self._folder / str(stage)
            if is_complete(folder) and self._is_sound(folder):
                network.load_state_dict(load_state(folder / _WEIGHTS, self.context.device))
                array: NDArray[np.int64] = np.load(folder / _ARRAY, allow_pickle=False)
                return array
        return first

    def _is_sound(self, folder: Path) -> bool:
        try:
            check_manifest(folder)
        except BenchmarkError as error:
            self.context.logger.warning("%s is not used: %s", self.one, error)
            shutil.rmtree(folder)
            return False
        return True

    def forget(self) -> None:
        """Remove all, when the system is fitted."""
        shutil.rmtree(self._folder, ignore_errors=True)
