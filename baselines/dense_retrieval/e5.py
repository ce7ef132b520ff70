"""E5: a multilingual text encoder, mean pooling, "query: " and "passage: " before the texts.

Wang et al., "Multilingual E5 Text Embeddings: A Technical Report", arXiv 2402.05672, model
intfloat/multilingual-e5-base; recipe of arXiv 2212.03533. Inference code:
https://github.com/microsoft/unilm, commit 768a3c8, folder e5 (MIT); its training code is not
public, so fine-tuning follows the paper's loss and temperature, with the learning rate of the same
authors' SimLM. Whether GenSAR's row was fine-tuned is not stated: both are here. Other differences
stand in :mod:`baselines.dense_retrieval.base`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from baselines.dense_retrieval.base import (
    DenseRetrieval,
    DenseRetrievalConfig,
    DenseRetrievalTraining,
    Original,
)
from benchmark.kit.text.encoders import Pooling
from benchmark.kit.training import TrainingSettings


class E5Training(DenseRetrievalTraining):
    """The learning rate of SimLM's script."""

    learning_rate: float = Field(default=2e-5, gt=0)


class E5Config(DenseRetrievalConfig):
    """The paper's prompts, pooling and temperature."""

    pooling: Pooling = "mean"
    query_prompt: str = "query: "
    item_prompt: str = "passage: "
    temperature: float = Field(default=0.01, gt=0)
    training: TrainingSettings = E5Training()

    hub_name: ClassVar[str] = "intfloat/multilingual-e5-base"


class E5(DenseRetrieval):
    """Multilingual E5, base size."""

    Config = E5Config
    original = Original((E5Config.hub_name,), "xlm-roberta", layers=12, dim=768)


class E5ZeroShotConfig(E5Config):
    """As published."""

    mode: Literal["fine-tuned", "zero-shot"] = "zero-shot"


class E5ZeroShot(E5):
    """E5 without fine-tuning, as a row of its own."""

    Config = E5ZeroShotConfig
