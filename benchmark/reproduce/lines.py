"""The file of lines: what others published, and how we try to get the same.

A line is one system with one set of settings on one data set. Its settings come from the original's
own published command, never from a look at the published figure. Figures are kept as they are
printed, so that their digits are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmark.errors import sentence_of_validation, unknown_value
from benchmark.overrides import Overrides, as_given, merged
from benchmark.protocol.metrics import View
from benchmark.systems.configuration import read_typed

LINES_FILE = "lines.yaml"

_LINE = r"^[a-z0-9][a-z0-9-]*$"
_METRIC = re.compile(r"(HR|NDCG|MRR)@[1-9]\d*")
_SHARE = re.compile(r"0?\.\d+|1\.0+")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Published(_Part):
    """Figures of one table, log or page: metric → the value as printed."""

    source: str = Field(min_length=1)
    url: str = ""
    view: View
    """What a target was ranked among."""

    figures: dict[str, str] = Field(min_length=1)
    is_checked: bool = True
    """Whether the figures were read in the source; else they are quoted from second hand."""

    @field_validator("figures")
    @classmethod
    def _printed_shares(cls, figures: dict[str, str]) -> dict[str, str]:
        for metric, text in figures.items():
            _refuse_other_metrics(metric)
            if not _SHARE.fullmatch(text):
                raise ValueError(
                    f"of {metric}, {text!r} is no share as it is printed, such as '0.4651'"
                )
        return figures


class Unmatched(_Part):
    """Figures of ours that are shown although none was found to compare them with."""

    view: View
    metrics: tuple[str, ...] = Field(min_length=1)
    why: str = Field(min_length=1)

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            _refuse_other_metrics(metric)
        return metrics


class Counts(_Part):
    """The size of the published data set, which ours must have."""

    users: int = Field(ge=1)
    items: int = Field(ge=1)
    events: int = Field(ge=1)


class RunPart(_Part):
    """A system to train and rank under protocol ``paper`` with changes."""

    system: str
    settings: Overrides = {}
    """Laid over the preset ``original``: the values of the original's published command."""

    protocol: Overrides = {}
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(2024,), min_length=1)
    passes: int | None = Field(default=None, ge=1)
    """Passes over the training data that are expected, None where nothing is trained."""


class EnginesPart(_Part):
    """Two BM25 engines asked the same queries; the figures are shares of the queries."""

    engines: tuple[str, str]
    hits: int = Field(ge=1)


class Line(_Part):
    """One attempt at published figures, by either ``run`` or ``compare``."""

    title: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    """A recipe by name or by path."""

    counts: Counts
    published: tuple[Published, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    original: str = ""
    """The command or the settings that the original publishes."""

    run: RunPart | None = None
    compare: EnginesPart | None = None
    differences: tuple[str, ...] = ()
    """Where our attempt is known to differ from the original, in sentences."""

    unknown: tuple[str, ...] = ()
    """What cannot be known about the original, in sentences."""

    estimate: str = ""
    """What it needs and how long it would take, and how that was reckoned."""

    @model_validator(mode="after")
    def _one_way(self) -> Line:
        if (self.run is None) == (self.compare is None):
            raise ValueError("exactly one of run and compare must be given")
        if not self.published and not self.unmatched:
            raise ValueError("published or unmatched must name a figure")
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the line's runs; none if it trains nothing of its own."""
        return self.run.seeds if self.run is not None else ()


class LeftOut(_Part):
    """A published figure that has no line, and why."""

    what: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Lines(_Part):
    """The whole file."""

    lines: dict[Annotated[str, Field(pattern=_LINE)], Line] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = ()


class _File(_Part):
    """The file as it stands; a line with ``like`` is laid over another, key by key."""

    lines: dict[str, dict[str, Any]] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = ()


def read_lines(path: Path) -> Lines:
    """Read the file of lines.

    Raises:
        BenchmarkError: it is missing or malformed, or a line is like one that does not stand
            before it; the key is named.
    """
    content = read_typed(_File, path)
    lines: dict[str, Overrides] = {}
    for name, own in content.lines.items():
        kept = {key: value for key, value in own.items() if key != "like"}
        if "like" in own and own["like"] not in lines:
            raise unknown_value("line", str(own["like"]), lines, f"{path}: lines.{name}.like")
        lines[name] = merged(lines[own["like"]], kept) if "like" in own else kept
    try:
        return as_given(Lines, {"lines": lines, "left_out": content.left_out})
    except ValidationError as error:
        raise sentence_of_validation(error, str(path)) from None


def chosen_lines(lines: Mapping[str, Line], names: tuple[str, ...]) -> dict[str, Line]:
    """The lines of these names, in the order of the file; "all" takes every one.

    Raises:
        BenchmarkError: there is no such line.
    """
    for name in names:
        if name != "all" and name not in lines:
            raise unknown_value("line", name, ["all", *lines])
    return {n: line for n, line in lines.items() if n in names or "all" in names}


def _refuse_other_metrics(metric: str) -> None:
    if metric != SAME_ORDER and not _METRIC.fullmatch(metric):
        raise ValueError(
            f"{metric!r} is no metric; allowed are HR@k, NDCG@k and MRR@k with k from 1, and, for "
            f"engines, {SAME_ORDER!r}"
        )


SAME_ORDER = "queries with the same hits in the same order"
"""The figure of a comparison of engines, a share of the queries."""
