"""HSTU, and the SASRec beside it, against the numbers of the authors' own code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.sequential.base import Asked
from baselines.sequential.hstu import HSTU, HSTUTime, NextItemSystem, bucket_of
from baselines.sequential.sasrec_ssm import SASRecSSM
from benchmark.data.dataset import Items, Queries
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus
from tests.golden.loading import Golden, golden_stems, load_golden

NAMES = (
    ("item_emb", "_embedding_module._item_emb"),
    ("pos_emb", "_input_features_preproc._pos_emb"),
    (r"layers\.(\d+)\.uvqk", r"_hstu._attention_layers.\1._uvqk"),
    (r"layers\.(\d+)\.o\b", r"_hstu._attention_layers.\1._o"),
    (r"layers\.(\d+)\.bias\.time", r"_hstu._attention_layers.\1._rel_attn_bias._ts_w"),
    (r"layers\.(\d+)\.bias\.position", r"_hstu._attention_layers.\1._rel_attn_bias._pos_w"),
    (r"layers\.(\d+)\.attention", r"attention_layers.\1"),
    (r"layers\.(\d+)\.inner", r"forward_layers.\1._conv1d.0"),
    (r"layers\.(\d+)\.outer", r"forward_layers.\1._conv1d.3"),
)
"""Parameters here, as patterns, and in the original."""


@pytest.mark.parametrize("name", golden_stems("hstu.*"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    found: dict[str, Any] = {"buckets": bucket_of(golden.tensor("time_differences"))}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "time": (HSTUTime, {}),
        "pos": (HSTU, {}),
        "none": (HSTU, {"bias": "none"}),
        "layer_norm": (HSTUTime, {"normalisation": "layer_norm", "temperature": 1.0}),
    }
    for variant, (kind, changes) in kinds.items():
        system = _system(golden, kind, golden.weights, tmp_path, **changes)
        found |= {f"{variant}/{key}": value for key, value in _outputs(golden, system).items()}
        if variant == "time":
            network: Any = system.model.network
            found["embedding_output"] = network.embed(_window(golden)[0])
            found["time/top10_ids"] = _best(golden, found["time/catalogue_scores"])
            for negatives in ("shared", "inbatch"):
                found |= {
                    f"time/{key}": value for key, value in _loss(golden, system, negatives).items()
                }
    found = {key.replace("_pos_w", "_w") if key[0] == "p" else key: v for key, v in found.items()}
    golden.check(found)


@pytest.mark.parametrize("name", golden_stems("hstu.*"))
def test_outputs_of_sasrec_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    weights, outputs = golden.part("sasrec/weights"), golden.part("sasrec/outputs")
    golden.outputs.clear()
    golden.outputs.update(outputs)
    sizes = golden.hyper_parameters
    changes = {"num_heads": sizes["sasrec_heads"], "ffn_hidden_dim": sizes["ffn_hidden_dim"]}
    golden.check(_outputs(golden, _system(golden, SASRecSSM, weights, tmp_path, **changes)))


def _system(
    golden: Golden, kind: Any, weights: dict[str, NDArray[Any]], folder: Path, **changes: Any
) -> NextItemSystem:
    sizes = golden.hyper_parameters
    settings = {key: sizes[key] for key in kind.Config.model_fields if key in sizes}
    settings |= {
        "history_length": sizes["max_sequence_len"],
        "output_length": sizes["max_output_len"],
        "negatives": "position",
    }
    config = kind.Config(**settings | changes)
    system: NextItemSystem = kind(config, RunContext(0, folder, ArtifactStore(folder)))
    names = [str(number) for number in range(sizes["num_items"] + 1)]
    items = Items(names, names, names, names, [()] * len(names), names)
    system.model = system.build(Corpus("golden", items, Queries([""]), 1, ""))
    network = system.model.network
    state = {
        name: torch.from_numpy(weights[_theirs(name)].copy()).reshape(parameter.shape)
        for name, parameter in network.named_parameters()
    }
    network.load_state_dict(state)
    return system


def _theirs(name: str) -> str:
    for pattern, original in NAMES:
        name = re.sub(f"^{pattern}", original, name)
    return name


def _window(golden: Golden) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Items, their times and what follows each, as wide as the original's window."""
    items, times = golden.tensor("past_ids"), golden.tensor("past_timestamps")
    behind = torch.zeros(len(items), golden.hyper_parameters["max_output_len"], dtype=torch.int64)
    items, before = torch.cat([items, behind], 1), torch.cat([times, behind], 1)
    return items, before, _followed(golden, before, "target_timestamps")


