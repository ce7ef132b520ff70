"""What changed between two sets of runs: two commits, two protocols, two presets, two seeds.

For every system in both, the difference of each metric (second minus first) with its interval. All
that is shown is one family: the more systems and metrics are looked at, the larger a difference
must be to have its star (:mod:`benchmark.report.statistics.simultaneous`). If both sides ranked the
very same candidate lists the events are paired, which makes intervals far narrower; otherwise each
side has users of its own, and the caption says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import View
from benchmark.randomness import stable_random
from benchmark.report.reading.collect import Collection, RunGroup, collect
from benchmark.report.reading.collected_events import collect_events, users_of
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.text import clean, file_name, shortened
from benchmark.report.reading.views import WORDS, with_view
from benchmark.report.statistics.bootstrap import CONFIDENCE, SEED
from benchmark.report.statistics.simultaneous import judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import LEVEL, Differences
from benchmark.report.statistics.unpaired import Unpaired
from benchmark.report.tables.captions import CLEAR, tested_how
from benchmark.report.tables.differences import difference_entry
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup
from benchmark.report.tables.rows import place_in_catalogue, place_of_family
from benchmark.systems.catalogue import family_title

_TASKS: tuple[TaskName, ...] = ("recommendation", "search")
_LONGEST_NAME = 60

_Side = Mapping[str, Sequence[TaskEvents]]  # system → its events, one entry a seed


def compare_folders(
    first: Path, second: Path, view: View = "lists"
) -> tuple[tuple[Grid, ...], tuple[str, ...]]:
    """A grid of differences for each data set and task in both folders, and what was left out.

    Args:
        first: a folder of runs.
        second: another one.
        view: what targets are ranked among.

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
    blocks = []
    for one, other in pairs:
        found = [collect_events(group.runs) for group in (one, other)]
        for events in found:
            sentences += events.sentences
        for task in _TASKS:
            of_task = [events.of(view, task) for events in found]
            if not _same_metrics(of_task):
                sentences.append(
                    f"{one.key.dataset}, {task}: both sides have other cut-offs, so their metrics "
                    "are not compared."
                )
                continue
            block = _block(task, view, (one, other), of_task)
            if block is not None:
                blocks.append(block)
    if not blocks:
        raise BenchmarkError(
            f"{first} and {second} have no system, data set and task in common with ranks of "
            f"single events among {WORDS[view]}. {' '.join(sentences)}".rstrip()
        )
    judgements = iter(judged_together([part for block in blocks for part in block.parts]))
    grids = tuple(_grid(block, [next(judgements) for _ in block.parts]) for block in blocks)
    return grids, tuple(dict.fromkeys(sentences))


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


@dataclass(frozen=True)
class Part:
    """Systems of one task that ranked as many events as each other, before they are judged.

    ``largest`` is the largest difference by chance, (flips, metrics); ``judged`` makes of such an
    array the differences of the systems, second side minus first.
    """

    names: tuple[str, ...]
    largest: NDArray[np.float64]
    judged: Callable[[NDArray[np.float64]], Differences]


@dataclass(frozen=True)
class _Block:
    """What one grid shows."""

    task: TaskName
    view: View
    metrics: tuple[str, ...]
    groups: tuple[RunGroup, RunGroup]
    paired: bool
    seeds: int
    parts: tuple[Part, ...]
    missing: tuple[str, ...]


def _same_metrics(events: Sequence[_Side]) -> bool:
    """Whether both sides' events are measured alike, if there are any."""
    found = {e.metrics for side in events for seeds in side.values() for e in seeds}
    return len(found) < 2


def _block(
    task: TaskName,
    view: View,
    groups: tuple[RunGroup, RunGroup],
    events: Sequence[Mapping[str, Sequence[TaskEvents]]],
) -> _Block | None:
    if not any(name in events[1] for name in events[0]):
        return None
    paired = _same_lists(task, groups)
    metrics = next(iter(events[0].values()))[0].metrics
    of_sides = [side.key.stem(side.key.variant) for side in groups]
    purpose = task if view == "lists" else f"{task} {view}"
    return _Block(
        task=task,
        view=view,
        metrics=metrics,
        groups=groups,
        paired=paired,
        seeds=max(len(of_one) for side in events for of_one in side.values()),
        parts=tuple(parts_of(events, paired, f"{purpose} {' '.join(of_sides)}")),
        missing=tuple(sorted(set(events[0]) ^ set(events[1]))),
    )


