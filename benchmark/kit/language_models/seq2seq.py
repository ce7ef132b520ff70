"""The backbone of the generative systems: a T5 and its tokenizer.

Prompts are put together from pieces (:mod:`benchmark.kit.text.pieces`): both the scratch tokenizer
and those of T5 cut a text at blanks first, so the pieces of a text that is cut at blanks or around
added tokens give the tokens of the whole text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from benchmark.kit.decoding.t5 import Encoded, encode
from benchmark.kit.language_models.backbone import (
    LanguageBackbone,
    LanguageModel,
    fused_attention,
    rounded_up,
)
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.pretrained.choice import BackboneChoice
from benchmark.kit.pretrained.model_folder import PretrainedFiles, loaded_model
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.training import Batch


class ScratchSize(BaseModel):
    """The sizes of a T5 that starts from random weights; the defaults are T5-small's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=512, ge=1)
    """Width of token vectors and hidden states."""
    layers: int = Field(default=6, ge=1)
    """Layers of the encoder, and as many of the decoder."""
    heads: int = Field(default=8, ge=1)
    """Attention heads a layer."""
    head_width: int = Field(default=64, ge=1)
    """Width of one head; heads times this need not be ``width``."""
    feed_forward: int = Field(default=2048, ge=1)
    """Hidden width of the feed-forward layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    text_tokens: int = Field(default=8000, ge=3)
    """The most tokens of text that its tokenizer learns."""
    embedding_deviation: float = Field(default=1.0, gt=0)
    """Standard deviation of the token vectors at the start; 1 is T5's."""


class BackboneSettings(BackboneChoice):
    """Which T5 a system starts from."""

    hub_name: str = "google-t5/t5-small"
    """What the published system starts from."""
    scratch: ScratchSize = ScratchSize()

    @staticmethod
    def load(files: PretrainedFiles) -> None:
        """Its tokenizer and its weights."""
        TextTokenizer.of_files(files)
        Seq2Seq.of_files(files)

    def of_scratch(self) -> str:
        """The sizes."""
        size = self.scratch
        layers = f"{size.layers}+{size.layers}"
        return f"A T5 from random weights (width {size.width}, {layers} layers)"


# ----------------------------------------------------------------------------------------- model


