"""A small trained system for the faults: it keeps a checkpoint a step, and counts its fits."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.view import Corpus, TrainingView

FITS = "FITS"
"""The environment variable with the folder in which each fit that came to its end leaves a file."""


class TrainedConfig(SystemConfig):
    training: TrainingSettings = TrainingSettings(
        epochs=2, batch_size=64, learning_rate=0.05, checkpoint_seconds=0
    )


class Pairs(Instances):
    def __init__(self, view: TrainingView) -> None:
        self.examples = view.examples("recommendation")

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        part = self.examples.select(rows)
        return {
            "last": torch.from_numpy(part.history(1, "recommendation").items[:, 0]).long(),
            "target": torch.from_numpy(part.target).long(),
        }


class Trained(TorchSystem):
    Config = TrainedConfig

    def build(self, corpus: Corpus) -> nn.Module:
        size = corpus.number_of_items + 1
        return nn.Sequential(nn.Embedding(size, 8), nn.Dropout(0.3), nn.Linear(8, size))

    def fit(self, view: TrainingView) -> None:
        self.model = self.seeded_build(view.corpus)

        def loss(batch: Batch) -> torch.Tensor:
            return nn.functional.cross_entropy(self.model(batch["last"]), batch["target"])

        def build(folder: Path) -> None:
            np.save(folder / "counts.npy", np.bincount(view.examples("recommendation").target))

        folder = self.context.artifacts.get("counts", {"view": view.fingerprint}, build)
        self.counts = np.load(folder / "counts.npy")
        train(
            self.model,
            Pairs(view),
            loss,
            self.config.training,
            self.context,
            lambda: view.validate(self, ("recommendation",)),
        )
        if os.environ.get(FITS):
            Path(os.environ[FITS], f"{self.context.identity}-{uuid.uuid4().hex}").touch()

    def score_batch(self, requests: Requests) -> torch.Tensor:
        last = torch.from_numpy(requests.history(1, "recommendation").items[:, 0]).long()
        return self.model(last).gather(1, torch.from_numpy(requests.candidates).long())
