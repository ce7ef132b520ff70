"""The backbone of the generative systems: a T5 and its tokenizer.

A backbone is a pretrained T5 by hub name or folder, or ``scratch``: a T5 of any size with random
weights and a tokenizer trained on the data set's own texts, which stands in where no pretrained
model can be had. Codes of item identifiers and other markers are added as ordinary tokens of one id
each. Prompts are put together from pieces (:mod:`benchmark.kit.text.pieces`): both the scratch
tokenizer and those of T5 cut a text at blanks first, so the pieces of a text that is cut at blanks
or around added tokens give the tokens of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from benchmark.files import read_json, write_json
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.modules import load_state, load_untied_state, save_state, untied_state
from benchmark.kit.pretrained.choice import BackboneChoice
from benchmark.kit.pretrained.model_folder import PretrainedFiles, all_there
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.training import Batch
from benchmark.systems.contract import RunContext

_ROWS_ARE_MULTIPLES_OF = 8  # rows of the embedding, which tensor cores like
_WEIGHTS, _CONFIG = "model.safetensors", "backbone.json"
_TOKENIZER, _MARKS = "tokenizer.json", "marks.json"


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


def fused_attention() -> str:
    """Torch's, which is made for GPUs; small models on a CPU learn faster without it: "eager"."""
    return "sdpa" if torch.cuda.is_available() else "eager"


class Seq2Seq(nn.Module):
    """A T5 and its loss. ``t5`` is a Hugging Face ``T5ForConditionalGeneration`` (or mT5).

    A pretrained T5 v1.1 or mT5 has an output layer of its own and does not scale its hidden states
    before it; every other one uses the token vectors, scaled (``is_tied``).
    """

    def __init__(self, t5: Any) -> None:
        super().__init__()
        self.t5 = t5

    @property
    def is_tied(self) -> bool:
        """Whether the output layer is the table of token vectors."""
        return bool(self.t5.lm_head.weight is self.t5.shared.weight)

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> Seq2Seq:
        """The pretrained model of a folder, in float32."""
        from transformers import AutoModelForSeq2SeqLM

        loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(
            files.folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=fused_attention(),
            output_loading_info=True,
        )
        return cls(all_there(loaded, files))

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

    def own_state(self) -> dict[str, torch.Tensor]:
        """All weights by the names of transformers, each tied one under its first name only."""
        return untied_state(self.t5)

    def load_own_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take weights as :meth:`own_state` gives them.

        Raises:
            BenchmarkError: their names or shapes are not those of this model.
        """
        load_untied_state(self.t5, state)

    def save(self, folder: Path) -> None:
        """Write weights and sizes."""
        save_state(self.own_state(), folder / _WEIGHTS)
        config = self.t5.config.to_diff_dict() | {"model_type": self.t5.config.model_type}
        write_json(folder / _CONFIG, {"config": config, "is_tied": self.is_tied})

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Seq2Seq:
        """Read what :meth:`save` wrote, to the bit.

        Raises:
            BenchmarkError: a file is missing, or the weights are not those of the sizes.
        """
        stored = read_json(folder / _CONFIG)
        model = cls.of_config(stored["config"], stored["is_tied"])
        model.load_own_state(load_state(folder / _WEIGHTS))
        return model.to(device).eval()


def rounded_up(number: int) -> int:
    """Rows of a table of so many tokens."""
    return -(-number // _ROWS_ARE_MULTIPLES_OF) * _ROWS_ARE_MULTIPLES_OF


@dataclass
class Backbone:
    """A model with its tokenizer."""

    model: Seq2Seq
    tokenizer: TextTokenizer

    @classmethod
    def make(
        cls,
        settings: BackboneSettings,
        texts: Sequence[str],
        added_tokens: Sequence[str],
        context: RunContext,
    ) -> Backbone:
        """A backbone as it is before training, on the run's device.

        Args:
            texts: what a scratch tokenizer learns from; see :func:`texts_of`.
            added_tokens: become ordinary tokens of one id each, in this order.
        """
        torch.manual_seed(int(context.random("backbone").integers(2**62)))
        files = settings.find()
        if files is None:
            tokenizer = TextTokenizer.trained_on(texts, settings.scratch.text_tokens)
            tokenizer.add(added_tokens)
            model = Seq2Seq.of_size(settings.scratch, tokenizer.size)
        else:
            tokenizer = TextTokenizer.of_files(files)
            tokenizer.add(added_tokens)
            model = Seq2Seq.of_files(files)
            if added_tokens:
                model.grow(tokenizer.size)
        model.to(context.device)
        return cls(model, tokenizer)

    def save(self, folder: Path) -> None:
        """Write weights, sizes and tokenizer."""
        self.model.save(folder)
        write_json(folder / _MARKS, {"padding": self.tokenizer.padding, "end": self.tokenizer.end})
        self.tokenizer.save(folder / _TOKENIZER)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Backbone:
        """Read what :meth:`save` wrote, to the bit.

        Raises:
            BenchmarkError: a file is missing, or the weights are not those of the sizes.
        """
        model, marks = Seq2Seq.load(folder, device), read_json(folder / _MARKS)
        tokenizer = TextTokenizer.load(folder / _TOKENIZER, marks["padding"], marks["end"])
        return cls(model, tokenizer)
