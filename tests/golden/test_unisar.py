"""UniSAR against the original's numbers: merge, states, scores, losses and gradients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.joint.batches import clicked_pairs
from baselines.joint.histories import merged_places
from baselines.joint.layers import Attribute
from baselines.joint.unisar import UniSAR, UniSARConfig, UniSARModel
from benchmark.kit.training import Batch
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.golden.loading import Golden, golden_stems, load_golden

NAMES = (
    (r"query_embedding\.query_encoder\.word_embedding", "queries.words"),
    (r"query_embedding\.query_trans", "queries.projection"),
    (r"session_embedding\.(item|user)_feat\.(?:item|user)_id_emb", r"\1s.ids"),
    (r"session_embedding\.(item|user)_feat\.(?:item|user)_trans", r"\1s.projection"),
    (r"session_embedding\.(item|user)_feat\.(\w+)_emb", r"\1s.tables.\2"),
    (r"global_pos_emb\.pe", "merged_positions"),
    (r"rec_pos\.pe", "recommendation_positions"),
    (r"src_pos\.pe", "search_positions"),
    (r"global_transformer\.transformer_encoder\.layers", "cross_encoder"),
    (r"rec_transformer\.transformer_encoder\.layers", "recommendation_encoder"),
    (r"src_transformer\.transformer_encoder\.layers", "search_encoder"),
    (r"rec_cross_fusion\.layers", "recommendation_fusion"),
    (r"src_cross_fusion\.layers", "search_fusion"),
    (r"rec_his_attn_pooling\.W", "recommendation_pooling.weight"),
    (r"src_his_attn_pooling\.W", "search_pooling.weight"),
    (r"rec_query", "no_query"),
    (r"feature_alignment\.infoNCE_loss\.weight_matrix", "query_item.weight"),
    (r"feature_alignment\.infoNCE_loss\.temp", "query_item.temperature"),
    (r"rec_his_cl\.weight_matrix", "recommendation_contrast.weight"),
    (r"src_his_cl\.weight_matrix", "search_contrast.weight"),
    (r"rec_his_cl\.infoNCE_temp", "recommendation_contrast.temperature"),
    (r"src_his_cl\.infoNCE_temp", "search_contrast.temperature"),
    (r"ple_layer\.task_experts\.0\.(\d)\.\d+\.mlp\.0", r"experts.own.\1"),
    (r"ple_layer\.share_experts\.0\.\d+\.mlp\.0", "experts.shared"),
    (r"ple_layer\.task_gates\.0\.(\d)\.0", r"experts.gates.\1"),
    (r"ple_layer\.tower\.(\d)\.mlp", r"experts.towers.\1"),
    (r"rec_fc_layer\.fc", "predictors.0"),
    (r"src_fc_layer\.fc", "predictors.1"),
)
UNUSED = "ple_layer.share_gates"  # the original has this gate and never asks it


def our_name(name: str) -> str:
    """The original's parameter name in our words."""
    for pattern, ours in NAMES:
        renamed, changed = re.subn(pattern, ours, name)
        if changed:
            return renamed
    return name


def our_weights(golden: Golden) -> dict[str, torch.Tensor]:
    """The weights under our names, the experts of a group one below the other."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name in sorted(golden.weights):
        if not name.startswith(UNUSED):
            weight = torch.from_numpy(golden.weights[name].copy())
            groups.setdefault(our_name(name), []).append(weight)
    weights = {
        name: torch.cat(parts) if name.startswith("experts.") else parts[0]
        for name, parts in groups.items()
    }
    for side in ("recommendation", "search"):
        weights[f"{side}_pooling.weight"] = weights[f"{side}_pooling.weight"][0]
    return weights


def config_of(golden: Golden) -> UniSARConfig:
    sizes, weights = golden.hyper_parameters, golden.weights
    expert = weights["ple_layer.share_experts.0.0.mlp.0.bias"]
    experts = [name for name in weights if re.match(r"ple_layer\.share_experts.*bias", name)]
    tower = "ple_layer.tower.0.mlp.{}.bias"
    return UniSARConfig(
        embedding_size=sizes["final_emb_size"],
        item_id_size=sizes["item_id_dim"],
        user_id_size=sizes["user_id_dim"],
        word_size=sizes["word_id_dim"],
        recommendation_history=sizes["max_rec_his_len"],
        search_history=sizes["max_src_session_his_len"],
        session_items=sizes["max_session_item_len"],
        query_words=sizes["max_query_word_len"],
        layers=sizes["num_layers"],
        heads=sizes["num_heads"],
        dropout=golden.meta["dropout"],
        experts=len(experts),
        expert_size=len(expert),
        tower_sizes=tuple(len(weights[tower.format(number)]) for number in (0, 3)),
        predictor_sizes=sizes["pred_hid_units"][:-1],
        query_item_weight=sizes["q_i_cl_weight"],
        query_item_temperature=sizes["q_i_cl_temp"],
        transition_weight=sizes["his_cl_weight"],
        transition_temperature=sizes["his_cl_temp"],
        search_weight=sizes["src_loss_weight"],
    )


def attributes_of(golden: Golden, kind: str) -> list[Attribute]:
    """The further attributes of the items or users, in the original's order."""
    found = []
    for name in golden.weights:
        match = re.fullmatch(rf"session_embedding\.{kind}_feat\.(\w+)_emb\.weight", name)
        if match and match[1] != f"{kind}_id":
            values = golden.tensor(f"{kind}_vocab_{match[1]}")
            found.append(Attribute(match[1], values, *golden.weights[name].shape))
    return found


