"""What the original GenSAR's identifier code computed, against `gensar/identifiers.py` and the kit.

The checks are called by `test_gensar.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.identifiers.collisions import (
    Coded,
    collision_rate,
    with_free_codes,
    with_transported_codes,
)
from benchmark.kit.identifiers.learning import Vectors
from benchmark.kit.identifiers.quantiser import squared_distances
from benchmark.kit.identifiers.sinkhorn import centred, transport_plan
from benchmark.kit.identifiers.value import groups_of
from benchmark.kit.training import Batch, TrainingSettings, train
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from gensar.identifiers import (
    COLLABORATIVE,
    SEMANTIC,
    JointIdentifierConfig,
    JointlyQuantised,
    JointRQVAE,
)
from tests.golden.loading import Golden, check_gradients

KINDS = {SEMANTIC: "semantic", COLLABORATIVE: "collaborate"}
"""Our name of an embedding and its identifier, and the original's."""

DISTINCT_WITHIN = 0.15
"""The released loop breaks ties by rounding noise: its result is the same only about so far."""


def our_name(name: str) -> str:
    """The original's parameter name in our words."""
    name = name.replace("collaborate", "collaborative")
    # A layer is Dropout, Linear, ReLU there.
    name = re.sub(r"mlp_layers\.(\d+)", lambda found: f"layers.{int(found[1]) // 3}", name)
    return re.sub(r"rq\.vq_layers_(\w+)\.(\d+)\.embedding", r"\1.codebooks.\2", name)


def model_of(golden: Golden) -> JointRQVAE:
    sizes = golden.hyper_parameters
    levels = sizes["codebooks"]
    config = JointIdentifierConfig(
        hidden_sizes=sizes["layers"],
        latent_size=sizes["hidden"],
        shared_sizes=levels[: len(sizes["shared_sk_epsilons"])],
        specific_sizes=levels[: len(sizes["specific_sk_epsilons"])],
        shared_epsilons=sizes["shared_sk_epsilons"],
        specific_epsilons=sizes["specific_sk_epsilons"],
        commitment=sizes["beta"],
        quantisation_weight=sizes["quant_loss_weight"],
        sinkhorn_rounds=sizes["sk_iters"],
    )
    model = JointRQVAE(sizes["semantic_dim"], sizes["collaborate_dim"], config)
    state = {
        our_name(name): torch.from_numpy(array.copy())
        for name, array in golden.weights.items()
        if re.match(r"(semantic|collaborate)_(en|de)coder|rq\.", name)
    }
    flags = {name: torch.tensor(True) for name in model.state_dict() if "initialised" in name}
    model.load_state_dict(state | flags)
    return model


def batch_of(golden: Golden) -> Batch:
    return {kind: golden.tensor(name) for kind, name in KINDS.items()}


def close(golden: Golden, found: Any, name: str, tolerance: str = "float32") -> None:
    array = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    within = golden.meta["tolerance"][tolerance]
    np.testing.assert_allclose(
        array, golden.outputs[name], atol=within, rtol=within, err_msg=f"{golden.name}: {name}"
    )


def equal(golden: Golden, found: Any, name: str) -> None:
    np.testing.assert_array_equal(found, golden.outputs[name], err_msg=f"{golden.name}: {name}")


def check_quantiser(golden: Golden) -> None:
    """Codes, reconstructions, losses and gradients, assigned as in training and by nearest code."""
    for case, balanced in (("sk", True), ("nosk", False)):
        model, batch = model_of(golden), batch_of(golden)
        done = model(batch, balanced)
        reconstruction, quantisation = model.losses(batch, done)
        total = reconstruction + model.config.quantisation_weight * quantisation
        for kind, name in KINDS.items():
            close(golden, done.reconstructions[kind], f"{case}/recon_{name}")
            equal(golden, done.codes(kind), f"{case}/{name}_codes")
        close(golden, reconstruction, f"{case}/recon_loss")
        close(golden, quantisation, f"{case}/rq_loss")
        close(golden, total, f"{case}/total_loss")
        if balanced:
            close(golden, model.loss(batch), f"{case}/total_loss")
        check_gradients(golden, model, total, f"{case}/grad/", our_name, close)
        check_gradients(golden, model, quantisation, f"{case}/grad_rq_only/", our_name, close)
    _check_inner_values(golden, done)


def _check_inner_values(golden: Golden, done: JointlyQuantised) -> None:
    semantic, collaborative = done.latent.chunk(2, dim=1)
    close(golden, semantic, "latent_semantic")
    close(golden, collaborative, "latent_collaborate")
    close(golden, done.shared.residual, "residual_after_shared")
    close(golden, done.losses.mean(dim=0), "nosk/level_losses")


