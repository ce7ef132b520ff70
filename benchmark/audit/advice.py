"""What to do about a finding, given the settings in force.

An advice names a setting only where the protocol does not have it already and takes it. Where no
setting mends what was found, it says so, and what the finding means for who reads the figures.
"""

from __future__ import annotations

from benchmark.errors import BenchmarkError
from benchmark.protocol.settings import ProtocolSettings, with_changes

UNEXPECTED = "The settings rule it out, so this is an error of the benchmark: report it."

_PRESETS = {
    "history_cut": "presets paper and clean",
    "counters": "presets paper and clean",
    "twins": "preset clean",
    "recommendation_negatives": "presets paper and clean",
    "search_negatives": "preset clean",
    "search_exclude": "preset clean",
    "searches": "presets paper and clean",
}


def take(settings: ProtocolSettings, key: str, value: str, otherwise: str) -> str:
    """The advice to set ``key`` to ``value``, or ``otherwise`` where it is so already."""
    if getattr(settings, key) == value:
        return otherwise
    try:
        with_changes(settings, {key: value})
    except BenchmarkError:
        return f"Take {_PRESETS[key].replace('presets paper and', 'preset paper or')}."
    return f"Take protocol.{key}={value} ({_PRESETS[key]})."


def on_visible_targets(settings: ProtocolSettings) -> str:
    """D1 to D3: targets in the history."""
    if settings.history_cut == "released":
        return take(settings, "history_cut", "strict-time", UNEXPECTED)
    return (
        "Users come back to items, and negatives are others: read every figure beside the row "
        "that copies the history."
    )


def on_unpopular_targets(settings: ProtocolSettings) -> str:
    """D8: the least popular candidate is the target."""
    return take(
        settings,
        "recommendation_negatives",
        "uniform",
        "No setting mends it: negatives are uniform already, so the targets themselves are rarer "
        "in training than an item drawn at random. Training lacks a target's own event and what "
        "came later; any system may learn it, so read every figure beside this rule's.",
    )


def on_copies(task: str, settings: ProtocolSettings) -> str:
    """D9: the items of the history first."""
    if settings.history_cut == "released":
        return on_visible_targets(settings)
    if task == "search":
        return take(
            settings,
            "search_exclude",
            "touched",
            "No setting mends it: lists hold no touched item but the target, so users who search "
            "for what they had touched give it away; read every figure beside the row that copies "
            "the history.",
        )
    return "Users come back to items: read every figure beside the row that copies the history."


def on_touched_items(settings: ProtocolSettings) -> str:
    """D16: touched items last."""
    return take(settings, "search_exclude", "touched", UNEXPECTED)


def on_hits(settings: ProtocolSettings, number_of_items: int) -> str:
    """D17: BM25's order and the pairs of training."""
    return take(
        settings,
        "search_negatives",
        "bm25-matched",
        f"No other law mends it: lists are matched already, and a catalogue of {number_of_items:,} "
        "items has too few that are alike a target. Lower protocol.negatives, or read search "
        "figures only beside this rule's.",
    )


ON_JUDGED = (
    "Lists hold what people judged for the query, which often are hits of a search engine, and no "
    "setting changes them: read every figure beside this rule's."
)
"""D17: the lists of graded relevance."""

ON_RARE_TARGETS = (
    "A property of the log, through time, and not of the lists: training lacks a target's own "
    "event and what came later, so what is rare or new in it is a target more often. No setting "
    "mends it, and any system may learn it: read every figure beside this rule's."
)
"""D20: rare or new items are targets."""

ON_POPULAR_TARGETS = (
    "A property of the log and not of the lists: what was clicked often is clicked again. No "
    "setting mends it, and any system may learn it: read every figure beside the row that counts "
    "popularity."
)
"""D20: popular items are targets."""
