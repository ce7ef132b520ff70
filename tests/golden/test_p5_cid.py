"""P5-CID against the originals' numbers: graph, clusters, identifiers, network and beam search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.generative_recommendation.p5_cid import P5, P5CIDConfig, mean_over_rows, whole_words
from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers.collaborative import (
    cluster_paths,
    collaborative_identifiers,
    numbered,
)
from benchmark.kit.identifiers.spectral import CountRule, co_occurrence_graph
from benchmark.kit.identifiers.value import groups_of
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.language_models.tokenizer import WORD_MARK
from benchmark.kit.text.pieces import labels_of
from benchmark.kit.training import Batch
from tests.golden.loading import Golden, close, golden_stems, load_golden

RULES: dict[str, CountRule] = {"official": "smaller_order", "sum": "both_orders"}


@pytest.mark.parametrize("name", golden_stems("p5-cid.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    check_clusters(golden)
    check_numberings(golden)
    check_openp5(golden)
    check_network(golden)
    check_ranking(golden)


# ------------------------------------------------------------------------------------- identifiers


def training_part(golden: Golden) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Items and offsets of the sequences without their last two, and the number of all items."""
    sequences = golden.inputs["sequences"]
    lengths = np.count_nonzero(sequences >= 0, axis=1) - 2
    kept = np.arange(sequences.shape[1]) < lengths[:, None]
    return sequences[kept], np.concatenate([[0], np.cumsum(lengths)]), int(sequences.max())


def config_of(golden: Golden, **changes: Any) -> P5CIDConfig:
    sizes = golden.hyper_parameters["clustering"]
    return P5CIDConfig(
        clusters=sizes["number_of_clusters"],
        largest_cluster=sizes["maximum_cluster_size"],
        **changes,
    )


