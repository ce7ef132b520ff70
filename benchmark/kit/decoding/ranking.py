"""Ranking item identifiers by a network: exact likelihoods and constrained beams, level by level.

Each event has a tree of what may be generated (``benchmark.kit.decoding.trie``). All nodes of a
level are decoded at once, one position each: a node brings a query only, reads the keys and values
of its ancestors, and shares its event's encoder states with all others, so that nothing is copied
for a candidate or a beam. Exact scoring keeps every node of a level and beam search the best ones;
the rest is the same code.

Scores are log-probabilities over the whole vocabulary: tokens that lead nowhere take their share,
as in Hugging Face ``generate`` with ``prefix_allowed_tokens_fn``, whose results these are. What
differs: a beam holds distinct prefixes only, so that no candidate is returned twice, and with
``beam_size`` at least the number of candidates the search is exact.

What decodes nodes comes with the prompts that it has read: a T5 (``decoding.seq2seq``) or a causal
language model (``decoding.causal``), in evaluation mode, of any floating type; log-probabilities
are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.decoding.levels import EncodedPrompts, LevelDecoder, ranges
from benchmark.kit.decoding.trie import CatalogueTrie, Trie
from benchmark.protocol.metrics import Ranks, ranks_of_targets

LengthRule = Literal["sum", "mean"]
"""How identifiers of different lengths compare: by the sum of the log-probabilities of their
tokens, or by their mean, which is Hugging Face's ``length_penalty`` of 1. With equal lengths the
order is the same."""

_ROUNDING = 1e-3
"""Log-probability that is left to rounding where a node is struck for being below a bound."""

_NODES_AT_ONCE = {"cpu": 16_384, "cuda": 65_536}
"""Nodes of a level, at most, that are decoded together where a catalogue is scored exactly. In a
T5-small, the keys and values of so many are 0.4 and 1.6 GB."""

# -------------------------------------------------------------------------------------- the search


@dataclass(frozen=True)
class _Tree:
    """A :class:`Trie` on a device."""

    token: torch.Tensor
    first_child: torch.Tensor
    ends_here: torch.Tensor
    height: int

    @classmethod
    def of(cls, trie: Trie, device: torch.device) -> _Tree:
        return cls(
            torch.from_numpy(trie.token).to(device),
            torch.from_numpy(trie.first_child).to(device),
            torch.from_numpy(trie.ends_here).to(device),
            trie.height,
        )

    def has_children(self, node: torch.Tensor) -> torch.Tensor:
        return self.first_child[node + 1] > self.first_child[node]


@dataclass(frozen=True)
class _Nodes:
    """Nodes of one level that the search has reached, in the order of their events.

    ``parent`` is the place of the parent among those nodes of the level above that were decoded.
    All are (nodes,).
    """

    node: torch.Tensor
    parent: torch.Tensor
    event: torch.Tensor
    score: torch.Tensor

    def __getitem__(self, chosen: torch.Tensor) -> _Nodes:
        return _Nodes(
            self.node[chosen], self.parent[chosen], self.event[chosen], self.score[chosen]
        )


def _search(
    decoder: LevelDecoder,
    tree: _Tree,
    roots: torch.Tensor,
    beam_size: int | None,
    bound: torch.Tensor | None = None,
) -> Iterator[_Nodes]:
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
    reached = _Nodes(roots, events, events, torch.zeros(len(roots), device=roots.device))
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
            best = _is_among_best(children.score, children.event, beam_size)
            yield children[best]
            going = children[goes_on]
            reached = going[_is_among_best(going.score, going.event, beam_size)]
        if not len(reached.node):
            return
        token = tree.token[reached.node]


def _children(decoder: LevelDecoder, tree: _Tree, reached: _Nodes, states: torch.Tensor) -> _Nodes:
    """All children of decoded nodes, whose ``states`` are (nodes, width)."""
    first = tree.first_child[reached.node]
    counts = tree.first_child[reached.node + 1] - first
    parent, inner = ranges(counts)
    node = first[parent] + inner
    logits = decoder.logits(states, parent, tree.token[node])
    above = reached.score - decoder.log_normalisers(states)
    return _Nodes(node, parent, reached.event[parent], above[parent] + logits)


def _is_among_best(score: torch.Tensor, event: torch.Tensor, number: int) -> torch.Tensor:
    """(nodes,) whether a node is one of the best ``number`` of its event; the first of equal ones.

    ``event`` is rising.
    """
    is_best = torch.empty_like(event, dtype=torch.bool)
    is_best[_by_event_and_score(score, event)] = ranges(torch.bincount(event))[1] < number
    return is_best


def _by_event_and_score(score: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """The order by event, and the best score first within it."""
    order = score.argsort(descending=True, stable=True)
    return order[event[order].argsort(stable=True)]


# -------------------------------------------------------------------------- rankings of candidates


def candidate_scores(
    model: Any,
    encoded: EncodedPrompts,
    tokens: NDArray[np.integer],
    beam_size: int | None = None,
    length_rule: LengthRule = "sum",
) -> torch.Tensor:
    """Log-probabilities of candidates, float32 (events, candidates).

    Candidates with equal identifiers get the same score, whatever their number.

    Args:
        tokens: (events, candidates, length), the identifiers as the model generates them, the end
            token included if it is trained with one; padded with -1 at the end.
        beam_size: None scores all exactly; a number runs a beam search, and candidates that it does
            not return get -inf.

    Raises:
        SystemFailure: a candidate has no token, or one after its padding; the model is not in
            evaluation mode.
    """
    decoder = encoded.decoder(model)
    return _candidate_scores(decoder, _candidate_trie(tokens), beam_size, length_rule)


def node_log_probabilities(model: Any, encoded: EncodedPrompts, trie: Trie) -> torch.Tensor:
    """The log-probability of every prefix, float32 (nodes,); 0 for the roots.

    Args:
        trie: a root for each event.

    Raises:
        SystemFailure: the model is not in evaluation mode.
    """
    decoder = encoded.decoder(model)
    roots = torch.arange(trie.number_of_roots, device=decoder.device)
    score = torch.zeros(len(trie), device=decoder.device)
    for reached in _search(decoder, _Tree.of(trie, decoder.device), roots, None):
        score[reached.node] = reached.score
    return score


def exact_ranks(
    model: Any,
    encoded: EncodedPrompts,
    tokens: NDArray[np.integer],
    target_column: NDArray[np.integer],
) -> Ranks:
    """The ranks that exact scores (by sum) give to known targets, without scoring the others.

    A prefix that is less likely than the whole target cannot end above it, and is followed no
    further. How much that saves depends on how sure the model is.

    Args:
        tokens: as for :func:`candidate_scores`.
        target_column: (events,) the column of each target.

    Raises:
        SystemFailure: as for :func:`candidate_scores`.
    """
    decoder = encoded.decoder(model)
    target = np.take_along_axis(tokens, target_column[:, None, None].astype(np.int64), axis=1)
    bound = _candidate_scores(decoder, _candidate_trie(target))[:, 0] - _ROUNDING
    scores = _candidate_scores(decoder, _candidate_trie(tokens), bound=bound)
    return ranks_of_targets(scores.cpu().numpy(), target_column)


def _candidate_trie(tokens: NDArray[np.integer]) -> Trie:
    trie = Trie.of(tokens)
    if (trie.leaf < 0).any():
        raise SystemFailure("a candidate has no identifier.")
    return trie


def _candidate_scores(
    decoder: LevelDecoder,
    trie: Trie,
    beam_size: int | None = None,
    length_rule: LengthRule = "sum",
    bound: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scores (events, candidates), -inf where the search did not come."""
    device = decoder.device
    roots = torch.arange(trie.number_of_roots, device=device)
    leaf = torch.from_numpy(trie.leaf).to(device)
    score = torch.full((len(trie),), -torch.inf, device=device)
    for length, kept in enumerate(
        _search(decoder, _Tree.of(trie, device), roots, beam_size, bound), 1
    ):
        score[kept.node] = kept.score / length if length_rule == "mean" else kept.score
    if beam_size is not None:
        event = torch.full((len(trie),), -1, device=device)
        event[leaf] = roots[:, None].expand_as(leaf)
        ended = event.argsort(stable=True)[(event < 0).sum() :]
        best = _is_among_best(score[ended], event[ended], beam_size)
        score[ended[~best]] = -torch.inf
    return score[leaf]


