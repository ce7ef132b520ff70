"""LC-Rec on a causal language model, as it was published.

Zheng et al., "Adapting Large Language Models by Integrating Collaborative Semantics for
Recommendation", ICDE 2024 (arXiv 2311.09049); original https://github.com/RUCAIBox/LC-Rec, commit
e6f1b3b, without a licence: see ``lc_rec.py``, of which this is the form with the published backbone
and its optimiser. A causal model reads an instruction, a mark, and goes on with the answer; the
loss counts the answer and its end. Identifiers, tasks and wordings are those of the other form.

What differs from the original: of its six kinds of tasks two are left out, wordings are our own,
items are embedded by BGE instead of LLaMA, colliding items get free codes, and only items can be
generated, where the original allows any code at its level; that and what is shared is told there.
All weights are trained, as in its main script, and no adapter. It needs a GPU of the largest kind
with LLaMA-7B; any other causal model can be named instead, and on small machines a LLaMA from
scratch and the packaged sentence encoder stand in, and the tables say so. The original's numbers
pin quantiser, collisions and codes; for the causal model there are none, so loss and scores are
compared with plain forward passes, and beams with Hugging Face's own search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from baselines.encoders import BGE
from baselines.generative_recommendation.lc_rec import CodesAndWordsConfig, LCRec, Mixture, Prompts
from baselines.generative_recommendation.wordings import PromptStyle
from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.language_models.causal import CausalBackbone, CausalSettings, CausalTokenizer
from benchmark.kit.text.encoders import encoder_part
from benchmark.kit.text.pieces import assembled, assembled_lengths, joined, labels_of
from benchmark.kit.training import Batch, TrainingSettings
from benchmark.systems.contract import PretrainedPart, SystemConfig
from benchmark.systems.space import Real, SearchSpace
from benchmark.systems.view import TrainingView


class LCRecCausalConfig(CodesAndWordsConfig):
    """The original's settings of its training script."""

    backbone: CausalSettings = CausalSettings()
    """LLaMA-7B."""
    history_length: int = Field(default=20, ge=1)
    """The last items of a prompt."""
    beam_size: int = Field(default=20, ge=1)
    """Prefixes that a beam search keeps."""
    loss_group_size: int | None = Field(default=8, ge=1)
    """Instances, chosen at random from a batch, whose tokens are averaged; the loss is the mean of
    these averages, as where each device computes so many at once."""
    training: TrainingSettings = TrainingSettings(
        epochs=4,
        batch_size=128,
        micro_batch_size=8,
        optimizer="adamw",
        learning_rate=5e-5,
        weight_decay=0.01,
        schedule="cosine",
        gradient_clip=1.0,
        patience=None,
    )
    """A batch counts examples of all tasks."""

    search_space: ClassVar[SearchSpace] = {
        **CodesAndWordsConfig.search_space,
        "training.learning_rate": Real(1e-5, 1e-2, log=True),  # a large model learns at the first
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The causal model and the sentence encoder."""
        return (self.backbone.part(), encoder_part(self.text_encoder, BGE[0]))


ANSWER = "Answer:"
"""What stands between an instruction and its answer."""


class CausalPrompts(Prompts):
    """The same prompts between the tokenizer's opening and the mark of the answer.

    ``around`` (1, 2) are the pieces of these two.
    """

    def __init__(
        self,
        tokenizer: CausalTokenizer,
        identifiers: Sequence[str],
        titles: Sequence[str],
        details: Sequence[str],
        style: PromptStyle,
        most_text_tokens: int,
    ) -> None:
        super().__init__(tokenizer, identifiers, titles, details, style, most_text_tokens)
        self.around = np.array([[len(self.tokens), len(self.tokens) + 1]])
        mark = tokenizer([ANSWER])
        self.tokens = joined([self.tokens, tokenizer.opening_piece, mark])

    def prompts(self, wording: LongArray, histories: IntArray, items: IntArray) -> LongArray:
        """What is read, (rows, pieces)."""
        return self._enclosed(super().prompts(wording, histories, items))

    def questions(self, histories: IntArray) -> LongArray:
        """What is read for scoring, (rows, pieces)."""
        return self._enclosed(super().questions(histories))

    def _enclosed(self, pieces: LongArray) -> LongArray:
        before, after = np.repeat(self.around, len(pieces), axis=0).T[..., None]
        return np.concatenate([before, pieces, after], axis=1)


class CausalMixture(Mixture):
    """The same examples; no end stands behind what is read."""

    def _assembled(self, inputs: LongArray, targets: LongArray) -> Batch:
        ids, mask = assembled(self.tokens, inputs)
        labels = labels_of(*assembled(self.tokens, targets, self.end))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class LCRecCausal(LCRec):
    """Codes of item texts, a causal language model, and prompts that align the two."""

    Config: ClassVar[type[SystemConfig]] = LCRecCausalConfig
    backbones = CausalBackbone
    made_prompts: ClassVar[type[Prompts]] = CausalPrompts
    prompts: CausalPrompts

    def mixture(self, view: TrainingView) -> Mixture:
        """The training instances.

        Raises:
            SystemFailure: some of them are longer than the language model's texts.
        """
        instances = CausalMixture(view, self.prompts, self.config)
        added = assembled_lengths(self.prompts.tokens, self.prompts.around)[0] + 1  # and the end
        longest = int(instances.lengths.max(initial=0) + added)
        room = getattr(self.writer().config, "max_position_embeddings", None)
        if room is not None and longest > room:
            raise SystemFailure(
                f"prompts with answers of up to {longest:,} tokens do not fit into the {room:,} "
                "positions of its backbone; most_text_tokens and history_length make them shorter."
            )
        return instances
