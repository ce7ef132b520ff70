"""The other backbone of generative systems: a causal language model, which reads on as it writes.

A pretrained one may be of any architecture that can be decoded node by node
(``benchmark.kit.decoding.causal``); one from scratch is a LLaMA. It learns from the same instances
as a T5: what a T5 writes follows what it reads, and the loss counts that part alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError
from benchmark.kit.decoding.causal import ReadPrompts, can_decode, read
from benchmark.kit.language_models.backbone import (
    LanguageBackbone,
    LanguageModel,
    fused_attention,
    rounded_up,
)
from benchmark.kit.language_models.tokenizer import WORD_MARK, TextTokenizer
from benchmark.kit.pretrained.choice import BackboneChoice
from benchmark.kit.pretrained.model_folder import PretrainedFiles, loaded_model, loaded_tokenizer
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch


class CausalSize(BaseModel):
    """The sizes of a LLaMA that starts from random weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=512, ge=1)
    """Width of token vectors and hidden states; a multiple of ``heads``."""
    layers: int = Field(default=6, ge=1)
    heads: int = Field(default=8, ge=1)
    """Attention heads a layer."""
    feed_forward: int = Field(default=1376, ge=1)
    """Hidden width of the gated feed-forward layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of attention weights; LLaMA has no other."""
    text_tokens: int = Field(default=8000, ge=3)
    """The most tokens of text that its tokenizer learns."""
    deviation: float = Field(default=0.02, gt=0)
    """Standard deviation of the weights at the start."""


class CausalSettings(BackboneChoice):
    """Which causal language model a system starts from."""

    hub_name: str = "huggyllama/llama-7b"
    """What the published system starts from."""
    scratch: CausalSize = CausalSize()

    @staticmethod
    def load(files: PretrainedFiles) -> None:
        """Its tokenizer and its weights."""
        CausalTokenizer.of_files(files)
        CausalLM.of_files(files)

    def of_scratch(self) -> str:
        """The sizes."""
        size = self.scratch
        return f"A LLaMA from random weights (width {size.width}, {size.layers} layers)"


class CausalTokenizer(TextTokenizer):
    """Texts to token ids, as :class:`TextTokenizer`, for prompts that are put together from pieces.

    Tokenizers of causal models mostly take a text as it is, where those of T5 put a blank in front:
    then a text (but no added token) gets one here, so that pieces do not run together.

    ``opening`` are the tokens that the tokenizer sets before every text, such as LLaMA's ``<s>``.
    """

    def __init__(
        self, backend: Any, padding: int, end: int, opening: Sequence[int] = (), blank: str = ""
    ) -> None:
        super().__init__(backend, padding, end)
        self.opening, self.blank = tuple(opening), blank

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> CausalTokenizer:
        """The tokenizer of a pretrained model's folder.

        Raises:
            BenchmarkError: it has no token for the end of a text.
        """
        loaded = loaded_tokenizer(files)
        if loaded.eos_token_id is None:
            raise BenchmarkError(f"{files.name}: its tokenizer has no token for the end of a text.")
        end = int(loaded.eos_token_id)
        padding = end if loaded.pad_token_id is None else int(loaded.pad_token_id)
        plain, whole = (
            loaded("a", add_special_tokens=special)["input_ids"] for special in (False, True)
        )
        before = len(whole) - len(plain)
        opening = whole[:before] if whole[before:] == plain else []
        begins = loaded.convert_ids_to_tokens(plain[:1])
        blank = "" if begins[0].startswith(WORD_MARK) else " "
        return cls(loaded.backend_tokenizer, padding, end, opening, blank)

    def __call__(self, texts: Sequence[str], most_tokens: int | None = None) -> Tokens:
        """The ids of each text, the first ``most_tokens`` of them; an empty one has none."""
        return super().__call__([self.blank + text if text else "" for text in texts], most_tokens)

    @property
    def opening_piece(self) -> Tokens:
        """What opens a prompt, as one piece, which may be empty."""
        ids = np.array(self.opening, dtype=np.int32)
        return Tokens(ids, np.array([0, len(ids)]), self.padding)

    def marks(self) -> dict[str, Any]:
        """What :meth:`load` needs beside the file of :meth:`save`."""
        return {**super().marks(), "opening": list(self.opening), "blank": self.blank}


# ----------------------------------------------------------------------------------------- model


