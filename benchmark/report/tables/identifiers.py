"""The tables of identifiers: how well they tell items apart, and what their prefixes stand for."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmark.report.reading.collect import RunGroup
from benchmark.report.reading.text import clean, file_name, shortened
from benchmark.report.tables.grid import Entry, Grid, GridGroup, number
from benchmark.report.tables.rows import place_in_catalogue, place_of_family
from benchmark.systems.catalogue import family_title

_LONGEST_NAME = 60

Figures = Mapping[str, float]
"""Those of one system and kind of identifier, mean over the seeds."""


def identifier_grids(group: RunGroup) -> tuple[Grid, ...]:
    """The table of quality and the card; without those that no run has figures for."""
    found: defaultdict[tuple[str, str], list[Figures]] = defaultdict(list)
    for run in group.runs:
        for kind, figures in run.record.identifiers.items():
            found[run.record.system.name, kind].append(figures)
    means = {key: _mean(seeds) for key, seeds in found.items()}
    grids = (_quality(group, means), _card(group, means))
    return tuple(grid for grid in grids if grid is not None)


def _mean(seeds: Sequence[Figures]) -> Figures:
    names = set.intersection(*map(set, seeds))
    return {name: statistics.fmean(figures[name] for figures in seeds) for name in names}


def _quality(group: RunGroup, means: Mapping[tuple[str, str], Figures]) -> Grid | None:
    caption = (
        f"Item identifiers on {_where(group)}; mean over the seeds. Sharing: items whose "
        "identifier another item has too, at the end and before collisions were resolved. Codes in "
        "use: of each level, first level first."
    )
    columns: dict[str, Callable[[Figures], Entry]] = {
        "Items": partial(_figure, "items", ",.0f", 1),
        "Distinct": partial(_figure, "distinct", ",.0f", 1),
        "Sharing (%)": partial(_figure, "sharing", ".1f", 100),
        "Before (%)": partial(_figure, "sharing_before", ".1f", 100),
        "Codes in use (%)": partial(_by_level, "codebook_use", ".0f", 100),
        "Length": partial(_figure, "mean_length", ".1f", 1),
    }
    return _grid(group, means, "identifiers", caption, columns)


def _card(group: RunGroup, means: Mapping[tuple[str, str], Figures]) -> Grid | None:
    told = ("entropy_1", "variance_explained_1", "alignment_1", "tail_items")
    rows = {key: mean for key, mean in means.items() if any(name in mean for name in told)}
    caption = (
        f"What prefixes of item identifiers stand for on {_where(group)}; mean over the seeds, "
        "first level first. Entropy: of a level's codes over the items, of the largest possible. "
        "Variance: of the vectors that the identifiers are made of, between items of different "
        "codes up to a level. Alignment: how much oftener two items in a row share their codes up "
        "to a level than by chance. Fan-out: codes that follow a prefix. Tail: items with few "
        "training events; backed are those that share all codes but the last with another item."
    )
    columns: dict[str, Callable[[Figures], Entry]] = {
        "Entropy (%)": partial(_by_level, "entropy", ".0f", 100),
        "Variance (%)": partial(_by_level, "variance_explained", ".0f", 100),
        "Alignment": partial(_by_level, "alignment", ".1f", 1),
        "Fan-out": partial(_by_level, "fan_out", ".1f", 1),
        "Tail (%)": partial(_figure, "tail_items", ".1f", 100),
        "Backed (%)": partial(_figure, "tail_backed", ".1f", 100),
    }
    return _grid(group, rows, "identifier-card", caption, columns)


def _where(group: RunGroup) -> str:
    key = group.key
    return f"{key.dataset}, protocol {key.protocol}, preset {key.preset}"


def _grid(
    group: RunGroup,
    means: Mapping[tuple[str, str], Figures],
    stem: str,
    caption: str,
    columns: Mapping[str, Callable[[Figures], Entry]],
) -> Grid | None:
    """A row for each system and kind of identifier; None without any."""
    systems = {run.record.system.name: run.record.system for run in group.runs}
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name, kind in sorted(means, key=lambda key: (place_in_catalogue(key[0]), key[1])):
        names = (systems[name].display_name, kind)
        row = [Entry(shortened(text, _LONGEST_NAME)) for text in names]
        row += [make(means[name, kind]) for make in columns.values()]
        by_family[systems[name].family].append(tuple(row))
    if not by_family:
        return None
    return Grid(
        stem=file_name(group.key.stem(group.variant), stem),
        caption=clean(caption),
        head=("System", "Identifier", *columns),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]))
            for family in sorted(by_family, key=place_of_family)
        ),
        left=(1,),
    )


def _by_level(name: str, form: str, factor: int, mean: Figures) -> Entry:
    """The figures of all levels in one field."""
    of_level = re.compile(rf"{name}_(\d+)")
    levels = sorted(int(match[1]) for match in map(of_level.fullmatch, mean) if match)
    values = [f"{factor * mean[f'{name}_{level}']:{form}}" for level in levels]
    return Entry(" / ".join(values)) if values else number(None, "")


def _figure(name: str, form: str, factor: int, mean: Figures) -> Entry:
    value = mean.get(name)
    return number(None, "") if value is None else number(factor * value, f"{factor * value:{form}}")
