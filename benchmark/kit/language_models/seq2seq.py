"""The backbone of the generative systems: a T5, its tokenizer, and what it learns from.

A backbone is a pretrained T5 by hub name or folder, or ``scratch``: a T5 of any size with random
weights and a tokenizer trained on the data set's own texts, which stands in where no pretrained
model can be had. Codes of item identifiers and other markers are added as ordinary tokens of one id
each. Prompts are put together from pieces that were tokenised once, as arrays; both the scratch
tokenizer and those of T5 cut a text at blanks first, so the pieces of a text that is cut at blanks
or around added tokens give the tokens of the whole text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from benchmark.data.dataset import LongArray
from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.files import atomic_path, read_json, write_json
from benchmark.kit.modules import load_state, load_untied_state, save_state, untied_state
from benchmark.kit.pretrained.choice import BackboneChoice
from benchmark.kit.pretrained.model_folder import PretrainedFiles, all_there
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.markers import Markers
from benchmark.kit.text.words import training_queries
from benchmark.kit.training import Batch
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView

PADDING_TOKEN, END_TOKEN, UNKNOWN_TOKEN = "<pad>", "</s>", "<unk>"
"""The scratch tokenizer's first three tokens, with T5's ids 0, 1 and 2."""

WORD_MARK = "\u2581"
"""What T5's tokenizers, and ours, write for the blank before a word."""

IGNORED = -100
"""The label of a position that is no part of the loss."""

_TEXTS_TOKENISED_AT_ONCE = 8192
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


# ------------------------------------------------------------------------------------- tokenizer


class TextTokenizer:
    """Texts to token ids and back, without markers of beginning or end.

    ``padding`` and ``end`` are the ids of T5's padding and end of a text. A text is always split as
    text: none of its tokens is the end, padding or an added token, whatever it holds. Where added
    tokens are meant, :meth:`marked` is asked.
    """

    def __init__(self, backend: Any, padding: int, end: int) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.padding, self.end = padding, end
        self._find_markers()

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> TextTokenizer:
        """The tokenizer of a pretrained model's folder."""
        from transformers import AutoTokenizer

        loaded: Any = AutoTokenizer.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )
        return cls(loaded.backend_tokenizer, int(loaded.pad_token_id), int(loaded.eos_token_id))

    @classmethod
    def trained_on(cls, texts: Iterable[str], most_tokens: int) -> Self:
        """Byte-pair encoding over words and single punctuation marks in lower case.

        Equal texts give an equal tokenizer, whatever their order; of the trainers of the library
        "tokenizers" this is the only one of which that is true.
        """
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        backend: Any = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN, fuse_unk=True))
        backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Punctuation(),
                pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
            ]
        )
        backend.decoder = decoders.Metaspace(prepend_scheme="always")
        special = [PADDING_TOKEN, END_TOKEN, UNKNOWN_TOKEN]
        trainer = trainers.BpeTrainer(
            vocab_size=most_tokens, special_tokens=special, show_progress=False
        )
        backend.train_from_iterator(sorted(Counter(texts).elements()), trainer)
        return cls(backend, special.index(PADDING_TOKEN), special.index(END_TOKEN))

    @property
    def size(self) -> int:
        """The number of tokens, the added ones included."""
        return int(self._backend.get_vocab_size())

    @property
    def begins_word(self) -> NDArray[np.bool_]:
        """(tokens,) whether a token begins a word, which T5's mark at its front says."""
        begins = np.zeros(self.size, dtype=bool)
        begins[[n for word, n in self._backend.get_vocab().items() if word[:1] == WORD_MARK]] = True
        return begins

    def add(self, tokens: Sequence[str]) -> LongArray:
        """Add ordinary tokens that are always one id, in their order; returns their ids (tokens,).

        Raises:
            SystemFailure: one of them is not encoded as a single id.
        """
        from tokenizers import AddedToken

        self._backend.add_tokens([AddedToken(token, normalized=False) for token in tokens])
        self._find_markers()
        encoded = self.marked(tokens)
        if (split := encoded.lengths != 1).any():
            token = tokens[int(np.flatnonzero(split)[0])]
            raise SystemFailure(f"the tokenizer does not encode the added token {token} as one id.")
        return encoded.ids.astype(np.int64)

    def __call__(self, texts: Sequence[str], most_tokens: int | None = None) -> Tokens:
        """The ids of each text, the first ``most_tokens`` of them, split as text throughout."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_TOKENISED_AT_ONCE):
            part = list(texts[start : start + _TEXTS_TOKENISED_AT_ONCE])
            rows = self._encoded(part)
            for row in self._markers.found_in(part, rows):
                rows[row] = self._encoded([self._markers.parted(part[row])])[0]
            ids += rows
        return self._as_tokens(ids, most_tokens)

    def marked(self, texts: Sequence[str], most_tokens: int | None = None) -> Tokens:
        """Like a call, for texts of our own in which the names of added tokens stand for them."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_TOKENISED_AT_ONCE):
            ids += self._encoded(list(texts[start : start + _TEXTS_TOKENISED_AT_ONCE]))
        return self._as_tokens(ids, most_tokens)

    def as_text(self, texts: Sequence[str]) -> list[str]:
        """The texts as they may stand beside added tokens in a text for :meth:`marked`."""
        plain = list(texts)
        for start in range(0, len(plain), _TEXTS_TOKENISED_AT_ONCE):
            part = plain[start : start + _TEXTS_TOKENISED_AT_ONCE]
            for row in self._markers.found_in(part, self._encoded(part)):
                plain[start + row] = self._markers.parted(part[row])
        return plain

    def _find_markers(self) -> None:
        added = self._backend.get_added_tokens_decoder()
        self._markers = Markers(self._backend, [*added, self.padding, self.end], UNKNOWN_TOKEN)

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        found = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def _as_tokens(self, rows: Sequence[Sequence[int]], most_tokens: int | None) -> Tokens:
        ids = [np.zeros(0, dtype=np.int32)]
        ids += [np.asarray(row[:most_tokens], dtype=np.int32) for row in rows]
        return Tokens(np.concatenate(ids), np.cumsum([len(row) for row in ids]), self.padding)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids; padding and end are left out."""
        texts = self._backend.decode_batch([list(row) for row in ids], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def save(self, path: Path) -> None:
        """Write it as JSON, in the format of the library "tokenizers"."""
        with atomic_path(path) as temporary:
            self._backend.save(str(temporary))

    @classmethod
    def load(cls, path: Path, padding: int, end: int) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: the file is missing or no tokenizer.
        """
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_file(str(path)), padding, end)
        except Exception as error:  # the library raises bare exceptions
            raise BenchmarkError(f"{path}: is not readable as a tokenizer ({error}).") from None


