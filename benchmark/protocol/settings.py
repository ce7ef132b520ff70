"""The settings of an evaluation protocol, and the three named presets.

``paper`` is the appendix as written (the default), ``released`` the official code count for count,
defects included but for one (:attr:`ProtocolSettings.remarks`), and ``clean`` removes what the
audit of the released construction finds. Every setting can also be changed alone; the run record
then calls the protocol "custom". Whatever they are, training and model selection see no test event.
Source: experimental appendix of the GenSAR paper (A.3); https://github.com/TengShi-RUC/GenSAR,
commit bd1a126, data/process_orig.ipynb and data/process_raw.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmark.errors import sentence_of_validation, unknown_value
from benchmark.files import sha256_of_json
from benchmark.overrides import as_given, merged
from benchmark.protocol.metrics import CUTOFFS, View

_CUTOFFS = "cut-offs are whole numbers from 1, each greater than the one before, such as 1,5,10"


class ProtocolSettings(BaseModel):
    """Everything that decides which event is ranked against what, knowing what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: Literal["leave-one-out", "global-time"] = "leave-one-out"
    """Hold out each user's last two events of a task, or the last two tenths of all time; of a data
    set that was published with a split of its own, what that holds out."""

    target_rows: Literal["all", "both-histories"] = "all"
    """Which events may be targets: all, or those with a purchase and a search before them."""

    history_cut: Literal["merged-time", "strict-time", "released"] = "merged-time"
    """What an event may see: all that stands before it in the log, except the purchase that a
    search duplicates; or only strictly earlier instants; or the released prefix counters."""

    counters: Literal["by-key", "by-position"] = "by-key"
    """Whether a recommendation row carries its own history counters or, as released, those of the
    row that stands at the same place of another sort order; only with ``history_cut: released``."""

    training_rows: Literal["before-first-held-out", "all-remaining"] = "before-first-held-out"
    """Train on the events before the user's first held-out event of either task, or (released) on
    all events of a task that are not held out in that task. With ``split: global-time`` training
    ends where validation begins, whatever the user's first held-out event."""

    twins: Literal["kept", "removed"] = "kept"
    """Whether a (user, item) pair that one task holds out may be a training target of the other."""

    recommendation_negatives: Literal["uniform", "popularity"] = "uniform"
    """The law of the sampled negatives; popularity counts the kept rows of all splits."""

    recommendation_exclude: Literal["all-interactions", "earlier-interactions"] = "all-interactions"
    """Which items of the user cannot be negatives: all, or those before the event."""

    search_negatives: Literal["bm25-top", "bm25-filtered", "bm25-matched"] = "bm25-top"
    """The best BM25 hits; the best hits that the log never pairs with the query; or items that are
    alike the target: paired with the query by training or not, as the target is, and of BM25 ranks
    that are distributed like the targets' among such items. Lists are then as long as half of
    the events allow, up to ``negatives``, and the other events are not ranked."""

    search_exclude: Literal["none", "touched"] = "none"
    """Whether a search's list may hold items that its user touched at any time. Targets hardly ever
    are such items, so a list that holds them tells what is no target."""

    searches: Literal["whole", "single-clicks"] = "whole"
    """Whether a search with several clicks lies in one split, sees what was before its first click
    and has none of its own clicks as a negative; or whether each click stands alone (released)."""

    search_depth: int | None = Field(default=None, ge=1)
    """How many hits are retrieved before the target is removed (released: 109); all if absent."""

    search_ties: Literal["per-event", "document-id"] = "per-event"
    """Documents of equal BM25 score are ordered by a seeded key per event, or as Lucene does."""

    sampler: Literal["vectorised", "released"] = "vectorised"
    """``released`` draws with Python's random module in the official order, number for number. It
    knows one law of lists, so the settings of that law must have the values of preset released."""

    negatives: int = Field(default=99, ge=1)
    """Negatives an event; a candidate list holds one item more."""

    search_all_items: Literal["every", "without-relevant"] = "every"
    """What a search is ranked among beside its list: every item; or every item but those that the
    log pairs with the query, the target excepted. Who knows the pairs of training, and ranks them
    first, then stands above whoever does not, as with ``search_negatives: bm25-filtered``."""

    cutoffs: tuple[int, ...] = CUTOFFS["lists"]
    """The k of HR@k, NDCG@k, MRR@k and Recall@k among the candidates of a list, rising."""

    all_items_cutoffs: tuple[int, ...] = CUTOFFS["all-items"]
    """The same among all items."""

    ties: Literal["expected", "pessimistic", "optimistic"] = "expected"
    """How candidates of equal score count, see :mod:`benchmark.protocol.metrics`."""

    collision: Literal["expected", "string"] = "expected"
    """How candidates that share an identifier count: as tied. ``string`` notes that the official
    code counts equality of the identifier as a hit; that is not followed, as :attr:`remarks` says.
    """

    bm25_engine: str = "sparse"
    """What computes BM25: ``sparse``, ``rank-bm25``, or ``pyserini`` of the extra `lucene`."""

    bm25_analyser: str = "english"
    """How texts become terms: as Lucene's default analyser does it, or ``cjk``, in pairs of
    characters."""

    seed: int = Field(default=2024, ge=0)
    """Of the negatives that are drawn, and of the order of ties."""

    @field_validator("cutoffs", "all_items_cutoffs", mode="before")
    @classmethod
    def _as_numbers(cls, given: Any) -> Any:
        """One number stands for itself, and a text is split at its commas."""
        listed = given.split(",") if isinstance(given, str) else given
        numbers = [listed] if isinstance(listed, int) else listed
        if not isinstance(numbers, list | tuple) or not numbers or not all(map(_is_whole, numbers)):
            raise ValueError(_CUTOFFS)
        return tuple(int(one) for one in numbers)

    @field_validator("cutoffs", "all_items_cutoffs")
    @classmethod
    def _rising(cls, cutoffs: tuple[int, ...]) -> tuple[int, ...]:
        if cutoffs[0] < 1 or any(low >= high for low, high in pairwise(cutoffs)):
            raise ValueError(_CUTOFFS)
        return cutoffs

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> ProtocolSettings:
        """Refuse a setting that another one would leave without effect, in all or in part."""
        for (key, value), needed in _NEEDED:
            if getattr(self, key) != value:
                continue
            for other, allowed in needed.items():
                given = getattr(self, other)
                if given not in allowed:
                    values = " or ".join(f"{other}={_written(one)}" for one in allowed)
                    raise ValueError(
                        f"{key}={value} does not follow {other}={_written(given)}; allowed beside "
                        f"it is {values}"
                    )
        return self

    def cutoffs_of(self, view: View) -> tuple[int, ...]:
        """The cut-offs of a view."""
        return self.cutoffs if view == "lists" else self.all_items_cutoffs

    def of_lists(self) -> dict[str, Any]:
        """The settings that candidate lists depend on, by name."""
        return self.model_dump(exclude={"search_all_items", "cutoffs", "all_items_cutoffs", "ties"})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every setting."""
        return sha256_of_json(self.model_dump(mode="json"))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on where the protocol is not what its source did, for every table."""
        remarks = []
        if self.history_cut == "released":
            remarks.append(
                "Model selection sees no test event, other than in the official code, whose "
                "validation histories hold test events of the other task."
            )
        if self.collision == "string":
            remarks.append(
                "Candidates that share an identifier count as tied, other than in the official "
                "code, which counts equality of the identifier as a hit."
            )
        return tuple(remarks)


