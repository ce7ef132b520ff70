"""The speed board's lines on SASRec: steps of training on ml-100k, beside RecBole and RecTools.

All networks have width 64, two layers, two heads and windows of 50, and learn by the softmax over
all items. A unit is a trained target. RecBole has an instance for each prefix and wide feed-forward
layers; RecTools, like the suite where it is asked to, has all positions of a user's window in one
instance, and feed-forward layers of the network's width. The suite has its peer's in either line.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from baselines.speed import TARGETS_A_STEP, recbole_trainer, suite_training
from benchmark.data.dataset import EventLog
from benchmark.data.prepare import PREPARED_ROOT, load
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import PRESETS
from benchmark.speed.contest import Board, Line, Peer, Task, Way, race
from benchmark.systems.view import TrainingView

TOPIC = "sasrec"
RECBOLE = Peer("RecBole", TOPIC, ("recbole.trainer",), "recbole", "pip install --no-deps recbole")
RECTOOLS = Peer(
    "RecTools",
    TOPIC,
    ("pytorch_lightning", "rectools.models.nn.transformers.sasrec"),
    "rectools",
    "pip install --no-deps rectools pm-implicit pytorch-lightning lightning-utilities torchmetrics "
    "typeguard fastrlock",
)
PEERS = (RECBOLE, RECTOOLS)
WINDOW = 50
ROWS_A_STEP = 16
"""Windows of RecTools, about as many targets as the others have."""


Training = Callable[[], tuple[float, int]]
"""Returns processor seconds, and the targets that were trained in them."""


def lines(largest: int) -> Iterator[Line]:
    """One line an instance a prefix, one for all positions; ``largest`` changes nothing."""
    dataset = load("ml-100k")
    tasks = load_tasks(dataset, PRESETS["paper"], PREPARED_ROOT)
    view = TrainingView(dataset, tasks, PRESETS["paper"])
    size: dict[str, Any] = {"history_length": WINDOW}
    recbole, rectools = RECBOLE.missing() is None, RECTOOLS.missing() is None
    positions = size | {"training_instances": "sequences"}
    rows: tuple[tuple[str, dict[str, Any], str, Training | None], ...] = (
        (
            "an instance for each target, feed-forward 256",
            size | {"inner_size": 256},
            RECBOLE.title() if recbole else "",
            partial(recbole_trainer, "SASRec") if recbole else None,
        ),
        (
            "all positions in one instance, feed-forward 64",
            positions | {"inner_size": 64, "hidden_act": "relu"},
            RECTOOLS.title() if rectools else "",
            partial(rectools_training, dataset.log) if rectools else None,
        ),
    )
    for how, settings, name, peer in rows:
        train = partial(suite_training, "sasrec", settings, TARGETS_A_STEP, view)
        ways = [] if peer is None else [_per_target(name, peer)]
        ways.append(_per_target("suite (ours)", train))
        yield race(Task(TOPIC, f"SASRec on ml-100k, {how}", 1, "targets"), ways)


def _per_target(name: str, train: Training) -> Way:
    def seconds() -> float:
        took, targets = train()
        return took / targets

    return Way(name, seconds, is_ours="(ours)" in name, warms_up=False, rounds=2)


def rectools_training(log: EventLog, rows_a_step: int = ROWS_A_STEP) -> tuple[float, int]:
    """Processor seconds of the last of two epochs, which prepares nothing, and its targets."""
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models.nn.transformers.sasrec import SASRecDataPreparator, SASRecModel

    epochs: list[float] = []

    class Clock(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            epochs.append(-time.process_time())

        def on_train_epoch_end(self, *_: Any) -> None:
            epochs[-1] += time.process_time()

    class Preparator(SASRecDataPreparator):
        """Its tokens as an array, since pandas 3 refuses the tuple that RecTools 0.19 gives it."""

        @property
        def item_extra_tokens(self) -> Any:
            return np.array(super().item_extra_tokens, dtype=object)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=[Clock()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    interactions = pd.DataFrame(
        {
            Columns.User: log.user,
            Columns.Item: log.item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(log.timestamp, unit="s"),
        }
    )
    with _quiet():
        SASRecModel(
            n_blocks=2,
            n_heads=2,
            n_factors=64,
            session_max_len=WINDOW,
            loss="softmax",
            batch_size=rows_a_step,
            data_preparator_type=Preparator,
            get_trainer_func=trainer,
        ).fit(Dataset.construct(interactions))
    # The first event of a user has nothing before it.
    targets = np.minimum(np.bincount(log.user)[1:] - 1, WINDOW).clip(0).sum()
    return epochs[-1], int(targets)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the peers announce and warn of out of the board."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


BOARD = (Board(TOPIC, lines, PEERS),)
