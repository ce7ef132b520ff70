"""Ranking item identifiers by a T5 that reads the query alone: nothing is computed twice.

Where neither user nor history is read, the log-probability of an identifier's prefix depends on the
query and the prefix only. So each query is encoded once, each distinct pair of a query and an
identifier is decoded once, whatever lists it stands in, and lists are ranked from what is stored.
So are beams: a constrained beam search over a list keeps, at each level, the best of the list's own
prefixes, and their log-probabilities are known by then. The cost is that of the distinct pairs, and
the scores are those of ``benchmark.kit.decoding.ranking.candidate_scores`` to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.decoding.identifier_system import catalogue_of
from benchmark.kit.decoding.ranking import LengthRule, catalogue_scores, node_log_probabilities
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.decoding.trie import Trie
from benchmark.kit.precision import autocast
from benchmark.kit.text.pieces import NO_TOKEN
from benchmark.systems.contract import FloatArray
from benchmark.systems.precisions import SINGLE_PRECISION

PAIRS_KEPT = 4_000_000
"""Pairs whose scores are kept; when there are more, all are forgotten."""

SCORES_KEPT = 1 << 24
"""Scores of whole catalogues that are kept (64 MB); when there are more, all are forgotten."""

_LISTS_AT_ONCE = 1024
_QUERIES_AT_ONCE = 64


class QueryRanking:
    """Scores of candidates by query, for one model with the weights that it has now.

    Args:
        model: as for :func:`benchmark.kit.decoding.ranking.candidate_scores`.
        inputs: gives the ids and the mask, (queries, tokens) each, of query numbers.
        targets: (items + 1, length) each item's identifier as the model writes it, padded with -1
            at the end.
        beam_size: None ranks all candidates exactly; a number gives -inf to those that a beam of
            this size drops.
        length_rule: how identifiers of different lengths compare.
        pairs_at_once: pairs of a query and an identifier that are decoded together.
        precision: see ``benchmark.systems.precisions``.
    """

    def __init__(
        self,
        model: Any,
        inputs: Callable[[LongArray], tuple[torch.Tensor, torch.Tensor]],
        targets: NDArray[np.integer],
        *,
        beam_size: int | None = None,
        length_rule: LengthRule = "sum",
        pairs_at_once: int = 4096,
        precision: str = SINGLE_PRECISION,
    ) -> None:
        self.model, self.inputs, self.precision = model, inputs, precision
        # Items with one identifier are one, so that they tie exactly.
        self.targets, number = np.unique(targets, axis=0, return_inverse=True)
        self.number_of_item = number.reshape(-1).astype(np.int64)
        self.lengths = np.count_nonzero(self.targets != NO_TOKEN, axis=1)
        self.beam_size, self.length_rule = beam_size, length_rule
        self.pairs_at_once = pairs_at_once
        self.catalogue = catalogue_of(targets)
        self._all_of_query: dict[int, FloatArray] = {}
        self._all_by: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._keys = np.zeros(0, dtype=np.int64)
        self._known = np.zeros((0, self.targets.shape[1]), dtype=np.float32)

    def forget_from(self, query: int) -> None:
        """Forget what is known of the queries from this number on."""
        kept = int(np.searchsorted(self._keys, query * len(self.targets)))
        self._keys, self._known = self._keys[:kept], self._known[:kept]
        scores = self._all_of_query
        self._all_of_query = {number: scores[number] for number in scores if number < query}

    def score(self, query: IntArray, candidates: IntArray) -> FloatArray:
        """Scores (requests, candidates) float32.

        Args:
            query: (requests,) query numbers.
            candidates: (requests, candidates) items.

        Raises:
            SystemFailure: a candidate has no identifier; the model is not in evaluation mode.
        """
        identifier = self.number_of_item[candidates]
        if (self.lengths[identifier] == 0).any():
            raise SystemFailure("a candidate has no identifier.")
        keys = query.astype(np.int64)[:, None] * len(self.targets) + identifier
        self._learn(np.unique(keys))
        scores = np.empty(candidates.shape, dtype=np.float32)
        for start in range(0, len(keys), _LISTS_AT_ONCE):
            rows = slice(start, start + _LISTS_AT_ONCE)
            paths = self._known[np.searchsorted(self._keys, keys[rows])]
            scores[rows] = self._ranked(identifier[rows], paths)
        return scores

    def score_all(self, query: IntArray, beam_size: int | None) -> FloatArray:
        """Scores (requests, items + 1) float32 of the catalogue; -inf for item 0.

        Args:
            query: (requests,) query numbers; each distinct one is ranked once.
            beam_size: of a beam over the catalogue, -inf for what it does not reach; None is exact.

        Raises:
            SystemFailure: the model is not in evaluation mode.
        """
        asked, place = np.unique(query.astype(np.int64), return_inverse=True)
        if beam_size != self._all_by or self._is_too_much(asked):
            self._all_of_query, self._all_by = {}, beam_size
        known = self._all_of_query
        new = np.array([number for number in asked.tolist() if number not in known], dtype=np.int64)
        for start in range(0, len(new), _QUERIES_AT_ONCE):
            part = new[start : start + _QUERIES_AT_ONCE]
            ids, mask = self.inputs(part)
            with torch.inference_mode(), autocast(self.precision, ids.device):
                encoded = encode(self.model, {"input_ids": ids}, mask)
                found = catalogue_scores(
                    self.model, encoded, self.catalogue, beam_size, self.length_rule
                )
            known.update(zip(part.tolist(), found.cpu().numpy(), strict=True))
        shape = len(asked), self.catalogue.number_of_items
        rows = np.array([known[number] for number in asked.tolist()], dtype=np.float32)
        return rows.reshape(shape)[place]

    def _is_too_much(self, asked: LongArray) -> bool:
        """Whether the catalogue's scores for these and the known queries are not to be kept."""
        queries = len(self._all_of_query) + len(asked)
        return queries * self.catalogue.number_of_items > SCORES_KEPT

    # ------------------------------------------------------------------ what has to be computed

    def _learn(self, keys: LongArray) -> None:
        """Compute the pairs (rising, distinct) that are not known yet."""
        new = keys[~np.isin(keys, self._keys, assume_unique=True)]
        if len(self._keys) + len(new) > PAIRS_KEPT:
            self._forget()
            new = keys
        if not len(new):
            return
        found = np.empty((len(new), self.targets.shape[1]), dtype=np.float32)
        query = new // len(self.targets)
        asked, first, counts = np.unique(query, return_index=True, return_counts=True)
        order = np.argsort(counts, kind="stable")
        start = 0
        while start < len(order):
            stop = self._end_of_part(counts[order], start)
            part = order[start:stop]
            widest = int(counts[part].max())
            place = first[part][:, None] + np.arange(widest)
            is_pair = np.arange(widest) < counts[part][:, None]
            pairs = np.where(is_pair, place, 0)
            tokens = np.where(
                is_pair[..., None], self.targets[new[pairs] % len(self.targets)], NO_TOKEN
            )
            found[place[is_pair]] = self._path_scores(asked[part], tokens)[is_pair]
            start = stop
        keys = np.concatenate([self._keys, new])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._known = np.concatenate([self._known, found])[order]

    def _end_of_part(self, counts: LongArray, start: int) -> int:
        """Where a part of the rising ``counts`` ends that is small enough when padded."""
        sizes = np.arange(1, len(counts) - start + 1) * counts[start:]
        return start + max(1, int(np.searchsorted(sizes, self.pairs_at_once, side="right")))

    def _path_scores(self, query: LongArray, tokens: LongArray) -> FloatArray:
        """Log-probabilities of all prefixes, (queries, identifiers, length)."""
        ids, mask = self.inputs(query)
        trie = Trie.of(tokens)
        with torch.inference_mode(), autocast(self.precision, ids.device):
            encoded = encode(self.model, {"input_ids": ids}, mask)
            score = node_log_probabilities(self.model, encoded, trie).cpu().numpy()
        path = _paths(trie, np.count_nonzero(tokens != NO_TOKEN, axis=2), tokens.shape[2])
        return np.where(path >= 0, score[path], 0.0).astype(np.float32)

    # ------------------------------------------------------------------------ what lists make of it

    def _ranked(self, identifier: LongArray, paths: FloatArray) -> FloatArray:
        """Scores (lists, candidates) from log-probabilities of prefixes."""
        lengths = self.lengths[identifier]
        if self.beam_size is not None:
            return self._beams(identifier, paths, lengths)
        whole = np.take_along_axis(paths, lengths[..., None] - 1, axis=2)[..., 0]
        return whole / lengths if self.length_rule == "mean" else whole

    def _beams(self, identifier: LongArray, paths: FloatArray, lengths: LongArray) -> FloatArray:
        """What a beam search over each list keeps, -inf for the rest."""
        beam = self.beam_size or 1
        trie = Trie.of(self.targets[identifier])
        path = _paths(trie, lengths, paths.shape[2])
        score = np.zeros(len(trie), dtype=np.float32)
        score[path[path >= 0]] = paths[path >= 0]
        parent, event = _parents_and_roots(trie)
        ended = np.full(len(trie), -np.inf, dtype=np.float32)
        is_followed = np.zeros(len(trie), dtype=bool)
        is_followed[: trie.number_of_roots] = True
        start, end = trie.number_of_roots, int(trie.first_child[trie.number_of_roots])
        for length in range(1, trie.height + 1):
            node = np.arange(start, end)
            node = node[is_followed[parent[start:end]]]
            best = node[_is_among_best(score[node], event[node], beam)]
            ended[best] = score[best] / length if self.length_rule == "mean" else score[best]
            going = node[trie.first_child[node + 1] > trie.first_child[node]]
            is_followed[going[_is_among_best(score[going], event[going], beam)]] = True
            start, end = end, int(trie.first_child[end])
        leaf = np.flatnonzero(trie.ends_here)
        leaf = leaf[np.argsort(event[leaf], kind="stable")]
        ended[leaf[~_is_among_best(ended[leaf], event[leaf], beam)]] = -np.inf
        return ended[trie.leaf]


