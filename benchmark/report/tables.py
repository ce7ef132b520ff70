"""The tables of metrics in the paper's layout: the two main ones, ablations, several data sets.

Everything here is a pure function: runs in, a :class:`Table` out; a table in, a grid to print out.
Families are row groups in the catalogue's order, the no-learning references stand first and apart.
Values are compared as they are printed, so two rows that look equal share a mark.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import METRIC_NAMES
from benchmark.protocol.settings import DEFAULT_PRESET, PRESETS
from benchmark.report.collect import REFERENCE_FAMILY, GroupKey, group_key
from benchmark.report.events import TaskEvents, Ties
from benchmark.report.grid import DAGGER, DASH, Entry, Footnote, Grid, GridGroup, Mark
from benchmark.report.headings import name_entries
from benchmark.report.remarks import (
    TIED,
    cold_users_footnote,
    is_often_tied,
    list_length,
    mean_ties,
    probes_sentences,
    protocol_footnotes,
    ties_footnote,
)
from benchmark.report.statistics import (
    CONFIDENCE,
    NOTABLE_DESIGN_EFFECT,
    RESAMPLES,
    Statistics,
)
from benchmark.report.studentised import FLIPS, LEVEL
from benchmark.report.text import clean, counted, csv_cell, file_name, shortened
from benchmark.report.unbeaten import not_clearly_beaten, unbeaten_sentences
from benchmark.runs.record import Run, TaskName, finished_at
from benchmark.systems.catalogue import base_name, entries, family_order, family_title

DECIMALS = 4
DECIMALS_OF_ENDS = 3  # of an interval, whose ends are themselves uncertain
CLEAR = "*"
LEVEL_WITH_BEST = "≈"
DATASETS_SIDE_BY_SIDE = 2
_LONGEST_NAME = 60
_LONGEST_SENTENCE = 400

Verdict = Literal["", "clear", "level"]
Spread = Literal["deviation", "interval", "none"]
Status = Literal["finished", "partly failed", "failed", "not this task"]

_TIES = {
    "expected": "tied candidates count by the mean over all their orders",
    "pessimistic": "a tied target is ranked last among its equals",
    "optimistic": "a tied target is ranked first among its equals",
}


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over the seeds; no mean where the row has no figures.

    ``interval`` is the bootstrap interval of the mean. ``p_value`` is the corrected one of being
    worse than another trained system; ``verdict`` is "clear" on a best that is significantly better
    than every other trained system, else "level" on those that may be the best.
    """

    mean: float | None = None
    deviation: float | None = None
    mark: Mark = ""
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Row:
    """One system. ``seeds`` are those of the finished runs; ``notes`` are marks of footnotes.

    ``ties`` says how often its targets are tied, where its runs tell.
    """

    system: str
    display_name: str
    family: str
    status: Status
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    ties: Ties | None = None

    @property
    def placeholder(self) -> str:
        """What a cell without a mean shows."""
        return DASH if self.status == "not this task" else DAGGER


@dataclass(frozen=True)
class RowGroup:
    """A family. Reference rows take no part in the marks."""

    family: str
    title: str
    rows: tuple[Row, ...]

    @property
    def is_reference(self) -> bool:
        """Whether these are the rankers that learn nothing."""
        return self.family == REFERENCE_FAMILY


@dataclass(frozen=True)
class Table:
    """One table, ready to be printed in any form. ``groups`` is empty if no system does the task.

    ``key`` says what all its runs have in common; ``variant`` is shown where that has the same
    names as another table's; ``caption`` is plain text; ``above`` are those of its sentences that a
    reader must not miss; ``kind`` tells the table from the main one of its task.
    """

    key: GroupKey
    variant: str
    task: TaskName
    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    footnotes: tuple[Footnote, ...]
    kind: str = ""
    above: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name of the table's files and of its LaTeX label."""
        stem = f"{self.key.stem(self.variant)}-{self.task}"
        return file_name(stem, self.kind) if self.kind else stem

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all groups."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def has_deviations(self) -> bool:
        """Whether any cell is a mean over several seeds."""
        return any(cell.deviation is not None for row in self.rows for cell in row.cells)

    @property
    def has_intervals(self) -> bool:
        """Whether any cell has a bootstrap interval."""
        return any(cell.interval is not None for row in self.rows for cell in row.cells)


