"""RecBole's model classes without RecBole around them.

RecBole 1.2.1 (https://github.com/RUCAIBox/RecBole, commit 7b02be5, MIT). Only its model classes are
used: the data, the loop, the negatives and the metrics are the suite's. A model class wants a
``Config`` and a data set. RecBole's ``Config`` reads the command line, evaluates strings, writes
aliases into numpy, hides GPUs and changes yaml's loader for the whole process; the subclass here
does none of that. The data set is a stub that knows sizes. Nothing is patched, and RecBole is
imported only when a model is built (its import takes seconds). One effect remains: that import
loads scikit-learn, which sets two environment variables (``KMP_*``) where they are absent.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import yaml
from torch import nn

from baselines.sequential.base import (
    AllPositionTargets,
    Asked,
    LastPositionTargets,
    SequentialConfig,
    SequentialSystem,
)
from benchmark.errors import BenchmarkError
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.training import Batch, Instances
from benchmark.systems.space import WEIGHT_DECAY, SearchSpace
from benchmark.systems.view import Corpus, TrainingView

# RecBole's own names of the columns of a batch, as its sample.yaml gives them.
USER, ITEM, NEGATIVE = "user_id", "item_id", "neg_item_id"
HISTORY, HISTORY_LENGTH = "item_id_list", "item_length"

DATASET_NAME = "gensar-benchmark"
"""Not the name of a data set that RecBole knows, so it looks for no file."""


class RecBoleConfig(SequentialConfig):
    """What GRU4Rec and SASRec have in common; RecBole's names and defaults."""

    loss: Literal["CE", "BPR"] = "CE"
    """Cross-entropy over the catalogue (row 0 included, as in RecBole), or Bayesian pairs with one
    uniform negative that differs from the target."""
    training_instances: Literal["prefixes", "sequences"] = "prefixes"
    """One target an instance, as RecBole does it, or every position of a user's window at once:
    the same loss for tens of times more targets per second."""

    search_space: ClassVar[SearchSpace] = {
        **SequentialConfig.search_space,
        "training.weight_decay": WEIGHT_DECAY,
    }


class RecBoleSystem(SequentialSystem):
    """A RecBole network whose ``forward`` gives the state at every position.

    Subclasses name the class; the fields of their ``Config`` are its parameters. The score of an
    item is the product of the state at the last item with the item's embedding.
    """

    recbole_class: ClassVar[str]

    def network(self, corpus: Corpus) -> nn.Module:
        """RecBole's network; ``forward`` maps items (batch, length) to (batch, length, dim)."""
        own = set(self.Config.model_fields) - set(RecBoleConfig.model_fields)
        parameters = {**self.config.model_dump(include=own), "loss_type": self.config.loss}
        model, length = with_all_positions(self.recbole_class), self.config.history_length
        config = recbole_config(model, parameters, length, self.device)
        return build_network(model, config, stub_dataset(corpus, length))

    def instances(self, view: TrainingView) -> Instances:
        """Prefixes or windows, with negatives if the loss needs them."""
        config = self.config
        kinds = {"prefixes": LastPositionTargets, "sequences": AllPositionTargets}
        negatives = NegativeSampler(view) if config.loss == "BPR" else None
        return kinds[config.training_instances](view, config.history_length, negatives)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss over the targets of a batch; all tensors (batch, length)."""
        network: Any = self.model.network
        chosen = batch["targets"] > 0
        # Positions without a target are dropped before the large product with the item table.
        states = network(batch["items"], lengths_of(batch["items"]))[chosen]  # (targets, dim)
        targets = batch["targets"][chosen]
        if self.config.loss == "CE":
            logits = states @ network.item_embedding.weight.T  # (targets, items + 1)
            return network.loss_fct(logits, targets)
        positive = (states * network.item_embedding(targets)).sum(dim=-1)  # (targets,)
        negative = (states * network.item_embedding(batch["negatives"][chosen])).sum(dim=-1)
        return network.loss_fct(positive, negative)

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """The products of the last state with the candidates' embeddings."""
        network: Any = self.model.network
        last = self._last_states(asked)
        return torch.einsum("bd,bcd->bc", last, network.item_embedding(candidates))

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """The products of the last state with all embeddings."""
        network: Any = self.model.network
        return self._last_states(asked) @ network.item_embedding.weight.T

    def _last_states(self, asked: Asked) -> torch.Tensor:
        """(batch, dim) the state at the last item of each history."""
        items, lengths = asked.items, asked.lengths
        states = self.model.network(items[:, : int(lengths.max())], lengths)  # (batch, length, dim)
        return states[torch.arange(len(states), device=states.device), lengths - 1]


