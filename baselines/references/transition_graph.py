"""Transition graph: who followed whom in training, one and two steps on, and how alike texts are.

Nothing is learned. After Han et al., "An Embarrassingly Simple Graph Heuristic Reveals
Shortcut-Solvable Benchmarks for Sequential Recommendation", 2026 (arXiv 2605.07125): a graph of
consecutive items in training, looked at from the last one or two items of the history, with items
ordered by the similarity of their features. The weight of an edge is theirs: log(1 + count), over
the largest such weight that leaves the same item.

The original fills a top ten from rings of the graph by fixed budgets (so many items one step away,
so many two steps away); candidate lists have no such budgets, so the parts are added here:

    score(c) = sum over the last items s, the latest first, of decay^age *
               (edge_weight * hop1(s, c) + hop_decay * edge_weight * hop2(s, c)
                + text_weight * cosine(s, c))

``hop1`` is the weight of the edge; ``hop2`` is the sum over all items between of the product of the
two transitions' shares, over its largest value from s. Similarity is the cosine of TF-IDF vectors
of the item texts, in place of the original's T5 embeddings, so that no encoder is needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from benchmark.data.dataset import IntArray
from benchmark.files import atomic_path
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView

_FILE = "transitions.npz"
_CELLS_AT_ONCE = 4_000_000  # of rows over the whole catalogue
_SOURCES_AT_ONCE = 256


class TransitionGraphConfig(SystemConfig):
    """The weights of the parts.

    Two last items, two steps, and an edge's weight of one half beside a whole similarity are the
    original's. ``decay`` (of an item by its age) and ``hop_decay`` (of the second step) are neutral
    halves; no figure of any data set was looked at to set them.
    """

    last_items: int = Field(default=2, ge=1)
    decay: float = Field(default=0.5, ge=0, le=1)
    edge_weight: float = Field(default=0.5, ge=0)
    hop_decay: float = Field(default=0.5, ge=0, le=1)
    text_weight: float = Field(default=1.0, ge=0)


class TransitionGraph(System):
    """``counts`` is a sparse (items + 1, items + 1): how often the column followed the row."""

    Config = TransitionGraphConfig
    counts: sparse.csr_matrix
    edges: sparse.csr_matrix  # log(1 + count), a row's largest is 1
    shares: sparse.csr_matrix  # a row sums to 1
    words: sparse.csr_matrix  # (items + 1, words) TF-IDF, rows of length 1

    def fit(self, view: TrainingView) -> None:
        """Count the transitions between consecutive recommendation events of each user."""
        seen = view.log.recommendation.positions
        item, user = view.log.item[seen], view.log.user[seen]
        follows = user[1:] == user[:-1]
        size = view.corpus.number_of_items + 1
        before, after = item[:-1][follows], item[1:][follows]
        ones = np.ones(len(before), dtype=np.float64)
        self.counts = sparse.csr_matrix((ones, (before, after)), shape=(size, size))
        self._prepare(view.corpus)

    def _prepare(self, corpus: Corpus) -> None:
        logarithms = self.counts.copy()
        logarithms.data = np.log1p(logarithms.data)
        self.edges = _divided(logarithms, _largest_of_rows(logarithms))
        self.shares = _divided(self.counts, np.asarray(self.counts.sum(axis=1)).ravel())
        self.words = _tf_idf(corpus)

    def score(self, requests: Requests) -> FloatArray:
        """The mixture of steps and similarity; 0 for all where the history is empty."""
        items = requests.history(self.config.last_items, "recommendation").items
        scores = np.zeros(requests.candidates.shape, dtype=np.float64)
        for age in range(self.config.last_items):
            weight = self.config.decay**age
            scores += weight * self._from(items[:, -1 - age], requests.candidates)
        return scores.astype(np.float32)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items."""
        items = requests.history(self.config.last_items, "recommendation").items
        scores = np.zeros((len(requests), self.counts.shape[0]), dtype=np.float32)
        for age in range(self.config.last_items):
            distinct, place = np.unique(items[:, -1 - age], return_inverse=True)
            for first in range(0, len(distinct), _SOURCES_AT_ONCE):
                block = distinct[first : first + _SOURCES_AT_ONCE]
                said = self._steps(block)
                if self.config.text_weight:
                    said += self.config.text_weight * (self.words[block] @ self.words.T).toarray()
                event = np.flatnonzero((first <= place) & (place < first + len(block)))
                weighed = (self.config.decay**age * said).astype(np.float32)
                scores[event] += weighed[place[event] - first]
        return scores

    def _from(self, source: IntArray, candidates: IntArray) -> NDArray[np.float64]:
        """(events, candidates): what each event's ``source`` says; item 0 says nothing."""
        found = np.empty(candidates.shape)
        distinct, place = np.unique(source, return_inverse=True)
        at_once = max(1, _CELLS_AT_ONCE // self.counts.shape[0])
        # Many events share a source, and two steps may reach every item: a block of sources has
        # whole rows, and the matrix of all items is never made.
        for first in range(0, len(distinct), at_once):
            block = distinct[first : first + at_once]
            steps = self._steps(block)
            event = np.flatnonzero((first <= place) & (place < first + at_once))
            found[event] = steps[(place[event] - first)[:, None], candidates[event]]
        if self.config.text_weight:
            event = np.repeat(np.arange(len(source)), candidates.shape[1])
            alike = self.words[source[event]].multiply(self.words[candidates.ravel()]).sum(axis=1)
            found += self.config.text_weight * np.asarray(alike).reshape(candidates.shape)
        return found

    def _steps(self, sources: IntArray) -> NDArray[np.float64]:
        """(sources, items + 1): the edges of one step and of two, weighed."""
        config = self.config
        two = (self.shares[sources] @ self.shares).toarray()
        two /= np.maximum(two.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        one: NDArray[np.float64] = self.edges[sources].toarray()
        return config.edge_weight * (one + config.hop_decay * two)

    def save(self, folder: Path) -> None:
        """Write the counts; the rest follows from them and the texts."""
        with atomic_path(folder / _FILE) as path:
            np.savez(
                path,
                data=self.counts.data,
                indices=self.counts.indices,
                indptr=self.counts.indptr,
            )

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the counts and make the rest."""
        size = corpus.number_of_items + 1
        with np.load(folder / _FILE, allow_pickle=False) as stored:
            parts = (stored["data"], stored["indices"], stored["indptr"])
            self.counts = sparse.csr_matrix(parts, shape=(size, size))
        self._prepare(corpus)


def _largest_of_rows(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(matrix.max(axis=1).todense(), dtype=np.float64).ravel()


def _divided(matrix: sparse.csr_matrix, by: NDArray[np.float64]) -> sparse.csr_matrix:
    """Each row divided by its entry of ``by``; an empty row stays empty."""
    return sparse.csr_matrix(sparse.diags(1.0 / np.where(by > 0, by, 1.0)) @ matrix)


def _tf_idf(corpus: Corpus) -> sparse.csr_matrix:
    """(items + 1, words), rows of length 1; without columns where no text has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(token_pattern=r"\w+")
    try:
        return sparse.csr_matrix(vectoriser.fit_transform(list(corpus.items.text)))
    except ValueError:  # scikit-learn's way to say that there is no word at all
        return sparse.csr_matrix((len(corpus.items.text), 1))