def main_table(
    task: TaskName,
    runs: Sequence[Run],
    variant: str = "",
    statistics: Statistics | None = None,
    events: Mapping[str, Sequence[TaskEvents]] | None = None,
) -> Table:
    """The main table of ``task``: a row a system, the paper's five metrics.

    Rows of a system with other settings (``system@row``) are for :func:`ablation_table`.

    A system that does not do the task has a row of dashes if its family has a member that does; a
    reference ranker has none.

    Args:
        task: the task whose metrics are shown.
        runs: comparable runs, one a system and seed, of both tasks.
        variant: shown in the caption where two groups of runs have the same names.
        statistics: the task's, of the same runs; without them, cells have neither interval nor
            verdict, and rows without learning are compared with trained ones by means only.
        events: the task's events of the same runs, by system; without them, nothing is said of
            ties.

    Raises:
        BenchmarkError: there are no runs, or runs that may not stand in one table.
    """
    key = _common_key(runs)
    by_system: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.record.system.name == base_name(run.record.system.name):
            by_system[run.record.system.name].append(run)
    with_task = {
        of_system[0].record.system.family
        for of_system in by_system.values()
        if task in of_system[0].record.system.tasks
    }

    footnotes = _Footnotes()
    most_seeds = max(
        (sum(_failure(task, run) is None for run in of_one) for of_one in by_system.values()),
        default=0,
    )
    by_family: defaultdict[str, list[Row]] = defaultdict(list)
    for system in sorted(by_system, key=place_in_catalogue):
        ties = mean_ties(events.get(system, ())) if events else None
        row = _row(task, by_system[system], most_seeds, footnotes, ties)
        does_it = any(task in run.record.system.tasks for run in by_system[system])
        if does_it or (row.family in with_task and row.family != REFERENCE_FAMILY):
            by_family[row.family].append(row)
    groups = tuple(
        RowGroup(family, family_title(family), tuple(by_family[family]))
        for family in sorted(by_family, key=place_of_family)
    )
    rows = [row for group in groups for row in group.rows]
    statistics = statistics or Statistics()
    above = _above(task, runs, rows, statistics)
    sentences = " ".join([_facts(task, runs, rows, variant), *above, _MARKS])
    further = [
        ties_footnote(rows),
        cold_users_footnote(task, runs),
        *protocol_footnotes(task, runs),
    ]
    return Table(
        key=key,
        variant=variant,
        task=task,
        caption=f"{sentences}{_tested(statistics)}",
        columns=METRIC_NAMES,
        groups=_with_statistics(_marked(groups), statistics),
        footnotes=(*footnotes.of_rows(rows), *(note for note in further if note)),
        above=above,
    )


def _above(
    task: TaskName, runs: Sequence[Run], rows: Sequence[Row], statistics: Statistics
) -> tuple[str, ...]:
    """What must be said above the table: of rows without learning, and of the lists."""
    references = [row for row in rows if row.family == REFERENCE_FAMILY]
    trained = [row for row in rows if row.family != REFERENCE_FAMILY]
    level = not_clearly_beaten(statistics.over_references)
    unbeaten = unbeaten_sentences(references, trained, level, DECIMALS)
    return tuple(map(clean, (*unbeaten, *probes_sentences(task, references, runs))))


def ablated_systems(runs: Sequence[Run]) -> tuple[str, ...]:
    """The systems of which ``runs`` hold rows with other settings (``system@row``)."""
    names = dict.fromkeys(run.record.system.name for run in runs)
    return tuple(dict.fromkeys(base_name(name) for name in names if name != base_name(name)))


