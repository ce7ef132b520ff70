"""SASRec in RecBole's form: a causal Transformer over the item history, with cross-entropy.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. The network is RecBole
1.2.1's class (https://github.com/RUCAIBox/RecBole, commit 7b02be5,
``model/sequential_recommender/sasrec.py``, MIT). It differs from the original in the loss (over the
catalogue, usually stronger than the paper's binary one), post-norm blocks, gelu, positions counted
from the oldest item, and masked padding; ``sasrec-bce`` is the paper's form. The suite's loop,
instances and candidate lists replace RecBole's, and epochs are selected by validation NDCG@5
instead of MRR@10.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from baselines.sequential.recbole_classes import RecBoleConfig, RecBoleSystem
from benchmark.systems.space import DROPOUT, SearchSpace, Whole


class SASRecConfig(RecBoleConfig):
    """RecBole's names and defaults (``properties/model/SASRec.yaml``)."""

    hidden_size: int = Field(default=64, ge=1)
    n_layers: int = Field(default=2, ge=1)
    n_heads: int = Field(default=2, ge=1)
    """Attention heads; they divide ``hidden_size``."""
    inner_size: int = Field(default=256, ge=1)
    """Units between the two layers of the feed-forward part."""
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = "gelu"
    hidden_dropout_prob: float = Field(default=0.5, ge=0, lt=1)
    attn_dropout_prob: float = Field(default=0.5, ge=0, lt=1)
    """Dropout of the attention probabilities."""
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights."""

    search_space: ClassVar[SearchSpace] = {
        **RecBoleConfig.search_space,
        "hidden_dropout_prob": DROPOUT,
        "attn_dropout_prob": DROPOUT,
        "n_layers": Whole(1, 3),
    }


class SASRec(RecBoleSystem):
    """Embeddings and positions, post-norm blocks; tied output table."""

    Config = SASRecConfig
    config: SASRecConfig
    recbole_class = "SASRec"