class Seq2Seq(LanguageModel):
    """A T5 and its loss. ``t5`` is a Hugging Face ``T5ForConditionalGeneration`` (or mT5).

    A pretrained T5 v1.1 or mT5 has an output layer of its own and does not scale its hidden states
    before it; every other one uses the token vectors, scaled (``is_tied``).
    """

    def __init__(self, t5: Any) -> None:
        super().__init__()
        self.t5 = t5

    @property
    def inner(self) -> Any:
        """The T5."""
        return self.t5

    @property
    def is_tied(self) -> bool:
        """Whether the output layer is the table of token vectors."""
        return bool(self.t5.lm_head.weight is self.t5.shared.weight)

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> Seq2Seq:
        """The pretrained model of a folder, in float32."""
        from transformers import AutoModelForSeq2SeqLM

        return cls(
            loaded_model(AutoModelForSeq2SeqLM, files, attn_implementation=fused_attention())
        )

    @classmethod
    def of_config(cls, config: dict[str, Any], is_tied: bool = True) -> Seq2Seq:
        """A model with random weights; ``config`` holds the arguments of a ``T5Config``."""
        from transformers import AutoConfig, AutoModelForSeq2SeqLM

        values = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0} | config
        kind = values.pop("model_type", "t5")
        # The flag says no more than whether hidden states are scaled; the weights are always tied.
        settled = AutoConfig.for_model(kind, **values | {"tie_word_embeddings": is_tied})
        t5: Any = AutoModelForSeq2SeqLM.from_config(settled, attn_implementation=fused_attention())
        if not is_tied:
            t5.lm_head = nn.Linear(t5.config.d_model, t5.config.vocab_size, bias=False)
        return cls(t5)

    @classmethod
    def of_size(cls, size: ScratchSize, number_of_tokens: int) -> Seq2Seq:
        """A T5 of this size with random weights, drawn from torch's generator."""
        model = cls.of_config(
            {
                "vocab_size": rounded_up(number_of_tokens),
                "d_model": size.width,
                "d_kv": size.head_width,
                "d_ff": size.feed_forward,
                "num_layers": size.layers,
                "num_decoder_layers": size.layers,
                "num_heads": size.heads,
                "dropout_rate": size.dropout,
            }
        )
        nn.init.normal_(model.t5.shared.weight, std=size.embedding_deviation)
        return model

    @classmethod
    def of_scratch(cls, size: ScratchSize, tokenizer: TextTokenizer) -> Seq2Seq:
        """The same for the tokens of a tokenizer."""
        return cls.of_size(size, tokenizer.size)

    def grow(self, number_of_tokens: int) -> None:
        """Give the tables at least ``number_of_tokens`` rows; new ones are drawn as T5 draws them.

        Rows that a pretrained table has beyond its tokenizer's tokens are taken as they are.
        """
        self._set_rows(max(rounded_up(number_of_tokens), self.t5.config.vocab_size), keep=True)

    def renew_tokens(self, number_of_tokens: int) -> None:
        """Give the tables new rows only, for a vocabulary that shares none with the pretrained."""
        self._set_rows(rounded_up(number_of_tokens), keep=False)

    def _set_rows(self, rows: int, keep: bool) -> None:
        old, head, is_tied = self.t5.shared, self.t5.lm_head, self.is_tied
        table = nn.Embedding(rows, old.embedding_dim)
        output = nn.Linear(old.embedding_dim, rows, bias=False)
        deviation = float(self.t5.config.initializer_factor)
        with torch.no_grad():
            for new, trained in ((table, old), (output, head)):
                nn.init.normal_(new.weight, std=deviation)
                if keep:
                    new.weight[: len(trained.weight)] = trained.weight
        # Not through transformers' own resizing, which ties an output layer of its own for good.
        self.t5.shared, self.t5.lm_head = table, output
        self.t5.encoder.set_input_embeddings(table)
        self.t5.decoder.set_input_embeddings(table)
        if is_tied:
            self.t5.lm_head.weight = table.weight
        self.t5.config.vocab_size = rows

    def forward(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy over all labels of the batch that are not :data:`IGNORED`.

        Args:
            batch: ``input_ids``, ``attention_mask`` (batch, input tokens) and ``labels`` (batch,
                target tokens); ``input_vectors`` (batch, input tokens, width), if there, is added
                to the vectors of the input tokens. With ``weights`` (batch,) the loss is the sum
                over all labels, each times the weight of its instance.
        """
        if "weights" in batch:
            return self._weighted_sum(batch)
        output = self.t5(
            **self.inputs(batch),
            attention_mask=batch["attention_mask"],
            labels=batch["labels"],
            use_cache=False,
        )
        loss: torch.Tensor = output.loss
        return loss

    def _weighted_sum(self, batch: Batch) -> torch.Tensor:
        labels = batch["labels"]
        logits = self.t5(
            **self.inputs(batch),
            attention_mask=batch["attention_mask"],
            decoder_input_ids=self.t5.prepare_decoder_input_ids_from_labels(labels),
            use_cache=False,
        ).logits
        losses = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        of_instances = losses.view(labels.shape).sum(dim=1)
        # A product of matrices would be rounded like those of the network under autocast.
        total: torch.Tensor = (of_instances.float() * batch["weights"]).sum()
        return total

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The encoder's input by the names of transformers: ids, or vectors if some are added."""
        if "input_vectors" not in batch:
            return {"input_ids": batch["input_ids"]}
        return {"inputs_embeds": self.t5.shared(batch["input_ids"]) + batch["input_vectors"]}

    def sizes(self) -> dict[str, Any]:
        """The configuration of transformers, and whether the output layer is tied."""
        config = self.t5.config.to_diff_dict() | {"model_type": self.t5.config.model_type}
        return {"config": config, "is_tied": self.is_tied}

    @classmethod
    def of_sizes(cls, sizes: dict[str, Any]) -> Seq2Seq:
        """A model of these with random weights."""
        return cls.of_config(sizes["config"], sizes["is_tied"])


@dataclass
class Backbone(LanguageBackbone):
    """A T5 with its tokenizer."""

    model: Seq2Seq
    tokenizer: TextTokenizer

    models = Seq2Seq
    tokenizers = TextTokenizer

    @property
    def end_of_prompts(self) -> int:
        """The tokenizer's end of a text."""
        return self.tokenizer.end

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> Encoded:
        """The states of its encoder."""
        device = self.model.t5.device
        return encode(self.writer(), {"input_ids": ids.to(device)}, mask.to(device))