def ablation_table(task: TaskName, system: str, runs: Sequence[Run], variant: str = "") -> Table:
    """One system and its rows with other settings; nothing is marked as best.

    Args:
        task: the task whose metrics are shown.
        system: the system as the catalogue names it.
        runs: comparable runs; those of other systems are left out.
        variant: shown in the caption where two groups of runs have the same names.

    Raises:
        BenchmarkError: there are no runs of the system, or runs that may not stand in one table.
    """
    own = [run for run in runs if base_name(run.record.system.name) == system]
    key = _common_key(own)
    by_name: defaultdict[str, list[Run]] = defaultdict(list)
    for run in own:
        by_name[run.record.system.name].append(run)
    footnotes = _Footnotes()
    most_seeds = max(
        sum(_failure(task, run) is None for run in of_row) for of_row in by_name.values()
    )
    rows = tuple(_row(task, by_name[name], most_seeds, footnotes) for name in sorted(by_name))
    does_it = any(task in run.record.system.tasks for run in own)
    title = entries()[system].display_name if system in entries() else system
    groups = (RowGroup(system, title, rows),) if does_it else ()
    return Table(
        key=key,
        variant=variant,
        task=task,
        caption=f"Ablations of {clean(title)}. {_facts(task, own, rows, variant)}",
        columns=METRIC_NAMES,
        groups=groups,
        footnotes=footnotes.of_rows(rows),
        kind=f"ablations-{system}",
    )


def _common_key(runs: Sequence[Run]) -> GroupKey:
    keys = {group_key(run) for run in runs}
    if len(keys) != 1:
        raise BenchmarkError(
            f"a table needs runs of one data set, protocol and preset, and was given {len(keys)}."
        )
    return keys.pop()


def place_in_catalogue(system: str) -> tuple[int, str]:
    """By which systems are sorted."""
    order = {name: place for place, name in enumerate(entries())}
    return order.get(system.partition(":")[0], len(order)), system


def place_of_family(family: str) -> tuple[bool, int, str]:
    """By which families are sorted: the references first, then as in the catalogue."""
    order = {name: place for place, name in enumerate(family_order())}
    return family != REFERENCE_FAMILY, order.get(family, len(order)), family


class _Footnotes:
    """Collects sentences; equal sentences share a number, failures share the dagger."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}
        self._failures: list[Footnote] = []
        self._of_tables: list[Footnote] = []  # about ties and all rows, of finished tables

    def number(self, sentence: str) -> str:
        return self._numbers.setdefault(
            shortened(sentence, _LONGEST_SENTENCE), str(len(self._numbers) + 1)
        )

    def failure(self, sentence: str) -> None:
        self._failures.append(Footnote(DAGGER, shortened(sentence, _LONGEST_SENTENCE)))

    def adopt(self, table: Table, where: str) -> dict[str, str]:
        """Take over the footnotes of a finished table; returns its marks → the marks here."""
        marks = {}
        for note in table.footnotes:
            if note.mark == DAGGER:
                self.failure(f"{where}: {note.text}")
                marks[DAGGER] = DAGGER
            elif note.mark in ("", TIED):
                self._of_tables.append(Footnote(note.mark, f"{where}: {note.text}"))
                marks[note.mark] = note.mark
            elif note.mark != DASH:
                marks[note.mark] = self.number(note.text)
        return marks

    def of_rows(self, rows: Sequence[Row]) -> tuple[Footnote, ...]:
        dashes = any(row.status == "not this task" for row in rows)
        return self.all("The system does not do this task." if dashes else "")

    def all(self, dash: str = "") -> tuple[Footnote, ...]:
        numbered = [Footnote(mark, text) for text, mark in self._numbers.items()]
        dashes = [Footnote(DASH, dash)] if dash else []
        return (*numbered, *self._failures, *dashes, *self._of_tables)


def _row(
    task: TaskName,
    runs: Sequence[Run],
    most_seeds: int,
    footnotes: _Footnotes,
    ties: Ties | None = None,
) -> Row:
    """The row of one system's runs, one a seed; its sentences go to ``footnotes``."""
    system = max(runs, key=finished_at).record.system
    empty = Row(
        system=system.name,
        display_name=shortened(system.display_name, _LONGEST_NAME),
        family=system.family,
        status="not this task",
        seeds=(),
        cells=(Cell(),) * len(METRIC_NAMES),
    )
    if task not in system.tasks:
        return empty

    finished: list[Run] = []
    failed: defaultdict[str, list[int]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.record.seed):
        failure = _failure(task, run)
        if failure is None:
            finished.append(run)
        else:
            failed[failure].append(run.record.seed)
    for failure, of_seeds in failed.items():
        which = "" if len(of_seeds) == len(runs) else f", {_seeds(of_seeds)}"
        footnotes.failure(f"{empty.display_name}{which}: {failure}")
    stand_ins = dict.fromkeys(text for run in runs for text in run.record.system.stand_ins)
    numbers = [footnotes.number(sentence) for sentence in stand_ins]
    seeds = tuple(run.record.seed for run in finished)
    if finished and len(finished) < most_seeds:
        told = f"From {_seeds(seeds)} only; others have {most_seeds}."
        if len(seeds) == 1 and system.family != REFERENCE_FAMILY:
            told += " Its marks concern this trained instance only."
        numbers.append(footnotes.number(told))
    row = replace(empty, ties=ties)
    tied = [TIED] if is_often_tied(row) else []
    return replace(
        row,
        status="failed" if not finished else "partly failed" if failed else "finished",
        seeds=seeds,
        cells=tuple(
            _cell([run.metrics[task][metric] for run in finished]) for metric in METRIC_NAMES
        ),
        notes=(*numbers, *([DAGGER] if failed else ()), *tied),
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _failure(task: TaskName, run: Run) -> str | None:
    """Why ``run`` has no figures for ``task``, or None if it has."""
    if run.record.status == "failed":
        return run.record.error or "The run failed without a message."
    figures = run.metrics.get(task, {})
    missing = [name for name in METRIC_NAMES if not math.isfinite(figures.get(name, math.nan))]
    if missing:
        return f"The run finished without figures for {', '.join(missing)}."
    return None


def _cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell()
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), deviation)


