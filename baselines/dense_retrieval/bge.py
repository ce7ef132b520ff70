"""BGE: a BERT whose first token's state is the vector, an instruction before the queries.

Xiao et al., "C-Pack: Packed Resources For General Chinese Embeddings", SIGIR 2024, models
BAAI/bge-base-en-v1.5 and BAAI/bge-base-zh-v1.5. Code: https://github.com/FlagOpen/FlagEmbedding,
commit 7ed43d6 (MIT). Its trainer mines negatives with the encoder itself; here they are BM25 hits,
drawn afresh in every step. Queries may be longer than its 32 tokens, of which the instruction alone
takes a third. Whether GenSAR's row was fine-tuned is not stated: both are here. Other differences
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
from baselines.encoders import BGE as HUB_NAMES
from benchmark.kit.text.encoders import Pooling
from benchmark.kit.training import TrainingSettings

ENGLISH_INSTRUCTION = "Represent this sentence for searching relevant passages: "
CHINESE_INSTRUCTION = "为这个句子生成表示以用于检索相关文章："


class BGETraining(DenseRetrievalTraining):
    """FlagEmbedding's learning rate."""

    learning_rate: float = Field(default=1e-5, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)


class BGEConfig(DenseRetrievalConfig):
    """FlagEmbedding's pooling, temperature and group of eight passages."""

    pooling: Pooling = "cls"
    query_prompt: str = ENGLISH_INSTRUCTION
    """The instruction; ``CHINESE_INSTRUCTION`` for the Chinese model, "" to do without."""
    query_tokens: int = Field(default=48, ge=3)
    """The most tokens of a query, instruction and special tokens included."""
    temperature: float = Field(default=0.02, gt=0)
    hard_negatives: int = Field(default=7, ge=0)
    """BM25 negatives drawn for each query and step."""
    training: TrainingSettings = BGETraining()

    hub_name: ClassVar[str] = HUB_NAMES[0]


class BGE(DenseRetrieval):
    """BGE 1.5, base size."""

    Config = BGEConfig
    original = Original(HUB_NAMES, "bert", layers=12, dim=768)


class BGEZeroShotConfig(BGEConfig):
    """As published."""

    mode: Literal["fine-tuned", "zero-shot"] = "zero-shot"


class BGEZeroShot(BGE):
    """BGE without fine-tuning, as a row of its own."""

    Config = BGEZeroShotConfig
