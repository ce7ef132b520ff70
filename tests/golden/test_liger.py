"""LIGER against the numbers of the authors' own code: quantiser, codes, network and both heads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.generative_recommendation.liger import LIGER, LIGERModel, proposed
from baselines.generative_recommendation.tiger import Vocabulary
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.collisions import with_counter
from benchmark.kit.identifiers.learning import standardised
from benchmark.kit.identifiers.moving import (
    MovingConfig,
    MovingRQVAE,
    repeated,
)
from benchmark.kit.identifiers.rqvae import VECTORS
from benchmark.kit.training.optimizers import make_optimizer, rate_factor
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.golden.loading import Golden, golden_stems, load_golden, requests_for

STEMS = golden_stems("liger.*")

# The suite has its own splits and metrics; and the original's decoder may write what is no item.
# What it ranks of its beams is compared where it ranks items.
OTHERWISE = re.compile(
    "(split|instances|metric)/.*|ids/cold_tokens|eval/.*/(beam_.*|genret/.*|uni/.*)"
)


@pytest.mark.parametrize("name", STEMS)
def test_the_written_and_the_cold_are_ranked_as_in_the_original(name: str, tmp_path: Path) -> None:
    """By the original's own beams; doubles, and item 1 for what is no item, are left out."""
    golden = load_golden(name)
    system = _system(golden, golden.outputs["split/seen"], tmp_path)
    model = system.model.eval()
    item_of = {tuple(tokens): item for item, tokens in enumerate(model.tokens.tolist())}
    cold = torch.zeros(len(model.tokens), dtype=torch.bool)
    cold[[item_of[tuple(tokens)] for tokens in golden.outputs["ids/cold_tokens"].tolist()]] = True
    with torch.no_grad():
        encoded = model.encode(golden.tensor("test/input_ids"))
        cosines = model.cosines(encoded, model.item_vectors())
    every = torch.arange(len(model.tokens)).expand(len(cosines), -1)
    beams = np.concatenate([golden.outputs[f"eval/{part}/beam_tokens"] for part in ("in", "cold")])
    for number in golden.hyper_parameters["beams"]:
        written = torch.full_like(cosines, -torch.inf)
        for row, tuples in enumerate(beams[:, :number].tolist()):
            items = [item_of.get(tuple(tokens), 0) for tokens in tuples]
            written[row, items] = -torch.arange(len(items), dtype=torch.float32)
        written[:, 0] = -torch.inf
        chosen = proposed(written, every, cold, number)
        ours = cosines.masked_fill(~chosen, -torch.inf).sort(dim=1, descending=True).values
        theirs = np.concatenate(
            [golden.outputs[f"eval/{part}/uni/K{number}/ranked_scores"] for part in ("in", "cold")]
        )
        for row, scores in enumerate(theirs):
            kept = np.unique(scores)[::-1]
            if not chosen[row, 1]:
                kept = kept[np.abs(kept - float(cosines[row, 1])) > 1e-4]
            np.testing.assert_allclose(ours[row, : len(kept)], kept, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STEMS)
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    seen = golden.outputs["split/seen"]
    for key in [key for key in golden.outputs if OTHERWISE.fullmatch(key)]:
        del golden.outputs[key]
    found: dict[str, Any] = {"item_embedding": standardised(golden.inputs["raw_text_embeddings"])}
    found |= _quantised(golden) | _steps(golden) | _codes(golden)
    system = _system(golden, seen, tmp_path)
    found |= _training(golden, system.model)
    found |= _scores(golden, system)
    found |= _rates(golden)
    golden.check(found)


def _named(golden: Golden, prefix: str) -> dict[str, torch.Tensor]:
    """Weights below a prefix by our names."""
    return {_ours(name): weight for name, weight in golden.weights_below(prefix).items()}


def _ours(name: str) -> str:
    name = re.sub(r"mlp_blocks\.(\d+)\.0", r"linears.\1", name)
    name = re.sub(r"mlp_blocks\.(\d+)\.1", r"norms.\1", name)
    return re.sub(r"^(shared|encoder\.(block|final)|decoder\.(block|final))", r"t5.\1", name)