class CausalLM(LanguageModel):
    """A causal language model of transformers, ``lm``, and its loss on what follows a prompt."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm

    @property
    def inner(self) -> Any:
        """The causal language model."""
        return self.lm

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> CausalLM:
        """The pretrained model of a folder, in float32.

        Raises:
            BenchmarkError: weights are missing, or it cannot be decoded node by node.
        """
        from transformers import AutoModelForCausalLM

        lm = loaded_model(AutoModelForCausalLM, files, attn_implementation=fused_attention())
        if not can_decode(lm):
            raise BenchmarkError(
                f"{files.name}: a model of the kind {lm.config.model_type} cannot be decoded as a "
                "tree of identifiers (its scores are more than a product of its last hidden "
                "states, or it takes no positions and masks); LLaMA, Mistral, Qwen, GPT-2 and OPT "
                "can."
            )
        return cls(lm)

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> CausalLM:
        """A model with random weights; ``config`` holds its ``model_type`` and arguments."""
        from transformers import AutoConfig, AutoModelForCausalLM

        values = dict(config)
        kind = values.pop("model_type")
        settled = AutoConfig.for_model(kind, **values)
        lm: Any = AutoModelForCausalLM.from_config(settled, attn_implementation=fused_attention())
        return cls(lm)

    @classmethod
    def of_scratch(cls, size: CausalSize, tokenizer: TextTokenizer) -> CausalLM:
        """A LLaMA of this size with random weights, drawn from torch's generator.

        Raises:
            BenchmarkError: the width is no multiple of the heads.
        """
        if size.width % (2 * size.heads):
            raise BenchmarkError(
                f"backbone.scratch.width: {size.width} is no multiple of twice the "
                f"{size.heads} heads."
            )
        return cls.of_config(
            {
                "model_type": "llama",
                "vocab_size": rounded_up(tokenizer.size),
                "hidden_size": size.width,
                "num_hidden_layers": size.layers,
                "num_attention_heads": size.heads,
                "num_key_value_heads": size.heads,
                "intermediate_size": size.feed_forward,
                "attention_dropout": size.dropout,
                "initializer_range": size.deviation,
                "tie_word_embeddings": True,
                "pad_token_id": tokenizer.padding,
                "bos_token_id": None,
                "eos_token_id": tokenizer.end,
            }
        )

    def grow(self, number_of_tokens: int) -> None:
        """Give the tables at least ``number_of_tokens`` rows; new ones are drawn as it draws them.

        Rows that a pretrained table has beyond its tokenizer's tokens are taken as they are.
        """
        rows = max(rounded_up(number_of_tokens), self.lm.config.vocab_size)
        # The mean of the old rows, transformers' own start, makes all new tokens alike.
        self.lm.resize_token_embeddings(rows, mean_resizing=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy over all labels of the batch that are not :data:`IGNORED`.

        Args:
            batch: ``input_ids``, ``attention_mask`` (batch, input tokens), the real ones first, and
                ``labels`` (batch, target tokens), :data:`IGNORED` at the end. With ``weights``
                (batch,) the loss is the sum over all labels, each times the weight of its instance.
        """
        ids, mask, labels = continued(batch)
        states = self.lm.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        row, place = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        # Only what the loss reads goes through the output layer.
        logits = self.lm.get_output_embeddings()(states.last_hidden_state[row, place])
        losses = F.cross_entropy(logits.float(), labels[row, place + 1], reduction="none")
        if "weights" not in batch:
            return losses.mean()
        total: torch.Tensor = (losses * batch["weights"][row]).sum()
        return total

    def sizes(self) -> dict[str, Any]:
        """The configuration of transformers."""
        config: dict[str, Any] = self.lm.config.to_diff_dict()
        return config | {"model_type": self.lm.config.model_type}

    @classmethod
    def of_sizes(cls, sizes: dict[str, Any]) -> CausalLM:
        """A model of these with random weights."""
        return cls.of_config(sizes)


def continued(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prompts with their targets behind them: ids, mask and labels, all (batch, tokens).

    Args:
        batch: as for :meth:`CausalLM.forward`.
    """
    read, mask, written = batch["input_ids"], batch["attention_mask"].bool(), batch["labels"]
    lengths, targets = mask.sum(dim=1), (written != IGNORED).sum(dim=1)
    place = lengths[:, None] + torch.arange(written.shape[1], device=read.device)
    room = (0, written.shape[1])
    ids = F.pad(read.masked_fill(~mask, 0), room).scatter(1, place, written.clamp(min=0))
    empty = torch.full_like(ids, IGNORED)
    labels = empty.scatter(1, place, written)
    total = lengths + targets
    is_real = torch.arange(ids.shape[1], device=read.device) < total[:, None]
    width = int(total.max())
    return ids[:, :width], is_real[:, :width].long(), labels[:, :width]


@dataclass
class CausalBackbone(LanguageBackbone):
    """A causal language model with its tokenizer."""

    model: CausalLM
    tokenizer: CausalTokenizer

    models = CausalLM
    tokenizers = CausalTokenizer

    @property
    def end_of_prompts(self) -> None:
        """None: what is written goes on from what is read."""

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> ReadPrompts:
        """Its keys and values, and the state of each prompt's last token."""
        device = self.model.lm.device
        return read(self.writer(), ids.to(device), mask.to(device))
