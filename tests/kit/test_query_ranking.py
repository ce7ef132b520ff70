"""Ranking by the query alone equals ranking every list on its own, and computes pairs once."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.decoding import query_ranking
from benchmark.kit.decoding.query_ranking import QueryRanking
from benchmark.kit.decoding.ranking import LengthRule, candidate_scores
from benchmark.kit.decoding.seq2seq import encode
from benchmark.kit.language_models.seq2seq import Seq2Seq

QUERIES, ITEMS, LENGTH, VOCABULARY = 6, 80, 4, 20


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return Seq2Seq.of_config({"vocab_size": VOCABULARY, **sizes}).eval().t5


@pytest.fixture(scope="module")
def targets() -> NDArray[np.int64]:
    """Identifiers of 1 to 4 tokens; item 0 has none, and items 3 and 4 have the same."""
    random = np.random.default_rng(1)
    tokens = random.integers(2, 8, size=(ITEMS + 1, LENGTH))
    lengths = random.integers(1, LENGTH + 1, size=ITEMS + 1)
    lengths[0] = 0
    tokens[np.arange(LENGTH) >= lengths[:, None]] = -1
    tokens[4] = tokens[3]
    return tokens


def inputs(query: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries are their own number, once or twice."""
    mask = torch.from_numpy(np.stack([query >= 0, query % 2 == 0], axis=1))
    ids = torch.from_numpy(np.stack([query + 2, query + 2], axis=1)) * mask
    return ids, mask


def asked(requests: int = 30, candidates: int = 25) -> tuple[NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(2)
    query = random.integers(QUERIES, size=requests).astype(np.int32)
    lists = np.stack([random.permutation(ITEMS)[:candidates] + 1 for _ in range(requests)])
    return query, lists.astype(np.int32)


def one_by_one(
    model: Any,
    targets: NDArray[np.int64],
    query: NDArray[Any],
    candidates: NDArray[Any],
    beam: int | None,
    rule: LengthRule,
) -> NDArray[np.float32]:
    ids, mask = inputs(query.astype(np.int64))
    with torch.inference_mode():
        encoded = encode(model, {"input_ids": ids}, mask)
        return candidate_scores(model, encoded, targets[candidates], beam, rule).numpy()


@pytest.mark.parametrize("rule", get_args(LengthRule))
@pytest.mark.parametrize("beam", [None, 1, 4, 30])
def test_scores_are_those_of_lists_on_their_own(
    beam: int | None, rule: LengthRule, model: Any, targets: NDArray[np.int64]
) -> None:
    query, candidates = asked()
    ranking = QueryRanking(model, inputs, targets, beam_size=beam, length_rule=rule)
    found = ranking.score(query, candidates)
    expected = one_by_one(model, targets, query, candidates, beam, rule)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected))
    kept = np.isfinite(found)
    np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-5, atol=1e-5)


def test_equal_identifiers_tie_exactly_whenever_they_are_computed(
    model: Any, targets: NDArray[np.int64]
) -> None:
    ranking = QueryRanking(model, inputs, targets)
    query = np.array([1], dtype=np.int32)
    first = ranking.score(query, np.array([[3, 9]], dtype=np.int32))
    later = ranking.score(query, np.array([[4, 7, 8]], dtype=np.int32))
    assert first[0, 0] == later[0, 0]


def test_no_pair_is_computed_twice(
    model: Any, targets: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = QueryRanking._path_scores

    def counted(self: QueryRanking, query: Any, tokens: Any) -> Any:
        computed.append(int((tokens[..., 0] >= 0).sum()))
        return compute(self, query, tokens)

    monkeypatch.setattr(QueryRanking, "_path_scores", counted)
    query, candidates = asked()
    ranking = QueryRanking(model, inputs, targets)
    ranking.score(query[:20], candidates[:20])
    again = ranking.score(query, candidates)
    known = np.unique(targets, axis=0, return_inverse=True)[1].ravel()[candidates]
    assert sum(computed) == len({(q, i) for q, row in zip(query, known) for i in row})  # noqa: B905
    ranking.score(query, candidates[:, ::-1])
    assert sum(computed) == len({(q, i) for q, row in zip(query, known) for i in row})  # noqa: B905
    fresh = QueryRanking(model, inputs, targets).score(query, candidates)
    np.testing.assert_allclose(again, fresh, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pairs_at_once", [1, 40, 10_000])
def test_parts_of_any_size_give_the_same_scores(
    pairs_at_once: int, model: Any, targets: NDArray[np.int64]
) -> None:
    query, candidates = asked()
    whole = QueryRanking(model, inputs, targets).score(query, candidates)
    parts = QueryRanking(model, inputs, targets, pairs_at_once=pairs_at_once)
    np.testing.assert_allclose(parts.score(query, candidates), whole, rtol=1e-5, atol=1e-5)


def test_when_too_much_is_kept_all_is_forgotten_and_scores_stay(
    model: Any, targets: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, candidates = asked()
    whole = QueryRanking(model, inputs, targets).score(query, candidates)
    monkeypatch.setattr(query_ranking, "PAIRS_KEPT", 50)
    small = QueryRanking(model, inputs, targets)
    for row in range(len(query)):
        found = small.score(query[row : row + 1], candidates[row : row + 1])
        np.testing.assert_allclose(found[0], whole[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", get_args(LengthRule))
@pytest.mark.parametrize("beam", [None, 5])
def test_the_catalogue_is_ranked_as_one_list_of_all_items(
    beam: int | None, rule: LengthRule, model: Any, targets: NDArray[np.int64]
) -> None:
    query, _ = asked()
    every = np.tile(np.arange(1, ITEMS + 1), (len(query), 1))
    found = QueryRanking(model, inputs, targets, length_rule=rule).score_all(query, beam)
    expected = one_by_one(model, targets, query, every, beam, rule)
    assert found.shape == (len(query), ITEMS + 1) and (found[:, 0] == -np.inf).all()
    np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-5, atol=1e-5)


def test_each_query_ranks_the_catalogue_once_while_not_too_much_is_kept(
    model: Any, targets: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(query: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        read.extend(query.tolist())
        return inputs(query)

    query, _ = asked()
    ranking = QueryRanking(model, counted, targets)
    first = ranking.score_all(query[:20], None)
    whole = ranking.score_all(query, None)
    assert sorted(read) == np.unique(query).tolist()
    np.testing.assert_array_equal(first, whole[:20])
    beam = ranking.score_all(query, 3)
    assert (np.isfinite(beam).sum(axis=1) >= 3).all() and not np.isfinite(beam).all()
    np.testing.assert_allclose(ranking.score_all(query, None), whole, rtol=1e-5, atol=1e-5)

    monkeypatch.setattr(query_ranking, "SCORES_KEPT", 2 * (ITEMS + 1))
    small = QueryRanking(model, inputs, targets)
    for row in range(len(query)):
        found = small.score_all(query[row : row + 1], None)
        np.testing.assert_allclose(found[0], whole[row], rtol=1e-5, atol=1e-5)
        assert len(small._all_of_query) <= 2


def test_an_item_without_an_identifier_is_an_error(model: Any, targets: NDArray[np.int64]) -> None:
    ranking = QueryRanking(model, inputs, targets)
    with pytest.raises(SystemFailure, match="no identifier"):
        ranking.score(np.array([1], dtype=np.int32), np.array([[0, 1]], dtype=np.int32))