def _flat(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices that are convolutions of width one in the original."""
    return {
        name: value[:, 0] if "residuals" in name and value.dim() == 3 else value
        for name, value in state.items()
    }


def _quantiser(golden: Golden, prefix: str) -> MovingRQVAE:
    sizes = golden.hyper_parameters
    config = MovingConfig(
        sizes=(sizes["K"],) * sizes["levels"],
        hidden_sizes=sizes["rq_hidden"],
        latent_size=sizes["latent"],
        commitment=sizes["beta"],
        kmeans_iterations=None,
    )
    model = MovingRQVAE(sizes["text_dim"], config)
    state = _flat(_named(golden, prefix))
    for ours, theirs, rows in (
        ("codebooks", "weight", slice(-1)),  # the last row is padding
        ("counts", "cluster_size_ema", slice(None)),
        ("totals", "embed_ema", slice(None)),
    ):
        levels = range(sizes["levels"])
        parts = [state.pop(f"quantizer.codebooks.{level}.{theirs}")[rows] for level in levels]
        state[ours] = torch.stack(parts)
    model.load_state_dict(state)
    return model


def _quantised(golden: Golden) -> dict[str, Any]:
    model = _quantiser(golden, "rqvae.").eval()
    vectors = torch.from_numpy(golden.outputs["item_embedding"].copy())
    with torch.no_grad():
        done = model(vectors)
        reconstruction, commitment = model.terms(vectors, done)
        loss = model.loss({VECTORS: vectors})
    return {
        "rq/eval/z": done.latent,
        "rq/eval/quantised": done.sums[-1],
        "rq/eval/codes": done.codes,
        "rq/eval/recon": done.reconstruction,
        "rq/eval/commitment": commitment,
        "rq/eval/recon_loss": reconstruction,
        "rq/eval/loss": loss,
    }


def _steps(golden: Golden) -> dict[str, Any]:
    model = _quantiser(golden, "rqvae.").train()
    rows = golden.inputs["rq/batch_rows"]
    vectors = torch.from_numpy(golden.outputs["item_embedding"][rows].copy())
    training = LIGER.Config().identifiers.training
    optimizer = make_optimizer(model.parameters(), training)
    names = golden.meta["names"]["outputs/rq/step0/grad_norms"]
    found: dict[str, Any] = {}
    for step in range(4):
        done = model(vectors)
        reconstruction, commitment = model.terms(vectors, done)
        loss = reconstruction + model.config.commitment * commitment
        for level, permutation in enumerate(golden.tensor(f"rq/step{step}/permutation")):
            noise = golden.inputs.get(f"rq/step{step}/noise")
            given = None if noise is None else torch.from_numpy(noise[level].copy())
            pool = repeated(done.inputs[level], model.codebooks.shape[1], given)
            model.move(level, done, pool[permutation])
        optimizer.zero_grad()
        loss.backward()
        parameters = dict(model.named_parameters())
        gradients = {name: parameters[_ours(name)].grad.clone() for name in names}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
        optimizer.step()
        values = {
            "grad_norms": torch.stack([gradients[name].norm() for name in names]),
            "codes": done.codes,
            "loss": loss,
            "recon_loss": reconstruction,
            "commitment": commitment,
            "grad_norm": norm,
            "codebooks": model.codebooks.clone(),
            "cluster_sizes": model.counts.clone(),
            "embed_ema": model.totals.clone(),
            **{f"grad/{name}": _as_theirs(name, value) for name, value in gradients.items()},
            **{name: _as_theirs(name, parameters[_ours(name)].detach()) for name in names},
        }
        found |= {f"rq/step{step}/{key}": value for key, value in values.items()}
    return found


def _as_theirs(name: str, value: torch.Tensor) -> torch.Tensor:
    return value[:, None] if "residuals" in name else value


def _identifiers(golden: Golden, codes: NDArray[np.integer]) -> Identifiers:
    sizes = golden.hyper_parameters
    last = sizes["last_codebook_size"]
    return Identifiers.of_items(codes, (*(sizes["K"],) * sizes["levels"], last))


def _codes(golden: Golden) -> dict[str, Any]:
    model = _quantiser(golden, "rqvae_trained.").eval()
    vectors = torch.from_numpy(golden.outputs["item_embedding"].copy())
    with torch.no_grad():
        codes = model.coded(model.encode({VECTORS: vectors}))[VECTORS].codes
    counted = with_counter(codes)
    _, sharing = np.unique(codes, axis=0, return_counts=True)
    return {
        "ids/codes": codes,
        "ids/identifiers": counted,
        "ids/max_last": counted[:, -1].max() + 1,
        "ids/collisions": sharing[sharing > 1].sum(),
        "ids/tokens": Vocabulary(_identifiers(golden, counted), user_tokens=0).of_item[1:],
    }


def _system(golden: Golden, seen: NDArray[np.integer], folder: Path) -> LIGER:
    sizes = golden.hyper_parameters
    config = LIGER.Config(
        history_length=sizes["max_items"],
        width=sizes["d"],
        layers=sizes["enc"],
        decoder_layers=sizes["dec"],
        heads=sizes["heads"],
        head_width=sizes["kv"],
        feed_forward=sizes["ff"],
        dropout=0.0,
        input_dropout=0.0,
        projection_sizes=tuple(sizes["proj_hidden"][::-1]),
        temperature=sizes["tau"],
        token_weight=sizes["w_sid"],
        dense_weight=sizes["w_dense"],
        ranks_by="dense",
    )
    system = LIGER(config, RunContext(0, folder, ArtifactStore(folder)))
    system.identifiers = _identifiers(golden, golden.outputs["ids/identifiers"])
    model = LIGERModel(system.identifiers, sizes["text_dim"], config)
    state = model.state_dict() | _flat(_named(golden, "model."))
    for tied in ("t5.encoder.embed_tokens", "t5.decoder.embed_tokens", "t5.lm_head"):
        state[f"{tied}.weight"] = state["t5.shared.weight"]
    state["text"][1:] = torch.from_numpy(golden.outputs["item_embedding"].copy())
    state["trained"][torch.from_numpy(seen)] = True
    model.load_state_dict(state)
    system.model = model
    return system


def _training(golden: Golden, model: LIGERModel) -> dict[str, Any]:
    length = golden.hyper_parameters["max_items"]
    items = golden.tensor("batch/input_ids")[:, :length]
    targets = golden.tensor("batch/labels_ids")[:, 0]
    np.testing.assert_array_equal(model.tokens[targets], golden.inputs["batch/labels_sids"])
    model.train()
    vectors, mask = model.inputs(items)
    encoded = model.encode(items)
    tokens, dense = model.losses(
        {"items": items, "lengths": (items > 0).sum(dim=1), "targets": targets}
    )
    loss = model.config.token_weight * tokens + model.config.dense_weight * dense
    names = golden.meta["names"]["outputs/grad_norms"]
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(
        loss, [parameters[_ours(name)] for name in names], retain_graph=True
    )
    by_name = dict(zip(names, gradients, strict=True))
    norms = torch.stack([gradient.norm() for gradient in gradients])
    found = {
        "predicted_embedding": _last(model, encoded),
        "decoder_logits": model.token_logits(encoded, model.tokens[targets]),
        "item_vectors": model.item_vectors()[1:],
        "dense_logits": model.cosines(encoded, model.item_vectors())[:, 1:],
        "loss_sid": tokens,
        "loss_dense": dense,
        "loss": loss,
        "grad_norms": norms,
        "grad_norm_total": norms.norm(),
        **{f"grad/{name}": _as_theirs(name, value) for name, value in by_name.items()},
    }
    for key, value in (
        ("inputs_embeds", vectors),
        ("encoder_last_hidden_state", encoded.states),
    ):
        # What stands at padding reaches nothing.
        golden.outputs[key] = golden.outputs[key][:, : mask.shape[1]][mask.numpy()]
        found[key] = value[mask]
    return found


def _last(model: LIGERModel, encoded: Any) -> torch.Tensor:
    last = encoded.mask.sum(dim=1) - 1
    states: torch.Tensor = encoded.states[torch.arange(len(last)), last]
    return states


def _scores(golden: Golden, system: LIGER) -> dict[str, Any]:
    histories, candidates = golden.inputs["test/input_ids"], golden.inputs["test/candidates"]
    requests = requests_for(histories, candidates)
    model = system.model.eval()
    with torch.no_grad():
        encoded = model.encode(torch.from_numpy(histories))
        dense = model.cosines(encoded, model.item_vectors())[:, 1:]
    config = system.config.model_copy(update={"ranks_by": "generative"})
    writer = LIGER(config, system.context)
    writer.model = model
    found: dict[str, Any] = {
        "test/predicted_embedding": _last(model, encoded),
        "test/dense_logits": dense,
        "test/candidate_dense": system.score(requests),
        "test/candidate_logprob": writer.score(requests),
    }
    best = 1 + dense.topk(max(golden.hyper_parameters["keys"]), dim=1).indices
    targets = golden.tensor("test/labels_ids")
    number = len(golden.outputs["eval/in/dense/ranked_tokens"])  # cold targets come after these
    for part, rows in (("in", slice(number)), ("cold", slice(number, None))):
        hit = (best[rows] == targets[rows, None]).numpy()
        gains = hit / np.log2(2 + np.arange(hit.shape[1]))
        keys = golden.hyper_parameters["keys"]
        found |= {
            f"eval/{part}/dense/ranked_tokens": model.tokens[best[rows]],
            f"eval/{part}/dense/recall": [hit[:, :key].sum(axis=1) for key in keys],
            f"eval/{part}/dense/ndcg": [gains[:, :key].sum(axis=1) for key in keys],
        }
    return found


def _rates(golden: Golden) -> dict[str, Any]:
    """The default schedule, of which the suite's warm-up is a step ahead."""
    training = LIGER.Config().training
    steps = 200_000
    training = training.model_copy(update={"warmup_steps": 10_000})
    given = golden.outputs["lr/step"].tolist()
    rates = [
        training.learning_rate * step / 10_000
        if step < 10_000
        else training.learning_rate * rate_factor(training, step, steps)
        for step in given
    ]
    return {"lr/step": given, "lr/value": rates}
