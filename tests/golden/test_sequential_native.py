"""FMLP-Rec and LRURec against the numbers of the authors' own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines.sequential.fmlp_rec import FMLPRec
from baselines.sequential.lrurec import LRURec, Slots
from benchmark.data.dataset import Items, Queries
from benchmark.kit.modules import TorchSystem
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus
from tests.golden.loading import Golden, golden_stems, load_golden, requests_for


@pytest.mark.parametrize("name", golden_stems("(fmlp|lrurec).*"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    outputs = {"fmlp-rec": _fmlp_outputs, "lrurec": _lrurec_outputs}[golden.meta["system"]]
    golden.check(outputs(golden, tmp_path))


def _fmlp_outputs(golden: Golden, folder: Path) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    config = FMLPRec.Config(
        history_length=sizes["max_seq_length"],
        **{key: sizes[key] for key in FMLPRec.Config.model_fields if key in sizes},
    )
    system = _with_weights(FMLPRec(config, _context(folder)), golden, sizes["item_size"] - 1)
    network: Any = system.model
    items, table = golden.inputs["input_ids"], network.item_embeddings.weight
    batch = {
        "items": golden.tensor("input_ids"),
        "targets": golden.tensor("pos_ids"),
        "negatives": golden.tensor("neg_ids"),
    }
    loss = system.loss(batch)
    found: dict[str, Any] = {"loss_official": loss, **_gradients(loss, network, "grad_official")}
    with torch.no_grad():
        states = found["embedding_output"] = network.embed(batch["items"])
        for number, block in enumerate(network.item_encoder.layer):
            found[f"layer{number}_filter_output"] = block.filterlayer(states)
            states = found[f"layer{number}_output"] = block(states)
        found["seq_output"] = network(batch["items"])
    for name, column in (("pos_logits", "pos_ids"), ("neg_logits", "neg_ids")):
        found[name] = system.score(requests_for(items, golden.inputs[column][:, None]))[:, 0]
    everything = np.tile(np.arange(len(table)), (len(items), 1))
    found["full_scores"] = system.score(requests_for(items, everything))
    found["candidate_scores"] = system.score(requests_for(items, golden.inputs["candidates"]))
    return found


def _lrurec_outputs(golden: Golden, folder: Path) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    config = LRURec.Config(
        history_length=sizes["bert_max_len"],
        hidden_units=sizes["bert_hidden_units"],
        num_blocks=sizes["bert_num_blocks"],
        dropout=sizes["bert_dropout"],
        recurrence_dropout=sizes["bert_attn_dropout"],
    )
    system = _with_weights(LRURec(config, _context(folder)), golden, sizes["num_items"])
    network: Any = system.model
    batch = {"items": golden.tensor("tokens"), "targets": golden.tensor("labels")}
    loss = system.loss(batch)
    found: dict[str, Any] = {"loss_ce": loss, **_gradients(loss, network, "grad_ce")}
    items = batch["items"]
    every_slot = torch.ones_like(items, dtype=torch.bool)
    slots = Slots(tuple(items.shape), torch.arange(items.numel()), items.flatten() > 0)
    with torch.no_grad():
        states = found["embedding_output"] = network.embedding(items.flatten())
        for number, block in enumerate(network.model.lru_blocks):
            found[f"block{number}_lru_output"] = block.lru_layer(states, slots)
            states = found[f"block{number}_output"] = block(states, slots)
        found["logits"] = network.all_logits(network(items, every_slot))
    for name, value in found.items():
        if "output" in name or name == "logits":
            found[name] = value.unflatten(0, items.shape)
    found["candidate_scores"] = system.score(
        requests_for(golden.inputs["tokens"], golden.inputs["candidates"])
    )
    return found


def _context(folder: Path) -> RunContext:
    return RunContext(0, folder, ArtifactStore(folder))


def _with_weights(system: TorchSystem, golden: Golden, number_of_items: int) -> Any:
    names = [str(number) for number in range(number_of_items + 1)]
    items = Items(names, names, names, names, [()] * len(names), names)
    system.model = system.build(Corpus("golden", items, Queries([""]), 1, ""))
    golden.load_weights(system.model)
    return system


def _gradients(loss: torch.Tensor, network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    return {f"{prefix}/{name}": gradient for name, gradient in zip(names, gradients, strict=True)}
