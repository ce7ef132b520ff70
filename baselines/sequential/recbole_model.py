"""Any of RecBole's sequential models that read item ids only: ``recbole:<Model>``.

RecBole 1.2.1 (https://github.com/RUCAIBox/RecBole, commit 7b02be5, MIT; Zhao et al., "RecBole:
Towards a Unified, Comprehensive and Efficient Framework for Recommendation Algorithms", CIKM 2021).
Network, loss and hyper-parameters are RecBole's own; data, loop, validation and candidate lists are
the suite's, so RecBole's evaluation (candidates drawn anew for each epoch and model, with
repetition) plays no part. Instances are prefixes with one target each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.sequential.base import Asked, Prefixes, SequentialConfig, SequentialSystem
from baselines.sequential.recbole_classes import (
    HISTORY,
    HISTORY_LENGTH,
    ITEM,
    NEGATIVE,
    USER,
    StubDataset,
    build_network,
    model_class,
    recbole_config,
    silence_unknown_user,
    stub_dataset,
)
from benchmark.errors import BenchmarkError, unknown_value
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.training import Batch, Instances
from benchmark.systems.contract import RunContext
from benchmark.systems.space import WEIGHT_DECAY, SearchSpace
from benchmark.systems.view import Corpus, TrainingView

MODELS = (
    "BERT4Rec",
    "Caser",
    "CORE",
    "FEARec",
    "FOSSIL",
    "FPMC",
    "GCSAN",
    "GRU4Rec",
    "GRU4RecCPR",
    "HGN",
    "HRM",
    "LightSANs",
    "NARM",
    "NextItNet",
    "NPE",
    "RepeatNet",
    "SASRec",
    "SASRecCPR",
    "SHAN",
    "SINE",
    "SRGNN",
    "STAMP",
    "TransRec",
)
"""The models that need neither features of items or users nor a knowledge graph."""

MORE_PARAMETERS: dict[str, tuple[str, ...]] = {"FEARec": ("contrast", "sim", "tau")}
"""Parameters that a class reads although RecBole's defaults do not name them."""


class RecBoleModelConfig(SequentialConfig):
    """Which model, and what to change in RecBole's defaults."""

    model: str = "SASRec"
    """One of :data:`MODELS`."""
    parameters: dict[str, bool | int | float | str | list[int] | list[float]] = Field(
        default_factory=dict
    )
    """Hyper-parameters by RecBole's names; the others keep the values of
    ``recbole/properties/model/<model>.yaml``."""

    search_space: ClassVar[SearchSpace] = {
        **SequentialConfig.search_space,
        "training.weight_decay": WEIGHT_DECAY,
    }


