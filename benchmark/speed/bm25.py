"""BM25 side by side: lists of the 109 best hits, by every engine that is installed.

The collections are invented, the texts like those of the source ``world`` with a description: a
topic, two of 16 attributes, then words of a vocabulary whose frequencies fall as in Zipf's law.
The queries are of two kinds: ``world`` names a topic and an attribute, ``words`` are two to six
words of a document, frequent ones among them. Seconds are those of the processor, in one thread, so
that a busy machine disturbs them little; the ranks are compared with Lucene's in the same run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from itertools import chain, product

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.speed.bm25_engines import OTHERS, OURS, Documents, Engine
from benchmark.speed.measure import Measurement, processor_seconds

HITS = 109
QUERIES = 500
REPEATS = 3
SIZES = (10_000,)

_ITEMS_PER_TOPIC = 105
_ATTRIBUTES = 16
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprtvz" for vowel in "aou"]


def bm25(sizes: Sequence[int] = SIZES) -> Iterator[Measurement | str]:
    """All engines on collections of these sizes, one after the other.

    Raises:
        BenchmarkError: a size is below 1.
    """
    if not sizes or min(sizes) < 1:
        raise BenchmarkError("--documents: must be numbers of at least 1, such as 10000,100000.")
    return chain.from_iterable(map(_compare, sizes))


def _compare(size: int) -> list[Measurement | str]:
    documents, asked = collection(size, QUERIES)
    lucene: dict[str, Documents] = {}
    lines: list[Measurement | str] = []
    indexed: list[Measurement] = []
    searched: dict[str, list[Measurement]] = {kind: [] for kind in asked}
    for engine in (*OTHERS, *OURS):
        if not engine.is_installed():
            lines.append(f"{engine.name} | not installed: {engine.remedy}")
            continue
        if engine.most_documents is not None and size > engine.most_documents:
            continue
        for one in _measure(engine, documents, asked, lucene):
            searched.get(one.what.rpartition(", ")[2], indexed).append(one)
    lines += indexed
    for measured in searched.values():
        lines += measured
        lines += _summary(measured)
    return lines


def _summary(measured: Sequence[Measurement]) -> list[str]:
    """Our fastest engine against the fastest of the others."""
    ours = [one for one in measured if "(ours)" in one.way]
    others = [one for one in measured if "(ours)" not in one.way]
    if not (ours and others):
        return []
    best, peer = (max(some, key=lambda one: one.rate) for some in (ours, others))
    ratio = best.rate / peer.rate
    return [f"{best.what} | {best.way} | {ratio:.2f} times {peer.way}, the fastest of the others"]


def _measure(
    kind: type[Engine],
    documents: Sequence[str],
    asked: dict[str, list[str]],
    lucene: dict[str, Documents],
) -> list[Measurement]:
    """Indexing and searching by one engine; Lucene's hits are kept for the others."""
    built: list[Engine] = []
    seconds = processor_seconds(lambda: built.append(kind(documents)))
    engine, what = built.pop(), f"BM25, {len(documents):,} documents"
    measured = [Measurement(f"{what}, index", engine.title(), seconds, len(documents))]
    for one, (name, queries) in product(engine.variants(), asked.items()):
        found = one.found(one.search(queries, HITS), HITS)
        if kind is OTHERS[0]:
            lucene[name] = found
        measured.append(
            Measurement(
                f"{what}, top {HITS}, {name}",
                one.title(),
                one.seconds(queries, HITS, REPEATS),
                len(queries),
                _agreement(found, lucene.get(name)),
            )
        )
    engine.close()
    del engine, one
    gc.collect()
    return measured


def _agreement(found: Documents, lucene: Documents | None) -> str:
    """How far the ranks are Lucene's."""
    if lucene is None:
        return "not compared: Lucene is not installed"
    same = int((found == lucene).all(axis=1).sum())
    return f"ranks are Lucene's for {same} of {len(lucene)} queries"


def collection(size: int, queries: int) -> tuple[list[str], dict[str, list[str]]]:
    """The texts of a collection and its queries by kind; the same at every call."""
    draw = np.random.default_rng(size)
    topics = max(1, size // _ITEMS_PER_TOPIC)
    described = min(400_000, int(200 * size**0.5))  # distinct words grow as in Heaps' law
    words = np.array(
        [_word("ha", number) for number in range(topics)]
        + [_word("wa", number) for number in range(_ATTRIBUTES)]
        + [_word("sa", number) for number in range(described)],
        dtype=object,
    )
    topic = draw.integers(topics, size=size)
    attributes = topics + draw.integers(_ATTRIBUTES, size=(size, 2))
    lengths = draw.integers(5, 38, size=size)
    ends = np.cumsum(lengths)
    chances = np.cumsum(1 / np.arange(1, described + 1))
    place = np.searchsorted(chances, draw.random(int(ends[-1])) * chances[-1])
    description = topics + _ATTRIBUTES + np.minimum(place, described - 1)

    def text(numbers: NDArray[np.integer]) -> str:
        return " ".join(words[numbers])

    documents = [
        text(np.concatenate([[topic[row]], attributes[row], description[end - length : end]]))
        for row, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]
    named = np.stack(
        [draw.integers(topics, size=queries), topics + draw.integers(_ATTRIBUTES, size=queries)], 1
    )
    said = []
    for row in draw.integers(size, size=queries):
        own = description[ends[row] - lengths[row] : ends[row]]
        said.append(draw.permutation(own)[: draw.integers(2, 7)])
    return documents, {
        "world": [text(row) for row in named],
        "words": [text(row) for row in said],
    }


def _word(kind: str, number: int) -> str:
    """An invented word that no stemmer cuts."""
    for _ in range(4):
        number, place = divmod(number, len(_SYLLABLES))
        kind += _SYLLABLES[place]
    return kind
