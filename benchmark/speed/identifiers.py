"""Training an RQ-VAE by the suite's loop, beside a plain loop as the published code has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.kit.identifiers.learning import Vectors
from benchmark.kit.identifiers.rqvae import RQVAE, VECTORS, RQVAEConfig
from benchmark.kit.identifiers.sinkhorn import centred
from benchmark.kit.training import TrainingSettings, train
from benchmark.speed.measure import Measurement, best_of
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import FloatArray, RunContext

SIZES = (256, 256, 256, 256)
NEAREST = (0.0, 0.0, 0.0, 0.0)
EVEN_AT_THE_END = (0.0, 0.0, 0.0, 0.003)
BATCH_SIZE = 1024


def identifiers(items: int = 8 * BATCH_SIZE, size: int = 768) -> list[Measurement]:
    """An epoch at widths 768-512-256-128-64-32, and the k-means start of the first codebook."""
    vectors = np.random.default_rng(0).normal(size=(items, size)).astype(np.float32)
    measured = []
    for epsilons, how in ((NEAREST, "nearest codes"), (EVEN_AT_THE_END, "last level even")):
        config = RQVAEConfig(sizes=SIZES, epsilons=epsilons)
        what = f"RQ-VAE training, {items:,} items of {size}, {how}"
        ways: dict[str, Callable[[], object]] = {
            "plain loop": partial(_plain_epoch, vectors, config),
            "suite's loop (ours)": partial(_suite_epoch, vectors, config),
        }
        measured += [Measurement(what, way, best_of(work), items) for way, work in ways.items()]
    rows = vectors[:BATCH_SIZE, : RQVAEConfig().latent_size]
    start = partial(kmeans_centres, rows, SIZES[0], 100, np.random.default_rng(0))
    what = f"k-means start of a codebook, {len(rows):,} rows of {rows.shape[1]}"
    return [*measured, Measurement(what, "scikit-learn (ours)", best_of(start), len(rows))]


def _suite_epoch(vectors: FloatArray, config: RQVAEConfig) -> None:
    settings = TrainingSettings(
        epochs=1,
        batch_size=BATCH_SIZE,
        optimizer="adamw",
        gradient_clip=1.0,
        checkpoint_seconds=1e9,
    )
    with TemporaryDirectory() as folder:
        context = RunContext(0, Path(folder), ArtifactStore(Path(folder)))
        model = RQVAE(vectors.shape[1], config)
        train(model, Vectors({VECTORS: vectors}), model.loss, settings, context)


def _plain_epoch(vectors: FloatArray, config: RQVAEConfig) -> None:
    """The same network with a straight-through copy a level and a transport of whole matrices."""
    widths = (vectors.shape[1], *config.hidden_sizes, config.latent_size)
    encoder, decoder = _layers(widths), _layers(widths[::-1])
    books = [nn.Embedding(size, config.latent_size) for size in config.sizes]
    parameters = [p for part in (encoder, decoder, *books) for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    for batch in torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(vectors)), BATCH_SIZE, shuffle=True
    ):
        x = batch[0]
        rest, copies, losses = encoder(x), [], []
        for book, epsilon in zip(books, config.epsilons, strict=True):
            weight = book.weight
            distances = (
                rest.square().sum(1, keepdim=True) + weight.square().sum(1) - 2 * rest @ weight.T
            )
            codes = _rescaled(distances, epsilon) if epsilon else distances.argmin(1)
            chosen = book(codes)
            losses.append(
                F.mse_loss(chosen, rest.detach()) + 0.25 * F.mse_loss(chosen.detach(), rest)
            )
            copies.append(rest + (chosen - rest).detach())
            rest = rest - copies[-1]
        found = decoder(torch.stack(copies).sum(0))
        loss = F.mse_loss(found, x) + torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, inputs in enumerate(widths[:-1]):
        layers += [nn.Dropout(0.0), nn.Linear(inputs, widths[number + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def _rescaled(distances: torch.Tensor, epsilon: float, rounds: int = 50) -> torch.Tensor:
    plan = torch.exp(-centred(distances).double() / epsilon)
    plan /= plan.sum()
    for _ in range(rounds):
        plan /= plan.sum(1, keepdim=True) * len(plan)
        plan /= plan.sum(0, keepdim=True) * plan.shape[1]
    return plan.argmax(1)
