"""The table of identifier quality: how well generative systems' identifiers tell items apart."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmark.report.collect import RunGroup
from benchmark.report.grid import Entry, Grid, GridGroup, number
from benchmark.report.rows import place_in_catalogue, place_of_family
from benchmark.report.text import clean, file_name, shortened
from benchmark.systems.catalogue import family_title

_LONGEST_NAME = 60
_USE_OF_LEVEL = re.compile(r"codebook_use_(\d+)")


def identifiers_grid(group: RunGroup) -> Grid | None:
    """A row for each system and kind of identifier; None if no run has any."""
    found: defaultdict[tuple[str, str], list[Mapping[str, float]]] = defaultdict(list)
    systems = {}
    for run in group.runs:
        systems[run.record.system.name] = run.record.system
        for kind, figures in run.record.identifiers.items():
            found[run.record.system.name, kind].append(figures)
    if not found:
        return None
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name, kind in sorted(found, key=lambda key: (place_in_catalogue(key[0]), key[1])):
        system = systems[name]
        by_family[system.family].append(_row(system.display_name, kind, found[name, kind]))
    key = group.key
    return Grid(
        stem=file_name(group.key.stem(group.variant), "identifiers"),
        caption=clean(
            f"Item identifiers on {key.dataset}, protocol {key.protocol}, preset {key.preset}; "
            "mean over the seeds. Sharing: items whose identifier another item has too, at the end "
            "and before collisions were resolved. Codes in use: of each level, first level first."
        ),
        head=(
            "System",
            "Identifier",
            "Items",
            "Distinct",
            "Sharing (%)",
            "Before (%)",
            "Codes in use (%)",
            "Length",
        ),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]))
            for family in sorted(by_family, key=place_of_family)
        ),
        left=(1,),
    )


def _row(display_name: str, kind: str, seeds: Sequence[Mapping[str, float]]) -> tuple[Entry, ...]:
    mean = {
        name: statistics.fmean(figures[name] for figures in seeds)
        for name in set.intersection(*map(set, seeds))
    }
    levels = sorted(int(match[1]) for match in map(_USE_OF_LEVEL.fullmatch, mean) if match)
    used = [f"{100 * mean[f'codebook_use_{level}']:.0f}" for level in levels]
    return (
        Entry(shortened(display_name, _LONGEST_NAME)),
        Entry(shortened(kind, _LONGEST_NAME)),
        *(_number(mean.get(name), ",.0f") for name in ("items", "distinct")),
        *(_number(mean.get(name), ".1f", 100) for name in ("sharing", "sharing_before")),
        Entry(" / ".join(used)) if used else number(None, ""),
        _number(mean.get("mean_length"), ".1f"),
    )


def _number(value: float | None, form: str, factor: int = 1) -> Entry:
    return number(None, "") if value is None else number(factor * value, f"{factor * value:{form}}")
