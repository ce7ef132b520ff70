"""QEM and TEM, in the form of ProdSearch and of a joint framework, against the originals' numbers.

The originals' ProdSearch tables end with the padding row where ours begin with it, so their tables,
gradients and ids are moved by one row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.personalized_search.joint_framework import HistoryNetwork, JointFrameworkNetwork
from baselines.personalized_search.prodsearch import ProdSearchNetwork
from baselines.personalized_search.qem import JointFrameworkQEM, OriginalQEM, QEMConfig
from baselines.personalized_search.tem import OriginalTEM, TEMConfig
from benchmark.kit.layers import sinusoids
from tests.golden.loading import Golden, golden_stems, load_golden

TABLES = ("product_emb", "hist_product_emb", "word_embeddings", "product_bias", "word_bias")


@pytest.mark.parametrize("name", golden_stems("(qem|tem).*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    has_history = golden.meta["system"].startswith("TEM")
    if "target_prod_idxs" in golden.inputs:
        found = _original_outputs(golden, has_history)
    else:
        found = _joint_framework_outputs(golden, has_history)
    golden.check(found)


# ------------------------------------------------------------------------- the form of ProdSearch


def _original_outputs(golden: Golden, has_history: bool) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    items, words = sizes["P"], sizes["V"]

    def ids(name: str, padding: int) -> torch.Tensor:
        return (golden.tensor(name) + 1) % (padding + 1)

    network = _original_network(golden, has_history, similarity=sizes["similarity"])
    batch = {
        "queries": ids("query_word_idxs", words),
        "history": ids("u_item_idxs", items),
        "targets": ids("target_prod_idxs", items),
        "negatives": ids("neg_item_idxs", items),
        "words": ids("pos_iword_idxs", words),
    }
    batch["negative_words"] = ids("neg_word_idxs", words).view(*batch["words"].shape, -1)
    candidates = ids("candi_prod_idxs", items)

    found: dict[str, Any] = {
        "query_emb": network.query_vectors(batch["queries"]),
        "loss": network.loss(batch),
        "ps_loss": network.search_loss(batch),
        "item_word_loss": network.word_loss(batch),
    }
    for name, changes in {
        "scores_product": {"similarity": "product"},
        "scores_bias_product": {"similarity": "bias_product"},
        "scores_product_no_pos": {"similarity": "product", "positions": False},
    }.items():
        if name in golden.outputs:
            other = _original_network(golden, has_history, **changes)
            vectors = other.user_vectors(batch["queries"], batch["history"])
            found[name] = other.scores(vectors, candidates)
    if isinstance(network, OriginalTEM):
        # States of padding are no one's business: as the original leaves them.
        states = network.states(batch["queries"], batch["history"])
        found["encoder_out"] = _where_real(states, batch["history"], golden)
        found["pos_enc"] = sinusoids(states.shape[1], states.shape[2])
    for name, gradient in _gradients(found["loss"], network).items():
        is_table = name.partition(".")[0] in TABLES
        found[f"grad/{name}"] = gradient.roll(-1, dims=0) if is_table else gradient
    return found


def _original_network(golden: Golden, has_history: bool, **changes: Any) -> ProdSearchNetwork:
    """The network with the weights of the case; it may lack only what nothing trains."""
    sizes = golden.hyper_parameters
    config: dict[str, Any] = {
        "embedding_size": sizes["embedding_size"],
        "dropout": sizes["dropout"],
        "positive_weight": sizes["positive_weight"],
    }
    if has_history:
        config |= {
            "layers": sizes["layers"],
            "heads": sizes["heads"],
            "feed_forward_size": sizes["ff"],
            "separate_history_table": sizes["separate_history_table"],
        }
    else:
        changes.pop("positions", None)
    network = (
        OriginalTEM(sizes["P"], sizes["V"] + 1, TEMConfig(**config | changes))
        if has_history
        else OriginalQEM(sizes["P"], sizes["V"] + 1, QEMConfig(**config | changes))
    )
    weights = {
        name: np.roll(array, 1, axis=0) if name.partition(".")[0] in TABLES else array
        for name, array in golden.weights.items()
    }
    unused = set(weights) - set(network.state_dict())
    assert unused <= set(golden.meta["parameters_without_gradient"])
    _load(network, {name: array for name, array in weights.items() if name not in unused})
    return network.eval()


# -------------------------------------------------------------------- the form of joint frameworks


def _joint_framework_outputs(golden: Golden, has_history: bool) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    config: dict[str, Any] = {
        "form": "joint_framework",
        "embedding_size": sizes["d"],
        "word_size": sizes["wd"],
        "item_size": sizes["idim"],
        "dropout": sizes["dropout"],
    }
    if has_history:
        config |= {
            "history_length": sizes["L"],
            "layers": sizes["nl"],
            "heads": sizes["heads"],
            "feed_forward_size": sizes["feed_forward"],
        }
    network: JointFrameworkNetwork = (
        HistoryNetwork(sizes["NI"], sizes["NW"] + 1, TEMConfig(**config))
        if has_history
        else JointFrameworkQEM(sizes["NI"], sizes["NW"] + 1, QEMConfig(**config))
    )
    _load(network, golden.weights)
    network.eval()

    batch = {
        "queries": golden.tensor("query_word_ids"),
        "history": golden.tensor("his_items"),
        "targets": golden.tensor("pos_item"),
        "negatives": golden.tensor("neg_items"),
    }
    candidates = golden.tensor("cand_items")
    vectors = network.user_vectors(batch["queries"], batch["history"])
    logits = network.scores(vectors, candidates)
    loss = network.loss(batch)
    found: dict[str, Any] = {
        "query_emb": network.query_vectors(batch["queries"]),
        "item_emb_of_candidates": network.item_feat(candidates),
        "logits": logits,
        "scores": logits.sigmoid(),
        "bce_loss": loss,
        "loss": loss,
    }
    if isinstance(network, HistoryNetwork):
        states = network.states(batch["queries"], batch["history"])
        found["user_vec"] = vectors
        found["encoder_out"] = _where_real(states, batch["history"], golden)
    for name, gradient in _gradients(loss, network).items():
        found[f"grad/{name}"] = gradient
    return found


# ------------------------------------------------------------------------------------------- both


def _load(network: nn.Module, weights: dict[str, NDArray[Any]]) -> None:
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    )


def _where_real(states: torch.Tensor, history: torch.Tensor, golden: Golden) -> torch.Tensor:
    """The states of the query and of real items; those of padding are the case's own."""
    is_real = torch.nn.functional.pad(history > 0, (1, 0), value=True)
    return torch.where(
        is_real[..., None], states, torch.from_numpy(golden.outputs["encoder_out"].copy())
    )


def _gradients(loss: torch.Tensor, network: nn.Module) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True))
