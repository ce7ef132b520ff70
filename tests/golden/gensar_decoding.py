"""GenSAR's constrained beam search against the original's numbers.

The checks are called by `test_gensar.py` and `test_gensar_cases.py`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.decoding.trie import Trie
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.protocol.metrics import METRIC_NAMES, gains, ranks_of_targets
from tests.golden.loading import Golden, golden_folder

END = 1
MEANINGFUL = -1e6
"""Lower scores are of beams that the original filled up with copies."""


def check_beams(golden: Golden) -> None:
    """Likelihoods of all candidates, the beam with its scores, and metrics for every target."""
    model = Seq2Seq.of_config(golden.meta["t5_config"])
    model.load_own_state(golden.weights_below("t5/"))
    name = golden.name.replace("gensar", "gensar_cases", 1)
    cases = json.loads((golden_folder() / f"{name}.json").read_text("utf-8"))
    assert cases["beams"]
    for case in cases["beams"]:
        _check_beam(golden, model.t5.eval(), cases, case)


@torch.inference_mode()
def _check_beam(golden: Golden, t5: Any, cases: dict[str, Any], case: dict[str, Any]) -> None:
    key, tolerance = case["key"], golden.meta["tolerance"]["float32"]
    kind = "semantic" if case["target"].startswith("<src_item>") else "collaborative"
    behaviour = case["target"][: case["target"].index(">") + 1]
    tokens = _tokens(cases, golden.inputs[f"{key}/candidates"], kind, behaviour)
    ids = golden.tensor(f"{key}/input_ids")
    encoded = encode(t5, {"input_ids": ids}, torch.ones_like(ids))

    exact = candidate_scores(t5, encoded, tokens[None])[0]
    expected = golden.outputs[f"{key}/loglik"]
    np.testing.assert_allclose(exact, expected, rtol=tolerance, atol=10 * tolerance, err_msg=key)

    scores = candidate_scores(t5, encoded, tokens[None], case["beam"], "mean").numpy()
    first = _first_with_the_same(tokens)
    columns = np.flatnonzero((scores[0] > -np.inf) & (first == np.arange(len(tokens))))
    columns = columns[np.argsort(-scores[0, columns], kind="stable")]
    their_scores = golden.outputs[f"{key}/scores"]
    is_real = their_scores > MEANINGFUL
    np.testing.assert_array_equal(columns, golden.outputs[f"{key}/candidate_index"][is_real])
    np.testing.assert_allclose(
        scores[0, columns], their_scores[is_real], rtol=tolerance, atol=tolerance, err_msg=key
    )

    if is_real.all() and len(set(first)) == len(first):  # else a copy or a twin is a hit again
        targets = np.arange(len(tokens))
        ranks = ranks_of_targets(np.repeat(scores, len(targets), axis=0), targets)
        ours = np.stack([gains(ranks, metric) for metric in METRIC_NAMES], axis=1)
        np.testing.assert_allclose(
            ours, golden.outputs[f"{key}/metrics_by_target"], atol=1e-9, err_msg=key
        )


def check_tries(cases: dict[str, Any]) -> None:
    """What the tree allows after each prefix is what the original's dictionary allows."""
    assert cases["tries"]
    for case in cases["tries"]:
        first = case["allowed"][""]
        behaviour = next(text for text, token in cases["token_ids"].items() if token == first[0])
        tokens = _tokens(cases, np.array(case["candidates"]), case["identifier"], behaviour)
        trie = Trie.of(tokens[None])
        assert len(set(trie.leaf[0])) == case["distinct_identifiers"]
        assert _allowed(trie) == {key: sorted(ids) for key, ids in case["allowed"].items()}


def _allowed(trie: Trie) -> dict[str, list[int]]:
    """Prefix, its tokens joined by blanks → tokens that may follow; nodes come after parents."""
    allowed, prefix = {}, {0: ""}
    for node in range(len(trie)):
        children = range(trie.first_child[node], trie.first_child[node + 1])
        following = [int(trie.token[child]) for child in children]
        if following:
            allowed[prefix[node]] = following
        for child, token in zip(children, following, strict=True):
            prefix[child] = f"{prefix[node]} {token}".strip()
    return allowed


def _tokens(
    cases: dict[str, Any], items: NDArray[np.integer], kind: str, behaviour: str
) -> NDArray[np.int64]:
    """(items, length) token ids: the behaviour, the codes, the end."""
    texts = [behaviour + cases[f"{kind}_identifiers"][str(item)] for item in items]
    rows = [[cases["token_ids"][part] for part in re.findall("<[^>]+>", text)] for text in texts]
    return np.array([[*row, END] for row in rows], dtype=np.int64)


def _first_with_the_same(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) the first row that is equal to each."""
    _, first, inverse = np.unique(tokens, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]
