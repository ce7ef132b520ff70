"""BM25 must give Lucene's hit lists: they decide which items the search task ranks."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.retrieval import (
    BM25Engine,
    PrunedBM25,
    RankBM25,
    SparseBM25,
    analyse_english,
    lossy_length,
    make_engine,
)
from benchmark.retrieval import bm25 as bm25_module
from benchmark.retrieval import engine as engine_module
from benchmark.retrieval.compiled import can_compile
from tests.imports import imported_by

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["case", "cable", "lens", "mount", "zoom", "black", "gold", "reader", "plug", "bass"]


def golden_bm25() -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables of items and queries, and what the real library made of them."""
    folder = Path(os.environ.get("GOLDEN_DIR", ROOT.parent / "shared" / "golden"))
    if not folder.is_dir():
        pytest.skip("the golden folder is absent; GOLDEN_DIR names it")
    golden = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    return golden["stage1"], golden["bm25"]


def random_texts(number: int, longest: int, seed: int) -> list[str]:
    """Texts of 0 to ``longest`` words; low word numbers are frequent."""
    random = np.random.default_rng(seed)
    vocabulary = WORDS + [f"word{number}" for number in range(40)]
    texts = []
    for length in random.integers(0, longest + 1, number):
        picks = np.minimum(random.geometric(0.08, length) - 1, len(vocabulary) - 1)
        texts.append(" ".join(vocabulary[pick] for pick in picks))
    return texts


def plain_scores(
    documents: list[str], queries: list[str], k1: float = 0.9, b: float = 0.4
) -> NDArray[np.float64]:
    """The formula of protocol.md 1.5, term by term: (queries, documents)."""
    terms = [Counter(analyse_english(document)) for document in documents]
    lengths = [sum(counts.values()) for counts in terms]
    with_terms = sum(length > 0 for length in lengths)
    average = sum(lengths) / with_terms
    scores = np.zeros((len(queries), len(documents)))
    for row, query in enumerate(queries):
        for term, asked in Counter(analyse_english(query)).items():
            frequency = sum(term in counts for counts in terms)
            idf = math.log(1 + (with_terms - frequency + 0.5) / (frequency + 0.5))
            for column, counts in enumerate(terms):
                norm = k1 * (1 - b + b * plain_length(lengths[column]) / average)
                scores[row, column] += asked * idf * counts[term] / (counts[term] + norm)
    return scores


def plain_length(length: int) -> int:
    """Lucene's length code by its description: 24 free lengths, then four significant bits."""
    if length < 24:
        return length
    rest = bin(length - 24)[2:]
    return 24 + int(rest[:4].ljust(len(rest), "0"), 2)


DOCUMENTS = random_texts(120, longest=120, seed=1)
QUERIES = random_texts(40, longest=5, seed=2)


needs_numba = pytest.mark.skipif(not can_compile(), reason="the extra `fast` is absent")
BUILDERS = {"sparse": SparseBM25, "pruned": PrunedBM25, "rank-bm25": RankBM25}


@pytest.fixture(params=["sparse", pytest.param("pruned", marks=needs_numba), "rank-bm25"])
def build(request: pytest.FixtureRequest) -> Callable[..., BM25Engine]:
    return BUILDERS[request.param]