# ------------------------------------------------------------------------ rankings of the catalogue


def catalogue_scores(
    model: Any,
    encoded: EncodedPrompts,
    catalogue: CatalogueTrie,
    beam_size: int | None = None,
    length_rule: LengthRule = "sum",
) -> torch.Tensor:
    """Log-probabilities of all items, float32 (events, items), -inf for what a beam did not reach.

    Items that share an identifier share its score; those without one have -inf.

    Args:
        beam_size: None scores all exactly; a number runs a beam search over all identifiers, which
            keeps so many prefixes of each level and returns so many identifiers.

    Raises:
        SystemFailure: the model is not in evaluation mode.
    """
    device = encoded.device
    tree = _Tree.of(catalogue.trie, device)
    scores = torch.full((len(encoded), catalogue.number_of_items), -torch.inf, device=device)
    nodes = _NODES_AT_ONCE["cpu" if device.type == "cpu" else "cuda"]
    at_once = max(1, nodes // catalogue.trie.most_nodes_of_a_level)
    events = at_once if beam_size is None else len(scores)
    for part, prompts in zip(scores.split(events), encoded.split(events), strict=True):
        decoder = prompts.decoder(model)
        node, event, score = _ended(decoder, tree, len(part), beam_size, length_rule)
        _spread(part, catalogue, node, event, score)
    return scores


def _ended(
    decoder: LevelDecoder, tree: _Tree, events: int, beam_size: int | None, length_rule: LengthRule
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nodes in which identifiers end, their events and their scores, each (found,)."""
    roots = torch.zeros(events, dtype=torch.long, device=decoder.device)
    ended = []
    for length, kept in enumerate(_search(decoder, tree, roots, beam_size), 1):
        found = kept[tree.ends_here[kept.node]]
        score = found.score / length if length_rule == "mean" else found.score
        ended.append((found.node, found.event, score))
    node, event, score = (torch.cat(parts) for parts in zip(*ended, strict=True))
    if beam_size is None:
        return node, event, score
    order = _by_event_and_score(score, event)
    order = order[ranges(torch.bincount(event))[1] < beam_size]
    return node[order], event[order], score[order]


def _spread(
    scores: torch.Tensor,
    catalogue: CatalogueTrie,
    node: torch.Tensor,
    event: torch.Tensor,
    score: torch.Tensor,
) -> None:
    """Write the scores of nodes into those of their items, (events, items)."""
    first_item = torch.from_numpy(catalogue.first_item).to(scores.device)
    source, inner = ranges(first_item[node + 1] - first_item[node])
    items = torch.from_numpy(catalogue.items).to(scores.device)
    scores[event[source], items[first_item[node][source] + inner]] = score[source]
