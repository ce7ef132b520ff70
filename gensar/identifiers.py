"""GenSAR's joint identifiers: a semantic and a collaborative one for each item, equal at first.

Shi et al., "Unified Generative Search and Recommendation" (RecSys 2025), joint identifier learning.
Two encoders, of an item's text embedding and of its embedding from a trained recommender, give one
concatenated latent. Shared codebooks quantise all of it; what they leave is cut in two halves, and
each half goes on through codebooks of its own. The semantic identifier is the shared codes and
those of the first half, the collaborative one the shared codes and those of the second.

Written anew after the behaviour of https://github.com/TengShi-RUC/GenSAR, commit bd1a126 (without
a licence), folder ``index``, whose settings are the defaults. What differs: the codebooks' k-means
start is made before the first step, on the rows of the first batch, and is remembered in the
weights; the warm-up counts from a rate above zero. Collisions can be resolved by free codes instead
of the released loop, which leaves some.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from benchmark.errors import SystemFailure
from benchmark.files import read_json, write_json
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.collisions import Coded
from benchmark.kit.identifiers.learning import IdentifierModel, learn_codes
from benchmark.kit.identifiers.quantiser import (
    CodebookChange,
    Quantised,
    over_levels,
    squared_errors,
    straight_through,
)
from benchmark.kit.identifiers.rqvae import (
    RQVAE,
    VECTORS,
    RQVAEConfig,
    coded_by,
    encoder_and_decoder,
    latent_size,
    residual_quantiser,
)
from benchmark.kit.identifiers.settings import QuantisationConfig, Sizes, checked_epsilons
from benchmark.kit.training import Batch
from benchmark.systems.contract import FloatArray, RunContext

SEMANTIC, COLLABORATIVE, SHARED = "semantic", "collaborative", "shared"
_REPORT_FILE = "report.json"

_ALONE = {
    "semantic_only": SEMANTIC,
    "collaborative_only": COLLABORATIVE,
    "bi_encoder": SEMANTIC,
}
"""Modes of one embedding, and which table it is."""

Mode = Literal[
    "joint", "no_shared", "shared_only", "semantic_only", "collaborative_only", "bi_encoder"
]


class JointIdentifierConfig(QuantisationConfig):
    """Levels and mode; the settings of training are those of every quantising model."""

    mode: Mode = "joint"
    """"no_shared" gives the two identifiers no level in common, "shared_only" gives them all;
    "semantic_only" and "collaborative_only" learn one identifier for both tasks from one embedding,
    "bi_encoder" from that of a text encoder which was fine-tuned on both tasks.
    Identifiers keep their length and sizes in each."""
    shared_sizes: Sizes = (256, 256)
    """Codes of each shared level."""
    specific_sizes: Sizes = (256, 256)
    """Codes of each level of either identifier's own."""
    shared_epsilons: tuple[float, ...] = (0.0, 0.0)
    """Sinkhorn's epsilon of each shared level; 0 assigns the nearest codes."""
    specific_epsilons: tuple[float, ...] = (0.0, 0.003)
    """As ``shared_epsilons``, of the levels of either identifier's own."""
    latent_size: int = Field(default=32, ge=1)
    """Width of each encoder's output and of the specific codebooks; shared ones are twice as wide
    unless one encoder stands alone."""

    @model_validator(mode="after")
    def _an_epsilon_a_level(self) -> JointIdentifierConfig:
        checked_epsilons(self.shared_sizes, self.shared_epsilons)
        checked_epsilons(self.specific_sizes, self.specific_epsilons)
        if not self.sizes:
            raise ValueError("identifiers need at least one level")
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each level of an identifier."""
        return self.shared_sizes + self.specific_sizes

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Sinkhorn's epsilon of each level of an identifier."""
        return self.shared_epsilons + self.specific_epsilons

    @property
    def number_of_shared_levels(self) -> int:
        """How many codes the two identifiers have in common by construction."""
        return {"no_shared": 0, "joint": len(self.shared_sizes)}.get(self.mode, len(self.sizes))

    def of_one_embedding(self) -> RQVAEConfig:
        """The settings of an RQ-VAE on one embedding with identifiers of the same shape."""
        common = {name: getattr(self, name) for name in QuantisationConfig.model_fields}
        return RQVAEConfig(**common, sizes=self.sizes, epsilons=self.epsilons)


