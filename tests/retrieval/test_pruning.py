"""Leaving out documents must change nothing: no hit, no score, no tie, not by one bit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from benchmark.retrieval import PrunedBM25, SparseBM25, bm25, pruning
from benchmark.retrieval.compiled import can_compile

STEP = 1e-4

needs_numba = pytest.mark.skipif(not can_compile(), reason="the extra `fast` is absent")


def test_without_numba_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "can_compile", lambda: False)
    with pytest.raises(BenchmarkError, match=r"numba is not installed.*gensar-benchmark\[fast\]"):
        PrunedBM25(["a lens"])


def assert_same(first: Any, second: Any, queries: Sequence[str], k: int, step: float) -> None:
    """Every answer of two engines is equal, bit for bit."""
    wanted = np.arange(len(queries)) % 3 * (k // 2)
    pairs = [
        (first.search(queries, k), second.search(queries, k)),
        (first.best_with_ties(queries, k, step), second.best_with_ties(queries, k, step)),
        (first.best_with_ties(queries, wanted, step), second.best_with_ties(queries, wanted, step)),
    ]
    for one, other in pairs:
        for name in vars(one):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    scores = first.score_all(queries).toarray()
    np.testing.assert_array_equal(scores, second.score_all(queries).toarray(), strict=True)
    everything = np.tile(np.concatenate([first.document_ids, [-1]]), (len(queries), 1))
    rows = np.arange(len(queries))
    found = second.score_pairs(queries, rows, everything)
    np.testing.assert_array_equal(found[:, :-1], scores, strict=True)
    assert not found[:, -1].any()


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Texts and queries of very few words, so that ties, repetitions and blanks abound."""
    word = st.integers(0, draw(st.integers(1, 12))).map(lambda number: f"word{number}")
    text = st.lists(word, max_size=draw(st.integers(1, 12))).map(" ".join)
    documents = draw(st.lists(text, min_size=1, max_size=60))
    queries = draw(st.lists(text, min_size=1, max_size=12))
    return documents * draw(st.integers(1, 4)), queries