@pytest.fixture(params=["sparse", pytest.param("pruned", marks=needs_numba)])
def build_lucene(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The engines that equal Lucene."""
    return BUILDERS[request.param]


@pytest.fixture
def engine(build: Callable[..., BM25Engine]) -> BM25Engine:
    return build(DOCUMENTS)


class TestAgainstLucene:
    def test_statistics(self, build_lucene: Callable[..., Any]) -> None:
        stage, expected = golden_bm25()
        engine = build_lucene(self.documents(stage))
        assert engine.documents_with_terms == expected["docs_with_terms"]
        assert engine.average_length == pytest.approx(expected["average_length"], rel=1e-12)

    def test_same_109_documents_in_the_same_order(self, build_lucene: Callable[..., Any]) -> None:
        stage, expected = golden_bm25()
        queries = [text for text, _ in stage["query_vocab"]]
        hits = build_lucene(self.documents(stage)).search(queries, 109)
        assert len(expected["top109"]) == len(queries) - 1
        for number, wanted in expected["top109"].items():
            found = hits.documents[int(number)]
            assert found[found >= 0].tolist() == [document for document, _ in wanted]
            scores = hits.scores[int(number)][found >= 0]
            np.testing.assert_allclose(scores, [score for _, score in wanted], rtol=0, atol=1e-3)

    @staticmethod
    def documents(stage: dict[str, Any]) -> list[str]:
        texts = [f"{row[2]} {row[3]}" for row in stage["item_info"]]
        return ["", *texts[1:]]


class TestLengths:
    def test_exact_to_39_then_steps_of_2_4_and_8(self) -> None:
        np.testing.assert_array_equal(lossy_length(np.arange(40)), np.arange(40))
        for first, last, step in [(40, 55, 2), (56, 87, 4), (88, 151, 8)]:
            exact = np.arange(first, last + 1)
            np.testing.assert_array_equal(
                lossy_length(exact), first + (exact - first) // step * step
            )

    def test_only_256_lengths_exist(self) -> None:
        assert len(np.unique(lossy_length(np.arange(200_000)))) < 256

    @given(st.integers(0, 2**31 - 2), st.integers(1, 10_000))
    def test_monotone_and_never_above_the_length(self, length: int, more: int) -> None:
        shorter, longer = lossy_length([length, length + more])
        assert shorter <= longer
        assert shorter <= length

    @given(st.integers(0, 2**31 - 1))
    def test_equals_its_description(self, length: int) -> None:
        assert int(lossy_length(length)) == plain_length(length)


class TestLuceneEngines:
    @pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (2.0, 0.0)])
    def test_equals_the_plain_formula(
        self, build_lucene: Callable[..., Any], k1: float, b: float
    ) -> None:
        engine = build_lucene(DOCUMENTS, k1=k1, b=b)
        expected = plain_scores(DOCUMENTS, QUERIES, k1, b)
        np.testing.assert_allclose(engine.score_all(QUERIES).toarray(), expected, atol=2e-5)

    def test_a_repeated_query_term_counts_twice(self, build_lucene: Callable[..., Any]) -> None:
        engine = build_lucene(DOCUMENTS)
        once, twice = engine.score_all(["lens", "lens lens"]).toarray()
        assert once.max() > 0
        np.testing.assert_array_equal(twice, 2 * once)

    def test_blank_documents_change_no_score(self, build_lucene: Callable[..., Any]) -> None:
        some = [text for text in DOCUMENTS if text]
        with_blanks = build_lucene([*some, "", "  ", "the ..."]).score_all(QUERIES).toarray()
        np.testing.assert_array_equal(
            with_blanks[:, : len(some)], build_lucene(some).score_all(QUERIES).toarray()
        )
        assert not with_blanks[:, len(some) :].any()

    def test_documents_without_any_term(self, build_lucene: Callable[..., Any]) -> None:
        hits = build_lucene(["", "the"]).search(["lens"], 2)
        assert (hits.documents == -1).all()

    def test_the_analyser_is_a_choice(self, build_lucene: Callable[..., Any]) -> None:
        engine = build_lucene(["无线耳机", "有线机耳"], analyser="cjk")
        assert engine.search(["耳机"], 2).documents.tolist() == [[0, -1]]

    def test_batches_change_nothing(
        self, build_lucene: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = build_lucene(DOCUMENTS)
        whole = engine.search(QUERIES, 7)
        events = np.arange(200) % len(QUERIES)
        documents = np.arange(1000).reshape(200, 5) % len(DOCUMENTS)
        pairs = engine.score_pairs(QUERIES, events, documents)
        monkeypatch.setattr(engine_module, "_QUERIES_AT_ONCE", 3)
        monkeypatch.setattr(bm25_module, "_QUERIES_AT_ONCE", 3)
        monkeypatch.setattr(engine_module, "_DENSE_ENTRIES", 2 * len(DOCUMENTS) + 3)
        monkeypatch.setattr(engine_module, "_PAIRS_AT_ONCE", 17)
        monkeypatch.setattr(bm25_module, "_PAIRS_AT_ONCE", 17)
        np.testing.assert_array_equal(engine.search(QUERIES, 7).documents, whole.documents)
        np.testing.assert_array_equal(engine.score_pairs(QUERIES, events, documents), pairs)


class TestSearch:
    def test_hits_are_the_sorted_score_row(self, engine: BM25Engine) -> None:
        k = 25
        hits = engine.search(QUERIES, k)
        assert hits.documents.shape == hits.scores.shape == (len(QUERIES), k)
        assert hits.documents.dtype == np.int32 and hits.scores.dtype == np.float32
        for row, scores in enumerate(engine.score_all(QUERIES).toarray()):
            matches = [document for document in range(len(scores)) if scores[document] > 0]
            best = sorted(matches, key=lambda document: (-scores[document], str(document)))[:k]
            padding = k - len(best)
            assert hits.documents[row].tolist() == best + [-1] * padding
            assert hits.scores[row].tolist() == [scores[i] for i in best] + [-math.inf] * padding

    def test_ties_are_ordered_by_document_id_as_text(
        self, build: Callable[..., BM25Engine]
    ) -> None:
        tied = build(["zoom", *["black lens"] * 12, *["plug"] * 30])
        assert tied.search(["lens"], 12).documents[0].tolist() == [
            1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9,
        ]  # fmt: skip

    def test_a_cut_among_ties_keeps_the_first_as_text(
        self, build: Callable[..., BM25Engine]
    ) -> None:
        tied = build(["zoom", *["black lens"] * 12, *["plug"] * 30])
        assert tied.search(["lens"], 3).documents[0].tolist() == [1, 10, 11]

    def test_permuted_and_repeated_queries(self, engine: BM25Engine) -> None:
        order = np.random.default_rng(3).integers(0, len(QUERIES), 100)
        hits = engine.search(QUERIES, 9)
        permuted = engine.search([QUERIES[place] for place in order], 9)
        np.testing.assert_array_equal(permuted.documents, hits.documents[order])
        np.testing.assert_array_equal(permuted.scores, hits.scores[order])

    def test_no_query_and_queries_without_a_known_term(self, engine: BM25Engine) -> None:
        assert engine.search([], 4).documents.shape == (0, 4)
        assert engine.score_all([]).shape == (0, len(DOCUMENTS))
        assert (engine.search(["", "the", "unheard"], 4).documents == -1).all()

    def test_k_beyond_the_collection(self, engine: BM25Engine) -> None:
        hits = engine.search(["case"], 1000)
        assert (hits.documents[0] >= 0).sum() == sum("case" in text for text in DOCUMENTS)

    def test_document_ids_are_the_callers(
        self, build: Callable[..., BM25Engine], engine: BM25Engine
    ) -> None:
        ids = np.random.default_rng(4).permutation(len(DOCUMENTS)) + 1000
        renamed = build(DOCUMENTS, document_ids=ids.tolist())
        hits = renamed.search(["gold reader"], 5)
        by_position = engine.score_all(["gold reader"]).toarray()[0]
        positions = [ids.tolist().index(document) for document in hits.documents[0]]
        np.testing.assert_array_equal(by_position[positions], hits.scores[0])
        pairs = renamed.score_pairs(["gold reader"], [0], hits.documents)
        np.testing.assert_array_equal(pairs, hits.scores)


class TestBestWithTies:
    STEP = 1e-4

    def expected(self, scores: NDArray[np.float32], k: int, step: float) -> list[int]:
        """By the definition, document by document."""
        steps = {i: max(round(float(score) / step), 1) for i, score in enumerate(scores) if score}
        if k == 0 or not steps:
            return []
        last = sorted(steps.values(), reverse=True)[:k][-1]
        reached = [document for document in steps if steps[document] >= last]
        return sorted(reached, key=lambda document: (-scores[document], str(document)))

    @pytest.mark.parametrize("step", [1e-4, 0.3])
    def test_all_that_reach_the_step_of_the_last(self, engine: BM25Engine, step: float) -> None:
        wanted = np.arange(len(QUERIES)) % 11
        hits = engine.best_with_ties(QUERIES, wanted, step)
        assert hits.documents.dtype == np.int32 and hits.scores.dtype == np.float32
        for row, scores in enumerate(engine.score_all(QUERIES).toarray()):
            documents, found = hits.row(row)
            assert documents.tolist() == self.expected(scores, int(wanted[row]), step)
            assert found.tolist() == scores[documents].tolist()
        assert hits.offsets[-1] == len(hits.documents)
        assert step < 0.1 or np.any(np.diff(hits.offsets) > wanted), "no query has ties"

    def test_one_number_is_for_all_and_repeated_queries_have_rows(self, engine: BM25Engine) -> None:
        twice = [*QUERIES, *QUERIES]
        hits = engine.best_with_ties(twice, 5, self.STEP)
        for row in range(len(QUERIES)):
            np.testing.assert_array_equal(hits.row(row)[0], hits.row(row + len(QUERIES))[0])

    def test_nothing_asked_or_found(self, engine: BM25Engine) -> None:
        assert engine.best_with_ties([], 3, self.STEP).offsets.tolist() == [0]
        assert engine.best_with_ties(["", "unheard"], 3, self.STEP).offsets.tolist() == [0, 0, 0]

    @pytest.mark.parametrize("k", [-1, [1, 2]])
    def test_k_is_checked(self, engine: BM25Engine, k: int | list[int]) -> None:
        with pytest.raises(BenchmarkError, match="at least 0, one number or one for each of 1"):
            engine.best_with_ties(["case"], k, self.STEP)

    @pytest.mark.parametrize("step", [0.0, math.nan])
    def test_the_step_is_checked(self, engine: BM25Engine, step: float) -> None:
        with pytest.raises(BenchmarkError, match="step above 0"):
            engine.best_with_ties(["case"], 1, step)


class TestScorePairs:
    def test_equals_the_scores_of_search(self, engine: BM25Engine) -> None:
        hits = engine.search(QUERIES, 30)
        pairs = engine.score_pairs(QUERIES, np.arange(len(QUERIES)), hits.documents)
        np.testing.assert_array_equal(pairs, np.where(hits.documents >= 0, hits.scores, 0))

    def test_any_order_of_events_and_repeated_queries(self, engine: BM25Engine) -> None:
        random = np.random.default_rng(5)
        queries = [*QUERIES, *QUERIES[::-1]]
        rows = random.integers(0, len(queries), 300)
        documents = random.integers(0, len(DOCUMENTS), (300, 6))
        expected = engine.score_all(queries).toarray()[rows[:, None], documents]
        result = engine.score_pairs(queries, rows, documents)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)

    def test_padding_scores_zero(self, engine: BM25Engine) -> None:
        assert engine.score_pairs(["case"], [0], [[-1]]).tolist() == [[0.0]]

    def test_no_events(self, engine: BM25Engine) -> None:
        assert engine.score_pairs(QUERIES, [], np.zeros((0, 3), dtype=int)).shape == (0, 3)

    def test_an_unknown_document_is_an_error(self, engine: BM25Engine) -> None:
        with pytest.raises(BenchmarkError, match="no document with the id 120"):
            engine.score_pairs(["case"], [0], [[3, len(DOCUMENTS)]])

    def test_shapes_are_checked(self, engine: BM25Engine) -> None:
        with pytest.raises(BenchmarkError, match="shape"):
            engine.score_pairs(["case"], [0, 0], [[1]])

    @pytest.mark.parametrize("row", [-1, 1])
    def test_a_query_row_must_exist(self, engine: BM25Engine, row: int) -> None:
        with pytest.raises(BenchmarkError, match="outside its 1 queries"):
            engine.score_pairs(["case"], [row], [[1]])


class TestRankBM25:
    def test_agrees_with_the_sparse_engine_where_the_formulas_agree(self) -> None:
        # Rare words and short documents: the idf is not floored and no length is rounded. What is
        # left is the factor (k1 + 1) and idf ln((N - n + .5) / (n + .5)), a strictly growing
        # function of ours: one-word queries must rank alike.
        documents = random_texts(300, longest=8, seed=6)
        queries = [word for word in WORDS if 0 < sum(word in d for d in documents) < 100]
        assert queries
        ours, theirs = SparseBM25(documents), RankBM25(documents)
        for query in queries:
            first, second = (each.score_all([query]).toarray()[0] for each in (ours, theirs))
            matches = np.flatnonzero(first)
            np.testing.assert_array_equal(matches, np.flatnonzero(second))
            ratio = second[matches] / first[matches]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)

    @pytest.mark.parametrize(
        "documents",
        [
            ["red lamp", "blue lamp", "green chair", "white chair"],  # in half of them
            ["red lamp", "blue lamp", "green lamp", "white chair"],  # in more than half
            ["lamp"] * 4,  # in all, and there is no other word
            ["lamp", "lamp chair"],
            ["lamp"],
        ],
    )
    def test_a_common_word_is_found_wherever_it_stands(self, documents: list[str]) -> None:
        with_lamp = {row for row, text in enumerate(documents) if "lamp" in text}
        engine = RankBM25(documents)
        found = engine.search(["lamp"], 10).documents[0]
        assert set(found[found >= 0].tolist()) == with_lamp
        everything = np.arange(len(documents))[None, :]
        assert set(np.flatnonzero(engine.score_pairs(["lamp"], [0], everything)[0])) == with_lamp

    def test_a_rare_word_still_counts_for_more_than_a_common_one(self) -> None:
        documents = ["red lamp", "blue lamp", "green lamp", "white chair"]
        assert RankBM25(documents).search(["white lamp"], 4).documents[0, 0] == 3

    def test_finds_mostly_the_same_documents(self) -> None:
        documents = random_texts(1500, longest=60, seed=7)
        queries = [f"word{number} word{number + 1} word{number + 5}" for number in range(20)]
        ours = SparseBM25(documents).search(queries, 40).documents
        theirs = RankBM25(documents).search(queries, 40).documents
        overlap = [len(set(a) & set(b)) / 40 for a, b in zip(ours, theirs, strict=True)]
        assert np.mean(overlap) > 0.8


class TestRegistry:
    def test_unknown_names_list_the_allowed_ones(self) -> None:
        with pytest.raises(BenchmarkError, match="rank-bm25, sparse"):
            make_engine("lucene", DOCUMENTS)
        with pytest.raises(BenchmarkError, match="cjk, english"):
            make_engine("sparse", DOCUMENTS, analyser="german")

    def test_bad_input_is_reported(
        self, build: Callable[..., BM25Engine], engine: BM25Engine
    ) -> None:
        with pytest.raises(BenchmarkError, match="k of at least 1"):
            engine.search(["case"], 0)
        with pytest.raises(BenchmarkError, match="at least one document"):
            build([])
        with pytest.raises(BenchmarkError, match="document ids of shape"):
            build(["a lens"], document_ids=[1, 2])
        with pytest.raises(BenchmarkError, match="same document id twice"):
            build(["a lens", "a case"], document_ids=[1, 1])

    @needs_numba
    def test_large_collections_are_pruned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(make_engine("sparse", DOCUMENTS), SparseBM25)
        monkeypatch.setattr(bm25_module, "_PRUNED_FROM", len(DOCUMENTS))
        assert isinstance(make_engine("sparse", DOCUMENTS), PrunedBM25)
        monkeypatch.setattr(bm25_module, "can_compile", lambda: False)
        assert isinstance(make_engine("sparse", DOCUMENTS), SparseBM25)

    def test_the_package_is_a_leaf(self) -> None:
        heavy = {"torch", "pandas", "rank_bm25", "numba"}
        assert not imported_by("import benchmark.retrieval", heavy)