def texts_of(view: TrainingView) -> list[str]:
    """What a scratch tokenizer learns from: all item texts and the queries of the training log."""
    queries = view.corpus.queries.text
    return [*view.corpus.items.text[1:], *(queries[number] for number in training_queries(view))]


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


# ----------------------------------------------------------------------------- prompts of pieces


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several collections of token lists as one, in order."""
    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), parts[0].padding)


def assembled(
    tokens: Tokens,
    pieces: NDArray[np.integer],
    end: int | None = None,
    most_tokens: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts put together from token lists, padded on the right.

    Args:
        tokens: the pieces.
        pieces: (prompts, any number), which pieces a prompt is made of, -1 for none.
        end: the id that closes each prompt, if any.
        most_tokens: prompts are cut after so many, the end included.

    Returns:
        ids int64 and mask of real tokens, both (prompts, length of the longest).
    """
    present = pieces >= 0
    flat = pieces[present]
    lengths = tokens.lengths[flat]
    row = np.repeat(np.nonzero(present)[0], lengths)
    total = np.bincount(row, minlength=len(pieces))
    place = np.arange(len(row))
    inner = place - np.repeat(np.cumsum(lengths) - lengths, lengths)
    column = place - np.repeat(np.cumsum(total) - total, total)
    values = tokens.ids[np.repeat(tokens.offsets[:-1][flat], lengths) + inner]
    closing = 0 if end is None else 1
    if most_tokens is not None:
        kept = column < most_tokens - closing
        row, column, values = row[kept], column[kept], values[kept]
        total = np.minimum(total, most_tokens - closing)
    width = max(1, int(total.max(initial=0)) + closing)
    ids = np.full((len(pieces), width), tokens.padding, dtype=np.int64)
    ids[row, column] = values
    if end is not None:
        ids[np.arange(len(pieces)), total] = end
    mask = np.arange(width)[None, :] < (total + closing)[:, None]
    return torch.from_numpy(ids), torch.from_numpy(mask)


def assembled_lengths(tokens: Tokens, pieces: NDArray[np.integer]) -> LongArray:
    """How many tokens each prompt of :func:`assembled` has, (prompts,), without an end."""
    lengths = np.where(pieces >= 0, tokens.lengths[np.maximum(pieces, 0)], 0).sum(axis=1)
    return lengths.astype(np.int64)


def labels_of(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Target ids (batch, tokens) as labels: padding is :data:`IGNORED`."""
    return ids.masked_fill(~mask, IGNORED)


def batches_by_length(
    rows: LongArray,
    lengths: LongArray,
    batch_size: int,
    random: np.random.Generator,
    window: int,
) -> list[LongArray]:
    """Cut shuffled rows into batches of similar lengths, so that little padding is computed.

    Args:
        rows: (instances,) in random order.
        lengths: (instances,) the length of each row.
        window: so many batches after one another are sorted by length together; 1 sorts within each
            batch only, which leaves the batches as they are but serves micro-batches.
    """
    span = batch_size * max(1, window)
    batches = []
    for start in range(0, len(rows), span):
        part = slice(start, start + span)
        ordered = rows[part][np.argsort(lengths[part], kind="stable")]
        batches += [
            ordered[place : place + batch_size] for place in range(0, len(ordered), batch_size)
        ]
    return [batches[number] for number in random.permutation(len(batches))]


def seq2seq_batch(
    tokens: Tokens,
    inputs: NDArray[np.integer],
    targets: NDArray[np.integer],
    end: int,
    most_input_tokens: int | None = None,
    most_target_tokens: int | None = None,
) -> Batch:
    """The batch of :class:`Seq2Seq` for prompts and targets given as pieces."""
    ids, mask = assembled(tokens, inputs, end, most_input_tokens)
    labels = labels_of(*assembled(tokens, targets, end, most_target_tokens))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
