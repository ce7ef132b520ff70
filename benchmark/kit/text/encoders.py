"""Sentence encoders: tokens to vectors, vectors on disk.

An encoder is a folder that :func:`find_encoder` found. A vector is the mean of the last
hidden states over a text's tokens, or the state of its first token, brought to length one. Vectors
are an artifact, computed once per distinct text and memory-mapped, so the systems of a suite that
read the same texts alike share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmark.files import read_json, sha256_of_json, write_array
from benchmark.kit.precision import autocast
from benchmark.kit.pretrained.finding import AUTO, PUBLISHED, find_encoder, loadable
from benchmark.kit.pretrained.model_folder import PretrainedFiles, loaded_model
from benchmark.kit.text.tokens import Tokenizer, Tokens
from benchmark.systems.contract import FloatArray, PretrainedPart, RunContext

__all__ = [
    "Activations",
    "Pooling",
    "SentenceEncoder",
    "TextEncoder",
    "encode_in_parts",
    "encode_tokens",
    "find_encoder",
    "own_pooling",
    "pretrained_text_encoder",
    "sha256_of_weights",
    "text_vectors",
]

Pooling = Literal["mean", "cls"]

_TOKENS_AT_ONCE = 16_384  # of a batch of texts that are only read, padding included
_TEXTS_AT_ONCE = 1024


def own_pooling(files: PretrainedFiles) -> Pooling:
    """How the encoder's folder says that it was trained to be read; mean if it says nothing."""
    path = files.folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    settings = read_json(path)
    named = settings.get("pooling_mode", "")
    return "cls" if named == "cls" or settings.get("pooling_mode_cls_token") else "mean"


# ----------------------------------------------------------------------------- tokens to vectors


def encoder_part(choice: str, hub_name: str) -> PretrainedPart:
    """What :func:`find_encoder` finds, if it can be loaded, as a part of a configuration."""
    name = hub_name if choice in (PUBLISHED, AUTO) else choice
    return PretrainedPart(name, lambda: loadable(find_encoder(choice, hub_name), _load_encoder))


def _load_encoder(files: PretrainedFiles) -> None:
    Tokenizer(files)
    SentenceEncoder.from_files(files, "mean")


class SentenceEncoder(nn.Module):
    """A transformer whose last hidden states are pooled and brought to length one."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    @classmethod
    def from_files(cls, files: PretrainedFiles, pooling: Pooling) -> SentenceEncoder:
        """The pretrained encoder of a folder, in float32 and evaluation mode."""
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )
        # BERT and its like have a pooler behind the first token, which is no part of the vectors.
        without = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
        with _quiet_transformers():
            encoder = loaded_model(AutoModel, files, **without)
        return cls(encoder, pooling).eval()

    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states (texts, length, dim) of ids and mask (texts, length)."""
        states: torch.Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states

    def pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector a text, (texts, dim), before it is brought to length one."""
        if self.pooling == "cls":
            return hidden[:, 0]
        weight = mask.to(hidden.dtype)[:, :, None]
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors (texts, dim) of length one, float32."""
        pooled = self.pooled(self.hidden(ids, mask), mask)
        return F.normalize(pooled.float(), dim=-1)


