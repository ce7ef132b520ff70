"""JSR against the reference of its equations, SESRec against the original's numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines.joint.jsr import JSR, JSRConfig, JSRNetwork
from baselines.joint.layers import Attribute
from baselines.joint.sesrec import SESRec, SESRecConfig, SESRecNetwork
from benchmark.kit.training import Batch
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.golden.loading import Golden, golden_stems, load_golden

NAMES = (
    (r"^(item|user)_emb$", r"\1s.weight"),
    (r"^word_emb$", "texts.words.weight"),
    (r"^term_weight$", "texts.importance"),
    (r"^rec_mlp\.", "networks.recommendation.layers."),
    (r"^src_mlp\.", "networks.search.layers."),
    (r"^query_item_feat\.item_feat\.item_id_emb", "item_tables.ids"),
    (r"^query_item_feat\.item_feat\.item_(\w+)_emb", r"item_tables.tables.\1"),
    (r"^query_item_feat\.query_id_emb", "query_ids"),
    (r"^query_item_feat\.query_word_segs_emb", "words"),
    (r"^query_item_feat\.query_search_source_emb", "sources"),
    (r"^query_item_feat\.(item|query)_trans", r"\1_projection"),
    (r"^user_feat\.user_id_emb", "users.ids"),
    (r"^user_feat\.user_(\w+)_emb", r"users.tables.\1"),
    (r"^rec_pos_emb\.pe", "recommendation_encoder.positions"),
    (r"^src_pos_emb\.pe", "search_encoder.positions"),
    (r"^rec_his_transformer_layer\.layer", "recommendation_encoder.layers"),
    (r"^src_his_transformer_layer\.layer", "search_encoder.layers"),
    (r"multi_head_attention\.multi_head_attention", "attention"),
    (r"multi_head_attention\.LayerNorm", "attention_norm"),
    (r"feed_forward\.dense_1", "inner"),
    (r"feed_forward\.dense_2", "outer"),
    (r"feed_forward\.LayerNorm", "feed_forward_norm"),
    (r"^interest_contrast\.co_att\.W1", "co_attention.affinity"),
    (r"^interest_contrast\.co_att\.Wq", "co_attention.by_recommendation"),
    (r"^interest_contrast\.co_att\.Wd", "co_attention.by_search"),
    (r"^rec_his_att_pooling\.W", "recommendation_pooling.weight"),
    (r"^src_his_att_pooling\.W", "search_pooling.weight"),
    (r"^fc_layer\.fc", "predictor"),
    (r"^feature_alignment\.infoNCE_loss\.weight_matrix", "alignment.weight"),
    (r"^feature_alignment\.infoNCE_loss\.temp", "alignment.temperature"),
)


def our_name(name: str) -> str:
    """A parameter's name in our words."""
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    return name


def load_weights(golden: Golden, module: nn.Module) -> None:
    """Exactly the weights of the case; a bilinear form of shape (1, size, size) is a matrix."""
    module.load_state_dict(
        {
            our_name(name): torch.from_numpy(array[0] if array.ndim == 3 else array)
            for name, array in golden.weights.items()
        }
    )


def context(folder: Path) -> RunContext:
    return RunContext(0, folder, ArtifactStore(folder))


# ------------------------------------------------------------------------------------------- JSR


