"""A system that is one table of counts by item: what the no-learning rankers share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.files import atomic_path
from benchmark.systems.contract import System
from benchmark.systems.view import Corpus

_FILE = "counts.npy"


class CountingSystem(System):
    """``counts`` is (number_of_items + 1,) float64, made by ``fit``."""

    counts: NDArray[np.float64]

    def save(self, folder: Path) -> None:
        """Write the counts."""
        with atomic_path(folder / _FILE) as path:
            np.save(path, self.counts, allow_pickle=False)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the counts."""
        self.counts = np.load(folder / _FILE, allow_pickle=False)
