"""One text encoder fine-tuned on search and recommendation, for identifiers that serve both.

"Semantic IDs for Joint Generative Search and Recommendation" (arXiv 2508.10478) compares ways to
make one identifier for both tasks, and finds vectors of one bi-encoder, trained on both, the best.
Written from that description: a search pairs a query with the item that was chosen, a
recommendation pairs two items of one user, and the right text is to be nearer to the left one than
the other right texts of the batch, which is the loss that sentence-transformers calls multiple
negatives ranking, at its scale of 20. What that leaves open is ours: how far apart two items of a
user may be, and the mix, of which both kinds are drawn alike. Pairs that training holds are no
negatives of each other, as they are in that loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from benchmark.data.dataset import LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.kit.text.encoders import (
    Activations,
    Pooling,
    SentenceEncoder,
    encode_in_parts,
    encode_tokens,
)
from benchmark.kit.text.pieces import joined
from benchmark.kit.text.tokens import Tokenizer, Tokens
from benchmark.kit.training import Batch, Instances, TrainingSettings, in_batches, train
from benchmark.protocol.exclusions import Exclusions
from benchmark.systems.contract import FloatArray, RunContext
from benchmark.systems.view import TrainingView

_NOTHING = -1


class BiEncoderTraining(TrainingSettings):
    """As dense retrievers of this size are fine-tuned."""

    epochs: int = Field(default=3, ge=0)
    batch_size: int = Field(default=128, ge=2)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-5, gt=0)
    schedule: Literal[
        "constant", "linear", "cosine", "inverse-root", "flat-inverse-root", "plateau"
    ] = "linear"
    gradient_clip: float | None = Field(default=1.0, gt=0)
    validate_every: int = Field(default=0, ge=0)
    """No validation: what identifiers are good for is seen only in the generator."""


class BiEncoderSettings(BaseModel):
    """How the encoder is fine-tuned before items are embedded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs_per_epoch: int | None = Field(default=None, ge=2)
    """Pairs that an epoch draws, half of either task; all of both if absent."""
    reach: int = Field(default=1, ge=1)
    """How far back the other item of a recommendation pair may be: 1 takes the one before, a larger
    number draws one of so many items before, anew in every epoch."""
    temperature: float = Field(default=0.05, gt=0)
    texts_at_once: int = Field(default=64, ge=1)
    """Texts of similar length that are encoded at once in training."""
    activations: Activations = "recomputed"
    """Whether those of a step's texts are kept, or computed again to save memory."""
    training: BiEncoderTraining = BiEncoderTraining()