def _marked(groups: tuple[RowGroup, ...]) -> tuple[RowGroup, ...]:
    """The groups with the two best printed values of each column marked, references left out."""
    trained = [row for group in groups if not group.is_reference for row in group.rows]
    marks: list[dict[float, Mark]] = []
    for column in range(len(METRIC_NAMES)):
        means = (row.cells[column].mean for row in trained)
        printed = sorted({round(mean, DECIMALS) for mean in means if mean is not None})
        ranked: tuple[Mark, ...] = ("best", "second")
        marks.append(dict(zip(reversed(printed), ranked, strict=False)))

    def with_marks(row: Row) -> Row:
        return replace(
            row,
            cells=tuple(
                replace(cell, mark=of_column.get(round(cell.mean, DECIMALS), ""))
                if cell.mean is not None
                else cell
                for cell, of_column in zip(row.cells, marks, strict=True)
            ),
        )

    return tuple(
        group
        if group.is_reference
        else replace(group, rows=tuple(with_marks(row) for row in group.rows))
        for group in groups
    )


def _with_statistics(groups: tuple[RowGroup, ...], statistics: Statistics) -> tuple[RowGroup, ...]:
    """The groups with each cell's interval and the outcome of its test."""

    def tested(row: Row, metric: str, cell: Cell, place: int) -> Cell:
        if cell.mean is None:
            return cell
        ends = statistics.intervals.get(row.system)
        interval = None if ends is None else (float(ends[place, 0]), float(ends[place, 1]))
        test = statistics.tests.get(metric)
        if test is None:
            return replace(cell, interval=interval)
        verdict: Verdict = "level" if row.system in test.with_the_best else ""
        if row.system == test.best and test.best_is_clear:
            verdict = "clear"
        p_value = test.p_values.get(row.system)
        return replace(cell, interval=interval, p_value=p_value, verdict=verdict)

    return tuple(
        replace(
            group,
            rows=tuple(
                replace(
                    row,
                    cells=tuple(
                        tested(row, metric, cell, place)
                        for place, (metric, cell) in enumerate(
                            zip(METRIC_NAMES, row.cells, strict=True)
                        )
                    ),
                )
                for row in group.rows
            ),
        )
        for group in groups
    )


_MARKS = "Best trained system in bold, second underlined; rankers without learning stand apart."


