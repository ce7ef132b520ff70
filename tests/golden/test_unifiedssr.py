"""UnifiedSSR's modules against the numbers of the original's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.joint.unifiedssr import (
    UnifiedSSRConfig,
    UnifiedSSRNetwork,
    between_correlation,
    within_correlation,
)
from benchmark.kit.training import Batch
from benchmark.kit.training.optimizers import rate_factor
from tests.golden.loading import Golden, golden_stems, load_golden


@pytest.mark.parametrize("name", golden_stems("unifiedssr.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    network = network_of(golden)
    found: dict[str, Any] = {}
    losses = []
    for task, outputs in (("rec", recommendation_outputs), ("src", search_outputs)):
        for phase, left_out in (("train", 2), ("test", 0)):
            values = outputs(golden, network, left_out)
            found |= {f"{task}_{phase}_{key}": value for key, value in values.items()}
        training = batch_of(golden, task, 2)
        found[f"{task}_train_batch_loss"] = network.loss(training)
        losses.append(found[f"{task}_train_batch_loss"])
        of_targets = network.search_loss if task == "src" else network.recommendation_loss
        found[f"{task}_train_out_loss"] = of_targets(training)[0]
        asking = network.search_vectors if task == "src" else network.recommendation_vectors
        vectors = asking(*arguments_of(golden, task, 0))
        candidates = golden.tensor(f"{task}_test_candidates")
        found[f"{task}_test_scores"] = network.products_with(vectors, candidates)
    found["sum_of_batch_losses"] = sum(losses)
    found["sum_of_batch_losses"].backward()
    trained = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    found |= {f"grad/{name}": gradient for name, gradient in trained.items()}
    without = golden.meta["parameters_without_gradient"]
    assert sorted(set(dict(network.named_parameters())) - set(trained)) == sorted(without)
    found["noam_lr"] = learning_rates(golden)
    golden.check(found)


def network_of(golden: Golden) -> UnifiedSSRNetwork:
    sizes = golden.hyper_parameters
    config = UnifiedSSRConfig(
        embedding_size=sizes["emb_size"],
        layers=sizes["enc_num_layer"],
        heads=sizes["num_head"],
        sessions=sizes["sub_seq_num"],
        session_weight=sizes["corr_factor"],
        dropout=0.0,
        attention_dropout=0.0,
        causal=False,
        loss="released",
        first_searches=False,
    )
    # Two ids, for the ends of a query, are not used.
    network = UnifiedSSRNetwork(
        sizes["user_vocab"], sizes["product_vocab"], sizes["term_vocab"] + 2, config
    )
    golden.load_weights(network)
    return network


def arguments_of(golden: Golden, task: str, left_out: int) -> tuple[torch.Tensor, ...]:
    """What a network reads of the sequences without their last ``left_out`` events."""
    lengths = golden.tensor(f"{task}_length") - left_out
    longest = int(lengths.max())
    is_real = torch.arange(longest) < lengths[:, None]
    products = golden.tensor(f"{task}_pid_list")[:, :longest]
    # The last event is a target only.
    before = (products * (torch.arange(longest) < lengths[:, None] - 1))[:, :-1]
    users = golden.tensor(f"{task}_uid")
    if task == "rec":
        return users, before
    words = golden.tensor("src_qry_terms")[:, :longest] * is_real[..., None]
    return users, F.pad(before, (1, 0)), words, is_real


def batch_of(golden: Golden, task: str, left_out: int) -> Batch:
    arguments = arguments_of(golden, task, left_out)
    lengths = golden.tensor(f"{task}_length") - left_out
    longest = int(lengths.max())
    targets = golden.tensor(f"{task}_pid_list")[:, :longest]
    is_target = torch.arange(longest) < lengths[:, None]
    is_target[:, 0] = False
    negatives = F.pad(golden.tensor(f"{task}_train_neg"), (0, 0, 1, 0))
    names = ("users", "products", "words", "asked")
    batch = dict(zip(names, arguments, strict=False))
    outputs = {"targets": targets, "is_target": is_target, "negatives": negatives}
    if task == "rec":
        outputs = {name: value[:, 1:] for name, value in outputs.items()}
    return batch | outputs


def recommendation_outputs(
    golden: Golden, network: UnifiedSSRNetwork, left_out: int
) -> dict[str, Any]:
    users, products = arguments_of(golden, "rec", left_out)
    states = network.encode_products(users, products)
    sessions = network.seq_partition(states, products > 0)
    return {
        "enc": states,
        "windows": sessions.windows,
        "enc_after": sessions.states,
        "corr": within_correlation(sessions.vectors),
    }


def search_outputs(golden: Golden, network: UnifiedSSRNetwork, left_out: int) -> dict[str, Any]:
    arguments = arguments_of(golden, "src", left_out)
    states = network.encode_both(*arguments)
    asked = arguments[-1][:, 1:]
    parts = [network.seq_partition(branch[:, 1:], asked) for branch in states]
    outputs: dict[str, Any] = {"corr": between_correlation(*(part.vectors for part in parts))}
    for name, branch, part in zip("pq", states, parts, strict=True):
        outputs |= {f"{name}_enc": branch, f"{name}_windows": part.windows}
        outputs |= {f"{name}_after": part.states}
    return outputs


def learning_rates(golden: Golden) -> np.ndarray:
    """The learning rate at each step by the loop's schedule; the original counts steps from 1."""
    settings = UnifiedSSRConfig().training
    highest = (golden.hyper_parameters["emb_size"] * settings.warmup_steps) ** -0.5
    steps = golden.inputs["noam_steps"]
    last = int(steps.max())
    return np.array([highest * rate_factor(settings, int(step) - 1, last) for step in steps])
