"""GRU4Rec and SASRec, in RecBole's form and in the paper's, against the originals' numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines.sequential.base import SequentialSystem
from baselines.sequential.gru4rec import GRU4Rec
from baselines.sequential.sasrec import SASRec
from baselines.sequential.sasrec_bce import SASRecBCE
from benchmark.data.dataset import Items, Queries
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus
from tests.golden.loading import Golden, golden_stems, load_golden, requests_for


@pytest.mark.parametrize("name", golden_stems("(gru4rec|sasrec).*"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    if "log_seqs" in golden.inputs:
        found = {
            f"{variant}/{output}": value
            for variant in ("post_ln", "pre_ln")
            for output, value in _paper_outputs(golden, variant == "pre_ln", tmp_path).items()
        }
    else:
        found = _recbole_outputs(golden, tmp_path)
    golden.check(found)


def _recbole_outputs(golden: Golden, folder: Path) -> dict[str, Any]:
    items, lengths = golden.tensor("item_seq"), golden.tensor("item_seq_len")
    kind = GRU4Rec if golden.meta["system"].startswith("gru4rec") else SASRec
    found: dict[str, Any] = {}
    for loss in ("CE", "BPR"):
        length = golden.hyper_parameters["MAX_ITEM_LIST_LENGTH"]
        parameters = _parameters(golden, kind) | {"loss": loss, "history_length": length}
        system = _system(kind, parameters, golden, folder)
        network: Any = system.model.network
        last, empty = (lengths - 1)[:, None], torch.zeros_like(items)
        batch = {
            "items": items,
            "targets": empty.scatter(1, last, golden.tensor("pos_items")[:, None]),
            "negatives": empty.scatter(1, last, golden.tensor("neg_items")[:, None]),
        }
        value = system.loss(batch)
        found[f"loss_{loss.lower()}"] = value
        found.update(_gradients(value, network, f"grad_{loss.lower()}"))

    hidden: dict[str, torch.Tensor] = {}
    hooks = _hidden_states(network, hidden)
    with torch.no_grad():
        states = network(items, lengths)
    for hook in hooks:
        hook.remove()
    found.update(hidden)
    found["dense_hidden"] = states
    found["seq_output"] = states[torch.arange(len(items)), lengths - 1]
    found["attention_bias"] = network.get_attention_mask(items)

    everything = np.tile(np.arange(len(network.item_embedding.weight)), (len(items), 1))
    found["full_scores"] = system.score(requests_for(golden.inputs["item_seq"], everything))
    found["candidate_scores"] = system.score(
        requests_for(golden.inputs["item_seq"], golden.inputs["candidates"])
    )
    found["predict_pos"] = system.score(
        requests_for(golden.inputs["item_seq"], golden.inputs["pos_items"][:, None])
    )[:, 0]
    return found


def _paper_outputs(golden: Golden, norm_first: bool, folder: Path) -> dict[str, Any]:
    length = golden.hyper_parameters["maxlen"]
    parameters = _parameters(golden, SASRecBCE)
    parameters |= {"norm_first": norm_first, "history_length": length}
    system = _system(SASRecBCE, parameters, golden, folder)
    network: Any = system.model.network
    batch = {
        "items": golden.tensor("log_seqs"),
        "targets": golden.tensor("pos_seqs"),
        "negatives": golden.tensor("neg_seqs"),
    }
    value = system.loss(batch)
    return {
        "log_feats": network(batch["items"]),
        "candidate_scores": system.score(
            requests_for(golden.inputs["log_seqs"], golden.inputs["candidates"])
        ),
        "loss": value,
        **_gradients(value, network, "grad"),
    }


def _parameters(golden: Golden, kind: Any) -> dict[str, Any]:
    """The hyper-parameters that the system's ``Config`` has, under the same names."""
    return {k: v for k, v in golden.hyper_parameters.items() if k in kind.Config.model_fields}


def _system(
    kind: Any, parameters: dict[str, Any], golden: Golden, folder: Path
) -> SequentialSystem:
    """The system with the weights of the case."""
    sizes = golden.hyper_parameters
    number_of_items = sizes.get("n_items_with_pad", sizes.get("items_with_pad")) - 1
    system = kind(kind.Config(**parameters), RunContext(0, folder, ArtifactStore(folder)))
    system.model = system.build(_corpus(number_of_items, sizes["batch"]))
    golden.load_weights(system.model.network)
    return system


def _corpus(number_of_items: int, number_of_users: int) -> Corpus:
    names = [str(number) for number in range(number_of_items + 1)]
    items = Items(names, names, names, names, [()] * len(names), names)
    return Corpus("golden", items, Queries([""]), number_of_users, "")


def _hidden_states(network: Any, into: dict[str, torch.Tensor]) -> list[Any]:
    """Hooks that note what passes through RecBole's parts."""

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            into[name] = output[0] if isinstance(output, tuple) else output

        return hook

    if hasattr(network, "gru_layers"):
        return [network.gru_layers.register_forward_hook(note("gru_hidden"))]
    parts = {"embedding_output": network.LayerNorm}
    for number, block in enumerate(network.trm_encoder.layer):
        parts[f"layer{number}_output"] = block
        parts[f"layer{number}_attention_output"] = block.multi_head_attention
    return [part.register_forward_hook(note(name)) for name, part in parts.items()]


def _gradients(loss: torch.Tensor, network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        f"{prefix}/{name}": g for name, g in zip(names, gradients, strict=True) if g is not None
    }
