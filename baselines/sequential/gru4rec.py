"""GRU4Rec: a recurrent network over the item history.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural
Networks", ICLR 2016; with prefixes as instances as in Tan et al., DLRS 2016. The network is RecBole
1.2.1's class (https://github.com/RUCAIBox/RecBole, commit 7b02be5,
``model/sequential_recommender/gru4rec.py``, MIT), not the authors' code, whose losses, negatives
and optimiser differ. The suite's loop, instances and candidate lists replace RecBole's, and epochs
are selected by validation NDCG@5 instead of MRR@10.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from baselines.sequential.recbole_classes import RecBoleConfig, RecBoleSystem
from benchmark.systems.space import DROPOUT, SearchSpace, Whole


class GRU4RecConfig(RecBoleConfig):
    """RecBole's names and defaults (``properties/model/GRU4Rec.yaml``)."""

    embedding_size: int = Field(default=64, ge=1)
    hidden_size: int = Field(default=128, ge=1)
    """Units of each GRU layer."""
    num_layers: int = Field(default=1, ge=1)
    dropout_prob: float = Field(default=0.3, ge=0, lt=1)
    """Dropout on the item embeddings, the only one."""

    search_space: ClassVar[SearchSpace] = {
        **RecBoleConfig.search_space,
        "dropout_prob": DROPOUT,
        "num_layers": Whole(1, 2),
    }


class GRU4Rec(RecBoleSystem):
    """Embedding, GRU without biases, dense layer back to the embedding; tied output table."""

    Config = GRU4RecConfig
    config: GRU4RecConfig
    recbole_class = "GRU4Rec"
