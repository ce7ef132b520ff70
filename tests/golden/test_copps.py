"""CoPPS against numbers from the modules that joint frameworks build it of, and their views.

No CoPPS model is public: the contrastive loss of the case is this suite's definition, computed by
other code.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from baselines.personalized_search.copps import (
    CROP,
    MASK,
    Augmentation,
    CoPPSConfig,
    CoPPSNetwork,
)
from tests.golden.loading import Golden, golden_stems, load_golden


@pytest.mark.parametrize("name", golden_stems("copps.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    golden.check(_outputs(golden))
    sizes = golden.hyper_parameters
    augmentation = Augmentation(*(sizes[f"{kind}_ratio"] for kind in ("crop", "mask", "reorder")))
    samples = golden.meta["augmentation_samples"]["samples"]
    assert samples
    for sample in samples:
        assert _view(augmentation, sample["n"], sample["seed"]) == sample["out"], sample


def _outputs(golden: Golden) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    config = CoPPSConfig(
        embedding_size=sizes["d"],
        word_size=sizes["wd"],
        item_size=sizes["idim"],
        dropout=sizes["dropout"],
        history_length=sizes["L"],
        layers=sizes["nl"],
        heads=sizes["heads"],
        feed_forward_size=sizes["feed_forward"],
        temperature=sizes["temperature"],
        contrastive_weight=sizes["contrastive_weight"],
    )
    network = CoPPSNetwork(sizes["NI"], sizes["NW"] + 1, config)
    golden.load_weights(network)
    network.eval()
    words, history = golden.tensor("query_word_ids"), golden.tensor("his_items")
    views = golden.tensor("aug_his_1"), golden.tensor("aug_his_2")
    every = torch.arange(len(words))
    batch = {
        "queries": words,
        "history": history,
        "targets": golden.tensor("pos_item"),
        "negatives": golden.tensor("neg_items"),
        "within/rows": every,
        "within/first": views[0],
        "within/second": views[1],
        "within/struck": torch.zeros(len(every), len(every), dtype=torch.bool),
    }
    candidates = golden.tensor("cand_items")
    states = network.states(words, history)
    logits = network.scores(network.user_vectors(words, history), candidates)
    losses, loss = network.losses(batch), network.loss(batch)
    is_real = torch.nn.functional.pad(history > 0, (1, 0), value=True)[..., None]
    found: dict[str, Any] = {
        "query_emb": network.query_vectors(words),
        "item_emb_of_candidates": network.item_feat(candidates),
        "logits": logits,
        "scores": logits.sigmoid(),
        "user_vec": network.user_vectors(words, history),
        # States of padding are no one's business: they are the case's own.
        "encoder_out": torch.where(
            is_real, states, torch.from_numpy(golden.outputs["encoder_out"].copy())
        ),
        "view_vec_1": network.view_vectors(words, views[0]),
        "view_vec_2": network.view_vectors(words, views[1]),
        "bce_loss": losses["search"],
        "contrastive_loss": losses["within"],
        "loss": loss,
    }
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        found[f"grad/{name}"] = gradient
    return found


def _view(augmentation: Augmentation, length: int, seed: int) -> list[int]:
    """The view of items 101 … by the draws that the published routine makes with this seed."""
    history = np.arange(101, 101 + length)[None, :]
    if length < 2:
        return history[0].tolist()  # such histories have no views
    draws = random.Random(seed)
    kind = np.array([draws.choice(range(3))])
    width = int(augmentation.widths(history, kind)[0])
    start, keys = 0, np.ones(length)
    if kind[0] == MASK:
        keys[draws.sample(range(length), width)] = 0.0
    else:
        start = draws.randint(0, length - width)
    keys *= 0.5
    if kind[0] not in (CROP, MASK):
        order = list(range(width))
        draws.shuffle(order)
        keys[start + np.array(order)] = np.arange(width) / width
    view = augmentation.views(history, kind, np.array([start]), keys[None, :])[0]
    return view.tolist()[: width if kind[0] == CROP else length]
