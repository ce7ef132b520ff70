"""LC-Rec against the original's numbers: quantiser, transport, collisions, network and beams."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation.lc_rec import LCRecConfig
from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers.collisions import (
    collision_rate,
    with_free_codes,
    with_transported_codes,
)
from benchmark.kit.identifiers.quantiser import squared_distances
from benchmark.kit.identifiers.rqvae import RQVAE, VECTORS, RQVAEConfig
from benchmark.kit.identifiers.sinkhorn import balanced_codes, centred, transport_plan
from benchmark.kit.language_models.seq2seq import Seq2Seq
from tests.golden.loading import Golden, check_gradients, close, golden_stems, load_golden

END = 1


@pytest.mark.parametrize("name", golden_stems("lc-rec.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    check_quantiser(golden)
    check_transport(golden)
    check_collisions(golden)
    check_batch_norm(golden)
    check_network(golden)
    check_ranking(golden)


def equal(golden: Golden, found: Any, name: str) -> None:
    np.testing.assert_array_equal(found, golden.outputs[name], err_msg=f"{golden.name}: {name}")


# ------------------------------------------------------------------------------------- identifiers


def our_name(name: str, modules_in_a_layer: int = 3) -> str:
    """The original's parameter name in our words.

    A layer is Dropout, Linear, ReLU there, with BatchNorm between the last two if it has one.
    """

    def layer(found: re.Match[str]) -> str:
        number, place = divmod(int(found[1]), modules_in_a_layer)
        return f"{'layers' if place == 1 else 'norms'}.{number}"

    name = re.sub(r"mlp_layers\.(\d+)", layer, name)
    return re.sub(r"rq\.vq_layers\.(\d+)\.embedding", r"quantiser.codebooks.\1", name)


def model_of(golden: Golden, has_batch_norm: bool = False) -> RQVAE:
    """The default quantiser in the sizes of the case, with its weights."""
    sizes = golden.hyper_parameters
    changes = {
        "sizes": sizes["nel"],
        "epsilons": sizes["sk"],
        "hidden_sizes": sizes["layers"],
        "latent_size": sizes["e_dim"],
        "sinkhorn_rounds": sizes["sk_iters"],
        "batch_norm": has_batch_norm,
    }
    default = LCRecConfig().identifiers
    model = RQVAE(sizes["in_dim"], RQVAEConfig(**(default.model_dump() | changes)))
    prefix, modules_in_a_layer = ("rqvae_bn.", 4) if has_batch_norm else ("rqvae.", 3)
    state = {
        our_name(name, modules_in_a_layer): weight
        for name, weight in golden.weights_below(prefix).items()
    }
    flags = {name: torch.tensor(True) for name in model.state_dict() if "initialised" in name}
    model.load_state_dict(state | flags)
    return model


def check_quantiser(golden: Golden) -> None:
    """Codes, reconstructions, losses and gradients, assigned as in training and by nearest code."""
    vectors = golden.tensor("x")
    for case, balanced in (("train_sk", True), ("eval_nosk", False)):
        model = model_of(golden)
        done = model(vectors, balanced)
        reconstruction, quantisation = model.losses(vectors, done)
        close(golden, done.latent, "z")
        close(golden, done.reconstruction, f"{case}/recon")
        close(golden, reconstruction, f"{case}/recon_loss")
        close(golden, quantisation, f"{case}/rq_loss")
        total = reconstruction + model.config.quantisation_weight * quantisation
        close(golden, total, f"{case}/total_loss")
        equal(golden, done.quantised.codes, f"{case}/indices")
        inputs = torch.stack(done.quantised.inputs, dim=1)
        close(golden, inputs, f"{case}/residual_in")
        if balanced:
            after = torch.cat([inputs[:, 1:], done.quantised.residual[:, None]], dim=1)
            close(golden, inputs - after, f"{case}/level_out")
            close(golden, done.quantised.losses.mean(dim=0), f"{case}/level_loss")
            loss = model.loss({VECTORS: vectors})
            close(golden, loss, f"{case}/total_loss")
            check_gradients(golden, model, loss, f"{case}/grad/", our_name)


def check_transport(golden: Golden) -> None:
    """Plans of the last level over all items, over a group, and with a milder epsilon."""
    model, within = model_of(golden), golden.meta["tolerance"]
    level = model.quantiser.levels[-1]
    last_inputs = model(golden.tensor("x"), balanced=True).quantised.inputs[-1]
    distances = squared_distances(last_inputs, level.weight)
    close(golden, distances, "sinkhorn_all/distance")
    milder = golden.hyper_parameters["collision_epsilon"]
    for case, epsilon, output in (
        ("sinkhorn_all", level.epsilon, "sinkhorn_all/Q"),
        ("sinkhorn_group", level.epsilon, "sinkhorn_group/Q"),
        ("sinkhorn_all", milder, f"sinkhorn_eps{milder}/Q"),
    ):
        given = torch.from_numpy(golden.outputs[f"{case}/distance"].copy())
        close(golden, centred(given), f"{case}/centred")
        plan = transport_plan(given, epsilon, level.rounds)
        np.testing.assert_allclose(
            plan, golden.outputs[output], rtol=within["Q_rtol"], atol=1e-12, err_msg=output
        )
    every = torch.from_numpy(golden.outputs["sinkhorn_all/distance"].copy())
    found = balanced_codes(every, level.epsilon, level.rounds)
    equal(golden, found, "sinkhorn_all/assign")


def check_collisions(golden: Golden) -> None:
    """The released loop, with an epsilon that determines its outcome; ours leaves no collision."""
    model = model_of(golden).eval()
    with torch.no_grad():
        coded = model.coded(model.encode({VECTORS: golden.tensor("x")}))[VECTORS]
    equal(golden, coded.codes, "collision/initial")
    assert collision_rate(coded.codes) == golden.outputs["collision/rate_initial"]
    sizes, rounds = golden.hyper_parameters, int(golden.outputs["collision/iterations"])
    found = with_transported_codes(coded, sizes["collision_epsilon"], sizes["sk_iters"], rounds)
    equal(golden, found, "collision/final")
    assert collision_rate(found) == golden.outputs["collision/rate_final"]
    assert collision_rate(with_free_codes(coded)) == 0


def check_batch_norm(golden: Golden) -> None:
    """The variant that the released script trains: one pass in training, then its codes."""
    model, vectors = model_of(golden, has_batch_norm=True).train(), golden.tensor("x")
    done = model(vectors, balanced=True)
    reconstruction, quantisation = model.losses(vectors, done)
    close(golden, done.reconstruction, "bn_train/recon")
    close(golden, reconstruction, "bn_train/recon_loss")
    close(golden, quantisation, "bn_train/rq_loss")
    equal(golden, done.quantised.codes, "bn_train/indices")
    state, prefix = model.state_dict(), "bn_train/after/"
    for name in golden.outputs:
        if name.startswith(prefix):
            close(golden, state[our_name(name.removeprefix(prefix), 4)], name)
    equal(golden, model.eval()(vectors, balanced=False).quantised.codes, "bn_eval/indices")


# ------------------------------------------------------------------------------------- the ranking


def ranker(golden: Golden) -> Seq2Seq:
    sizes = golden.hyper_parameters["t5"]
    of_the_case = {"first_identifier_token", "codes_per_level"}
    config = {name: value for name, value in sizes.items() if name not in of_the_case}
    model = Seq2Seq.of_config(config | {"dropout_rate": 0.0})
    model.load_own_state(golden.weights_below("t5."))
    return model.eval()


def candidates_with_end(golden: Golden) -> Any:
    tokens = golden.inputs["rank/candidate_token_ids"]
    return np.pad(tokens, ((0, 0), (0, 0), (0, 1)), constant_values=END)


def check_network(golden: Golden) -> None:
    """Logits and loss of the first candidates as answers."""
    model = ranker(golden)
    batch = {
        "input_ids": golden.tensor("rank/encoder_input_ids"),
        "attention_mask": golden.tensor("rank/encoder_attention_mask"),
        "labels": torch.from_numpy(candidates_with_end(golden)[:, 0].copy()),
    }
    close(golden, model.t5(**batch).logits, "rank/teacher_logits")
    close(golden, model(batch), "rank/teacher_loss")


@torch.inference_mode()
def check_ranking(golden: Golden) -> None:
    """Likelihoods of all candidates, token by token, and the beam with its mean scores."""
    t5, within = ranker(golden).t5, golden.meta["tolerance"]
    mask = golden.tensor("rank/encoder_attention_mask")
    encoded = encode(t5, {"input_ids": golden.tensor("rank/encoder_input_ids")}, mask)
    tokens = candidates_with_end(golden)
    length = tokens.shape[2]

    def near(found: Any, name: str) -> None:
        expected = golden.outputs[name]
        within_atol = {"rtol": within["default_rtol"], "atol": within["rank_atol"]}
        np.testing.assert_allclose(found, expected, **within_atol, err_msg=name)

    sums = [candidate_scores(t5, encoded, tokens[:, :, :end]) for end in range(1, length + 1)]
    near(sums[-1], "rank/candidate_logprob")
    steps = np.diff(torch.stack(sums, dim=2).numpy(), axis=2, prepend=0)
    near(steps, "rank/candidate_step_logprob")

    expected = golden.outputs["rank/beam_candidate"]
    beam_size = expected.shape[1]
    scores = candidate_scores(t5, encoded, tokens, beam_size, "mean").numpy()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :beam_size]
    np.testing.assert_array_equal(order, expected)
    near(np.take_along_axis(scores, order, axis=1), "rank/beam_scores")
    sequences = np.take_along_axis(tokens, order[..., None], axis=1)
    np.testing.assert_array_equal(sequences, golden.outputs["rank/beam_sequences"][..., 1:])
    assert np.count_nonzero(scores > -np.inf) == order.size