def _followed(golden: Golden, values: torch.Tensor, target: str) -> torch.Tensor:
    """(batch, length) the value behind each, that of the target behind the last."""
    after = values.roll(-1, dims=1)
    after[:, -1] = 0
    for row, length in enumerate(golden.inputs["past_lengths"]):
        if length:
            after[row, length - 1] = golden.inputs[target][row]
    return after


def _outputs(golden: Golden, system: NextItemSystem) -> dict[str, Any]:
    network: Any = system.model.network
    items, before, after = _window(golden)
    real = (items > 0)[:, :, None]
    found: dict[str, Any] = {}
    states: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, given, output: states.append(output))
        for layer in network.layers
    ]
    with torch.no_grad():
        found["train_seq_output"] = network.train()(items, (before, after))
        states.clear()
        found["seq_output"] = network.eval()(items, (before, after))
    for hook in hooks:
        hook.remove()
    found |= {f"block{number}_output": state * real for number, state in enumerate(states)}
    first = network.layers[0]
    if getattr(first, "bias", None) is not None:
        causal = torch.ones(items.shape[1], items.shape[1]).tril()
        found["bias_layer0"] = first.bias((before, after)) * causal * real
    with torch.no_grad():
        asked = Asked(
            items=golden.tensor("past_ids"),
            lengths=golden.tensor("past_lengths"),
            users=torch.zeros(len(items), dtype=torch.int64),
            times=golden.tensor("past_timestamps"),
            asked_at=golden.tensor("target_timestamps"),
        )
        found["user_vector"] = system.last_states(asked)
        found["catalogue_scores"] = system.scores_of_all(asked)[:, 1:]
        found["candidate_scores"] = system.candidate_scores(asked, golden.tensor("candidates"))
    return found | _loss(golden, system, "local")


def _loss(golden: Golden, system: NextItemSystem, kind: str) -> dict[str, Any]:
    items, times = golden.tensor("past_ids"), golden.tensor("past_timestamps")
    targets = _followed(golden, items, "target_ids")
    negatives = golden.tensor(f"negatives_{kind}")
    batch = {
        "items": items,
        "targets": targets,
        "times": times,
        "target_times": _followed(golden, times, "target_timestamps"),
        "negatives": negatives[targets > 0] if negatives.dim() == 3 else negatives,
    }
    network = system.model.network.train()
    loss = system.loss(batch)
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    found = {f"loss_{kind}": loss, f"grad_norm_{kind}": norm}
    for name, gradient in zip(names, gradients, strict=True):
        is_convolution = "inner.weight" in name or "outer.weight" in name  # of width one
        stored = gradient[:, :, None] if is_convolution else gradient
        found[f"grad_{kind}/{_theirs(name)}"] = stored
    return found


def _best(golden: Golden, scores: torch.Tensor) -> NDArray[np.int64]:
    """(batch, 10) the best items, those of the history left out; zeros where there is none."""
    rows, columns = np.nonzero(golden.inputs["past_ids"])
    left = scores.clone()
    left[rows, golden.inputs["past_ids"][rows, columns] - 1] = -np.inf
    best = 1 + left.topk(10, dim=1).indices.numpy()
    best[golden.inputs["past_lengths"] == 0] = 0
    return best