_WITH_POOLER = ("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "electra", "camembert")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without the report on weights of the pooler, which are left out on purpose."""
    from transformers.utils import logging as transformers_logging

    level, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


Activations = Literal["kept", "recomputed"]


def encode_in_parts(
    encoder: SentenceEncoder,
    ids: torch.Tensor,
    mask: torch.Tensor,
    texts_at_once: int,
    activations: Activations = "kept",
) -> torch.Tensor:
    """Vectors (texts, dim) for training: short texts go through without the padding of long ones.

    Args:
        ids, mask: (texts, length), padded on the right.
        activations: "recomputed" for their gradients where there is more than one part, which
            takes a third more time and the memory of ``texts_at_once`` texts only.
    """
    order = torch.argsort(mask.sum(dim=1), stable=True)
    parts = order.split(texts_at_once)
    vectors = []
    for rows in parts:
        length = int(mask[rows[-1]].sum())
        part = ids[rows, :length], mask[rows, :length]
        if activations == "recomputed" and len(parts) > 1:
            vectors.append(checkpoint(encoder, *part, use_reentrant=False))
        else:
            vectors.append(encoder(*part))
    return torch.cat(vectors)[torch.argsort(order)]


def encode_tokens(
    encoder: SentenceEncoder,
    tokens: Tokens,
    rows: NDArray[np.integer],
    precision: str = "no",
    progress: Callable[[str], None] = lambda message: None,
) -> FloatArray:
    """Vectors (rows, dim) of the texts at ``rows``, without gradients.

    The batches depend on the texts alone, so equal calls give equal bits.
    """
    first = next(encoder.parameters())
    device = first.device
    is_training = encoder.training
    encoder.eval()
    vectors: FloatArray | None = None
    done = 0
    with torch.inference_mode(), autocast(precision, device):
        for part in _batches_by_length(tokens.lengths[rows]):
            ids, mask = tokens.padded(rows[part])
            found = encoder(ids.to(device), mask.to(device)).float().cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(rows), found.shape[1]), dtype=np.float32)
            vectors[part] = found
            done += len(part)
            progress(f"text vectors: {done:,} of {len(rows):,}")
    encoder.train(is_training)
    return np.zeros((0, 0), dtype=np.float32) if vectors is None else vectors


def _batches_by_length(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of texts of similar length, the longest first, each batch within the token limit."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, min(_TEXTS_AT_ONCE, _TOKENS_AT_ONCE // longest))
        yield order[start : start + size]
        start += size


# ------------------------------------------------------------------------------- vectors on disk


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and an encoder; ``sha256`` is of the weights, wherever they came from.

    ``load`` gives both when they are needed, which is not the case if all vectors are there.
    """

    sha256: str
    load: Callable[[], tuple[Tokenizer, SentenceEncoder]]
    pooling: Pooling


def pretrained_text_encoder(
    files: PretrainedFiles, pooling: Pooling, device: torch.device | str = "cpu"
) -> TextEncoder:
    """The encoder of a folder, as it is."""

    def load() -> tuple[Tokenizer, SentenceEncoder]:
        return Tokenizer(files), SentenceEncoder.from_files(files, pooling).to(device)

    return TextEncoder(files.sha256, load, pooling)


def text_vectors(
    context: RunContext,
    encoder: TextEncoder,
    texts: Sequence[str],
    prompt: str,
    most_tokens: int,
) -> FloatArray:
    """Vectors (texts, dim) of length one, memory-mapped and read-only: an artifact."""

    def build(folder: Path) -> None:
        distinct = list(dict.fromkeys(texts))
        place = {text: number for number, text in enumerate(distinct)}
        tokenizer, model = encoder.load()
        tokens = tokenizer(distinct, prompt, most_tokens)
        vectors = encode_tokens(
            model, tokens, np.arange(len(distinct)), context.precision, context.progress
        )
        write_array(folder / _VECTORS_FILE, vectors[[place[text] for text in texts]])

    determined_by = {
        "encoder": encoder.sha256,
        "pooling": encoder.pooling,
        "prompt": prompt,
        "most_tokens": most_tokens,
        "texts": sha256_of_json(list(texts)),
        "device": torch.device(context.device).type,
        "precision": context.precision,
    }
    folder = context.artifacts.get("text-vectors", determined_by, build)
    vectors: FloatArray = np.load(folder / _VECTORS_FILE, mmap_mode="r", allow_pickle=False)
    return vectors


_VECTORS_FILE = "vectors.npy"


def sha256_of_weights(model: nn.Module) -> str:
    """The SHA-256 of all weights with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