def system_of(golden: Golden, folder: Path) -> UniSAR:
    config = config_of(golden)
    texts = golden.inputs.get("item_vocab_caption")
    rows = {kind: len(golden.weights[f"{key}.weight"]) for kind, key in TABLES.items()}
    model = UniSARModel(
        config,
        item_rows=rows["items"],
        user_rows=rows["users"],
        word_rows=rows["words"],
        item_texts=None if texts is None else torch.from_numpy(texts),
        item_attributes=attributes_of(golden, "item"),
        user_attributes=attributes_of(golden, "user"),
    )
    model.load_state_dict(our_weights(golden))
    system = UniSAR(config, RunContext(0, folder, ArtifactStore(folder)))
    system.model = model
    return system


TABLES = {
    "items": "session_embedding.item_feat.item_id_emb",
    "users": "session_embedding.user_feat.user_id_emb",
    "words": "query_embedding.query_encoder.word_embedding",
}


class Case:
    """The inputs of a file as batches: an item's row is its id, a session's query row too."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        inputs, sizes = golden.inputs, golden.hyper_parameters
        lengths = sizes["max_rec_his_len"], sizes["max_src_session_his_len"]
        items, item_times = self._visible("rec_his", "n_rec", lengths[0])
        sessions, times = self._visible("src_session_his", "n_src", lengths[1])
        places = merged_places(item_times, times)
        self.order = np.argsort(np.concatenate(places, axis=1), axis=1)
        self.merged = self.in_order(items, sessions)
        self.merged_times = self.in_order(item_times, times)
        self.merged_kinds = self.in_order(items * 0 + 1, sessions * 0 + 2)
        words, negatives = inputs["session_keyword"], inputs["align_neg_query"]
        queries = inputs["query"]
        self.tables = {
            "items": np.arange(sizes["n_items"] + 1),
            "words": np.concatenate([words, queries, negatives]),
            "negative_items": inputs["align_neg_item"],
            "negative_queries": np.arange(len(negatives)) + len(words) + len(queries),
        }
        self.rows = {
            "history/items": items,
            "history/queries": sessions,
            "history/clicks": inputs["session_pos_items"][sessions],
            "history/item_places": places[0],
            "history/session_places": places[1],
            "users": inputs["user"],
            "query": np.arange(len(queries)) + len(words),
        }

    def batch(self, candidates: str, number: int, searches: int) -> Batch:
        """The first ``number`` rows as recommendation, then the first ``searches`` as search."""
        inputs = self.golden.inputs
        listed = np.concatenate([inputs["item"][:, None], inputs[candidates]], axis=1)
        rows = {**self.rows, "candidates": listed}
        twice = {k: np.concatenate([v[:number], v[:searches]]) for k, v in rows.items()}
        batch = {k: torch.from_numpy(v) for k, v in (self.tables | twice).items()}
        batch["sizes"] = torch.tensor([number, searches])
        batch["pairs"], batch["clicks"] = clicked_pairs(batch)
        return batch

    def _visible(self, name: str, counter: str, length: int) -> tuple[Any, Any]:
        """The last visible ones of a list and their times, padded on the right."""
        inputs = self.golden.inputs
        ids = np.zeros((len(inputs[f"raw_{counter}"]), length), dtype=np.int64)
        times = np.full(ids.shape, np.inf)
        for row, seen in enumerate(inputs[f"raw_{counter}"]):
            latest = slice(max(0, seen - length), seen)
            kept = inputs[f"raw_{name}"][row, latest]
            ids[row, : len(kept)] = kept
            times[row, : len(kept)] = inputs[f"raw_{name}_ts"][row, latest]
        return ids, times

    def in_order(self, first: Any, second: Any) -> Any:
        """Values of the recommendation list and of the search list in the merged order."""
        values = np.concatenate([first, second], axis=1)
        index = self.order.reshape(*self.order.shape, *[1] * (values.ndim - 2))
        return np.take_along_axis(values, index, axis=1)


@pytest.mark.parametrize("name", golden_stems("unisar.*"))
def test_outputs_equal_the_originals(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    case, system = Case(golden), system_of(golden, tmp_path)
    np.testing.assert_array_equal(case.merged, golden.inputs["all_his"])
    np.testing.assert_array_equal(case.merged_times, golden.inputs["all_his_ts"])
    np.testing.assert_array_equal(case.merged_kinds, golden.inputs["all_his_type"])
    golden.check(_states(golden, case, system) | _losses(golden, case, system) | _metrics(golden))


@torch.no_grad()
def _states(golden: Golden, case: Case, system: UniSAR) -> dict[str, Any]:
    model, number = system.model.eval(), golden.hyper_parameters["n_rows"]
    batch = case.batch("cand_negatives", number, 0)
    items, queries = model.encode_items(batch["items"]), model.queries(batch["words"])
    histories = system.histories(batch, items, queries)
    transitions = model.transitions(histories)
    interests = model.fuse(transitions)
    candidates = F.embedding(batch["candidates"], items)
    users, query = model.encode_users(batch["users"]), F.embedding(batch["query"], queries)
    pooled = model.pooled(interests, candidates)
    everything = (interests, batch, slice(0, number), items, queries)
    asked = F.embedding(batch["history/queries"], queries) * histories.session_visible[..., None]
    clicks = F.embedding(batch["history/clicks"], items)
    no_clicks = torch.zeros(*histories.items.shape[:2], *clicks.shape[2:])
    return {
        "item_emb_all": items,
        "user_emb": users,
        "query_emb": query,
        # What the original has for every place of the merged list, zero at the other kind's.
        "all_his_emb": case.in_order(histories.items, histories.sessions),
        "all_his_mask": case.in_order(~histories.item_visible, ~histories.session_visible),
        "session_query_emb": case.in_order(histories.items * 0, asked),
        "session_item_emb": case.in_order(no_clicks, clicks),
        "session_item_mask": case.in_order(no_clicks[..., 0] > 0, batch["history/clicks"] > 0),
        "src2rec": transitions.search_to_recommendation,
        "rec2rec": transitions.within_recommendation,
        "rec2src": transitions.recommendation_to_search,
        "src2src": transitions.within_search,
        "rec_his_mask": ~histories.item_visible,
        "src_his_mask": ~histories.session_visible,
        "rec_interest": pooled[0],
        "src_interest": pooled[1],
        "ple_rec": model.tower(0, interests, candidates, users, model.no_query.expand_as(users)),
        "ple_src": model.tower(1, interests, candidates, users, query),
        "rec_scores": system.logits("recommendation", *everything).sigmoid(),
        "src_scores": system.logits("search", *everything).sigmoid(),
    }


def _losses(golden: Golden, case: Case, system: UniSAR) -> dict[str, Any]:
    sizes = golden.hyper_parameters
    batch = case.batch("neg_items", sizes["n_rows"], sizes["n_src_rows"])
    found: dict[str, Any] = {}
    for short, losses in zip(("rec", "src"), system.task_losses(batch).values(), strict=True):
        found[f"{short}_loss_click_loss"] = losses.clicks
        found[f"{short}_loss_q_i_cl_loss"] = losses.query_item
        found[f"{short}_loss_his_cl_loss"] = losses.transitions
        found[f"{short}_loss_total_loss"] = losses.total
    loss = found["combined_loss"] = system.loss(batch)
    loss.backward()
    parameters = dict(system.model.named_parameters())
    for output in golden.outputs:
        if output.startswith("grad/"):
            found[output] = parameters[our_name(output.removeprefix("grad/"))].grad
    return found


def _metrics(golden: Golden) -> dict[str, Any]:
    scores = golden.inputs["metric_pred"]
    ranks = ranks_of_targets(scores, np.zeros(len(scores), dtype=np.int64))
    found = {f"metric_{name}": value for name, value in mean_metrics(ranks).items()}
    return found | {"metric_NDCG@1": found["metric_HR@1"]}  # equal by definition
