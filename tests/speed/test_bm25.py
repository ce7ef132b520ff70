"""The comparison of BM25 engines: who is absent is told, and ranks are compared in the run."""

from __future__ import annotations

from typing import ClassVar

import pytest

from benchmark.retrieval import RankBM25, SparseBM25
from benchmark.speed import bm25 as topic
from benchmark.speed.__main__ import main
from benchmark.speed.bm25_engines import Engine, Product, RankBM25Package, _Ours


class PlaysLucene(_Ours):
    name = "plays Lucene"
    build = SparseBM25


class Absent(Engine):
    name = "absent"
    packages: ClassVar[dict[str, str]] = {"no_such_module": "no-such-package"}
    remedy = "pip install no-such-package"


class Reversed(_Ours):
    name = "reversed"
    build = RankBM25

    def found(self, answer, k):
        return super().found(answer, k)[:, ::-1]


@pytest.fixture(autouse=True)
def few_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "OTHERS", (PlaysLucene, Absent, RankBM25Package, Reversed))
    monkeypatch.setattr(topic, "OURS", (Product,))
    monkeypatch.setattr(topic, "REPEATS", 1)
    monkeypatch.setattr(topic, "QUERIES", 20)
    monkeypatch.setattr(RankBM25Package, "most_documents", 300)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bm25", "--documents", "300,301"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("absent | not installed: pip install no-such-package") == 2
    assert any(line.startswith("BM25, 300 documents, index | rank-bm25") for line in lines)
    assert not any(line.startswith("BM25, 301 documents, index | rank-bm25") for line in lines)
    for kind in ("world", "words"):
        of_kind = [
            line for line in lines if line.startswith(f"BM25, 300 documents, top 109, {kind}")
        ]
        notes = {line.split(" | ")[1]: line.rsplit(" | ")[-1] for line in of_kind}
        assert notes["sparse product (ours)"].endswith("the fastest of the others")
        assert notes["reversed"].startswith("ranks are Lucene's for 0 of")
        ours = next(line for line in of_kind if "sparse product (ours)" in line)
        assert ours.endswith("ranks are Lucene's for 20 of 20 queries")


def test_without_lucene_nothing_is_said_of_its_ranks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(topic, "OTHERS", (Absent, RankBM25Package))
    assert main(["bm25", "--documents", "200"]) == 0
    said = capsys.readouterr().out
    assert "not compared: Lucene is not installed" in said
    assert "ranks are Lucene's" not in said


@pytest.mark.parametrize("sizes", ["0", "10,-1", "many", ""])
def test_sizes_are_checked(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bm25", "--documents", sizes]) == 2
    assert "--documents: must be numbers" in capsys.readouterr().err


def test_a_collection_is_the_same_at_every_call() -> None:
    texts, asked = topic.collection(400, queries=50)
    assert (texts, asked) == topic.collection(400, queries=50)
    assert len(texts) == 400 and set(asked) == {"world", "words"}
    assert all(len(query.split()) == 2 for query in asked["world"])
    assert {len(query.split()) for query in asked["words"]} == {2, 3, 4, 5, 6}
    known = {word for text in texts for word in text.split()}
    assert all(set(query.split()) <= known for query in asked["words"])