@dataclass(frozen=True)
class JointlyQuantised:
    """A forward pass of the joint model.

    ``latent`` (batch, 2 * latent_size); ``shared``, ``semantic`` and ``collaborative`` what their
    codebooks made of it; ``reconstructions`` of the two embeddings, (batch, their widths).
    """

    latent: torch.Tensor
    shared: Quantised
    semantic: Quantised
    collaborative: Quantised
    reconstructions: dict[str, torch.Tensor]

    @property
    def losses(self) -> torch.Tensor:
        """(batch, levels) of the shared levels, then the semantic, then the collaborative ones."""
        parts = (self.shared, self.semantic, self.collaborative)
        return torch.cat([part.losses for part in parts], dim=1)

    def codes(self, kind: str) -> torch.Tensor:
        """(batch, levels) of the identifier of one kind."""
        own = self.semantic if kind == SEMANTIC else self.collaborative
        return torch.cat([self.shared.codes, own.codes], dim=1)


class JointRQVAE(IdentifierModel):
    """Two auto-encoders that meet in the shared codebooks.

    Batches hold ``semantic`` (batch, semantic_size) and ``collaborative`` (batch,
    collaborative_size).
    """

    def __init__(
        self, semantic_size: int, collaborative_size: int, config: JointIdentifierConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.semantic_encoder, self.semantic_decoder = encoder_and_decoder(semantic_size, config)
        self.collaborative_encoder, self.collaborative_decoder = encoder_and_decoder(
            collaborative_size, config
        )
        sizes, epsilons, cut = config.sizes, config.epsilons, config.number_of_shared_levels
        self.widths = (
            latent_size(semantic_size, config),
            latent_size(collaborative_size, config),
        )
        self.shared = residual_quantiser(sizes[:cut], epsilons[:cut], sum(self.widths), config)
        self.semantic = residual_quantiser(sizes[cut:], epsilons[cut:], self.widths[0], config)
        self.collaborative = residual_quantiser(sizes[cut:], epsilons[cut:], self.widths[1], config)

    def forward(self, batch: Batch, balanced: bool) -> JointlyQuantised:
        """Quantise and reconstruct both embeddings; ``balanced`` as in training."""
        latent = self.encode(batch)
        shared = self.shared(latent, balanced)
        semantic_residual, collaborative_residual = shared.residual.split(self.widths, dim=1)
        semantic = self.semantic(semantic_residual, balanced)
        collaborative = self.collaborative(collaborative_residual, balanced)
        # One straight-through copy of the sum: the reconstruction's gradient passes once.
        specific = torch.cat([semantic.vectors, collaborative.vectors], dim=1)
        copied = straight_through(latent, shared.vectors + specific)
        semantic_half, collaborative_half = copied.split(self.widths, dim=1)
        reconstructions = {
            SEMANTIC: self.semantic_decoder(semantic_half),
            COLLABORATIVE: self.collaborative_decoder(collaborative_half),
        }
        return JointlyQuantised(latent, shared, semantic, collaborative, reconstructions)

    def losses(self, batch: Batch, done: JointlyQuantised) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction losses of both embeddings, summed, and the loss of all codebooks."""
        reduction = self.config.reduction
        errors = [
            squared_errors(found, batch[kind], reduction).mean()
            for kind, found in done.reconstructions.items()
        ]
        return torch.stack(errors).sum(), over_levels(done.losses, reduction)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The objective: reconstruction plus weighted quantisation loss."""
        reconstruction, quantisation = self.losses(batch, self(batch, balanced=True))
        return reconstruction + self.config.quantisation_weight * quantisation

    def encode(self, batch: Batch) -> torch.Tensor:
        """(batch, 2 * latent_size), the semantic half first."""
        semantic = self.semantic_encoder(batch[SEMANTIC])
        return torch.cat([semantic, self.collaborative_encoder(batch[COLLABORATIVE])], dim=1)

    def change_codebooks(self, latent: torch.Tensor, change: CodebookChange) -> None:
        """The shared codebooks first: the specific ones see what they leave."""
        semantic, collaborative = self.shared.change(latent, change).split(self.widths, dim=1)
        self.semantic.change(semantic, change)
        self.collaborative.change(collaborative, change)

    def coded(self, latent: torch.Tensor) -> dict[str, Coded]:
        """The nearest codes of both kinds, each in its own half of the latent space.

        Without specific levels there is one kind, "shared", in the whole space.
        """
        shared = coded_by(self.shared, latent)
        if not self.semantic.levels:
            return {SHARED: shared}
        rest = torch.from_numpy(shared.residual(shared.codes)).to(latent.device)
        size = self.widths[0]
        return {
            SEMANTIC: _in_one_half(shared, coded_by(self.semantic, rest[:, :size]), slice(size)),
            COLLABORATIVE: _in_one_half(
                shared, coded_by(self.collaborative, rest[:, size:]), slice(size, None)
            ),
        }


def _in_one_half(shared: Coded, own: Coded, half: slice) -> Coded:
    """Shared levels as they look in one half of the latent space, then that half's own levels."""
    return Coded(
        np.concatenate([shared.codes, own.codes], axis=1),
        shared.latent[:, half],
        tuple(codebook[:, half] for codebook in shared.codebooks) + own.codebooks,
    )


@dataclass(frozen=True)
class JointIdentifiers:
    """Both identifiers of every item; ``report`` has the figures of each kind.

    The semantic one stands for an item in search, the collaborative one in recommendation. Where
    one identifier serves both, the two are equal.
    """

    semantic: Identifiers
    collaborative: Identifiers
    report: dict[str, dict[str, float]]

    def of_kind(self, kind: str) -> Identifiers:
        """The identifiers that a kind of ``report`` tells of; one that serves both is either."""
        return self.collaborative if kind == COLLABORATIVE else self.semantic

    def save(self, folder: Path) -> None:
        """Write all into ``folder``."""
        for kind in (SEMANTIC, COLLABORATIVE):
            getattr(self, kind).save(folder / kind)
        write_json(folder / _REPORT_FILE, self.report)

    @classmethod
    def load(cls, folder: Path) -> JointIdentifiers:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: a file is missing or damaged.
        """
        both = {kind: Identifiers.load(folder / kind) for kind in (SEMANTIC, COLLABORATIVE)}
        return cls(**both, report=read_json(folder / _REPORT_FILE))


def _of_unit_variance(table: FloatArray) -> FloatArray:
    """The table (items, dim) centred and scaled to a total variance of 1.

    Distances in two such tables side by side count both alike, however wide they are.
    """
    centred = table - table.mean(axis=0)
    deviation = float(np.sqrt(centred.var(axis=0, dtype=np.float64).sum()))
    return (centred / (deviation or 1.0)).astype(np.float32)


def learn_joint_identifiers(
    semantic: FloatArray,
    collaborative: FloatArray,
    config: JointIdentifierConfig,
    context: RunContext,
    name: str = "identifiers",
) -> JointIdentifiers:
    """Train the joint RQ-VAE (or what ``config.mode`` puts in its place) and code all items.

    Args:
        semantic: (items, semantic_size) float32, the text embeddings; row r is of item r + 1.
        collaborative: (items, collaborative_size) float32, in the same order.
        config: the settings.
        context: seed, device and folder; a killed training goes on from its checkpoint.
        name: tells apart several trainings of one run.

    Raises:
        SystemFailure: the tables differ in length, a vector is not finite, or identifiers cannot be
            distinct.
    """
    if len(semantic) != len(collaborative):
        raise SystemFailure(
            f"{name}: there are {len(semantic):,} semantic vectors and {len(collaborative):,} "
            "collaborative ones; each item needs one of both."
        )
    tables = {SEMANTIC: semantic, COLLABORATIVE: collaborative}
    alike = {kind: _of_unit_variance(table) for kind, table in tables.items()}
    coded_vectors = tables | {SHARED: np.concatenate(list(alike.values()), axis=1)}
    torch.manual_seed(int(context.random(name, "initialisation").integers(2**62)))
    if config.mode in _ALONE:
        vectors = tables[_ALONE[config.mode]]
        coded_vectors[VECTORS] = vectors
        alone = RQVAE(vectors.shape[1], config.of_one_embedding())
        learned = learn_codes(alone, {VECTORS: vectors}, config, context, name)
    else:
        joint = JointRQVAE(semantic.shape[1], collaborative.shape[1], config)
        is_trained = config.quantiser == "rq-vae"
        learned = learn_codes(joint, tables if is_trained else alike, config, context, name)
    found, report = {}, {}
    for kind, coded in learned.coded.items():
        one = learned.finished(coded, coded_vectors[kind], config, config.epsilons[-1])
        found[kind], report[kind] = one.identifiers, one.figures
    if len(found) == 1:  # one identifier for both tasks
        (both,) = found.values()
        return JointIdentifiers(both, both, report)
    return JointIdentifiers(**found, report=report)