def _parents_and_roots(trie: Trie) -> tuple[LongArray, LongArray]:
    """(nodes,) the parent of each node, itself for roots, and the root that it is below."""
    roots = np.arange(trie.number_of_roots)
    below = np.repeat(np.arange(len(trie)), np.diff(trie.first_child))
    parent = np.concatenate([roots, below])
    root = parent.copy()
    for _ in range(trie.height - 1):
        root = root[parent]
    return parent, root


def _paths(trie: Trie, lengths: LongArray, width: int) -> LongArray:
    """(roots, sequences, width) the node of each prefix of each sequence, -1 behind its end."""
    parent, _ = _parents_and_roots(trie)
    node = np.maximum(trie.leaf, 0)
    path = np.full((*trie.leaf.shape, width), -1, dtype=np.int64)
    for level in reversed(range(trie.height)):
        is_inside = lengths > level
        path[..., level] = np.where(is_inside, node, -1)
        node = np.where(is_inside, parent[node], node)
    return path


def _is_among_best(score: FloatArray, event: LongArray, number: int) -> NDArray[np.bool_]:
    """(nodes,) whether a node is one of the best ``number`` of its event; the first of equal ones.

    ``event`` is rising.
    """
    order = np.lexsort((-score, event))
    counts = np.bincount(event)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_best = np.empty(len(order), dtype=bool)
    is_best[order] = rank < number
    return is_best
