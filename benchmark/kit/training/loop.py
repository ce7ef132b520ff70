"""The one training loop of the suite: every trained system goes through it.

It runs on accelerate (device, mixed precision, data parallel under ``torchrun``) and resumes
bit-exactly. Nothing random is carried from step to step: the order of an epoch, the draws of a
batch and the global generators are each seeded by (seed, epoch, step), so a checkpoint needs no
random state, and a run that was killed anywhere ends with the weights of one that was not.
"""

from __future__ import annotations

import math
import random as python_random
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.errors import SystemFailure
from benchmark.faults import lacks_memory
from benchmark.files import write_text
from benchmark.kit.modules import copy_of_state
from benchmark.kit.products import WideProducts, is_faster_by_onednn
from benchmark.kit.training.accelerator import LossModule, accelerator_of
from benchmark.kit.training.checkpoint_files import Checkpoint, Checkpoints
from benchmark.kit.training.checkpoints import CheckpointPace, expected_seconds
from benchmark.kit.training.feed import Feed
from benchmark.kit.training.graphs import graphs_if_possible
from benchmark.kit.training.history import TrainingHistory, flattened, write_line
from benchmark.kit.training.instances import Batch, Instances, Part
from benchmark.kit.training.micro_batches import (
    AUTO,
    Limit,
    measured_costs,
    room_for_parts,
)
from benchmark.kit.training.optimizers import make_optimizer, make_schedule
from benchmark.kit.training.settings import TrainingSettings
from benchmark.systems.contract import RunContext
from benchmark.systems.processes import agreed
from benchmark.systems.view import ValidationMetrics, selection_score


def train(
    model: nn.Module,
    instances: Instances,
    loss: Callable[[Batch], torch.Tensor],
    settings: TrainingSettings,
    context: RunContext,
    validate: Callable[[], ValidationMetrics] | None = None,
    *,
    name: str = "training",
    parameter_groups: Iterable[dict[str, Any]] | None = None,
    selected_by: Callable[[ValidationMetrics], float] | None = None,
    selected_from: int = 0,
) -> TrainingHistory:
    """Train ``model`` in place and leave it with its best (or, unvalidated, last) weights.

    Args:
        loss: maps a batch to the mean loss over its instances; called inside autocast.
        validate: metrics of the model as it is now; see ``TrainingView.validate``.
        name: tells apart several trainings of one run (checkpoint folder, random numbers).
        parameter_groups: optimiser groups with settings of their own; all parameters if absent.
        selected_by: what of the metrics the best weights maximise; ``selection_score`` if absent.
        selected_from: the step from which on weights may be the best ones; validations before it
            are only logged.

    Raises:
        SystemFailure: there is nothing to learn from, or the loss is no longer finite.
    """
    if len(instances) == 0:
        raise SystemFailure(f"{name}: there are no training instances.")
    loop = _Loop(
        model, instances, loss, settings, context, validate, name, parameter_groups, selected_by
    )
    loop.selected_from = selected_from
    return loop.run()