@dataclass(frozen=True)
class Pairs(Instances):
    """Pairs of two texts of one token collection, searches first.

    ``left`` (pairs, reach) are the texts that may stand on the left, -1 behind them where there are
    fewer, ``right`` (pairs,) the others; ``searches`` is how many pairs are searches; ``drawn`` as
    ``BiEncoderSettings.pairs_per_epoch``.
    """

    tokens: Tokens
    left: LongArray
    right: LongArray
    searches: int
    known: Exclusions
    drawn: int | None

    @classmethod
    def of(cls, view: TrainingView, tokens: Tokens, settings: BiEncoderSettings) -> Pairs:
        """Those of a training view; ``tokens`` are of all items, then of all queries.

        Raises:
            SystemFailure: there are none.
        """
        items, reach = view.corpus.number_of_items, settings.reach
        searched, bought = view.examples("search"), view.examples("recommendation")
        before = bought.history(reach, "recommendation").items
        before = np.where(before == bought.target[:, None], 0, before)  # no item goes with itself
        present_first = np.argsort(before == 0, axis=1, kind="stable")
        before = np.take_along_axis(before, present_first, axis=1).astype(np.int64)
        kept = before[:, 0] > 0
        queries = np.full((len(searched), reach), _NOTHING, dtype=np.int64)
        queries[:, 0] = items + 1 + searched.query
        left = np.concatenate([queries, np.where(before > 0, before, _NOTHING)[kept]])
        right = np.concatenate([searched.target, bought.target[kept]]).astype(np.int64)
        if not len(left):
            raise SystemFailure("there are no pairs of texts to fine-tune the bi-encoder on.")
        pair, place = np.nonzero(left >= 0)
        known = Exclusions.of_pairs(left[pair, place], right[pair], items)
        return cls(tokens, left, right, len(searched), known, settings.pairs_per_epoch)

    def __len__(self) -> int:
        return len(self.left)

    def _sizes(self) -> tuple[int, int]:
        """How many searches and how many recommendations an epoch has."""
        each = (self.searches, len(self) - self.searches)
        if self.drawn is None:
            return each
        return min(each[0], self.drawn // 2), min(each[1], self.drawn - self.drawn // 2)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """A fresh draw of either task, mixed."""
        searches, others = self._sizes()
        rows = np.concatenate(
            [
                random.permutation(self.searches)[:searches],
                self.searches + random.permutation(len(self) - self.searches)[:others],
            ]
        )
        return in_batches(random.permutation(rows).astype(np.int64), batch_size)

    def steps(self, batch_size: int) -> int:
        """The batches of an epoch."""
        return -(-sum(self._sizes()) // batch_size)

    def _drawn_left(self, rows: NDArray[np.int64], random: np.random.Generator) -> LongArray:
        """(rows,) one of the texts that may stand on the left of each pair."""
        possible = self.left[rows]
        if possible.shape[1] == 1:
            return possible[:, 0]
        count = np.count_nonzero(possible >= 0, axis=1)
        chosen: LongArray = possible[np.arange(len(rows)), random.integers(count)]
        return chosen

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Each distinct text once (``ids``, ``mask``), the pairs' rows in these, and ``struck``.

        ``struck`` (batch, batch) is true where a right side is no negative of a left one, since
        training pairs the two, and false for a pair's own.
        """
        left, right = self._drawn_left(rows, random), self.right[rows]
        texts, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        ids, mask = self.tokens.padded(texts)
        struck = self.known.contains(left[:, None], right[None, :])
        struck |= left[:, None] == right[None, :]  # a text is no negative of itself either
        np.fill_diagonal(struck, False)
        place = place.reshape(-1).astype(np.int64)
        return {
            "ids": ids,
            "mask": mask,
            "left": torch.from_numpy(place[: len(rows)]),
            "right": torch.from_numpy(place[len(rows) :]),
            "struck": torch.from_numpy(struck),
        }


def pair_loss(vectors: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
    """Cross-entropy of each pair's right side among those of the batch.

    Args:
        vectors: (texts, dim) of length one.
        batch: a batch of :class:`Pairs`.
    """
    logits = vectors[batch["left"]] @ vectors[batch["right"]].T / temperature  # (batch, batch)
    logits = logits.masked_fill(batch["struck"], -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def joint_item_vectors(
    view: TrainingView,
    files: PretrainedFiles,
    pooling: Pooling,
    settings: BiEncoderSettings,
    most_tokens: int,
    context: RunContext,
) -> FloatArray:
    """(number_of_items, dim) vectors of length one of the fine-tuned encoder; row r is of item r+1.

    Args:
        files: the encoder to start from.
        most_tokens: of an item text or query that are read.

    Raises:
        SystemFailure: there is nothing to learn from.
    """
    corpus, tokenizer = view.corpus, Tokenizer(files)
    texts = (corpus.items.text, corpus.queries.text)
    tokens = joined([tokenizer(part, "", most_tokens) for part in texts])
    model = SentenceEncoder.from_files(files, pooling)

    def loss(batch: Batch) -> torch.Tensor:
        vectors = encode_in_parts(
            model, batch["ids"], batch["mask"], settings.texts_at_once, settings.activations
        )
        with torch.autocast(vectors.device.type, enabled=False):
            return pair_loss(vectors.float(), batch, settings.temperature)

    pairs = Pairs.of(view, tokens, settings)
    train(model, pairs, loss, settings.training, context, name="bi-encoder")
    items = np.arange(1, corpus.number_of_items + 1)
    return encode_tokens(model, tokens, items, context.precision, context.progress)
