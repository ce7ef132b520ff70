"""The base class of systems that the suite's loop trains on instances of their own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from benchmark.kit.modules import TorchSystem
from benchmark.kit.training.instances import Batch, Instances
from benchmark.kit.training.loop import train
from benchmark.kit.training.settings import TrainingSettings
from benchmark.systems.view import TrainingView, ValidationMetrics


class TrainedSystem(TorchSystem):
    """Fits :meth:`loss` on :meth:`instances`, and keeps the weights of the best validation."""

    @abstractmethod
    def trained_tasks(self, view: TrainingView) -> tuple[str, ...]:
        """The tasks that it learns from the view, and is validated on.

        Raises:
            SystemFailure: the view has nothing to learn from.
        """

    @abstractmethod
    def instances(self, view: TrainingView) -> Instances:
        """What the network learns from; called before it is built."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch of :meth:`instances`."""

    def prepare(self, view: TrainingView) -> None:
        """Set what the view tells of the fresh network without training; here nothing."""

    def training_settings(self, instances: Instances) -> TrainingSettings:
        """How the network is trained on these instances."""
        return self.config.training

    def parameter_groups(self) -> list[dict[str, Any]] | None:
        """The optimiser's groups of parameters; one of all if absent."""
        return None

    def validate(self, view: TrainingView, tasks: tuple[str, ...]) -> ValidationMetrics:
        """The figures that training is stopped and weights are chosen by."""
        return view.validate(self, tasks)

    def fit(self, view: TrainingView) -> None:
        """Build the network under the run's seed and train it."""
        tasks, instances = self.trained_tasks(view), self.instances(view)
        self.model = self.seeded_build(view.corpus)
        self.prepare(view)
        train(
            self.model,
            instances,
            self.loss,
            self.training_settings(instances),
            self.context,
            lambda: self.validate(view, tasks),
            parameter_groups=self.parameter_groups(),
        )
