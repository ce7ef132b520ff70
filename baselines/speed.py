"""What ``python -m benchmark.speed systems`` measures: training and scoring, side by side.

Training is compared with RecBole's own data set, loader and Trainer on the same log (ml-100k,
leave-one-out), with networks of one size: width 64, windows of 50. RecBole has neither FMLP-Rec
nor LRURec, so they stand beside its SASRec, of as many layers. A unit is a trained target. Scoring
is compared with the originals' way, a history encoded anew for each candidate. Seconds of training
are those of the processor.
"""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.sequential.recbole_classes import config_class, model_class
from baselines.training_speed import training_topic
from benchmark.data.prepare import PREPARED_ROOT, load
from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import Batch, Instances, train
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS
from benchmark.speed.measure import Measurement
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure
from benchmark.systems.contract import RunContext, System
from benchmark.systems.view import TrainingView

TARGETS_A_STEP = 512
USERS_A_STEP = 16
SCORED_EVENTS = 1000


class Trained(TorchSystem, ABC):
    """What the sequential systems have in common."""

    @abstractmethod
    def instances(self, view: TrainingView) -> Instances:
        """What the network learns from."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch."""


def systems() -> list[Measurement]:
    """Training of the sequential systems and scoring of the joint ones."""
    dataset = load("ml-100k")
    tasks = load_tasks(dataset, PRESETS["paper"], PREPARED_ROOT)
    requests = {name: task.requests(dataset, "test") for name, task in tasks.items()}
    view = TrainingView(dataset, tasks, PRESETS["paper"])
    return [*_training(view), *_scoring(view, requests)]


def _training(view: TrainingView) -> Iterator[Measurement]:
    size: dict[str, Any] = {"history_length": 50}
    recurrent = size | {"hidden_size": 64}
    all_positions = size | {"training_instances": "sequences"}
    # The last three columns: settings beside the size, and instances a step.
    rows = (
        ("GRU4Rec", "gru4rec, an instance a prefix", "gru4rec", recurrent, TARGETS_A_STEP),
        ("GRU4Rec", "gru4rec, all positions", "gru4rec", recurrent | all_positions, TARGETS_A_STEP),
        ("SASRec", "sasrec, an instance a prefix", "sasrec", size, TARGETS_A_STEP),
        ("SASRec", "sasrec, all positions", "sasrec", all_positions, TARGETS_A_STEP),
        ("SASRec", "sasrec-bce", "sasrec-bce", size | {"hidden_units": 64}, USERS_A_STEP),
        ("SASRec", "fmlp-rec", "fmlp-rec", size, TARGETS_A_STEP),
        ("SASRec", "lrurec", "lrurec", size, USERS_A_STEP),
    )
    peer = ""
    for model, way, name, settings, batch_size in rows:
        what = f"training, ml-100k, beside RecBole's {model}"
        if model != peer:
            peer = model
            yield Measurement(what, f"RecBole's Trainer, {model}", *recbole_trainer(model))
        yield Measurement(what, way, *suite_training(name, settings, batch_size, view))


def recbole_trainer(model: str, steps: int = 3) -> tuple[float, int]:
    """Processor seconds and targets of some steps of RecBole's own Trainer on its own ml-100k."""
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    network_class = model_class(model)
    # The Trainer writes below the working folder.
    with TemporaryDirectory() as folder, _inside(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = config_class()(
            model=network_class,
            dataset="ml-100k",
            config_dict={
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "train_neg_sample_args": None,
                "train_batch_size": TARGETS_A_STEP,
                "MAX_ITEM_LIST_LENGTH": 50,
                "hidden_size": 64,
                "inner_size": 256,
                "device": torch.device("cpu"),
                "checkpoint_dir": folder,
                "show_progress": False,
            },
        )
        dataset = create_dataset(config)
        loader, _, _ = data_preparation(config, dataset)
        trainer = Trainer(config, network_class(config, loader.dataset))
        trainer._train_epoch(_FirstBatches(loader, 1), 0, show_progress=False)
        started = time.process_time()
        trainer._train_epoch(_FirstBatches(loader, steps), 0, show_progress=False)
        return time.process_time() - started, steps * TARGETS_A_STEP


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _FirstBatches:
    """The first batches of a RecBole loader."""

    def __init__(self, loader: Any, number: int) -> None:
        self.loader, self.number = loader, number
        self.sampler = loader.sampler

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.loader), self.number)

    def __len__(self) -> int:
        return self.number


class _FirstSteps(Instances):
    """The first batches of an epoch; it counts the targets that they hold."""

    def __init__(self, instances: Instances, number: int) -> None:
        self.instances, self.number, self.targets = instances, number, 0

    def __len__(self) -> int:
        return len(self.instances)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        return self.instances.batches(batch_size, random)[: self.number]

    def steps(self, batch_size: int) -> int:
        return min(self.number, self.instances.steps(batch_size))

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        batch = self.instances.batch(rows, random)
        self.targets += int((batch["targets"] > 0).sum())
        return batch


def suite_training(
    name: str,
    settings: Mapping[str, Any],
    batch_size: int,
    view: TrainingView,
    targets: int = 8 * TARGETS_A_STEP,
) -> tuple[float, int]:
    """Processor seconds and targets of some steps of the suite's loop, after a first one."""
    with TemporaryDirectory() as folder:
        system = cast(Trained, _new_system(name, settings, Path(folder)))
        instances = system.instances(view)
        changes = {"epochs": 1, "batch_size": batch_size, "validate_every": 0}
        training = system.config.training.model_copy(update=changes)
        system.model = system.seeded_build(view.corpus)
        seconds, trained, steps = 0.0, 0, 1
        while trained < targets:
            part = _FirstSteps(instances, steps)
            started = time.process_time()
            train(system.model, part, system.loss, training, system.context, name=f"{steps}-steps")
            seconds, trained, steps = time.process_time() - started, part.targets, steps * 4
        return seconds, trained


def _scoring(view: TrainingView, requests: Mapping[str, Requests]) -> Iterator[Measurement]:
    """Untrained joint systems: lists as they are, against a request for every candidate."""
    untrained = {"training": {"epochs": 0}}
    chosen = requests["recommendation"].select(slice(0, SCORED_EVENTS))
    events, candidates = chosen.candidates.shape
    copies = chosen.select(np.repeat(np.arange(events), candidates))
    copies = copies.with_candidates(chosen.candidates.reshape(-1, 1))
    for name, settings in {
        "unisar": untrained,
        "sesrec": untrained,
        "unifiedssr": untrained | {"pretraining": {"epochs": 0}},
    }.items():
        with TemporaryDirectory() as folder:
            system = _new_system(name, settings, Path(folder))
            system.fit(view)
            what = f"scoring {events:,} x {candidates} candidates, {name}"
            for way, asked in (("a history a candidate", copies), ("a history a list", chosen)):
                started = time.perf_counter()
                system.score(asked)
                yield Measurement(what, way, time.perf_counter() - started, events)


def _new_system(name: str, settings: Mapping[str, Any], folder: Path) -> System:
    choice = choose(name)
    config = configure(choice, settings)
    context = RunContext(seed=1, folder=folder, artifacts=ArtifactStore(folder / "artifacts"))
    system: System = choice.entry.load()(config, context)
    return system


TOPICS: dict[str, Callable[[], Iterable[Measurement | str]]] = {
    "systems": systems,
    "training": training_topic,
}