@needs_numba
class TestEqualsScoringEverything:
    @settings(max_examples=150, deadline=None)
    @given(
        collections(),
        st.integers(1, 70),
        st.sampled_from([1e-4, 0.01, 0.5, 100.0]),
        st.integers(1, 40),
        st.integers(1, 80),
    )
    def test_small_collections(
        self, texts: tuple[list[str], list[str]], k: int, step: float, window: int, table_from: int
    ) -> None:
        documents, queries = texts
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pruning, "_WINDOW", window)
            patch.setattr(pruning, "_TABLE_FROM", table_from)
            patch.setattr(pruning, "_WIDE_SHARE", window)
            pruned = PrunedBM25(documents)
            assert_same(SparseBM25(documents), pruned, queries, k, step)

    @pytest.mark.parametrize("table_from", [1, 64, 10**9])
    def test_long_postings_of_which_little_is_read(
        self, table_from: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # 20,000 documents of two windows; the first words stand in most of them.
        monkeypatch.setattr(pruning, "_TABLE_FROM", table_from)
        documents, queries = (
            zipfian_texts(20_000, longest=30),
            zipfian_texts(150, longest=8, seed=1),
        )
        ids = np.random.default_rng(2).permutation(len(documents)) + 7
        pruned, whole = (
            engine(documents, document_ids=ids.tolist()) for engine in (PrunedBM25, SparseBM25)
        )
        for k in (1, 10, 109, 5000):
            found, expected = pruned.search(queries, k), whole.search(queries, k)
            np.testing.assert_array_equal(found.documents, expected.documents)
            np.testing.assert_array_equal(found.scores, expected.scores)
        some = queries[:20]
        assert_same(whole, pruned, some, 109, STEP)

    def test_most_documents_tie(self) -> None:
        documents = ["lens", "lens lens zoom"] * 20_000 + ["zoom", "zoom bass"] * 30
        queries = ["lens", "zoom lens", "bass", "lens bass zoom", "zoom"]
        assert_same(SparseBM25(documents), PrunedBM25(documents), queries, 50, STEP)

    def test_one_word_has_nearly_all_postings(self) -> None:
        # Rare words stand with the frequent one, with each other, and alone.
        rare = ["zoom", "lens zoom", "bass lens zoom", "bass zoom", "lens lens bass"]
        documents = (["lens", "lens lens filler"] * 60 + rare) * 3
        queries = ["lens", "zoom lens", "lens lens zoom", "bass lens zoom", "bass bass lens"]
        whole, pruned = SparseBM25(documents), PrunedBM25(documents)
        lengths = np.diff(pruned._postings.starts)
        number = pruned._vocabulary.numbers
        assert lengths[number["len"]] >= 16 * (lengths[number["zoom"]] + lengths[number["bass"]])
        expected, found = whole.score_all(queries), pruned.score_all(queries)
        np.testing.assert_array_equal(found.toarray(), expected.toarray(), strict=True)
        assert found.nnz == expected.nnz

    def test_a_repeated_term_rounds_in_its_own_way(self) -> None:
        documents = zipfian_texts(3000, longest=60)
        queries = [
            f"{'word1 ' * times} {'word3 ' * other}" for times in range(1, 8) for other in (0, 1, 3)
        ]
        whole, pruned = SparseBM25(documents), PrunedBM25(documents)
        assert_same(whole, pruned, queries, 109, STEP)
        alone = whole.score_all(["word1"]).toarray()[0]
        thrice = whole.score_all(["word1 word1 word1"]).toarray()[0]
        assert np.any(thrice != np.float32(3) * alone)
        np.testing.assert_allclose(thrice, 3 * alone, rtol=1e-5)

    def test_batches_and_order_of_queries_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        documents, queries = zipfian_texts(3000, longest=30), zipfian_texts(60, longest=9, seed=3)
        queries[7] = "word1 word1 word1 word2"
        pruned = PrunedBM25(documents)
        whole = pruned.best_with_ties(queries, 20, STEP)
        monkeypatch.setattr(bm25, "_QUERIES_AT_ONCE", 4)
        order = np.random.default_rng(4).permutation(len(queries))
        found = pruned.best_with_ties([queries[place] for place in order], 20, STEP)
        for name, expected in vars(whole.rows(order)).items():
            np.testing.assert_array_equal(getattr(found, name), expected, strict=True)

    def test_threads_share_an_engine(self) -> None:
        documents, queries = zipfian_texts(6000, longest=30), zipfian_texts(300, longest=6, seed=5)
        pruned = PrunedBM25(documents)
        alone = pruned.search(queries, 30)
        parts = [queries[start : start + 50] for start in range(0, 300, 50)]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda part: pruned.search(part, 30), parts))
        for name in ("documents", "scores"):
            together = np.concatenate([getattr(hits, name) for hits in found])
            np.testing.assert_array_equal(together, getattr(alone, name))


@needs_numba
def test_a_frequent_word_is_not_read() -> None:
    """What pruning is for: documents that have only the frequent one of two words are passed over.

    They would be the best hits here, if they were looked at.
    """
    documents = ["common"] * 30_000 + ["common rare"] * 300
    pruned = PrunedBM25(documents)
    index, common = pruned._index._index, pruned._vocabulary.numbers["common"]
    index.impacts[index.starts[common] : index.starts[common + 1]] = 1e6
    assert (pruned.search(["rare common"], 109).documents >= 30_000).all()
    assert (pruned.search(["common"], 109).documents < 30_000).any()


def zipfian_texts(number: int, longest: int, seed: int = 0) -> list[str]:
    """Texts of 0 to ``longest`` words, of which few are frequent."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, longest + 1, number)
    words = np.minimum(random.zipf(1.3, int(lengths.sum())), 2000)
    parts = np.split(words, np.cumsum(lengths)[:-1])
    return [" ".join(f"word{word}" for word in part) for part in parts]
