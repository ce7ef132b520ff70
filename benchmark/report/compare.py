"""What changed between two sets of runs: two commits, two protocols, two presets, two seeds.

For every system in both, the difference of each metric (second minus first) with its bootstrap
interval. If both sides ranked the very same candidate lists the events are paired, which makes
intervals far narrower; otherwise each side is resampled on its own, and the caption says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import METRIC_NAMES
from benchmark.report.collect import Collection, RunGroup, collect
from benchmark.report.events import TaskEvents
from benchmark.report.grid import DASH, Entry, Footnote, Grid, GridGroup
from benchmark.report.statistics import CONFIDENCE, RESAMPLES, bootstrap_means, collect_events
from benchmark.report.tables import CLEAR, place_in_catalogue, place_of_family
from benchmark.report.text import clean, file_name, shortened
from benchmark.runs.record import TaskName
from benchmark.systems.catalogue import family_title

_TASKS: tuple[TaskName, ...] = ("recommendation", "search")
_LONGEST_NAME = 60


def compare_folders(first: Path, second: Path) -> tuple[tuple[Grid, ...], tuple[str, ...]]:
    """A grid of differences for each data set and task in both folders, and what was left out.

    Raises:
        BenchmarkError: a folder holds no runs, or nothing can be compared.
    """
    collections = [collect(first), collect(second)]
    for root, collection in zip((first, second), collections, strict=True):
        if not collection.groups:
            reasons = " ".join(collection.sentences)
            raise BenchmarkError(f"{root}: there are no runs to compare. {reasons}".rstrip())
    sentences = [sentence for collection in collections for sentence in collection.sentences]
    pairs, unmatched = _matched(*collections)
    sentences += unmatched
    grids = []
    for one, other in pairs:
        found = [collect_events(group.runs) for group in (one, other)]
        for events in found:
            sentences += events.sentences
        for task in _TASKS:
            of_task = [events.by_task.get(task, {}) for events in found]
            grid = _grid(task, (one, other), of_task)
            if grid is not None:
                grids.append(grid)
    if not grids:
        raise BenchmarkError(
            f"{first} and {second} have no system, data set and task in common with ranks of "
            f"single events. {' '.join(sentences)}".rstrip()
        )
    return tuple(grids), tuple(dict.fromkeys(sentences))


def _matched(
    first: Collection, second: Collection
) -> tuple[list[tuple[RunGroup, RunGroup]], list[str]]:
    """Groups of the same data set: equal names first, else the only one on each side."""
    pairs, sentences = [], []
    by_dataset: defaultdict[str, tuple[list[RunGroup], list[RunGroup]]] = defaultdict(
        lambda: ([], [])
    )
    for side, collection in enumerate((first, second)):
        for group in collection.groups:
            by_dataset[group.key.dataset][side].append(group)
    for dataset, (ones, others) in sorted(by_dataset.items()):
        left = list(others)
        for one in list(ones):
            alike = [g for g in left if g.key == one.key] or [
                g
                for g in left
                if (g.key.protocol, g.key.preset) == (one.key.protocol, one.key.preset)
            ]
            if alike:
                pairs.append((one, alike[0]))
                ones.remove(one)
                left.remove(alike[0])
        if len(ones) == len(left) == 1:
            pairs.append((ones[0], left[0]))
        elif ones or left:
            names = ", ".join(f"{g.key.protocol}/{g.key.preset}" for g in (*ones, *left))
            sentences.append(f"{dataset}: without a counterpart on the other side: {names}.")
    return pairs, sentences


def _grid(
    task: TaskName,
    groups: tuple[RunGroup, RunGroup],
    events: Sequence[Mapping[str, Sequence[TaskEvents]]],
) -> Grid | None:
    common = [name for name in events[0] if name in events[1]]
    if not common:
        return None
    paired = _same_lists(task, groups)
    values = [
        {name: np.stack([of_seed.gains for of_seed in of_side[name]]) for name in common}
        for of_side in events
    ]
    replicates = _resampled(task, values, paired)
    families = {run.record.system.name: run.record.system for run in groups[1].runs}
    rows: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name in sorted(common, key=place_in_catalogue):
        entries = [
            _entry(
                float(values[1][name][:, :, column].mean() - values[0][name][:, :, column].mean()),
                replicates[1][name][:, column] - replicates[0][name][:, column],
            )
            for column in range(len(METRIC_NAMES))
        ]
        shown = Entry(shortened(families[name].display_name, _LONGEST_NAME))
        rows[families[name].family].append((shown, *entries))
    missing = sorted(set(events[0]) ^ set(events[1]))
    notes = [Footnote(DASH, f"On one side only: {', '.join(missing)}.")] if missing else []
    key = groups[1].key
    return Grid(
        stem=file_name("compare", key.dataset, key.protocol, key.preset, task),
        caption=_caption(task, groups, paired),
        head=("System", *METRIC_NAMES),
        groups=tuple(
            GridGroup(family_title(family), tuple(rows[family]))
            for family in sorted(rows, key=place_of_family)
        ),
        footnotes=tuple(notes),
    )


def _same_lists(task: TaskName, groups: tuple[RunGroup, RunGroup]) -> bool:
    """Whether both sides ranked the same events among the same candidates."""
    lists = [
        {
            (run.record.dataset.fingerprint, run.record.protocol.candidates[task])
            for run in group.runs
            if task in run.record.protocol.candidates
        }
        for group in groups
    ]
    return lists[0] == lists[1] and len(lists[0]) == 1


def _resampled(
    task: TaskName, values: Sequence[Mapping[str, NDArray[np.float64]]], paired: bool
) -> list[dict[str, NDArray[np.float64]]]:
    if not paired:
        return [
            _alike_in_length(of_side, f"compare {task} {side}")
            for side, of_side in enumerate(values)
        ]
    together = {
        f"{side} {name}": of_system
        for side, of_side in enumerate(values)
        for name, of_system in of_side.items()
    }
    means = _alike_in_length(together, f"compare {task}")
    return [
        {name: means[f"{side} {name}"] for name in of_side} for side, of_side in enumerate(values)
    ]


def _alike_in_length(
    values: Mapping[str, NDArray[np.float64]], purpose: str
) -> dict[str, NDArray[np.float64]]:
    """Bootstrap means; systems with other numbers of events are resampled among themselves."""
    by_length: defaultdict[int, dict[str, NDArray[np.float64]]] = defaultdict(dict)
    for name, of_system in values.items():
        by_length[of_system.shape[1]][name] = of_system
    means: dict[str, NDArray[np.float64]] = {}
    for of_length in by_length.values():
        means |= bootstrap_means(of_length, purpose)
    return means


def _entry(difference: float, replicates: NDArray[np.float64]) -> Entry:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = (float(end) for end in np.quantile(replicates, (tail, 1.0 - tail)))
    return Entry(
        f"{difference:+.4f}",
        value=difference,
        raised=CLEAR if low > 0.0 or high < 0.0 else "",
        spread=f"[{low:+.4f}, {high:+.4f}]",
        detail=f"{difference:+.6f}, {CONFIDENCE:.0%} interval {low:+.6f} to {high:+.6f}",
    )


def _caption(task: TaskName, groups: tuple[RunGroup, RunGroup], paired: bool) -> str:
    sides = []
    for group in groups:
        key = group.key
        seeds = sorted({run.record.seed for run in group.runs})
        named = ", ".join(map(str, seeds))
        variant = f" ({key.variant})" if groups[0].key != groups[1].key else ""
        sides.append(f"protocol {key.protocol}{variant}, preset {key.preset}, seeds {named}")
    how = (
        "the same events and candidates, paired"
        if paired
        else "other events or candidates, not paired"
    )
    return clean(
        f"{task.capitalize()} on {groups[1].key.dataset}: second minus first. First: {sides[0]}. "
        f"Second: {sides[1]}. In brackets {CONFIDENCE:.0%} bootstrap intervals of the difference "
        f"({how}; {RESAMPLES:,} resamples of events and seeds); {CLEAR}: the interval leaves out "
        "zero."
    )