def check_sinkhorn(golden: Golden) -> None:
    """The transport plan of the last semantic level, whose residuals the training case gives."""
    model = model_of(golden)
    quantised = model(batch_of(golden), balanced=True).semantic
    level = model.semantic.levels[-1]
    distances = squared_distances(quantised.inputs[-1], level.weight).detach()
    close(golden, distances, "sinkhorn/distances")
    equal(golden, distances.argmin(dim=1), "sinkhorn/argmin")
    given = torch.from_numpy(golden.outputs["sinkhorn/distances"].copy())
    close(golden, centred(given), "sinkhorn/centered")
    plan = transport_plan(given, level.epsilon, level.rounds)
    close(golden, plan, "sinkhorn/Q", "float64")
    equal(golden, plan.argmax(dim=1), "sinkhorn/assign")
    equal(golden, quantised.codes[:, -1], "sinkhorn/assign")


def check_optimiser_step(golden: Golden) -> None:
    """The norm of the gradient, and one step of the suite's loop over all items at once."""
    sizes, model, batch = golden.hyper_parameters, model_of(golden), batch_of(golden)
    model.loss(batch).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    close(golden, norm, "adamw/grad_norm")
    model.zero_grad()
    settings = TrainingSettings(
        epochs=1,
        batch_size=sizes["batch"],
        optimizer="adamw",
        learning_rate=sizes["lr"],
        weight_decay=sizes["weight_decay"],
        gradient_clip=sizes["clip"],
        checkpoint_seconds=1e9,
    )
    instances = Vectors({kind: tensor.numpy() for kind, tensor in batch.items()})
    assert instances.steps(settings.batch_size) == 1
    with TemporaryDirectory() as folder:
        context = RunContext(0, Path(folder), ArtifactStore(Path(folder)))
        train(model, instances, model.loss, settings, context)
    stepped = dict(model.named_parameters())
    prefix = "adamw/after/"
    names = [name for name in golden.outputs if name.startswith(prefix)]
    assert names
    for name in names:
        close(golden, stepped[our_name(name.removeprefix(prefix))], name)


def check_collisions(golden: Golden) -> None:
    """Codes before the released loop exactly, after it as far as they are determined."""
    model = model_of(golden).eval()
    with torch.no_grad():
        coded_of_both = model.coded(model.encode(batch_of(golden)))
    epsilon = model.config.specific_epsilons[-1]
    rounds = golden.hyper_parameters["max_collision_rounds"]
    for kind, name in KINDS.items():
        coded, part = coded_of_both[kind], f"collision/{name}"
        equal(golden, coded.codes, f"{part}_initial")
        sharing = np.bincount(groups_of(coded.codes)) > 1
        assert sharing.sum() == golden.outputs[f"{part}_groups_per_round"][0]
        before, after = golden.outputs[f"{part}_rate"]
        assert collision_rate(coded.codes) == before
        found = with_transported_codes(coded, epsilon, model.config.sinkhorn_rounds, rounds)
        np.testing.assert_array_equal(found[:, :-1], golden.outputs[f"{part}_final"][:, :-1])
        distinct, expected = 1 - collision_rate(found), 1 - after
        assert abs(distinct - expected) <= DISTINCT_WITHIN * expected
        assert collision_rate(with_free_codes(coded)) == 0
    _check_small_collision(golden)


def _check_small_collision(golden: Golden) -> None:
    """Groups of as many items as codes have one outcome; of smaller ones only the prefix has."""
    prefix: NDArray[np.int64] = golden.inputs["small_collision/prefix"]
    residual = golden.inputs["small_collision/residual"]
    codebook = golden.weights["small_collision/codebook"]
    initial = golden.outputs["small_collision/initial"]
    final = golden.outputs["small_collision/final"]
    nothing = np.zeros((int(prefix.max()) + 1, residual.shape[1]), dtype=np.float32)
    coded = Coded(initial, residual, (*[nothing] * prefix.shape[1], codebook))
    nearest = squared_distances(torch.from_numpy(residual), torch.from_numpy(codebook)).argmin(1)
    np.testing.assert_array_equal(initial, np.concatenate([prefix, nearest[:, None]], axis=1))
    epsilon = golden.hyper_parameters["specific_sk_epsilons"][-1]
    found = with_transported_codes(coded, epsilon, golden.hyper_parameters["sk_iters"])
    np.testing.assert_array_equal(found[:, :-1], prefix)
    group = groups_of(initial)
    members = np.bincount(group)[group]
    determined = (members == 1) | (members == len(codebook))
    np.testing.assert_array_equal(found[determined], final[determined])
    assert collision_rate(found) == collision_rate(final)