def _tested(statistics: Statistics) -> str:
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


def _intervals_explained(seeds: int) -> str:
    runs = (
        "; over the runs, Student's law with the deviation between seeds is added"
        if seeds > 1
        else "; of one seed's runs"
    )
    return (
        f"In brackets {CONFIDENCE:.0%} intervals, each for itself: bootstrap over the users, "
        f"{RESAMPLES:,} resamples, the same for every system{runs}."
    )


def _facts(task: TaskName, runs: Sequence[Run], rows: Sequence[Row], variant: str) -> str:
    """What was ranked, under which protocol and preset, and how it was averaged."""
    record = runs[0].record
    dataset, protocol = record.dataset, record.protocol
    events = max((run.record.protocol.test_events.get(task, 0) for run in runs), default=0)
    sizes = [counted(dataset.users, "user"), counted(dataset.items, "item")]
    length = list_length(task, runs)
    each = f" with {counted(length, 'candidate')} each" if length else ""
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
        f"{task.capitalize()} on {dataset.name} ({', '.join(sizes)}), "
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


def as_grid(table: Table, spread: Spread = "deviation") -> Grid:
    """The table to print, with deviations over the seeds, with intervals, or with neither."""
    stem, caption = table.stem, table.caption
    if spread == "interval":
        seeds = max((len(row.seeds) for row in table.rows), default=0)
        stem, caption = f"{stem}-intervals", f"{caption} {_intervals_explained(seeds)}"
    names = name_entries((row.system, row.display_name, ",".join(row.notes)) for row in table.rows)
    groups = tuple(
        GridGroup(
            group.title,
            tuple((names[row.system], *_entries(row, table.columns, spread)) for row in group.rows),
            set_apart=group.is_reference,
        )
        for group in table.groups
    )
    return Grid(stem, caption, ("System", *table.columns), groups, table.footnotes)


def _entries(row: Row, columns: Sequence[str], spread: Spread) -> list[Entry]:
    entries = []
    for column, cell in zip(columns, row.cells, strict=True):
        if cell.mean is None:
            entries.append(Entry(row.placeholder))
            continue
        shown = ""
        if spread == "deviation" and cell.deviation is not None:
            shown = f"± {cell.deviation:.{DECIMALS}f}"
        if spread == "interval" and cell.interval is not None:
            # Without their zeros, so that five columns with intervals fit on a page.
            low, high = (f"{end:.{DECIMALS_OF_ENDS}f}".removeprefix("0") for end in cell.interval)
            shown = f"[{low}, {high}]"
        entries.append(
            Entry(
                f"{cell.mean:.{DECIMALS}f}",
                value=cell.mean,
                mark=cell.mark,
                raised={"clear": CLEAR, "level": LEVEL_WITH_BEST, "": ""}[cell.verdict],
                spread=shown,
                detail=_detail(row, column, cell),
            )
        )
    return entries


def _detail(row: Row, column: str, cell: Cell) -> str:
    """Everything known of one cell, in a sentence."""
    words = [f"{row.display_name}, {column} {cell.mean:.6f}"]
    if cell.deviation is not None:
        words.append(f"deviation over {counted(len(row.seeds), 'seed')} {cell.deviation:.6f}")
    if cell.interval is not None:
        words.append(f"{CONFIDENCE:.0%} interval {cell.interval[0]:.4f} to {cell.interval[1]:.4f}")
    if cell.p_value is not None:
        words.append(f"worse than another trained system: corrected p = {cell.p_value:.2g}")
    if cell.verdict == "clear":
        words.append("significantly better than every other trained system")
    return "; ".join(words)


def side_by_side(tables: Sequence[Table]) -> tuple[Grid, ...]:
    """Main tables of one task on several data sets as in a paper: the data sets beside each other.

    A system without a run on a data set has dashes there. As many grids as it takes to keep each
    within a page's width; deviations stay with the tables of one data set.
    """
    parts = [
        tables[first : first + DATASETS_SIDE_BY_SIDE]
        for first in range(0, len(tables), DATASETS_SIDE_BY_SIDE)
    ]
    return tuple(
        _merged(part, f"{place} of {len(parts)}" if len(parts) > 1 else "")
        for place, part in enumerate(parts, start=1)
    )


