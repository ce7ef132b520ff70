"""RPG against the numbers of the authors' own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.generative_recommendation.rpg import (
    RPG,
    RPGNetwork,
    UserRows,
    neighbours,
    similarities,
    tokens_of,
    walk,
)
from baselines.sequential.base import Asked
from benchmark.data.dataset import Dataset, Items, Queries
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.optimised import OptimisedProductQuantiser, whitened
from benchmark.kit.identifiers.product import ProductQuantiser
from benchmark.kit.training.optimizers import make_optimizer, rate_factor
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import Corpus, TrainingView
from tests.baselines.planted import dataset_of_sequences
from tests.golden.loading import Golden, golden_stems, load_golden, requests_for

STEMS = golden_stems("rpg.*")
MUCH_WORSE = 1.02
"""How much larger the error of our own quantiser may be than that of faiss."""


@pytest.mark.parametrize("name", STEMS)
def test_identifiers_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    given = {key: golden.inputs[f"opq/{key}"] for key in ("rotation", "centroids")}
    blocks = len(given["centroids"])
    coarse = golden.inputs["opq/coarse_centroid"]
    centres = given["centroids"] + coarse.reshape(blocks, 1, -1)
    quantiser = OptimisedProductQuantiser(given["rotation"], ProductQuantiser(centres))
    expected, found = golden.below("identifiers"), dict[str, Any]()
    components = golden.inputs["sent_emb"]
    if "pca" in expected:
        components = found["pca"] = whitened(components, expected["pca"].shape[1])
    rotated = components @ given["rotation"].T - coarse
    found["rotated_residual"] = rotated[: len(expected["rotated_residual"])]
    found["codes"] = quantiser.encode(components)
    identifiers = _identifiers(golden, found["codes"])
    report = identifiers.report()
    found["distinct"] = report.distinct
    found["items_in_collision"] = round(report.sharing * report.items)
    found["item_tokens"] = tokens_of(identifiers)
    found["train_mask"] = _train_mask(golden)
    trained = components[expected["train_mask"]]
    found["mean_squared_error_all"] = quantiser.error(components)
    found["mean_squared_error_train"] = quantiser.error(trained)
    golden.check({f"identifiers/{key}": value for key, value in found.items()}, "identifiers")

    codes = given["centroids"].shape[1]
    own = OptimisedProductQuantiser.fit(trained, blocks, codes, np.random.default_rng(0))
    assert own.error(trained) <= MUCH_WORSE * expected["mean_squared_error_train"]
    np.testing.assert_allclose(own.rotation @ own.rotation.T, np.eye(len(own.rotation)), atol=1e-4)


@pytest.mark.parametrize("name", STEMS)
def test_rows_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    dataset, view = _world(golden)
    length = golden.hyper_parameters["max_item_seq_len"]
    rows = UserRows(view, length)
    expected = golden.below("rows/train")
    real = (expected["labels"] > 0).any(axis=1)  # theirs without a label teach nothing
    np.testing.assert_array_equal(rows.items, expected["input_ids"][real])
    np.testing.assert_array_equal(rows.targets, np.maximum(expected["labels"], 0)[real])
    tasks = build_tasks(dataset, ProtocolSettings(negatives=5))
    for theirs, split in (("val", "valid"), ("test", "test")):
        expected = golden.below(f"rows/{theirs}")
        asked = tasks["recommendation"].requests(dataset, split)
        history = asked.history(length, "recommendation", "right")
        np.testing.assert_array_equal(history.items, expected["input_ids"])
        np.testing.assert_array_equal(history.count, expected["seq_lens"])


@pytest.mark.parametrize("name", STEMS)
def test_training_equals_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    system = _system(golden, tmp_path)
    network: Any = system.model.network.train()
    items = golden.tensor("train/input_ids")
    labels = golden.tensor("train/labels").clamp(min=0)
    states = network(items)
    loss = system.loss({"items": items, "targets": labels})
    names = golden.meta["parameters"]
    parameters = dict(network.named_parameters())
    assert set(names) == set(parameters)
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    norms = torch.stack([gradient.norm() for gradient in gradients])
    found = {
        "last_hidden_state": states * (items > 0)[:, :, None],
        "loss": loss,
        "loss_per_digit": network.digit_losses(states[labels > 0], labels[labels > 0]),
        "grad_norm_per_parameter": norms,
        "grad_norm": norms.norm(),
        **{f"grad/{name}": g for name, g in zip(names, gradients, strict=True)},
    }
    golden.check({f"train/{key}": value for key, value in found.items()}, "train")


@pytest.mark.parametrize("name", STEMS)
def test_scores_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    system = _system(golden, tmp_path)
    network: Any = system.model.network.eval()
    histories = golden.inputs["eval/input_ids"]
    asked = _asked(histories)
    targets = golden.tensor("eval/labels")
    with torch.no_grad():
        last = network(asked.items)[torch.arange(len(histories)), asked.lengths - 1]
        log_p = system.log_probabilities(asked)
        scores = system.scores_of_all(asked)[:, 1:]
        found = {
            "final_states_last": network.headed(last),
            "token_logprob": log_p.flatten(1),
            "item_scores": scores,
            "top10_scores": scores.topk(10, dim=1).values,
            "candidate_scores": system.score(
                requests_for(histories, golden.inputs["eval/candidates"])
            ),
            "loss_last": -network.scores(log_p, targets).mean(),
            # Items with equal codes tie, so theirs are asked for their scores.
            "top10": golden.outputs["eval/top10"],
        }
        theirs = scores.gather(1, torch.from_numpy(golden.outputs["eval/top10"]) - 1)
        np.testing.assert_allclose(theirs, found["top10_scores"], rtol=1e-4, atol=1e-5)
        golden.check({f"eval/{key}": value for key, value in found.items()}, "eval")
        nothing = _asked(np.zeros((1, histories.shape[1]), dtype=np.int64))
        found = {
            "empty_as_pad/token_logprob": system.log_probabilities(nothing).flatten(1),
            "empty_as_pad/item_scores": system.scores_of_all(nothing)[:, 1:],
        }
        golden.check(found, "empty_as_pad")


@pytest.mark.parametrize("name", STEMS)
def test_the_walk_equals_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    system, expected = _system(golden, tmp_path), golden.below("graph")
    network: Any = system.model.network.eval()
    sizes = golden.hyper_parameters
    every = similarities(network, torch.arange(len(network.tokens)))
    alike = neighbours(network, sizes["n_edges"], rows_at_once=64)
    with torch.no_grad():
        log_p = system.log_probabilities(_asked(golden.inputs["eval/input_ids"]))
        start = golden.tensor("graph/start_nodes")
        # Where the last neighbours tie, theirs are as good as ours; the walk is then theirs too.
        tied = expected["tie_at_the_edge"].copy()
        tied[0] = True
        theirs = torch.from_numpy(expected["adjacency"]).clamp(min=0)
        steps = list(walk(network, log_p, theirs, start, sizes["propagation_steps"]))
    ours = alike.sort(dim=1).values.numpy()
    np.testing.assert_array_equal(ours[~tied], np.sort(expected["adjacency"], axis=1)[~tied])
    touched = torch.zeros(len(start), len(network.tokens), dtype=torch.bool)
    touched.scatter_(1, start, True)
    visited = [touched.sum(dim=1)]
    for beams, _ in steps[:-1]:
        touched.scatter_(1, theirs[beams].flatten(1), True)
        visited.append(touched.sum(dim=1))
    beams, scores = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
    for ids, other, values in zip(
        beams[:, 1:].reshape(-1, beams.shape[2]).numpy(),
        expected["beams"][:, 1:].reshape(-1, beams.shape[2]),
        scores[:, 1:].reshape(-1, beams.shape[2]).numpy(),
        strict=True,
    ):
        inside = values > values[-1] + 1e-5  # those that tie with the last may be others
        assert set(ids[inside]) <= set(other)
    found = {
        "similarity_rows": every[: len(expected["similarity_rows"])],
        "similarity_sum_per_row": every.sum(dim=1),
        "adjacency": expected["adjacency"],
        "adjacency_similarity": every.gather(1, alike),
        "tie_at_the_edge": expected["tie_at_the_edge"],
        "beams": expected["beams"],
        "beam_scores": scores,
        "visited": torch.stack(visited, dim=1),
    }
    golden.check({f"graph/{key}": value for key, value in found.items()}, "graph")


@pytest.mark.parametrize("name", STEMS)
def test_steps_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    system, expected = _system(golden, tmp_path), golden.below("fit")
    sizes, rows = golden.hyper_parameters, golden.below("rows/train")
    training = RPG.Config().training.model_copy(
        update={"learning_rate": sizes["lr"], "warmup_steps": sizes["warmup_steps"]}
    )
    network: Any = system.model.network
    optimizer = make_optimizer(network.parameters(), training)
    found: dict[str, list[Any]] = {"loss": [], "lr": [], "grad_norm_before_clipping": []}
    figures = []
    batches = golden.inputs["fit/batches"]
    for step in range(len(expected["lr"])):
        # The suite's warm-up is a step ahead: it has no step whose rate is 0.
        factor = rate_factor(training, step, len(expected["lr"]))
        rising = step < sizes["warmup_steps"]
        rate = sizes["lr"] * (step / sizes["warmup_steps"] if rising else factor)
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = batches[step % len(batches)]
        network.train()
        loss = system.loss(
            {
                "items": torch.from_numpy(rows["input_ids"][chosen]),
                "targets": torch.from_numpy(rows["labels"][chosen]).clamp(min=0),
            }
        )
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), sizes["max_grad_norm"])
        optimizer.step()
        for key, value in zip(found, (loss.item(), rate, norm.item()), strict=True):
            found[key].append(value)
        if (step + 1) % len(batches) == 0:
            figures.append(_figures(golden, system))
    weights = dict(network.named_parameters())
    golden.check(
        {
            **{f"fit/{key}": value for key, value in found.items()},
            "fit/val_ndcg5_ndcg10_recall5_recall10": np.array(figures),
            **{
                key: weights[key.removeprefix("fit/weights_after/")]
                for key in golden.outputs
                if key.startswith("fit/weights_after/")
            },
        },
        "fit",
    )


def _figures(golden: Golden, system: RPG) -> list[float]:
    """NDCG and recall at 5 and 10 of the validation rows, the one target among all items."""
    rows = golden.below("rows/val")
    system.model.eval()
    with torch.no_grad():
        scores = system.scores_of_all(_asked(rows["input_ids"]))[:, 1:].numpy()
    target = np.take_along_axis(scores, rows["labels"] - 1, axis=1)
    rank = 1 + (scores > target).sum(axis=1)
    gains = [np.where(rank <= cut, 1 / np.log2(1 + rank), 0).mean() for cut in (5, 10)]
    return [*gains, *((rank <= cut).mean() for cut in (5, 10))]


def _identifiers(golden: Golden, codes: NDArray[np.integer]) -> Identifiers:
    size = golden.hyper_parameters["codebook_size"]
    return Identifiers.of_items(codes, (size,) * codes.shape[1])


def _system(golden: Golden, folder: Path) -> RPG:
    sizes = golden.hyper_parameters
    settings = {key: sizes[key] for key in RPG.Config.model_fields if key in sizes}
    dropout = {key: 0.0 for key in settings if key.endswith("pdrop")}
    config = RPG.Config(history_length=sizes["max_item_seq_len"], **settings | dropout)
    system = RPG(config, RunContext(0, folder, ArtifactStore(folder)))
    system.identifiers = _identifiers(golden, golden.outputs["identifiers/codes"])
    names = [str(number) for number in range(sizes["n_items"] + 1)]
    items = Items(names, names, names, names, [()] * len(names), names)
    system.model = system.build(Corpus("golden", items, Queries([""]), 1, ""))
    assert isinstance(system.model.network, RPGNetwork)
    golden.load_weights(system.model.network)
    return system


def _asked(histories: NDArray[np.int64]) -> Asked:
    items = torch.from_numpy(histories)
    nothing = torch.zeros(len(items), dtype=torch.int64)
    return Asked(items, (items > 0).sum(dim=1), nothing, 0 * items, nothing)


def _world(golden: Golden) -> tuple[Dataset, TrainingView]:
    sequences = [row[row > 0].tolist() for row in golden.inputs["sequences"]]
    dataset = dataset_of_sequences(sequences, golden.hyper_parameters["n_items"])
    lists = ProtocolSettings(negatives=5)
    return dataset, TrainingView(dataset, build_tasks(dataset, lists), lists)


def _train_mask(golden: Golden) -> NDArray[np.bool_]:
    _, view = _world(golden)
    counts = np.bincount(view.log.item, minlength=golden.hyper_parameters["n_items"] + 1)
    mask: NDArray[np.bool_] = counts[1:] > 0
    return mask
