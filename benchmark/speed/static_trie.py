"""A static trie in vectorised form as a constraint for Hugging Face's ``generate``.

After the idea of STATIC (Vectorizing the Trie, https://arxiv.org/abs/2602.22647): the first two
levels are a dense table that one look-up reads, the nodes below are compressed rows of which each
beam reads a stretch as long as the longest row in one gather, and nothing is a dictionary or a
loop over beams. Own code from the published idea, as a peer of the speed board. There is a root for
each event, or one for all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.decoding.trie import Trie

_NOWHERE = -1


class StaticTrie:
    """The arrays, and a logits processor over them.

    A beam that has left the trie, or has ended, may send ``end`` only, as ``generate`` needs some
    token that is allowed.
    """

    def __init__(self, trie: Trie, vocabulary: int, beams: int, end: int) -> None:
        self.beams, self.end = beams, end
        self.shared = trie.number_of_roots == 1
        self.token = torch.from_numpy(trie.token)
        self.first = torch.from_numpy(trie.first_child)
        counts = self.first[1:] - self.first[:-1]
        self.longest_row = int(counts.max())
        # So that the stretch of the last rows stays inside.
        self.token = torch.cat([self.token, torch.full((self.longest_row,), _NOWHERE)])
        self.dense, self.column = _dense_levels(trie, vocabulary)

    def nodes(self, sent: torch.Tensor) -> torch.Tensor:
        """The node of each beam, -1 outside the trie.

        Args:
            sent: (events x beams, tokens) what the beams have sent, after the start token.
        """
        event = torch.arange(len(sent)) // self.beams
        node = torch.zeros_like(event) if self.shared else event
        if not sent.shape[1]:
            return node
        first = self.column[0][sent[:, 0]]
        if sent.shape[1] == 1:
            return self.dense[node, first, 0]
        second = self.column[1][sent[:, 1]]
        node = torch.where(second > 0, self.dense[node, first, second], _NOWHERE)
        for tokens in sent[:, 2:].T:
            children, is_child = self._rows(node)
            is_next = is_child & (self.token[children] == tokens[:, None])
            found, place = is_next.max(dim=1)
            node = torch.where(found, children.gather(1, place[:, None])[:, 0], _NOWHERE)
        return node

    def _rows(self, node: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the children (beams, longest row), and which of them are any."""
        known = node.clamp(min=0)
        start, end = self.first[known], self.first[known + 1]
        places = start[:, None] + torch.arange(self.longest_row)
        return places, (places < end[:, None]) & (node >= 0)[:, None]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """What leads on keeps its score (events x beams, vocabulary); the rest has -inf."""
        children, is_child = self._rows(self.nodes(input_ids[:, 1:]))
        leads_on = is_child.any(dim=1, keepdim=True)
        # Places that are no child repeat one that is, or the end.
        some = self.token[children.gather(1, is_child.int().argmax(dim=1, keepdim=True))]
        some = torch.where(leads_on, some, self.end)
        tokens = torch.where(is_child, self.token[children], some)
        kept = torch.full_like(scores, -torch.inf)
        return kept.scatter_(1, tokens, scores.gather(1, tokens))


def _dense_levels(
    trie: Trie, vocabulary: int
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Nodes (roots, first tokens + 1, second tokens + 1) of the first two levels, and columns.

    ``columns`` has for each of the two levels the column of every token (vocabulary,), 0 for those
    that no sequence has there. On the second level, column 0 has the nodes of the first.
    """
    first = trie.first_child
    roots = trie.number_of_roots
    one = np.arange(first[0], first[roots])
    two = np.arange(first[roots], first[len(one) + roots])
    root_of = np.repeat(np.arange(roots), np.diff(first[: roots + 1]))
    parent_of = np.repeat(one, np.diff(first[roots : roots + len(one) + 1]))
    columns = []
    for level in (one, two):
        column = np.zeros(vocabulary, dtype=np.int64)
        distinct = np.unique(trie.token[level])
        column[distinct] = 1 + np.arange(len(distinct))
        columns.append(column)
    widths = [int(column.max()) + 1 for column in columns]
    dense: NDArray[np.int64] = np.full((roots, *widths), _NOWHERE, dtype=np.int64)
    dense[root_of, columns[0][trie.token[one]], 0] = one
    above = parent_of - roots
    place = columns[0][trie.token[parent_of]]
    dense[root_of[above], place, columns[1][trie.token[two]]] = two
    return torch.from_numpy(dense), (torch.from_numpy(columns[0]), torch.from_numpy(columns[1]))
