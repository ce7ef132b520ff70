"""Small systems to tune: one that learns transitions, one that builds on it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import Batch, TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.catalogue import SystemEntry
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import Choice, Real, SearchSpace, UntilPatience
from benchmark.systems.upstream import upstream
from benchmark.systems.view import Corpus, TrainingView
from tests.faults.systems import Pairs

TASK = "recommendation"


class ToyConfig(SystemConfig):
    size: int = 4
    training: TrainingSettings = TrainingSettings(
        epochs=3, batch_size=64, learning_rate=0.05, patience=1
    )

    search_space: ClassVar[SearchSpace] = {
        "size": Choice((4, 8)),
        "training.learning_rate": Real(0.001, 0.5, log=True),
        "training.epochs": UntilPatience(6),
    }


class Toy(TorchSystem):
    """Its training is an artifact where ``in_artifact`` is set, as GenSAR's is."""

    Config = ToyConfig
    in_artifact = False

    def build(self, corpus: Corpus) -> nn.Module:
        rows, size = corpus.number_of_items + 1, self.config.size
        return nn.Sequential(nn.Embedding(rows, size), nn.Linear(size, rows))

    def fit(self, view: TrainingView) -> None:
        def count(folder: Path) -> None:
            np.save(folder / "counts.npy", np.bincount(view.log.item))

        self.context.artifacts.get("counts", {"view": view.fingerprint}, count)
        if not self.in_artifact:
            self.learn(view)
            return

        def build(folder: Path) -> None:
            self.learn(view)
            self.save(folder)

        what = {"configuration": self.config.model_dump(mode="json"), "view": view.fingerprint}
        self.load(self.context.artifacts.get("learned", what, build), view.corpus)

    def learn(self, view: TrainingView) -> None:
        self.model = self.seeded_build(view.corpus)

        def loss(batch: Batch) -> torch.Tensor:
            return nn.functional.cross_entropy(self.model(batch["last"]), batch["target"])

        train(
            self.model,
            Pairs(view),
            loss,
            self.config.training,
            self.context,
            lambda: view.validate(self, (TASK,)),
        )

    def score_batch(self, requests: Requests) -> torch.Tensor:
        last = torch.from_numpy(requests.history(1, TASK).items[:, 0]).long()
        return self.model(last).gather(1, torch.from_numpy(requests.candidates).long())


class ToyInArtifact(Toy):
    in_artifact = True


class Above(Toy):
    """Notes in a file which settings the system has that it builds on."""

    def fit(self, view: TrainingView) -> None:
        below = upstream(self.context, view, "toy")
        with Path("BELOW").open("a") as file:
            file.write(f"{below.config.training.learning_rate} {below.config.size}\n")
        super().fit(view)


def _row(name: str, target: str, upstream: tuple[str, ...] = ()) -> SystemEntry:
    module = "tests.tune.systems"
    return SystemEntry(name, name, "sequential", (TASK,), f"{module}:{target}", upstream=upstream)


ROWS = (
    _row("toy", "Toy"),
    _row("toy-in-artifact", "ToyInArtifact"),
    _row("above", "Above", ("toy",)),
)
