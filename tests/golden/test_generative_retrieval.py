"""DSI-QG and WebUltron against the originals' numbers.

Token ids of the public T5 vocabulary are checked where the hub's cache has T5-small's tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.generative_retrieval.base import targets_of_texts
from baselines.generative_retrieval.webultron import (
    give_own_output_layer,
    inverse_document_frequencies,
    key_terms_of,
    passages_of,
    text_identifier,
)
from benchmark.kit.decoding.query_ranking import QueryRanking
from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers.hierarchical import structured_identifiers
from benchmark.kit.identifiers.product import ProductQuantiser
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.training import Batch
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from tests.golden.loading import Golden, golden_stems, load_golden


@pytest.mark.parametrize("name", golden_stems("dsi-qg.*"))
def test_dsi_qg_equals_the_original(name: str) -> None:
    golden = load_golden(name)
    for check in (check_clusters, check_numbers, check_hits, check_network, check_ranking):
        check(golden)


@pytest.mark.parametrize("name", golden_stems("webultron.*"))
def test_webultron_equals_the_original(name: str) -> None:
    golden = load_golden(name)
    checks: tuple[Callable[[Golden], None], ...] = (
        check_product_codes,
        check_words,
        check_instances,
        check_networks,
    )
    for check in checks:
        check(golden)


def close(found: Any, expected: NDArray[Any], what: str) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5, err_msg=what)


def model_of(golden: Golden, part: str, sizes: dict[str, Any]) -> Seq2Seq:
    """The network of the case, with an output layer of its own if the case has one."""
    names = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "dropout_rate")
    model = Seq2Seq.of_config({name: sizes[name] for name in names})
    weights = golden.weights_below(f"{part}/")
    head = weights.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, weights["shared.weight"]):
        give_own_output_layer(Backbone(model, TextTokenizer.trained_on(["a"], 5)))
        weights["lm_head.weight"] = head
    model.load_own_state(weights)
    return model.eval()


def t5_tokenizer() -> TextTokenizer | None:
    """The public vocabulary, if it is there."""
    files = BackboneSettings(model="auto").find()
    return None if files is None else TextTokenizer.of_files(files)


# ------------------------------------------------------------------------------------------ DSI-QG


def check_clusters(golden: Golden) -> None:
    """The tree of the public script; the clusters are so clear that no seed changes them."""
    sizes = golden.meta["clustering"]
    found = structured_identifiers(
        golden.inputs["hc_X"], sizes["k"], sizes["c"], np.random.default_rng(0), starts=5
    )
    np.testing.assert_array_equal(found.codes[1:], golden.outputs["hc_ids_canonical"])


def check_numbers(golden: Golden) -> None:
    tokenizer = t5_tokenizer()
    if tokenizer is not None:
        tokens = tokenizer(golden.inputs["num_strings"].tolist())
        targets = targets_of_texts(tokens, tokenizer.end)
        np.testing.assert_array_equal(targets[1:], golden.outputs["num_token_ids"])


def check_hits(golden: Golden) -> None:
    """Its metric drops what is no identifier, or comes again; as a ranking of all identifiers."""
    valid = golden.inputs["eval_valid_ids"].tolist()
    predicted = [
        ["".join(map(str, pair)) for pair in row] for row in golden.inputs["eval_pred_digits"]
    ]
    labels = ["".join(map(str, pair)) for pair in golden.inputs["eval_label_digits"].tolist()]
    # A label that does not exist can never be found; it has a column that nothing is found in.
    columns = {text: place for place, text in enumerate([*valid, "none"])}
    scores = np.full((len(labels), len(columns)), -np.inf, dtype=np.float32)
    for row, texts in enumerate(predicted):
        for place, text in reversed(list(enumerate(texts))):
            if text in columns:
                scores[row, columns[text]] = -place
    target = np.array([columns.get(label, len(valid)) for label in labels])
    metrics = mean_metrics(ranks_of_targets(scores, target))
    close([metrics["HR@1"], metrics["HR@10"]], golden.outputs["eval_hits1_hits10"], "hits")


def dsi_batch(golden: Golden) -> Batch:
    ids = golden.tensor("s2s_input_ids")
    return {"input_ids": ids, "attention_mask": ids != 0, "labels": golden.tensor("s2s_labels")}


def check_network(golden: Golden) -> None:
    model, batch = model_of(golden, "s2s", golden.meta["s2s"]), dsi_batch(golden)
    logits = model.t5(**batch).logits
    close(logits.detach(), golden.outputs["s2s_logits"], "logits")
    loss = model(batch)
    close(loss.detach(), golden.outputs["s2s_loss"], "loss")
    loss.backward()
    close(model.t5.shared.weight.grad, golden.outputs["s2s_grad/shared.weight"], "gradient")


def check_ranking(golden: Golden) -> None:
    """Sums, means and the beams of `generate`, for lists on their own and by the query alone."""
    t5, batch = model_of(golden, "s2s", golden.meta["s2s"]).t5, dsi_batch(golden)
    candidates = golden.inputs["cand_tokens"]
    queries, number = len(batch["input_ids"]), len(candidates)
    tokens = np.broadcast_to(candidates, (queries, *candidates.shape))
    with torch.inference_mode():
        encoded = encode(t5, {"input_ids": batch["input_ids"]}, batch["attention_mask"])
        for rule, output in ("sum", "cand_logprob_sum"), ("mean", "cand_logprob_lennorm"):
            found = candidate_scores(t5, encoded, tokens, None, rule)  # type: ignore[arg-type]
            close(found, golden.outputs[output], output)
    targets = np.concatenate([np.full((1, candidates.shape[1]), -1), candidates])
    lists = np.broadcast_to(np.arange(1, number + 1, dtype=np.int32), (queries, number))
    for kind, beams in ("beam30", golden.outputs["beam30_scores"].shape[1]), ("beamall", number):
        ranking = QueryRanking(
            t5,
            lambda query: (batch["input_ids"][query], batch["attention_mask"][query]),
            targets,
            beam_size=beams,
            length_rule="mean",
        )
        scores = ranking.score(np.arange(queries, dtype=np.int32), lists)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :beams]
        expected = golden.outputs[f"{kind}_scores"]
        close(np.take_along_axis(scores, best, axis=1), expected, kind)
        assert_returned(candidates[best], golden.outputs[f"{kind}_sequences"], expected)


def assert_returned(
    found: NDArray[Any], sequences: NDArray[Any], scores: NDArray[np.float32]
) -> None:
    """The same identifiers in the same order, but for near ties."""
    generated = sequences[:, :, 1:]
    width = found.shape[2]
    padded = np.where(np.cumsum(generated == 1, axis=2) - (generated == 1) > 0, -1, generated)
    gap = np.abs(np.diff(scores, axis=1)) < 1e-4
    may_swap = np.pad(gap, ((0, 0), (1, 0))) | np.pad(gap, ((0, 0), (0, 1)))
    assert (found == padded[:, :, :width]).all(axis=2)[~may_swap].all()


# --------------------------------------------------------------------------------------- WebUltron


def check_product_codes(golden: Golden) -> None:
    sizes, vectors = golden.meta["pq"], golden.inputs["pq_X"]
    fitted = ProductQuantiser.fit(vectors, sizes["M"], sizes["Ks"], np.random.RandomState(123))
    np.testing.assert_array_equal(fitted.centres, golden.weights["pq_codewords"])
    codes = fitted.encode(vectors)
    np.testing.assert_array_equal(codes, golden.outputs["pq_codes"])
    stride, offset = sizes["token_stride"], sizes["token_offset"]
    ids = codes + stride * np.arange(sizes["M"]) + offset
    np.testing.assert_array_equal(ids, golden.outputs["pq_token_ids"])
    decoded = fitted.decode(codes)
    close(decoded, golden.outputs["pq_decoded"], "decoded")
    close(np.square(decoded - vectors).sum(axis=1).mean(), golden.outputs["pq_mse"], "error")


def check_words(golden: Golden) -> None:
    urls, titles = golden.inputs["url_url"].tolist(), golden.inputs["url_title"].tolist()
    texts = [text_identifier(url, title) for url, title in zip(urls, titles, strict=True)]
    assert texts == golden.outputs["url_text"].tolist()
    tokenizer = t5_tokenizer()
    if tokenizer is not None:
        targets = targets_of_texts(tokenizer(texts), tokenizer.end)
        np.testing.assert_array_equal(targets[1:], golden.outputs["url_token_ids"])


def check_instances(golden: Golden) -> None:
    documents = json.loads(str(golden.inputs["instances_docs_json"]))
    vocabulary = json.loads(str(golden.inputs["instances_vocab_json"]))
    longest = int(golden.inputs["instances_max_seq_length"])
    most = int(golden.inputs["instances_sample_for_one_doc"])

    def ids(text: str) -> list[int]:
        return [vocabulary.get(word, vocabulary["<unk>"]) for word in text.lower().split()]

    end = vocabulary["</s>"]
    passages, about = [], []
    for number, document in enumerate(documents):
        sentences = [ids(sentence) for sentence in document["sents"]]
        found = passages_of(ids(document["title"]), sentences, end, longest, most)
        passages += found
        about += [f"[d{number}]"] * len(found)
    assert passages == unpadded(golden.outputs["passage_input_ids"])
    assert about == golden.outputs["passage_doc"].tolist()

    whole = Tokens.of_lists([ids(f"{one['title']} {one['body']}") for one in documents], 0)
    weights = inverse_document_frequencies(whole, len(vocabulary))
    expected = json.loads(str(golden.outputs["idf_json"]))
    close([weights[vocabulary[word]] for word in expected], list(expected.values()), "idf")  # type: ignore[arg-type]
    terms, used = key_terms_of(whole, weights, end, longest)
    found = [row.tolist() for row in np.split(terms.ids, terms.offsets[1:-1])]
    assert found == unpadded(golden.outputs["terms_input_ids"])
    assert [f"[d{number}]" for number in used] == golden.outputs["terms_doc"].tolist()


def unpadded(rows: NDArray[Any]) -> list[list[int]]:
    return [row[row >= 0].tolist() for row in rows]


def check_networks(golden: Golden) -> None:
    """Codes with an output layer of their own; words, whose padding counts in the loss."""
    for case in "s2s_pq", "s2s_url":
        model = model_of(golden, case, golden.meta["s2s"])
        assert model.is_tied == (case == "s2s_url")
        batch = {
            name: golden.tensor(f"{case}_{name}")
            for name in ("input_ids", "attention_mask", "labels")
        }
        logits = model.t5(**batch).logits
        close(logits.detach(), golden.outputs[f"{case}_logits"], f"{case}: logits")
        loss = model(batch)
        close(loss.detach(), golden.outputs[f"{case}_loss"], f"{case}: loss")
        loss.backward()
        parameters = dict(model.t5.named_parameters(remove_duplicate=False))
        for output in golden.outputs:
            if output.startswith(f"{case}_grad/"):
                gradient = parameters[output.removeprefix(f"{case}_grad/")].grad
                assert gradient is not None
                close(gradient, golden.outputs[output], output)
        check_candidates(golden, model.t5, batch, case)


def check_candidates(golden: Golden, t5: Any, batch: Batch, case: str) -> None:
    """The log-probability of the labels, decoded as candidates are."""
    with torch.inference_mode():
        encoded = encode(t5, {"input_ids": batch["input_ids"]}, batch["attention_mask"])
        found = candidate_scores(t5, encoded, batch["labels"].numpy()[:, None])
    expected = golden.outputs[f"{case}_token_logprob"].sum(axis=1)
    close(found[:, 0], expected, f"{case}: candidates")