class _Loop:
    def __init__(
        self,
        model: nn.Module,
        instances: Instances,
        loss: Callable[[Batch], torch.Tensor],
        settings: TrainingSettings,
        context: RunContext,
        validate: Callable[[], ValidationMetrics] | None,
        name: str,
        parameter_groups: Iterable[dict[str, Any]] | None,
        selected_by: Callable[[ValidationMetrics], float] | None,
    ) -> None:
        self.settings, self.context, self.instances, self.name = settings, context, instances, name
        self.validate = validate if settings.validate_every else None
        self.selected_by = selected_by or selection_score
        self.selected_from = 0
        self.accelerator = accelerator_of(context)
        self.feed = Feed(instances, settings, self.accelerator, context, name)
        model.to(self.accelerator.device)
        self.model, self.loss = model, loss
        # What a graph is made of is compiled as a whole.
        by_onednn = not settings.compiled and is_faster_by_onednn(model)
        self.products: AbstractContextManager[Any] = WideProducts() if by_onednn else nullcontext()
        groups = parameter_groups if parameter_groups is not None else model.parameters()
        optimizer = make_optimizer(groups, settings)
        self.loss_module, self.optimizer = self.accelerator.prepare(
            LossModule(model, loss), optimizer
        )
        self.steps_per_epoch = instances.steps(settings.batch_size)
        self.schedule = make_schedule(optimizer, settings, settings.epochs * self.steps_per_epoch)
        self.history = TrainingHistory()
        self.best: dict[str, torch.Tensor] | None = None
        self.epoch, self.batch_in_epoch, self.step, self.failures = 0, 0, 0, 0
        self.loss_sum, self.loss_weight = 0.0, 0
        self.limit, self.halvings = Limit(), 0
        self.graphs = graphs_if_possible(
            self.loss_module, instances, settings, self.accelerator, context
        )
        self.checkpoints = Checkpoints(
            context.folder / "checkpoint" / name, context.identity, context.logger
        )
        self.pace = CheckpointPace(
            settings.checkpoint_seconds, settings.checkpoint_share, expected_seconds(model)
        )

    def run(self) -> TrainingHistory:
        self._resume()
        if self.accelerator.log_with:
            self.accelerator.init_trackers(self.name)
        if self.epoch < self.settings.epochs:
            self.limit = self._limit()
        while self.epoch < self.settings.epochs and not self._is_exhausted():
            self._train_epoch()
            self._end_epoch()
        if self.best is not None:
            self.model.load_state_dict(self.best)
        if self.accelerator.log_with:
            self.accelerator.end_training()
        self.checkpoints.remove()
        return self.history

    def _is_exhausted(self) -> bool:
        return self.settings.patience is not None and self.failures >= self.settings.patience

    def _limit(self) -> Limit:
        """What is computed at once, halved as often as it was before a resume."""
        size, fixed = self.settings.micro_batch_size, self.graphs is not None
        if size != AUTO:
            return Limit(instances=size, fixed_shapes=fixed)

        def forward(instances: int, inputs: int, targets: int) -> torch.Tensor:
            batch = self.feed.moved(self.instances.probe(instances, inputs, targets))
            with self.accelerator.autocast():
                return self.loss(batch)

        self.model.train()
        room = room_for_parts(self.model, self.accelerator.device)
        costs = measured_costs(self.model, forward)
        limit = Limit(room=room, costs=costs, fixed_shapes=fixed)
        for _ in range(self.halvings):
            limit = limit.halved()
        return limit

    def _train_epoch(self) -> None:
        batches = self.instances.batches(
            self.settings.batch_size, self.context.random(self.name, "order", self.epoch)
        )
        self.loss_module.train()
        while self.batch_in_epoch < len(batches):
            rest = batches[self.batch_in_epoch :]
            with closing(self.feed.built(rest, self.step, self.limit)) as built:
                for rows, parts in built:
                    if not self._train_step(len(rows), parts):
                        break  # what was built ahead is too large as well
                    self.batch_in_epoch += 1
                    self.step += 1
                    self._checkpoint_if_due()

    def _train_step(self, number: int, parts: list[Part]) -> bool:
        """One step of the optimiser; false, and nothing done, where its parts do not fit.

        Args:
            number: instances of the batch, over all processes.
            parts: those of this process.
        """
        self._seed_global_generators("step", self.step, self.accelerator.process_index)
        total = torch.zeros((), device=self.accelerator.device)
        try:
            with self.products:
                for place, (batch, share) in enumerate(parts):
                    total += self._backward(self.feed.moved(batch), share, place + 1 < len(parts))
        except (RuntimeError, MemoryError) as error:
            is_cut_by_memory = self.settings.micro_batch_size == AUTO
            if (
                not is_cut_by_memory
                or self.accelerator.num_processes > 1
                or not lacks_memory(error)
            ):
                raise
            if all(len(next(iter(batch.values()))) == 1 for batch, _ in parts):
                raise SystemFailure(
                    f"{self.name}: not even one instance fits into the device's memory."
                ) from error
            self.limit = self.limit.halved()
        else:
            self._update()
            self._note(number, total)
            return True
        # Only here, where the failed pass and its tensors are gone, is their memory free.
        self.halvings += 1
        self._clear_gradients()
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        self.context.logger.warning(
            "%s: the parts of step %d did not fit into memory; they are half as large from here on",
            self.name,
            self.step,
        )
        return False

    def _update(self) -> None:
        if self.settings.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self._clear_gradients()
        if self.settings.schedule != "plateau":
            self.schedule.step()

    def _clear_gradients(self) -> None:
        # A graph adds to the gradients where they lay when it was recorded.
        self.optimizer.zero_grad(set_to_none=self.graphs is None)

    def _note(self, number: int, total: torch.Tensor) -> None:
        # What one process sees, all must see, or the others wait for a process that has given up.
        value = float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(value):
            raise SystemFailure(f"{self.name}: the loss is {value} at step {self.step}.")
        self.loss_sum += value * number
        self.loss_weight += number

    def _seed_global_generators(self, purpose: str, *numbers: int) -> None:
        """Seed torch's, NumPy's and Python's own generators, which dropout and model code use."""
        random = self.context.random(self.name, purpose, *numbers)
        torch.manual_seed(int(random.integers(2**62)))
        np.random.seed(int(random.integers(2**32)))
        python_random.seed(int(random.integers(2**62)))

    def _backward(self, batch: Batch, share: float, more_parts: bool) -> torch.Tensor:
        if more_parts:
            with self.accelerator.no_sync(self.loss_module):
                loss = self._loss_of(batch) * share
                self.accelerator.backward(loss)
        else:
            loss = self._loss_of(batch) * share
            self.accelerator.backward(loss)
        return loss.detach().reshape(())  # some models give a mean of shape (1,)

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        computed = self.loss_module if self.graphs is None else self.graphs
        found: torch.Tensor = computed(batch)
        return found

    def _end_epoch(self) -> None:
        self.epoch += 1
        self.batch_in_epoch = 0
        row: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "loss": self.loss_sum / max(self.loss_weight, 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.loss_sum, self.loss_weight = 0.0, 0
        if self.validate is not None and self.epoch % self.settings.validate_every == 0:
            self.model.eval()
            self._seed_global_generators("validation", self.epoch)
            metrics = self.validate()
            row["validation"] = metrics
            score = agreed(self.selected_by(metrics))
            if self.step >= self.selected_from:
                self._keep_if_best(score)
            if self.selected_by is selection_score:
                self.context.validated(metrics)
        self.history.rows.append(row)
        self.accelerator.log(flattened(row), step=self.step)
        if self.accelerator.is_main_process:
            lines = [write_line(one) for one in self.history.rows]
            write_text(self.context.folder / f"{self.name}.jsonl", "".join(lines))
        best = f", validation {self.history.best_score:.4f} at best" if self.validate else ""
        self.context.progress(
            f"{self.name}: epoch {self.epoch}/{self.settings.epochs}, loss {row['loss']:.4f}{best}"
        )

    def _keep_if_best(self, score: float) -> None:
        if self.settings.schedule == "plateau":
            self.schedule.step(score)
        if score > self.history.best_score:
            self.history.best_score, self.history.best_epoch = score, self.epoch
            self.best = copy_of_state(self.model)
            self.failures = 0
        else:
            self.failures += 1

    def _checkpoint_if_due(self) -> None:
        if self.accelerator.is_main_process and self.pace.is_due():
            with self.pace.writing():
                self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Write all that the training hangs on from here."""
        self.checkpoints.write(
            self.step,
            self.model,
            self.best,
            {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            },
            {
                "epoch": self.epoch,
                "batch_in_epoch": self.batch_in_epoch,
                "step": self.step,
                "failures": self.failures,
                "halvings": self.halvings,
                "loss_sum": self.loss_sum,
                "loss_weight": self.loss_weight,
                "rows": self.history.rows,
                "best_epoch": self.history.best_epoch,
                "best_score": None
                if self.history.best_score == -math.inf
                else self.history.best_score,
            },
        )

    def _resume(self) -> None:
        checkpoint = self.checkpoints.newest()
        if checkpoint is not None:
            self._restore(checkpoint)
            self.context.progress(f"{self.name}: resumed at step {self.step}")

    def _restore(self, checkpoint: Checkpoint) -> None:
        device = self.accelerator.device
        if device.type == "cpu":
            device = torch.device("cpu")  # weights cannot be read to a numbered CPU
        self.model.load_state_dict(checkpoint.weights(device))
        self.best = checkpoint.best(device)
        stored = checkpoint.optimizer(device)
        self.optimizer.load_state_dict(stored["optimizer"])
        self.schedule.load_state_dict(stored["schedule"])
        progress = checkpoint.progress()
        self.epoch, self.batch_in_epoch = progress["epoch"], progress["batch_in_epoch"]
        self.step, self.failures = progress["step"], progress["failures"]
        self.halvings = progress["halvings"]
        self.loss_sum, self.loss_weight = progress["loss_sum"], progress["loss_weight"]
        best = progress["best_score"]
        self.history = TrainingHistory(
            rows=progress["rows"],
            best_epoch=progress["best_epoch"],
            best_score=-math.inf if best is None else best,
            resumed=True,
        )
