"""LETTER against the numbers of the authors' own code: codes, groups, generator and ranking."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation.letter import (
    COLLABORATIVE,
    HAS_EVENTS,
    LETTERModel,
    LETTERTokensConfig,
    LETTERVocabulary,
    grouped,
    loss_of,
)
from benchmark.kit.decoding.identifier_system import catalogue_of
from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.balanced import balanced_assignment, balanced_centres, costs_of
from benchmark.kit.identifiers.collisions import collision_rate, with_transported_codes
from benchmark.kit.identifiers.quantiser import squared_distances
from benchmark.kit.identifiers.rqvae import VECTORS
from benchmark.kit.identifiers.sinkhorn import centred, transport_plan
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.training.optimizers import make_optimizer
from tests.golden.loading import Golden, golden_stems, load_golden
from tests.golden.test_lc_rec import our_name

STEMS = golden_stems("letter.*")
WORSE = 1.05
"""How much larger our size-bounded k-means may leave the distances than the original's."""

OF_ANOTHER_RUN = re.compile("kmeans/(centres|labels)|clusters/sizes")
"""Random in the original: compared by bounds and quality."""


def close(golden: Golden, found: dict[str, Any], atol: str = "default_atol") -> None:
    within = golden.meta["tolerance"]
    for name, value in found.items():
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        expected = golden.outputs.pop(name)
        if np.issubdtype(expected.dtype, np.integer):
            np.testing.assert_array_equal(array, expected, err_msg=name)
            continue
        bounds = {"atol": within[atol], "rtol": within["default_rtol"]}
        np.testing.assert_allclose(array, expected, **bounds, err_msg=f"{golden.name}: {name}")


@pytest.mark.parametrize("name", STEMS)
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    check_terms(golden)
    check_steps(golden)
    check_codes(golden)
    check_groups(golden)
    check_generator(golden)
    check_ranking(golden)
    check_language_model_loss(golden)
    left = [key for key in golden.outputs if not OF_ANOTHER_RUN.fullmatch(key)]
    assert not left, f"{golden.name}: nothing was computed for {left}"


def model_of(golden: Golden) -> LETTERModel:
    sizes = golden.hyper_parameters
    config = LETTERTokensConfig(
        sizes=(sizes["codes_per_level"],) * sizes["levels"],
        epsilons=sizes["sk_epsilons"],
        hidden_sizes=sizes["layers"],
        latent_size=sizes["e_dim"],
        sinkhorn_rounds=sizes["sk_iters"],
        batch_norm=sizes["batch_norm"],
        commitment=sizes["mu"],
        quantisation_weight=sizes["quant_loss_weight"],
        alignment=sizes["alpha"],
        diversity=sizes["beta"],
        groups=sizes["clusters"],
        reconstruction=sizes["loss_type"],
    )
    model = LETTERModel(sizes["in_dim"], config)
    state = model.state_dict()
    for name, array in golden.weights.items():
        if name.startswith("rqvae."):
            own = our_name(name.removeprefix("rqvae."), 4 if sizes["batch_norm"] else 3)
            state[own] = torch.from_numpy(array.copy())
    model.load_state_dict(state)
    return model.train()


def batch_of(golden: Golden) -> dict[str, torch.Tensor]:
    rows = golden.inputs["batch_index"]
    return {
        VECTORS: golden.tensor("x")[rows],
        COLLABORATIVE: golden.tensor("cf")[rows],
        HAS_EVENTS: torch.ones(len(rows), 1),
    }


