"""eSASRec against the numbers of RecTools and of the authors' experiments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.sequential.esasrec import (
    ESASRec,
    MixedSequences,
    log_shares,
    mean_of_positive,
    position_losses,
)
from benchmark.data.dataset import Dataset, EventLog, Items, Queries
from benchmark.kit.training.optimizers import make_optimizer
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus, TrainingView
from tests.golden.loading import Golden, golden_stems, load_golden, requests_for

# External ids, the benchmark's own hold-out and its lists without history are the original's data
# pipeline, in whose place the suite has its own.
PIPELINE = re.compile("item_external_ids|validation_mask_of_the_benchmark|recommend/.*")

PARTS = ("item_model.item_net_blocks.0.", "transformer_layers.")
"""What stands before the names that the network has kept."""


@pytest.mark.parametrize("name", golden_stems("esasrec.*"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    externals = golden.outputs["item_external_ids"]
    for key in [key for key in golden.outputs if PIPELINE.fullmatch(key)]:
        del golden.outputs[key]
    system = _system(golden, tmp_path)
    found = {f"score/{name}": value for name, value in _states(golden, system).items()}
    found |= _instances(golden, externals)
    for part, changes in _losses(golden).items():
        found |= _loss(golden, part, _system(golden, tmp_path, **changes))
    open_system = _system(golden, tmp_path, use_key_padding_mask=False)
    found |= _loss(golden, "no_padding_mask", open_system)
    candidates = requests_for(golden.inputs["score_x"], golden.inputs["candidates"])
    found["no_padding_mask/candidate_scores"] = open_system.score(candidates)
    found["score/candidate_scores"] = system.score(candidates)
    found |= _extreme(golden)
    found["optimiser/loss_per_step"] = _steps(golden, system)
    golden.check(found)


def _losses(golden: Golden) -> dict[str, dict[str, Any]]:
    """Each stored loss, and the settings that make it."""
    sizes = golden.hyper_parameters
    return {
        "sampled_softmax": {},
        "sampled_softmax_weighted": {},
        "sampled_softmax_t": {"logits_t": sizes["logits_t"]},
        "mixed": {"mixed_ratio": sizes["mixed_ratio"]},
        "mixed_logq": {"mixed_ratio": sizes["mixed_ratio"], "logq": True},
        "gbce": {"loss": "gbce", "gbce_t": sizes["gbce_t"]},
        "bce": {"loss": "bce"},
        "softmax": {"loss": "softmax"},
    }


def _system(golden: Golden, folder: Path, **changes: Any) -> ESASRec:
    sizes = golden.hyper_parameters
    fields = set(ESASRec.Config.model_fields) - {"logits_t", "dropout_rate"}
    settings = {key: value for key, value in sizes.items() if key in fields}
    config = ESASRec.Config(
        history_length=sizes["session_max_len"],
        dropout_rate=0.0,
        **settings | changes,
    )
    system = ESASRec(config, RunContext(0, folder, ArtifactStore(folder)))
    names = [str(number) for number in range(sizes["n_items_with_pad"])]
    items = Items(names, names, names, names, [()] * len(names), names)
    system.model = system.build(Corpus("golden", items, Queries([""]), 1, ""))
    weights = {_own(key): torch.from_numpy(value.copy()) for key, value in golden.weights.items()}
    system.model.network.load_state_dict(weights)
    return system


def _own(name: str) -> str:
    for part in PARTS:
        name = name.replace(part, "")
    return name


def _states(golden: Golden, system: ESASRec) -> dict[str, Any]:
    network: Any = system.model.network.eval()
    items = golden.tensor("score_x")
    with torch.no_grad():
        table, barred = network.table(), network.barred(items)
        x = network.embed(items, table)
        found: dict[str, Any] = {"embedding_output": x}
        for number, block in enumerate(network.transformer_blocks):
            attended = block.attend(x, barred)
            gate = block.gating_linear_1(x)
            between = x + torch.sigmoid(gate) * attended
            fed = block.feed_forward(block.layer_norm_2(between))
            parts = {
                "attention": attended,
                "gate1_logit": gate,
                "after_attention": between,
                "feed_forward": fed,
                "gate2_logit": block.gating_linear_2(between),
            }
            x = parts["output"] = block(x, barred)
            found |= {f"block{number}_{part}": value for part, value in parts.items()}
        states = network(items, table)
    return found | {
        "session_output": states,
        "user_vector": states[:, -1],
        "full_scores": states[:, -1] @ table.T,
    }


def _loss(golden: Golden, part: str, system: ESASRec) -> dict[str, Any]:
    negatives = "negatives_mixed" if part.startswith("mixed") else "negatives"
    targets = golden.tensor("y")
    batch = {
        "items": golden.tensor("x"),
        "targets": targets,
        "negatives": golden.tensor(negatives)[targets > 0],
    }
    if part == "mixed_logq":
        batch["log_q"] = torch.from_numpy(log_shares(_counts(golden)))
    network: Any = system.model.network.train()
    logits = system.logits(batch)
    loss = system.loss(batch)
    if part == "sampled_softmax_weighted":
        losses = position_losses(logits, system.config, len(system.model.popularity) - 1)
        loss = mean_of_positive(golden.tensor("yw")[targets > 0] * losses)
    found = {f"{part}/loss": loss, **_gradients(loss, network, f"{part}/grad")}
    stored = f"{part}/logits"
    if stored in golden.outputs:  # the original has logits at padded positions too
        golden.outputs[stored] = golden.outputs[stored][(targets > 0).numpy()]
        found[stored] = logits
    return found


def _gradients(loss: torch.Tensor, network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    return {
        f"{prefix}/{_theirs(name)}": gradient
        for name, gradient in zip(names, gradients, strict=True)
    }


def _theirs(name: str) -> str:
    part = {"ids_emb": PARTS[0], "transformer_blocks": PARTS[1]}.get(name.partition(".")[0], "")
    return part + name


def _counts(golden: Golden) -> NDArray[np.int64]:
    """How often each item stands in the training rows: the histories, and their last targets."""
    items = np.concatenate([golden.inputs["x"].ravel(), golden.inputs["y"][:, -1]])
    return np.bincount(items, minlength=golden.hyper_parameters["n_items_with_pad"])


def _instances(golden: Golden, externals: NDArray[np.int64]) -> dict[str, Any]:
    """What the system learns from, of the stored log, in the order of the original's users."""
    length = golden.hyper_parameters["session_max_len"]
    columns = {key: golden.inputs[f"log_{key}"].tolist() for key in ("user", "item", "time")}
    log = pd.DataFrame(columns).sort_values("time", kind="stable")
    kept = log.groupby("user").tail(length + 1)
    users = {user: number for number, user in enumerate(kept.user.unique(), start=1)}
    items = {int(name): number for number, name in enumerate(externals) if number}
    cut = {name: len(externals) + n for n, name in enumerate(set(log.item) - set(items))}
    log = log.assign(user=log.user.map(users), item=log.item.map(items | cut))
    # Two more events of each user, since the suite holds out as many.
    held_out = pd.DataFrame({"user": [*users.values()] * 2, "item": 1, "time": 10**6})
    log = pd.concat([log, held_out]).sort_values("user", kind="stable")
    nothing = np.zeros(len(log), dtype=np.int64)
    events = EventLog.from_columns(
        user=log.user.to_numpy(),
        item=log.item.to_numpy(),
        query=nothing,
        behaviour=nothing,
        timestamp=log.time.to_numpy(),
        session=nothing,
        number_of_users=len(users),
    )
    names = [str(number) for number in range(len(externals) + len(cut))]
    catalogue = Items(names, names, names, names, [()] * len(names), names)
    everybody = ["", *map(str, users.values())]
    dataset = Dataset("golden", catalogue, Queries([""]), everybody, events)
    lists = ProtocolSettings(negatives=5)
    view = TrainingView(dataset, build_tasks(dataset, lists), lists)
    config = ESASRec.Config(history_length=length, n_negatives=3, logq=True)
    instances = MixedSequences(view, config)
    batch = instances.batch(np.arange(len(instances)), np.random.default_rng(0))
    shares = np.exp(batch["log_q"].numpy()[: len(externals)])
    return {
        "train_x": batch["items"],
        "train_y": batch["targets"],
        "train_yw": (batch["targets"] > 0).numpy() * golden.inputs["yw"],
        "logq_probabilities": shares,
    }


def _extreme(golden: Golden) -> dict[str, Any]:
    real = golden.inputs["y"] > 0
    logits = golden.tensor("extreme_logits")[real]
    losses = position_losses(logits, ESASRec.Config(), 100)
    return {
        "extreme/sampled_softmax_loss": mean_of_positive(losses),
        "extreme/positions_counted": int((losses > 0).sum()),
    }


def _steps(golden: Golden, system: ESASRec) -> list[float]:
    """The main loss of one batch before each step of the suite's optimiser."""
    targets = golden.tensor("y")
    batch = {
        "items": golden.tensor("x"),
        "targets": targets,
        "negatives": golden.tensor("negatives")[targets > 0],
    }
    system.model.train()
    optimizer = make_optimizer(system.model.parameters(), ESASRec.Config().training)
    losses = []
    for _ in golden.outputs["optimiser/loss_per_step"]:
        optimizer.zero_grad()
        loss = system.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