def _merged(tables: Sequence[Table], part: str) -> Grid:
    key, task = tables[0].key, tables[0].task
    titles: dict[str, str] = {}
    found: defaultdict[str, dict[str, Row]] = defaultdict(dict)  # family → system → any of its rows
    for table in tables:
        for group in table.groups:
            titles[group.family] = group.title
            for row in group.rows:
                found[group.family].setdefault(row.system, row)
    footnotes = _Footnotes()
    renamed = [footnotes.adopt(table, _named(table)) for table in tables]
    own_rows = [{row.system: row for row in table.rows} for table in tables]
    names = name_entries(
        (row.system, row.display_name, "") for of_one in found.values() for row in of_one.values()
    )
    groups, has_gaps = [], False
    for family in sorted(found, key=place_of_family):
        rows = []
        for system in sorted(found[family], key=place_in_catalogue):
            cells: list[Entry] = []
            marks: dict[str, None] = {}
            for table, of_table, new_marks in zip(tables, own_rows, renamed, strict=True):
                own = of_table.get(system)
                if own is None or own.status == "not this task":
                    has_gaps = True
                    cells += [Entry(DASH)] * len(table.columns)
                else:
                    cells += _entries(own, table.columns, "none")
                    marks |= dict.fromkeys(new_marks[mark] for mark in own.notes)
            rows.append((replace(names[system], raised=",".join(marks)), *cells))
        groups.append(GridGroup(titles[family], tuple(rows), family == REFERENCE_FAMILY))
    gap = "The system does not do this task, or has no run on this data set."
    return Grid(
        stem=file_name(
            "all", key.protocol, key.preset, task, *([part.replace(" ", "-")] if part else [])
        ),
        caption=_caption_of_several(tables, part),
        head=("System", *(column for table in tables for column in table.columns)),
        groups=tuple(groups),
        footnotes=footnotes.all(gap if has_gaps else ""),
        spans=tuple((_named(table), len(table.columns)) for table in tables),
    )


def _named(table: Table) -> str:
    return f"{table.key.dataset} ({table.variant})" if table.variant else table.key.dataset


def _caption_of_several(tables: Sequence[Table], part: str) -> str:
    key = tables[0].key
    which = f", part {part}" if part else ""
    explained = next((table.caption for table in tables if CLEAR in table.caption), "")
    tested = explained.partition(_MARKS)[2]
    names = ", ".join(_named(table) for table in tables)
    above = [f"{_named(table)}: {' '.join(table.above)}" for table in tables if table.above]
    return clean(
        f"{tables[0].task.capitalize()} on {names}{which}, protocol {key.protocol}, "
        f"preset {key.preset}. {' '.join([*above, _MARKS])}{tested}"
    )


_OF_CELL = ("deviation", "low", "high", "p")


def figures_csv(table: Table) -> str:
    """Plain numbers, one line a system; ``variant`` tells apart what only shares its names."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    figures = [
        name
        for column in table.columns
        for name in (column, *(f"{column} {of_cell}" for of_cell in _OF_CELL))
    ]
    names = ["dataset", "protocol", "preset", "task", "family", "system", "status", "seeds"]
    writer.writerow([*names, *figures, "variant", "tied share", "tied others"])
    key = table.key
    for row in table.rows:
        words = [key.dataset, key.protocol, key.preset, table.task, row.family, row.system]
        values = [
            value
            for cell in row.cells
            for value in (
                cell.mean,
                cell.deviation,
                *(cell.interval or (None, None)),
                cell.p_value,
            )
        ]
        writer.writerow(
            [
                *map(csv_cell, words),
                row.status,
                " ".join(map(str, row.seeds)),
                *("" if value is None else f"{value:.6f}" for value in values),
                key.variant,
                *_ties_cells(row.ties),
            ]
        )
    return written.getvalue()


def _ties_cells(ties: Ties | None) -> tuple[str, str]:
    return ("", "") if ties is None else (f"{ties.share:.6f}", f"{ties.others:.6f}")