def check_terms(golden: Golden) -> None:
    model, batch = model_of(golden), batch_of(golden)
    positives = golden.tensor("positives").T
    done = model(batch[VECTORS], balanced=True)
    terms = model.terms(batch, done, positives)
    quantised = done.quantised
    inputs = torch.stack(quantised.inputs, dim=1)
    after = torch.cat([inputs[:, 1:], quantised.residual[:, None]], dim=1)
    errors = (after).square().mean(dim=(0, 2))
    levels = quantised.losses.mean(dim=0) + model.config.diversity * terms.diversity
    dense = done.latent + (quantised.vectors - done.latent).detach()
    plan = transport_plan(
        squared_distances(quantised.inputs[-1], model.quantiser.levels[-1].weight).detach(),
        model.quantiser.levels[-1].epsilon,
        model.quantiser.levels[-1].rounds,
    )
    found = {
        "z": done.latent,
        "residual_in": inputs,
        "codes": quantised.codes,
        "dense": dense,
        "recon": done.reconstruction,
        "commitment_loss": errors,
        "codebook_loss": errors,
        "diversity_loss": terms.diversity,
        "level_loss": levels,
        "rq_loss": terms.quantisation,
        "cf_loss": terms.alignment,
        "recon_loss": terms.reconstruction,
        "total_loss": terms.total,
        "cf_similarities_first8": (dense @ batch[COLLABORATIVE].T)[:8],
    }
    gradients = {"grad": terms.total, "grad_cf": terms.alignment}
    gradients["grad_diversity"] = terms.diversity.sum()
    for part, loss in gradients.items():
        for name, gradient in _gradients(model, loss).items():
            found[f"{part}/{name}"] = gradient
            found[f"{part}_norm/{name}"] = gradient.norm()
    close(
        golden, {f"train/{key}": v for key, v in found.items() if f"train/{key}" in golden.outputs}
    )
    close(golden, {"train/last_level_Q_first16": plan[:16]}, "Q_atol")