def lengths_of(items: torch.Tensor) -> torch.Tensor:
    """(batch,) real items of each row of (batch, length)."""
    return (items > 0).sum(dim=1)


def with_all_positions(name: str) -> type[nn.Module]:
    """RecBole's class with a ``forward`` that gives (batch, length, dim), every position's state.

    Its models end with ``gather_indexes``, which picks one position; here it picks all.
    """

    class AllPositions(model_class(name)):  # type: ignore[misc]
        def gather_indexes(self, output: torch.Tensor, gather_index: torch.Tensor) -> torch.Tensor:
            return output

    AllPositions.__name__ = name  # by which RecBole finds the defaults
    return AllPositions


def model_class(name: str) -> Any:
    """RecBole's sequential model class ``name``.

    Importing them turns torch's anomaly detection on for the whole process (``sine.py``, line 25),
    which makes every training several times slower; the setting is put back.
    """
    before = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    with torch.autograd.set_detect_anomaly(*before):
        from recbole.model import sequential_recommender

    return getattr(sequential_recommender, name)


@dataclass
class StubDataset:
    """The part of RecBole's data set that its model classes ask for.

    ``inter_feat`` holds columns of training instances for the one model that samples from them.
    """

    item_num: int
    user_num: int
    history_length: int
    inter_feat: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def num(self, name: str) -> int:
        """How many ids a column has, padding included."""
        return {ITEM: self.item_num, USER: self.user_num}[name]

    @property
    def field2seqlen(self) -> dict[str, int]:
        """The length of list columns."""
        return {HISTORY: self.history_length}


def stub_dataset(
    corpus: Corpus, history_length: int, inter_feat: Mapping[str, torch.Tensor] | None = None
) -> StubDataset:
    """The stub of a corpus; id 0 is padding, and the unknown user."""
    return StubDataset(
        item_num=corpus.number_of_items + 1,
        user_num=corpus.number_of_users + 1,
        history_length=history_length,
        inter_feat=inter_feat or {ITEM: torch.zeros(0, dtype=torch.long)},
    )


def recbole_config(
    model: Any, parameters: Mapping[str, Any], history_length: int, device: torch.device
) -> Any:
    """RecBole's ``Config`` of a model class: its own defaults, overridden by ``parameters``."""
    given = {
        **parameters,
        "MAX_ITEM_LIST_LENGTH": history_length,
        "train_neg_sample_args": None,  # negatives come from the suite
        "device": device,
    }
    return config_class()(model=model, dataset=DATASET_NAME, config_dict=given)


def build_network(model: Any, config: Any, dataset: StubDataset) -> nn.Module:
    """An instance of a model class; what it prints is dropped.

    Raises:
        BenchmarkError: the class ends the process or rejects its parameters.
    """
    try:
        with seeded_numpy(), contextlib.redirect_stdout(io.StringIO()):
            return model(config, dataset)
    except (SystemExit, NotImplementedError, AssertionError, ValueError) as error:
        raise BenchmarkError(
            f"RecBole's {model.__name__} rejects its parameters ({error})."
        ) from error


@contextlib.contextmanager
def seeded_numpy() -> Iterator[None]:
    """Seed numpy's global generator, by which some models draw weights, and restore it after.

    The seed comes from torch's generator, which is seeded when a model is built.
    """
    state = np.random.get_state()
    np.random.seed(int(torch.randint(2**31, ())))
    try:
        yield
    finally:
        np.random.set_state(state)


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, which YAML 1.1 would read as a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


@lru_cache(maxsize=1)
def config_class() -> Any:
    """RecBole's ``Config`` without its effects on the process."""
    from recbole.config import Config

    class QuietConfig(Config):
        def compatibility_settings(self) -> None:
            """Leave numpy alone."""

        def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
            """A loader of our own; RecBole changes yaml's."""
            return _Loader

        def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
            """Take values as they are; RecBole evaluates strings as Python."""
            return config_dict

        def _load_cmd_line(self) -> dict[str, Any]:
            """Leave the command line to the suite."""
            return {}

        def _init_device(self) -> None:
            """Use the device that was given; RecBole sets CUDA_VISIBLE_DEVICES."""
            self.final_config_dict.update(single_spec=True, local_rank=0)

    return QuietConfig


USER_TABLES = ("user_embedding", "user_lambda", "UI_emb")
"""What the model classes that know users call their vectors."""


@torch.no_grad()
def silence_unknown_user(network: nn.Module) -> None:
    """Set the unknown user's vector to zero, where it stays since training never reads it."""
    for name in USER_TABLES:
        table = getattr(network, name, None)
        if isinstance(table, nn.Embedding):
            table.weight[0] = 0.0
