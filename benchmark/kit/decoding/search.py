"""The search of trees of identifiers, level by level.

All nodes of a level are decoded at once, one position each (``benchmark.kit.decoding.levels``).
Exact scoring keeps every node of a level and beam search the best ones; the rest is the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmark.kit.decoding.levels import LevelDecoder, ranges
from benchmark.kit.decoding.trie import Trie


@dataclass(frozen=True)
class Tree:
    """A :class:`Trie` on a device."""

    token: torch.Tensor
    first_child: torch.Tensor
    ends_here: torch.Tensor
    height: int

    @classmethod
    def of(cls, trie: Trie, device: torch.device) -> Tree:
        """The trie on ``device``."""
        return cls(
            torch.from_numpy(trie.token).to(device),
            torch.from_numpy(trie.first_child).to(device),
            torch.from_numpy(trie.ends_here).to(device),
            trie.height,
        )

    def has_children(self, node: torch.Tensor) -> torch.Tensor:
        """(nodes,) whether anything goes on from each."""
        return self.first_child[node + 1] > self.first_child[node]


@dataclass(frozen=True)
class Nodes:
    """Nodes of one level that the search has reached, in the order of their events.

    ``parent`` is the place of the parent among those nodes of the level above that were decoded.
    All are (nodes,).
    """

    node: torch.Tensor
    parent: torch.Tensor
    event: torch.Tensor
    score: torch.Tensor

    def __getitem__(self, chosen: torch.Tensor) -> Nodes:
        return Nodes(self.node[chosen], self.parent[chosen], self.event[chosen], self.score[chosen])


def search(
    decoder: LevelDecoder,
    tree: Tree,
    roots: torch.Tensor,
    beam_size: int | None,
    bound: torch.Tensor | None = None,
) -> Iterator[Nodes]:
    """Yield the nodes that are kept of each level.

    A beam keeps the best ``beam_size`` nodes of an event and level. Of those in which an identifier
    ends and none goes on, none takes the place of one that goes on; so it is in Hugging Face's
    search.

    Args:
        roots: (events,) the root of each event.
        beam_size: None keeps all.
        bound: (events,) nodes below it are not kept; no descendant scores higher than a node.
    """
    decoder.restart()
    events = torch.arange(len(roots), device=roots.device)
    reached = Nodes(roots, events, events, torch.zeros(len(roots), device=roots.device))
    token = torch.full_like(roots, decoder.start_token)
    for _ in range(tree.height):
        states = decoder(token, reached.parent, reached.event)
        children = _children(decoder, tree, reached, states)
        if bound is not None:
            children = children[children.score >= bound[children.event]]
        goes_on = tree.has_children(children.node)
        if beam_size is None:
            yield children
            reached = children[goes_on]
        else:
            best = is_among_best(children.score, children.event, beam_size)
            yield children[best]
            going = children[goes_on]
            reached = going[is_among_best(going.score, going.event, beam_size)]
        if not len(reached.node):
            return
        token = tree.token[reached.node]


def _children(decoder: LevelDecoder, tree: Tree, reached: Nodes, states: torch.Tensor) -> Nodes:
    """All children of decoded nodes, whose ``states`` are (nodes, width)."""
    first = tree.first_child[reached.node]
    counts = tree.first_child[reached.node + 1] - first
    parent, inner = ranges(counts)
    node = first[parent] + inner
    logits = decoder.logits(states, parent, tree.token[node])
    above = reached.score - decoder.log_normalisers(states)
    return Nodes(node, parent, reached.event[parent], above[parent] + logits)


def is_among_best(score: torch.Tensor, event: torch.Tensor, number: int) -> torch.Tensor:
    """(nodes,) whether a node is one of the best ``number`` of its event; the first of equal ones.

    ``event`` is rising.
    """
    is_best = torch.empty_like(event, dtype=torch.bool)
    is_best[by_event_and_score(score, event)] = ranges(torch.bincount(event))[1] < number
    return is_best


def by_event_and_score(score: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """The order by event, and the best score first within it."""
    order = score.argsort(descending=True, stable=True)
    return order[event[order].argsort(stable=True)]