def _gradients(model: LETTERModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """By the original's names."""
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    zeros = [torch.zeros_like(value) for value in named.values()]
    gradients = [zero if one is None else one for one, zero in zip(found, zeros, strict=True)]
    step = 4 if model.config.batch_norm else 3
    return {_theirs(name, step): value for name, value in zip(named, gradients, strict=True)}


def _theirs(name: str, modules_in_a_layer: int) -> str:
    def layer(found: re.Match[str]) -> str:
        place = 1 if found[1] == "layers" else 2
        return f"mlp_layers.{modules_in_a_layer * int(found[2]) + place}"

    name = re.sub(r"(layers|norms)\.(\d+)", layer, name)
    return re.sub(r"quantiser\.codebooks\.(\d+)", r"rq.vq_layers.\1.embedding", name)


def check_steps(golden: Golden) -> None:
    model, batch = model_of(golden), batch_of(golden)
    sizes = golden.hyper_parameters["steps"]
    training = LETTERTokensConfig().training
    assert (training.learning_rate, training.weight_decay) == (sizes["lr"], sizes["weight_decay"])
    optimizer = make_optimizer(model.parameters(), training)
    losses, codes = [], []
    for positives in golden.tensor("steps/positives"):
        done = model(batch[VECTORS], balanced=True)
        terms = model.terms(batch, done, positives.T)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        parts = (terms.total, terms.alignment, terms.reconstruction, terms.quantisation)
        losses.append([part.item() for part in parts])
        codes.append(done.quantised.codes)
    period = 4 if model.config.batch_norm else 3
    weights = {_theirs(name, period): value for name, value in model.named_parameters()}
    found: dict[str, Any] = {"total_cf_recon_rq": losses, "codes": torch.stack(codes)}
    found |= {f"after/{name}": value for name, value in weights.items()}
    close(
        golden, {f"steps/{key}": v for key, v in found.items() if f"steps/{key}" in golden.outputs}
    )


def check_codes(golden: Golden) -> None:
    model, vectors = model_of(golden).eval(), golden.tensor("x")
    sizes = golden.hyper_parameters
    with torch.no_grad():
        done = model(vectors, balanced=False)
        coded = model.coded(done.latent)[VECTORS]
    found = {
        "eval/z": done.latent,
        "eval/codes": done.quantised.codes,
        "eval/recon_first16": done.reconstruction[:16],
        "eval/collision_rate": collision_rate(coded.codes),
        "collision/initial": coded.codes,
        "collision/rate_initial": collision_rate(coded.codes),
    }
    rows = golden.outputs["collision/group_rows"]
    rounds = int(golden.outputs["collision/rounds"])
    epsilon, level = sizes["collision_epsilon"], model.quantiser.levels[-1]
    with torch.no_grad():
        distances = squared_distances(done.quantised.inputs[-1][rows], level.weight)
    codes = with_transported_codes(coded, epsilon, sizes["sk_iters"], rounds)
    found |= {
        "collision/final": codes,
        "collision/rounds": rounds,
        "collision/group_rows": rows,
        "collision/rate_final": collision_rate(codes),
        "collision/group_centred": centred(distances),
    }
    if rounds > 1:
        before = with_transported_codes(coded, epsilon, sizes["sk_iters"], rounds - 1)
        assert collision_rate(before) > 0
    close(golden, found)
    plans = {
        "collision/group_Q": transport_plan(distances, epsilon, level.rounds),
        "collision/group_Q_released_epsilon": transport_plan(distances, 0.003, level.rounds),
    }
    close(golden, plans, "Q_atol")


def check_groups(golden: Golden) -> None:
    """Bounds, and distances that are no larger than another run of the original's might give."""
    sizes = golden.hyper_parameters
    expected = golden.outputs.pop("clusters/sum_distance_and_sum_squares")
    for level, theirs in zip(model_of(golden).quantiser.levels, expected, strict=True):
        codebook = level.weight.detach().numpy()
        label = grouped(codebook, sizes["clusters"])
        members = np.bincount(label, minlength=sizes["clusters"])
        assert sizes["cluster_size_min"] <= members.min()
        assert members.max() <= sizes["cluster_size_max"]
        assert _distances(codebook, label) <= WORSE * theirs[0]
    case, latent = sizes["kmeans"], golden.inputs["kmeans/latent"]
    bounds = case["size_min"], case["size_max"]
    np.testing.assert_array_equal(golden.outputs.pop("kmeans/size_min_max"), bounds)
    centres = balanced_centres(
        latent, case["clusters"], *bounds, np.random.default_rng(0), starts=2
    )
    label = balanced_assignment(costs_of(latent, centres), *bounds)
    members = np.bincount(label, minlength=case["clusters"])
    assert bounds[0] <= members.min() and members.max() <= bounds[1]
    theirs = golden.outputs.pop("kmeans/sum_distance_and_sum_squares")
    assert _distances(latent, label) <= WORSE * theirs[0]


def _distances(vectors: Any, label: Any) -> float:
    centres = [vectors[label == number].mean(axis=0) for number in range(label.max() + 1)]
    return float(np.linalg.norm(vectors - np.stack(centres)[label], axis=1).sum())


# ----------------------------------------------------------------------------------- the generator


def generator_of(golden: Golden) -> Seq2Seq:
    sizes = golden.hyper_parameters["t5"]
    named = {"first_identifier_token", "max_history", "beams_full", "beams_candidates"}
    model = Seq2Seq.of_config({key: value for key, value in sizes.items() if key not in named})
    model.load_own_state(golden.weights_below("t5."))
    return model.eval()


def vocabulary_of(golden: Golden) -> LETTERVocabulary:
    """Ours, with the original's numbers of the tokens: it appends names in their string order."""
    sizes = golden.hyper_parameters
    levels = (sizes["codes_per_level"],) * sizes["levels"]
    codes = golden.inputs["t5/item_token_ids"]
    vocabulary = LETTERVocabulary(Identifiers.of_items(np.zeros_like(codes), levels))
    vocabulary.codes_of_item[1:] = codes
    vocabulary.of_item[1:, :-1] = codes
    return vocabulary


def check_generator(golden: Golden) -> None:
    model, vocabulary = generator_of(golden), vocabulary_of(golden)
    histories = golden.inputs["t5/history_items"] + 1
    ids, mask = vocabulary.inputs(np.zeros(len(histories), dtype=np.int32), histories)
    np.testing.assert_array_equal(ids, golden.inputs["t5/encoder_input_ids"])
    np.testing.assert_array_equal(mask, golden.inputs["t5/encoder_attention_mask"] > 0)
    candidates = golden.inputs["t5/candidate_items"] + 1
    labels = torch.from_numpy(vocabulary.of_item[candidates[:, 0]])
    np.testing.assert_array_equal(labels, golden.inputs["t5/labels"])
    encoded = encode(model.t5, {"input_ids": ids}, mask)
    found: dict[str, Any] = {"encoder_last_hidden_state_first8": encoded.states[:, :8]}
    t5 = model.t5
    read = {"input_ids": ids, "attention_mask": mask.long(), "use_cache": False}
    logits = found["logits"] = t5(**read, labels=labels).logits
    masked = golden.tensor("t5/labels_masked")
    of_masked = t5(**read, labels=masked).logits  # the decoder reads padding for what is ignored
    temperatures = golden.inputs["t5/temperatures"].tolist()
    losses = [loss_of(logits, labels, t) for t in temperatures]
    found["loss"] = torch.stack(losses)
    found["loss_masked"] = torch.stack([loss_of(of_masked, masked, t) for t in temperatures])
    for temperature, loss in zip(temperatures, losses, strict=True):
        prefix = f"tau{round(temperature, 4)}"
        scaled = (logits / temperature).flatten(0, 1)
        each = torch.nn.functional.cross_entropy(scaled, labels.flatten(), reduction="none")
        found[f"{prefix}/token_loss"] = each.view(labels.shape)
        named = dict(t5.named_parameters())
        values = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        for name, gradient in zip(named, values, strict=True):
            found[f"{prefix}/grad/{name}"] = gradient
            found[f"{prefix}/grad_norm/{name}"] = gradient.norm()
    close(golden, {f"t5/{key}": v for key, v in found.items() if f"t5/{key}" in golden.outputs})


@torch.inference_mode()
def check_ranking(golden: Golden) -> None:
    t5, vocabulary = generator_of(golden).t5, vocabulary_of(golden)
    sizes = golden.hyper_parameters["t5"]
    mask = golden.tensor("t5/encoder_attention_mask")
    encoded = encode(t5, {"input_ids": golden.tensor("t5/encoder_input_ids")}, mask)
    tokens = vocabulary.of_item[golden.inputs["t5/candidate_items"] + 1]
    length = tokens.shape[2]
    sums = [candidate_scores(t5, encoded, tokens[:, :, :end]) for end in range(1, length + 1)]
    steps = np.diff(torch.stack(sums, dim=2).numpy(), axis=2, prepend=0)
    found: dict[str, Any] = {"candidate_logprob": sums[-1], "candidate_step_logprob": steps}
    beam_size = sizes["beams_candidates"]
    scores = candidate_scores(t5, encoded, tokens, beam_size, "mean").numpy()
    found |= _best(scores, tokens, beam_size, "candidates30")
    scores = catalogue_scores(
        t5, encoded, catalogue_of(vocabulary.of_item), sizes["beams_full"], "mean"
    ).numpy()
    every = np.broadcast_to(vocabulary.of_item, (len(scores), *vocabulary.of_item.shape))
    found |= _best(scores, every, sizes["beams_full"], "full")
    order = np.argsort(-scores, axis=1, kind="stable")[:, : sizes["beams_full"]]
    first = golden.outputs["rank/full/first_item_with_identifier"]
    shift = int((order - first).min())  # whether theirs count items from 0 or from 1
    found["full/first_item_with_identifier"] = order - shift
    hit = order - 1 == golden.inputs["rank/full_targets"][:, None]
    gains = hit / np.log2(2 + np.arange(hit.shape[1]))
    found["full/metrics"] = [
        *(hit[:, :cut].any(axis=1).mean() for cut in (1, 5, 10)),
        *(gains[:, :cut].sum(axis=1).mean() for cut in (5, 10)),
    ]
    close(golden, {f"rank/{key}": value for key, value in found.items()}, "rank_atol")


def _best(scores: Any, tokens: Any, number: int, name: str) -> dict[str, Any]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    sequences = np.take_along_axis(tokens, order[..., None], axis=1)
    return {
        f"{name}/scores": np.take_along_axis(scores, order, axis=1),
        f"{name}/sequences": np.pad(sequences, ((0, 0), (0, 0), (1, 0))),
    }


def check_language_model_loss(golden: Golden) -> None:
    """The same loss behind a causal model: a position's logits are of the next label."""
    logits = golden.tensor("lm/logits")[:, :-1]
    kinds = [golden.tensor(f"lm/labels_{kind}")[:, 1:] for kind in ("all", "response")]
    temperatures = golden.inputs["t5/temperatures"].tolist()
    losses = [[loss_of(logits, labels, t) for labels in kinds] for t in temperatures]
    close(golden, {"lm/loss_all_and_response": torch.tensor(losses)})