def _is_whole(value: object) -> bool:
    """Whether it is a whole number, or a text of one; true and false are none."""
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _written(value: object) -> str:
    """A value as YAML has it."""
    return "null" if value is None else str(value)


_NEEDED: tuple[tuple[tuple[str, str], dict[str, tuple[str | None, ...]]], ...] = (
    (
        ("sampler", "released"),
        {
            "recommendation_negatives": ("popularity",),
            "recommendation_exclude": ("earlier-interactions",),
            "search_negatives": ("bm25-top",),
            "search_exclude": ("none",),
            "search_ties": ("document-id",),
            "searches": ("single-clicks",),
        },
    ),
    (
        ("search_negatives", "bm25-matched"),
        {"search_depth": (None,), "search_ties": ("per-event",)},
    ),
    (("history_cut", "released"), {"searches": ("single-clicks",)}),
    (("counters", "by-position"), {"history_cut": ("released",)}),
    (("collision", "string"), {"sampler": ("released",)}),
    (("split", "global-time"), {"training_rows": ("before-first-held-out",)}),
)
"""A setting and value, and the values that other settings must have beside it."""


PRESETS: dict[str, ProtocolSettings] = {
    "paper": ProtocolSettings(),
    "released": ProtocolSettings(
        target_rows="both-histories",
        history_cut="released",
        counters="by-position",
        training_rows="all-remaining",
        recommendation_negatives="popularity",
        recommendation_exclude="earlier-interactions",
        search_depth=109,
        search_ties="document-id",
        sampler="released",
        searches="single-clicks",
        collision="string",
    ),
    "clean": ProtocolSettings(
        history_cut="strict-time",
        twins="removed",
        search_negatives="bm25-matched",
        search_exclude="touched",
    ),
}
DEFAULT_PRESET = "paper"


def protocol_preset(name: str) -> ProtocolSettings:
    """The settings of a named preset.

    Raises:
        BenchmarkError: there is no such preset.
    """
    if name not in PRESETS:
        raise unknown_value("protocol", name, PRESETS)
    return PRESETS[name]


def configure_protocol(name: str, changes: Mapping[str, Any]) -> tuple[str, ProtocolSettings]:
    """The protocol's name ("custom:<preset>" if anything is changed) and its settings.

    Raises:
        BenchmarkError: the preset or a key is unknown, or a value is not allowed, alone or beside
            the others.
    """
    preset = protocol_preset(name)
    if not changes:
        return name, preset
    settings = with_changes(preset, changes, name)
    return (name, preset) if settings == preset else (f"custom:{name}", settings)


def with_changes(
    settings: ProtocolSettings, changes: Mapping[str, Any], name: str = "custom"
) -> ProtocolSettings:
    """The settings with others in place of some; ``name`` is what a complaint calls the protocol.

    Raises:
        BenchmarkError: a key is unknown or a value is not allowed, alone or beside the others.
    """
    try:
        return as_given(ProtocolSettings, merged(settings.model_dump(mode="json"), changes))
    except ValidationError as error:
        raise sentence_of_validation(error, f"protocol {name!r}", ProtocolSettings) from None
