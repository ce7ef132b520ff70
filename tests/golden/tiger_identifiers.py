"""TIGER's identifiers as re-implementations compute them, against the kit's RQ-VAE.

The checks are called by `test_tiger.py`.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from benchmark.kit.identifiers.collisions import with_counter
from benchmark.kit.identifiers.quantiser import Gradient, Reduction, squared_errors
from benchmark.kit.identifiers.rqvae import RQVAE, VECTORS, RQVAEConfig
from tests.golden.loading import Golden, check_gradients, close


def our_name(name: str) -> str:
    """The re-implementation's parameter name in our words."""
    name = name.removeprefix("rqvae.")
    name = re.sub(r"mlp\.(\d+)", lambda found: f"layers.{int(found[1]) // 2}", name)
    return re.sub(r"^layers\.(\d+)\.embedding", r"quantiser.codebooks.\1", name)


def model_of(golden: Golden, reduction: Reduction, gradient: Gradient = "first_level") -> RQVAE:
    sizes = golden.hyper_parameters["rqvae"]
    config = RQVAEConfig(
        sizes=(sizes["K"],) * sizes["L"],
        epsilons=(0.0,) * sizes["L"],
        hidden_sizes=sizes["hid"],
        latent_size=sizes["e"],
        bias=False,
        initialisation="torch",
        reduction=reduction,
        gradient=gradient,
    )
    model = RQVAE(sizes["in_dim"], config)
    state = {
        our_name(name): torch.from_numpy(array.copy())
        for name, array in golden.weights.items()
        if name.startswith("rqvae.")
    }
    flags = {name: torch.tensor(True) for name in model.state_dict() if "initialised" in name}
    model.load_state_dict(state | flags)
    return model


def check_quantiser(golden: Golden) -> None:
    """Codes, reconstructions, losses and gradients under both reductions and both gradients."""
    vectors = golden.tensor("x")
    for reduction in ("sum", "mean"):
        model = model_of(golden, reduction)
        done = model(vectors, balanced=True)
        reconstruction, quantisation = model.losses(vectors, done)
        close(golden, done.latent, "z")
        close(golden, done.reconstruction, f"{reduction}/recon")
        np.testing.assert_array_equal(
            done.quantised.codes, golden.outputs[f"{reduction}/codes"], err_msg=golden.name
        )
        if reduction == "sum":
            close(golden, torch.stack(done.quantised.inputs, dim=1), "sum/residuals")
            errors = squared_errors(done.reconstruction, vectors, reduction)
            close(golden, errors, "sum/recon_loss_per_item")
            close(golden, done.quantised.losses.sum(dim=1), "sum/quant_loss_per_item")
        else:
            close(golden, reconstruction, "mean/recon_loss")
            close(golden, quantisation, "mean/rq_loss")
        loss = model.loss({VECTORS: vectors})
        close(golden, loss, f"{reduction}/loss")
        check_gradients(golden, model, loss, f"{reduction}/grad/", our_name)
    model = model_of(golden, "sum", "all_levels")
    loss = model.loss({VECTORS: vectors})
    close(golden, loss, "sum/loss")
    check_gradients(golden, model, loss, "alllevels/grad/", our_name)


def check_collision_code(golden: Golden) -> None:
    """The last code counts the items that share the others, in item order."""
    model = model_of(golden, "sum").eval()
    with torch.no_grad():
        coded = model.coded(model.encode({VECTORS: golden.tensor("x")}))[VECTORS]
    np.testing.assert_array_equal(
        with_counter(coded.codes), golden.outputs["codes_with_collision"], err_msg=golden.name
    )