def parts_of(
    events: Sequence[Mapping[str, Sequence[TaskEvents]]], paired: bool, purpose: str
) -> list[Part]:
    """The systems that both sides have, by how many events they ranked.

    Args:
        events: for either side, system → its events, one entry a seed.
        paired: whether the events of both sides are the same ones.
        purpose: part of the random generator's seed.
    """
    by_length: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in sorted(set(events[0]) & set(events[1])):
        by_length[tuple(len(of_side[name][0].gains) for of_side in events)].append(name)
    parts = []
    for lengths, names in by_length.items():
        sides = [{name: of_side[name] for name in names} for of_side in events]
        random = stable_random(SEED, "compare", purpose, *names)
        part = _paired if paired and len(set(lengths)) == 1 else _unpaired
        parts.append(part(tuple(names), sides, random))
    return parts


def judged_together(parts: Sequence[Part]) -> list[Differences]:
    """The differences of all parts as one family.

    Parts are drawn apart from each other, as if what they have in common did not make large
    differences come together: that is on the safe side.
    """
    largest = np.max([part.largest.max(axis=1) for part in parts], axis=0)[:, None]
    return [part.judged(largest) for part in parts]


def _paired(names: tuple[str, ...], sides: Sequence[_Side], random: np.random.Generator) -> Part:
    """The users of both sides are the same."""
    values = [of_system for side in sides for of_system in _values(side)]
    known = [users for users in map(users_of, sides) if users is not None]
    means = means_of(values, _or_one_each(known[0] if known else None, values))
    first = np.arange(len(names))
    pairs = np.stack([first + len(names), first], axis=1)
    return Part(names, largest_by_chance(means, pairs, random), partial(judged, means, pairs))


def _unpaired(names: tuple[str, ...], sides: Sequence[_Side], random: np.random.Generator) -> Part:
    """Each side has users of its own."""
    first, second = (
        means_of(_values(side), _or_one_each(users_of(side), _values(side))) for side in sides
    )
    samples = Unpaired(first, second)
    return Part(names, samples.largest_by_chance(random), samples.judged)


def _values(side: _Side) -> list[NDArray[np.float64]]:
    """For each system (seeds, events, metrics)."""
    return [np.stack([of_seed.gains for of_seed in seeds]) for seeds in side.values()]


def _or_one_each(
    users: NDArray[np.int64] | None, values: Sequence[NDArray[np.float64]]
) -> NDArray[np.int64]:
    return np.arange(values[0].shape[1]) if users is None else users


def _grid(block: _Block, judgements: Sequence[Differences]) -> Grid:
    """The block's differences; ``judgements`` are those of its parts."""
    families = {run.record.system.name: run.record.system for run in block.groups[1].runs}
    found: dict[str, tuple[Entry, ...]] = {}
    for part, differences in zip(block.parts, judgements, strict=True):
        for place, name in enumerate(part.names):
            columns = range(len(block.metrics))
            entries = (difference_entry(differences, place, column) for column in columns)
            shown = Entry(shortened(families[name].display_name, _LONGEST_NAME))
            found[name] = (shown, *entries)
    rows: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name in sorted(found, key=place_in_catalogue):
        rows[families[name].family].append(found[name])
    missing = ", ".join(block.missing)
    key = block.groups[1].key
    return Grid(
        stem=with_view(
            file_name("compare", key.dataset, key.protocol, key.preset, block.task), block.view
        ),
        caption=_caption(block),
        head=("System", *block.metrics),
        groups=tuple(
            GridGroup(family_title(family), tuple(rows[family]))
            for family in sorted(rows, key=place_of_family)
        ),
        footnotes=(Footnote(DASH, f"On one side only: {missing}."),) if missing else (),
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


def _caption(block: _Block) -> str:
    sides = []
    for group in block.groups:
        key = group.key
        seeds = sorted({run.record.seed for run in group.runs})
        named = ", ".join(map(str, seeds))
        variant = f" ({key.variant})" if block.groups[0].key != block.groups[1].key else ""
        sides.append(f"protocol {key.protocol}{variant}, preset {key.preset}, seeds {named}")
    how = (
        "the same events and candidates, paired"
        if block.paired
        else "other events or candidates, not paired"
    )
    trained_once = " One seed a side: about these trained instances only." * (block.seeds == 1)
    return clean(
        f"{block.task.capitalize()} on {block.groups[1].key.dataset}, ranked among "
        f"{WORDS[block.view]}: second minus first ({how}). "
        f"First: {sides[0]}. Second: {sides[1]}. {tested_how(block.seeds, block.paired)}; in "
        f"brackets simultaneous {CONFIDENCE:.0%} intervals. {CLEAR}: the interval leaves out zero. "
        "All data sets, tasks, systems and metrics shown are one family: the chance of any false "
        f"{CLEAR} is at most {LEVEL:g}.{trained_once}"
    )