class RecBoleModel(SequentialSystem):
    """A RecBole model, trained with its own ``calculate_loss``."""

    Config = RecBoleModelConfig
    config: RecBoleModelConfig

    def __init__(self, config: RecBoleModelConfig, context: RunContext) -> None:
        super().__init__(config, context)
        if config.model not in MODELS:
            raise unknown_value("model", config.model, MODELS, where="system 'recbole'")
        # SHAN learns from the history shifted to the right, which its full_sort_predict forgets.
        self.padding = "left" if config.model == "SHAN" else "right"
        self._sampled_from: dict[str, torch.Tensor] = {}

    def network(self, corpus: Corpus) -> nn.Module:
        """RecBole's own class, with its own hyper-parameters."""
        config = self._settings()
        self._check_sizes(config, corpus)
        dataset = stub_dataset(corpus, self.config.history_length, self._sampled_from)
        _transform(config, dataset)  # it writes names into the configuration that models read
        network = build_network(model_class(self.config.model), config, dataset)
        silence_unknown_user(network)
        return network

    def instances(self, view: TrainingView) -> Instances:
        """Prefixes, with one uniform negative if the model is a pairwise one."""
        config, length = self._settings(), self.config.history_length
        pairwise = config["MODEL_INPUT_TYPE"].name == "PAIRWISE"
        negatives = NegativeSampler(view) if pairwise else None
        transform = _transform(config, stub_dataset(view.corpus, length))
        instances = RecBolePrefixes(view, length, negatives, transform)
        if self.config.model == "FEARec":
            contrastive = "contrast" in self.config.parameters
            self._sampled_from = instances.columns(every_instance=contrastive)
        return instances

    def loss(self, batch: Batch) -> torch.Tensor:
        """The model's own loss; a loss in parts is their sum."""
        from recbole.data.interaction import Interaction

        network: Any = self.model.network
        masked = batch.get("MASK_INDEX")
        if masked is not None and not bool((masked > 0).any()):
            # BERT4Rec divides by the number of masked items, which a small batch may lack.
            return torch.stack([p.sum() for p in network.parameters()]).sum() * 0.0
        value = network.calculate_loss(Interaction(dict(batch)))
        parts = value if isinstance(value, tuple) else (value,)
        return torch.stack([part.reshape(()) for part in parts]).sum()

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """The candidates' columns of :meth:`scores_of_all`."""
        return self.scores_of_all(asked).gather(1, candidates)

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """RecBole's ``full_sort_predict``.

        ``predict`` would be one row a candidate, and is wrong in CORE (it does not normalise the
        item) and missing in the CPR models.
        """
        from recbole.data.interaction import Interaction

        network: Any = self.model.network
        fields = {USER: asked.users, HISTORY: asked.items, HISTORY_LENGTH: asked.lengths}
        # The CPR models also compute a loss here, and drop it; any item will do as its target.
        fields[ITEM] = torch.zeros_like(asked.users)
        scores: torch.Tensor = network.full_sort_predict(Interaction(fields))
        return scores.view(len(asked.items), -1)[:, : len(self.model.popularity)]

    def _settings(self) -> Any:
        name, given = self.config.model, self.config.parameters
        allowed = (*_default_parameters(name), *MORE_PARAMETERS.get(name, ()))
        for key in given:
            if key not in allowed:
                raise unknown_value("parameter", key, allowed, where=f"recbole:{name}")
        parameters = {**given, "train_batch_size": self.config.training.batch_size}
        length = self.config.history_length
        return recbole_config(model_class(name), parameters, length, self.device)

    def _check_sizes(self, config: Any, corpus: Corpus) -> None:
        """Say in words what would fail as an index error in the middle of training."""
        name, length = self.config.model, self.config.history_length
        shortest = {"BERT4Rec": 1 / (config["mask_ratio"] or 1), "FEARec": 3}.get(name, 1)
        if length < shortest:
            raise BenchmarkError(
                f"recbole:{name} needs a history_length of at least {math.ceil(shortest)}."
            )
        if name in ("GRU4RecCPR", "SASRecCPR"):
            partition = max(int(size) for size in str(config["reranker_CAN_NUM"]).split(","))
            if corpus.number_of_items < partition:
                raise BenchmarkError(
                    f"recbole:{name}: reranker_CAN_NUM is {partition}, but the catalogue has only "
                    f"{corpus.number_of_items} items."
                )


class RecBolePrefixes(Prefixes):
    """:class:`Prefixes` under RecBole's names, with what the model's transform adds."""

    builds_ahead = False  # transforms draw from Python's own generator

    def __init__(
        self,
        view: TrainingView,
        length: int,
        negatives: NegativeSampler | None,
        transform: Callable[[Batch], Batch],
    ) -> None:
        super().__init__(view, length, negatives)
        self.transform = transform

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """The columns of a batch: ``item_id_list`` is (batch, length), the others (batch,)."""
        return self.transform(_renamed(super().batch(rows, random)))

    def columns(self, every_instance: bool) -> Batch:
        """Columns of the instances that FEARec samples from: those with an item in common.

        Its index takes instances squared, and only its contrastive losses, which its defaults leave
        out, use what it samples; then the first instance of each item is enough.
        """
        rows = (
            np.arange(len(self))
            if every_instance
            else np.unique(self.examples.target, return_index=True)[1]
        )
        return _renamed(super().batch(rows, np.random.default_rng(0)))


def _renamed(batch: Batch) -> Batch:
    names = {
        "users": USER,
        "items": HISTORY,
        "lengths": HISTORY_LENGTH,
        "targets": ITEM,
        "negatives": NEGATIVE,
    }
    return {names[key]: value for key, value in batch.items()}


def _transform(config: Any, dataset: StubDataset) -> Callable[[Batch], Batch]:
    """RecBole's transform of the model (masking for BERT4Rec, inversion for SHAN), on columns."""
    from recbole.data.interaction import Interaction
    from recbole.data.transform import construct_transform

    transform = construct_transform(config)
    return lambda fields: dict(transform(dataset, Interaction(fields)).interaction)


@cache
def _default_parameters(model: str) -> tuple[str, ...]:
    """The names of the parameters that RecBole gives defaults for."""
    text = (files("recbole") / "properties" / "model" / f"{model}.yaml").read_text("utf-8")
    return tuple(yaml.safe_load(text))
