"""The law of the candidate lists: what training negatives must follow to prepare for them.

It says which of the items that a user touched a list may hold, and where its other items come from.
It knows no list, no seed and no event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.protocol.settings import ProtocolSettings


@dataclass(frozen=True)
class ListLaw:
    """The settings of a protocol that decide what its lists hold, see :class:`ProtocolSettings`.

    ``search_holds_touched`` says whether a search list may hold what the user touched; a
    recommendation list may hold what the user touches later under ``earlier-interactions`` only.
    """

    negatives: int
    recommendation_negatives: Literal["uniform", "popularity"]
    recommendation_exclude: Literal["all-interactions", "earlier-interactions"]
    search_negatives: Literal["bm25-top", "bm25-filtered", "bm25-matched"]
    search_matched_by: Literal["bm25", "known-pairs"]
    search_depth: int | None
    search_ties: Literal["per-event", "document-id"]
    search_holds_touched: bool

    @classmethod
    def of(cls, settings: ProtocolSettings) -> ListLaw:
        """The law of a protocol."""
        return cls(
            negatives=settings.negatives,
            recommendation_negatives=settings.recommendation_negatives,
            recommendation_exclude=settings.recommendation_exclude,
            search_negatives=settings.search_negatives,
            search_matched_by=settings.search_matched_by,
            search_depth=settings.search_depth,
            search_ties=settings.search_ties,
            search_holds_touched=getattr(settings, "search_exclude", "none") != "touched",
        )