@pytest.mark.parametrize("name", golden_stems("jsr.*"))
def test_jsr_equals_its_equations(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    model = jsr(golden, "logistic", tmp_path).model.eval()
    words = golden.tensor("src_query")
    found: dict[str, Any] = {
        "query_repr": model.texts(words),
        "term_attention": model.texts.attention(words),
        "item_repr_candidates": model.encode_items(golden.tensor("rec_candidates")),
        "rec_scores": model.recommendation_scores(
            golden.tensor("rec_user"), golden.tensor("rec_candidates")
        ),
        "src_scores": model.search_scores(words, golden.tensor("src_candidates")),
    }
    for short, loss in {"bce": "logistic", "hinge": "hinge"}.items():
        found |= _jsr_losses(golden, jsr(golden, loss, tmp_path), short)
    golden.check(found)


def _jsr_losses(golden: Golden, system: JSR, short: str) -> dict[str, Any]:
    system.model.eval()
    sides = {
        side: torch.cat([golden.tensor(f"{side}_pos")[:, None], golden.tensor(f"{side}_neg")], 1)
        for side in ("rec", "src")
    }
    recommendation = {"recommendation": sides["rec"], "users": golden.tensor("rec_user")}
    search = {"search": sides["src"], "words": golden.tensor("src_query")}
    joint = system.loss(recommendation | search)
    joint.backward()
    parameters = dict(system.model.named_parameters())
    return {
        f"rec_loss_{short}": system.loss(recommendation),
        f"src_loss_{short}": system.loss(search) / system.config.search_weight,
        f"joint_loss_{short}": joint,
        **{
            output: parameters[our_name(output.rpartition("/")[2])].grad
            for output in golden.outputs
            if output.startswith(f"grad_{short}/")
        },
    }


def jsr(golden: Golden, loss: str, folder: Path) -> JSR:
    sizes = golden.hyper_parameters
    config = JSRConfig(
        embedding_size=sizes["dim"],
        hidden_sizes=sizes["hidden"],
        item_text=sizes["item_text"],
        search_weight=sizes["lambda_src"],
        loss=loss,
    )
    system = JSR(config, context(folder))
    system.model = JSRNetwork(
        config,
        item_rows=sizes["n_items"] + 1,
        user_rows=sizes["n_users"],
        word_rows=sizes["n_words"] + 1,
        item_texts=golden.tensor("item_text") if sizes["item_text"] else None,
    )
    load_weights(golden, system.model)
    return system


# ---------------------------------------------------------------------------------------- SESRec


@pytest.mark.parametrize("name", golden_stems("sesrec.*"))
def test_sesrec_equals_the_original(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    system = sesrec(golden, tmp_path)
    golden.check(_states(golden, system) | _losses(golden, system) | _metrics(golden))


def sesrec(golden: Golden, folder: Path) -> SESRec:
    sizes = golden.hyper_parameters
    config = SESRecConfig(
        item_size=sizes["item_id_dim"],
        user_size=sizes["user_id_dim"],
        query_size=sizes["query_id_dim"],
        word_size=sizes["word_dim"],
        recommendation_history=sizes["max_rec_his_len"],
        search_history=sizes["max_src_his_len"],
        session_items=sizes["max_src_click_item"],
        query_words=sizes["max_words_of_query"],
        layers=sizes["num_blocks"],
        heads=sizes["num_heads"],
        dropout=golden.meta["dropout"],
        predictor_sizes=sizes["pred_hid_units"][:-1],
        alignment_weight=sizes["infoNCE_weight"],
        alignment_temperature=sizes["infoNCE_temp"],
        triplet_weight=sizes["triplet_weight"],
        triplet_margin=sizes["triplet_margin"],
    )
    system = SESRec(config, context(folder))
    system.model = SESRecNetwork(
        config,
        item_rows=sizes["n_items"] + 1,
        user_rows=sizes["n_users"],
        word_rows=sizes["n_words"] + 1,
        query_words=_words_of_queries(golden),
        sources=sizes["n_sources"],
        item_attributes=_attributes(golden, "query_item_feat.item_feat.item", "item"),
        user_attributes=_attributes(golden, "user_feat.user", "user"),
    )
    load_weights(golden, system.model)
    return system


def _words_of_queries(golden: Golden) -> torch.Tensor:
    """The words of every query id that the inputs hold, (queries, words)."""
    sizes = golden.hyper_parameters
    words = torch.zeros(sizes["n_queries"] + 1, sizes["max_words_of_query"], dtype=torch.long)
    for queries, name in (
        ("src_query_id", "src_query_words"),
        ("align_neg_query", "align_neg_query_words"),
    ):
        words[golden.tensor(queries)] = golden.tensor(name)
        torch.testing.assert_close(words[golden.tensor(queries)], golden.tensor(name))
    return words


def _attributes(golden: Golden, prefix: str, kind: str) -> list[Attribute]:
    found = []
    for name, weight in golden.weights.items():
        match = re.fullmatch(rf"{prefix}_(\w+)_emb\.weight", name)
        if match and match[1] != "id":
            found.append(Attribute(match[1], golden.tensor(f"{kind}_{match[1]}"), *weight.shape))
    return found


def _batch(golden: Golden) -> Batch:
    targets = golden.tensor("pos_item")[:, None]
    return {
        "history": golden.tensor("rec_his"),
        "queries": golden.tensor("src_query_id"),
        "sources": golden.tensor("src_source"),
        "clicks": golden.tensor("src_click_items"),
        "users": golden.tensor("user"),
        "candidates": torch.cat([targets, golden.tensor("neg_items")], dim=1),
        "is_search": torch.zeros(len(targets), dtype=torch.bool),
        "negative_items": golden.tensor("align_neg_item"),
        "negative_queries": golden.tensor("align_neg_query"),
    }


@torch.no_grad()
def _states(golden: Golden, system: SESRec) -> dict[str, Any]:
    model, batch = system.model.eval(), _batch(golden)
    histories = model.histories(batch)
    queries, clicked = model.encode_searches(batch)
    target = model.encode_items(batch["candidates"][:, :1])
    interests = model.interests(histories, target)
    found = {
        "pos_item_emb": target[:, 0],
        "neg_item_emb": model.encode_items(golden.tensor("neg_items")),
        "user_emb": torch.cat(model.users.vectors_of(batch["users"]), dim=-1),
        "rec_his_emb": model.encode_items(batch["history"]),
        "query_his_emb": queries,
        "click_item_his_emb": clicked,
        "scores": model.logits(histories, batch["users"], golden.tensor("candidates")).sigmoid(),
    }
    for short, history, interest in zip(("rec", "src"), histories, interests, strict=True):
        found |= {
            f"{short}_encoded": history.states,
            f"coatt_{short}": history.weights[:, None],
            f"mask_{short}_pos": history.similar,
            f"mask_{short}_neg": history.dissimilar,
            f"{short}_interest": interest[:, 0],
        }
    return found


def _losses(golden: Golden, system: SESRec) -> dict[str, Any]:
    losses = system.losses(_batch(golden))
    losses.total.backward()
    parameters = dict(system.model.named_parameters())
    return {
        "align_loss": losses.alignment,
        "loss_align": losses.alignment,
        "triplet_loss": losses.triplet,
        "loss_triplet": losses.triplet,
        "loss_bce": losses.clicks,
        "loss_total": losses.total,
        **{
            output: parameters[our_name(output.removeprefix("grad/"))].grad
            for output in golden.outputs
            if output.startswith("grad/")
        },
    }


def _metrics(golden: Golden) -> dict[str, Any]:
    labels = golden.inputs["metric_label"]
    ranks = ranks_of_targets(golden.inputs["metric_pred"], labels.argmax(axis=1))
    values = mean_metrics(ranks)
    found = {
        f"metric_{name}@{cutoff}": values[f"{ours}@{cutoff}"]
        for name, ours, cutoffs in (("ndcg", "NDCG", (5, 10)), ("hit", "HR", (1, 5, 10)))
        for cutoff in cutoffs
    }
    scores = golden.inputs["metric_pred"]
    target = np.take_along_axis(scores, labels.argmax(axis=1)[:, None], axis=1)
    found["metric_mrr"] = np.mean(1.0 / (1 + (scores > target).sum(axis=1)))
    # The original rounds its metrics to five decimals.
    return {name: np.round(value, 5) for name, value in found.items()}