def assert_same_nested_partitions(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal prefixes in equal groups, level by level; a level that only one has is all padding."""
    for level in range(1, max(found.shape[1], expected.shape[1]) + 1):
        ours, theirs = groups_of(found[:, :level]), groups_of(expected[:, :level])
        pairs = np.unique(np.stack([ours, theirs], axis=1), axis=0)
        assert len(pairs) == ours.max() + 1 == theirs.max() + 1


def check_clusters(golden: Golden) -> None:
    items, offsets, number = training_part(golden)
    for kind, rule in RULES.items():
        expected = golden.outputs[f"adjacency_{kind}"]
        graph = co_occurrence_graph(items, offsets, number, rule).toarray()[1:, 1:]
        trained = len(expected)
        np.testing.assert_array_equal(graph[:trained, :trained], expected * (1 - np.eye(trained)))
        assert not graph[trained:].any() and not graph[:, trained:].any()
        paths = cluster_paths(items, offsets, number, config_of(golden, co_occurrence=rule), seed=1)
        assert (paths[trained:] == -1).all()
        assert_same_nested_partitions(paths[:trained], golden.outputs[f"paths_{kind}"])


def check_numberings(golden: Golden) -> None:
    """From the original's own labels, the released numberings to the token."""
    paths = golden.outputs["paths_official"]
    largest = golden.hyper_parameters["clustering"]["maximum_cluster_size"]
    codes, _ = numbered(paths, "method1", largest)
    np.testing.assert_array_equal(codes, golden.outputs["ids_method1"])
    for numbering, output in ("method2", "ids_method2_str"), ("cid_iid", "ids_cid_iid_str"):
        codes, names = numbered(paths, numbering, largest)  # type: ignore[arg-type]
        texts = ["".join(names[code] for code in row if code >= 0) for row in codes.tolist()]
        assert texts == golden.outputs[output].tolist()


def check_openp5(golden: Golden) -> None:
    """OpenP5's clusters; places in a leaf depend there on the order of a set of strings."""
    items, offsets, number = training_part(golden)
    config = config_of(golden, unseen_items="single_token")
    identifiers, _ = collaborative_identifiers(items, offsets, number, config)
    expected = golden.outputs["ids_openp5"]
    trained = len(expected)
    ours = without_last(identifiers.codes[1 : trained + 1])
    assert_same_nested_partitions(ours, without_last(expected))
    assert len(np.unique(identifiers.codes[1 : trained + 1], axis=0)) == trained
    unseen = identifiers.codes[trained + 1 :]
    np.testing.assert_array_equal(unseen[:, :1], golden.outputs["ids_openp5_cold"])
    assert (unseen[:, 1:] == -1).all()


def without_last(codes: NDArray[Any]) -> NDArray[Any]:
    shorter = codes.copy()
    shorter[np.arange(len(codes)), np.count_nonzero(codes >= 0, axis=1) - 1] = -1
    return shorter


# ----------------------------------------------------------------------------------------- network


def network(golden: Golden) -> P5:
    sizes = golden.hyper_parameters["p5"]
    config = {
        name: value
        for name, value in sizes.items()
        if name not in ("whole_word_rows_saved", "num_beams")
    }
    model = P5(Seq2Seq.of_config(config | {"dropout_rate": 0.0}), True, 1.0)
    weights = golden.weights_below("p5.")
    words = weights.pop("encoder.whole_word_embeddings.weight")
    model.seq2seq.load_own_state(weights)
    assert model.whole_words is not None
    with torch.no_grad():
        model.whole_words.weight[: len(words)] = words
    return model.eval()


def batch_of(golden: Golden) -> Batch:
    mask = golden.tensor("p5/attention_mask").bool()
    begins = torch.from_numpy(np.char.startswith(golden.inputs["p5/tokens"], WORD_MARK))
    # The original's last position of a batch is no word, so only the end of a full row is not.
    is_full = mask.all(dim=1, keepdim=True)
    words = torch.where(
        is_full, whole_words(begins, mask, "no_word"), whole_words(begins, mask, "last_word")
    )
    return {
        "input_ids": golden.tensor("p5/input_ids"),
        "attention_mask": mask,
        "whole_words": words,
        "labels": labels_of(golden.tensor("p5/labels"), golden.tensor("p5/label_mask") > 0),
    }


def check_network(golden: Golden) -> None:
    model, batch = network(golden), batch_of(golden)
    np.testing.assert_array_equal(batch["whole_words"], golden.outputs["p5/whole_word_ids"])
    logits = model.logits(batch)
    is_label = golden.inputs["p5/label_mask"] > 0
    within = golden.meta["tolerance"]
    np.testing.assert_allclose(
        logits.detach()[is_label],
        golden.outputs["p5/logits"][is_label],
        atol=within["default_atol"],
        rtol=within["default_rtol"],
    )
    loss = mean_over_rows(logits, batch["labels"])
    close(golden, loss.detach(), "p5/loss")
    torch.testing.assert_close(model(batch), loss)
    loss.backward()
    assert model.whole_words is not None and model.whole_words.weight.grad is not None
    rows = len(golden.outputs["p5/grad/encoder.whole_word_embeddings.weight"])
    close(
        golden,
        model.whole_words.weight.grad[:rows],
        "p5/grad/encoder.whole_word_embeddings.weight",
    )
    close(golden, model.seq2seq.t5.shared.weight.grad, "p5/grad/shared.weight")


def check_ranking(golden: Golden) -> None:
    """Sums of all candidates, and the original's beams with their means."""
    model, batch = network(golden), batch_of(golden)
    tokens, t5 = golden.inputs["p5/candidate_token_ids"], model.seq2seq.t5
    beams = golden.hyper_parameters["p5"]["num_beams"]
    with torch.inference_mode():
        encoded = encode(t5, model.inputs(batch), batch["attention_mask"])
        exact = candidate_scores(t5, encoded, tokens)
        beam = candidate_scores(t5, encoded, tokens, beams, "mean")
    close(golden, exact, "p5/candidate_logprob")
    best = torch.argsort(beam, dim=1, descending=True)[:, :beams]
    close(golden, beam.gather(1, best), "p5/beam_scores")
    assert_same_order(golden, best.numpy(), golden.outputs["p5/beam_candidate"])


def assert_same_order(golden: Golden, found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal but for candidates whose scores differ by less than the tolerance."""
    scores = golden.outputs["p5/beam_scores"]
    gap = np.abs(np.diff(scores, axis=1)) < golden.meta["tolerance"]["rank_atol"]
    may_swap = np.pad(gap, ((0, 0), (1, 0))) | np.pad(gap, ((0, 0), (0, 1)))
    assert (found == expected)[~may_swap].all()
