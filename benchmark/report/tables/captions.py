"""The captions of tables: what was ranked, and what marks and intervals mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.jobs.record import Run, TaskName
from benchmark.protocol.metrics import View
from benchmark.protocol.settings import DEFAULT_PRESET, PRESETS
from benchmark.report.reading.text import clean, counted
from benchmark.report.reading.views import WORDS
from benchmark.report.statistics.bootstrap import CONFIDENCE, RESAMPLES
from benchmark.report.statistics.inference import NOTABLE_DESIGN_EFFECT, Statistics
from benchmark.report.statistics.studentised import FLIPS, LEVEL
from benchmark.report.tables.remarks import list_length

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row

CLEAR = "*"
LEVEL_WITH_BEST = "≈"
MARKS = "Best trained system in bold, second underlined; rankers without learning stand apart."

_TIES = {
    "expected": "tied candidates count by the mean over all their orders",
    "pessimistic": "a tied target is ranked last among its equals",
    "optimistic": "a tied target is ranked first among its equals",
}


def tested(statistics: Statistics) -> str:
    """The sentence that says what the marks of significance mean and how they were tested."""
    if not statistics.tests:
        return ""
    return (
        f" {CLEAR}: significantly better than every other trained system; {LEVEL_WITH_BEST}: "
        "significantly worse than none, so it may be the best. "
        f"{tested_how(statistics.seeds)}, family-wise level {LEVEL:g} in each column."
        f"{_concerns(statistics)}"
    )


def tested_how(seeds: int, paired: bool = True) -> str:
    """How pairs of systems are tested, up to the level."""
    chance = "sign flips of the users' terms" if paired else "exchanges of users between the sides"
    runs = " with runs redrawn from the deviation between seeds" if seeds > 1 else ""
    return (
        "All pairs are tested at once, two-sided, against the largest studentised difference "
        f"under {FLIPS:,} {chance}{runs}"
    )


def _concerns(statistics: Statistics) -> str:
    """What the marks do not speak of, and how the events hang together."""
    told = ""
    if statistics.seeds == 1:
        told += (
            " With one seed this concerns these trained instances only, not what training "
            "again would give."
        )
    low, high = statistics.design_effect
    if high > NOTABLE_DESIGN_EFFECT:
        told += (
            " Users with several test events make variances of means "
            f"{low:.1f} to {high:.1f} times those of independent events (design effect)."
        )
    return told


def intervals_explained(seeds: int) -> str:
    """What intervals of single means are."""
    runs = (
        "; over the runs, Student's law with the deviation between seeds is added"
        if seeds > 1
        else "; of one seed's runs"
    )
    return (
        f"In brackets {CONFIDENCE:.0%} intervals, each for itself: bootstrap over the users, "
        f"{RESAMPLES:,} resamples, the same for every system{runs}."
    )


def facts(
    task: TaskName, runs: Sequence[Run], rows: Sequence[Row], variant: str, view: View = "lists"
) -> str:
    """What was ranked among what, under which protocol and preset, and how it was averaged."""
    record = runs[0].record
    dataset, protocol = record.dataset, record.protocol
    events = max((run.record.protocol.test_events.get(task, 0) for run in runs), default=0)
    sizes = [counted(dataset.users, "user"), counted(dataset.items, "item")]
    length = list_length(task, runs)
    shortest = [run.record.protocol.shortest_lists.get(task, length) for run in runs]
    least = f"{min(shortest):,} to " if min(shortest) < length else ""
    each = f" with {least}{counted(length, 'candidate')} each" if length and view == "lists" else ""
    sizes.append(f"{counted(events, 'test event')}{each}")
    named = f" (variant {variant})" if variant else ""
    numbers = {len(row.seeds) for row in rows if row.seeds}
    averaged = "Mean over the test events, one seed"
    if max(numbers, default=0) > 1:
        averaged = (
            f"Mean over the test events and {'' if len(numbers) == 1 else 'up to '}{max(numbers)} "
            "seeds, ± sample standard deviation over the seeds (from run to run)"
        )
    ties = protocol.settings.get("ties")
    rule = "" if ties is None else f"; {_TIES.get(str(ties), f'rule for ties: {ties}')}"
    remarks = "".join(f" {sentence}" for sentence in protocol.remarks)
    return clean(
        f"{task.capitalize()} on {dataset.name} ({', '.join(sizes)}), ranked among {WORDS[view]}, "
        f"protocol {protocol.name}{named}{_differences(protocol.name, protocol.settings)}, "
        f"preset {record.preset}. {averaged}{rule}.{remarks}"
    )


def _differences(name: str, settings: Mapping[str, Any]) -> str:
    """How the settings in force differ from the named preset, or from the default one."""
    base = name if name in PRESETS else DEFAULT_PRESET
    named = PRESETS[base].model_dump(mode="json")
    different = [
        f"{key} = {value}" for key, value in sorted(settings.items()) if named.get(key) != value
    ]
    return f" ({base} with {', '.join(different)})" if different else ""
