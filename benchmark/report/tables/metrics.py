"""The tables of metrics in the paper's layout: the two main ones, ablations, several data sets.

Everything here is a pure function: runs in, a :class:`Table` out; a table in, a grid to print out.
Families are row groups in the catalogue's order, the no-learning references stand first and apart.
Values are compared as they are printed, so two rows that look equal share a mark.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import Run, TaskName, finished_at
from benchmark.protocol.metrics import View
from benchmark.report.reading.collect import REFERENCE_FAMILY, GroupKey, group_key
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.ranks import Ties
from benchmark.report.reading.text import clean, shortened
from benchmark.report.reading.views import WORDS, columns_of, further_metrics, has_view
from benchmark.report.statistics.inference import Statistics
from benchmark.report.tables.captions import MARKS, facts, tested
from benchmark.report.tables.ceiling import is_ceiling
from benchmark.report.tables.effort import capped_sentence, settings_footnote
from benchmark.report.tables.footnotes import Footnotes, seeds_named
from benchmark.report.tables.grid import DAGGER
from benchmark.report.tables.machines import machines_footnote
from benchmark.report.tables.marks import marked, with_statistics
from benchmark.report.tables.remarks import (
    TIED,
    all_items_footnotes,
    cold_users_footnote,
    handed_in_sentence,
    is_often_tied,
    left_out_sentence,
    lengths_sentences,
    mean_ties,
    precision_sentences,
    probes_sentences,
    protocol_footnotes,
    ties_footnote,
)
from benchmark.report.tables.rows import (
    DECIMALS,
    Cell,
    Row,
    RowGroup,
    Table,
    place_in_catalogue,
    place_of_family,
)
from benchmark.report.tables.unbeaten import not_clearly_beaten, unbeaten_sentences
from benchmark.systems.catalogue import base_name, entries, family_title

_LONGEST_NAME = 60


def main_table(
    task: TaskName,
    runs: Sequence[Run],
    variant: str = "",
    statistics: Statistics | None = None,
    events: Mapping[str, Sequence[TaskEvents]] | None = None,
    view: View = "lists",
) -> Table:
    """The main table of ``task`` in a view: a row a system, HR and NDCG at the view's cut-offs.

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
        view: what targets are ranked among. Without any run that has it, the table is empty.

    Raises:
        BenchmarkError: there are no runs, or runs that may not stand in one table.
    """
    key = _common_key(runs)
    columns = columns_of(runs[0].record, view)
    by_system: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs if has_view(runs, view, task) else ():
        if run.record.system.name == base_name(run.record.system.name):
            by_system[run.record.system.name].append(run)
    with_task = {
        of_system[0].record.system.family
        for of_system in by_system.values()
        if task in of_system[0].record.system.tasks
    }

    footnotes = Footnotes()
    most_seeds = max(
        (sum(_failure(task, run, view) is None for run in of_one) for of_one in by_system.values()),
        default=0,
    )
    by_family: defaultdict[str, list[Row]] = defaultdict(list)
    for system in sorted(by_system, key=place_in_catalogue):
        ties = mean_ties(events.get(system, ())) if events else None
        row = _row(task, by_system[system], most_seeds, footnotes, view, ties)
        does_it = any(task in run.record.system.tasks for run in by_system[system])
        if does_it or (row.family in with_task and row.family != REFERENCE_FAMILY):
            by_family[row.family].append(row)
    groups = tuple(
        RowGroup(family, family_title(family), tuple(by_family[family]))
        for family in sorted(by_family, key=place_of_family)
    )
    rows = [row for group in groups for row in group.rows]
    statistics = statistics or Statistics()
    above = _above(task, runs, rows, statistics, view)
    sentences = " ".join([facts(task, runs, rows, variant, view), *above, MARKS])
    notes = [
        ties_footnote(rows),
        *(all_items_footnotes(task, runs) if view == "all-items" else ()),
        cold_users_footnote(task, runs),
        settings_footnote(rows, runs),
        machines_footnote(rows, runs, columns),
        *protocol_footnotes(task, runs),
    ]
    return Table(
        key=key,
        variant=variant,
        task=task,
        caption=f"{sentences}{tested(statistics)}",
        columns=columns,
        groups=with_statistics(marked(groups, len(columns)), columns, statistics),
        footnotes=(*footnotes.of_rows(rows), *(note for note in notes if note)),
        view=view,
        further=further_metrics(runs[0].record, view),
        above=above,
    )


def _above(
    task: TaskName,
    runs: Sequence[Run],
    rows: Sequence[Row],
    statistics: Statistics,
    view: View,
) -> tuple[str, ...]:
    """What must be said above the table: of rows without learning, and of the lists."""
    references = [
        row for row in rows if row.family == REFERENCE_FAMILY and not is_ceiling(row.system)
    ]
    trained = [row for row in rows if row.family != REFERENCE_FAMILY]
    level = not_clearly_beaten(statistics.over_references)
    metrics = columns_of(runs[0].record, view)
    unbeaten = unbeaten_sentences(references, trained, metrics, level, DECIMALS)
    probes = probes_sentences(task, references, runs) if view == "lists" else ()
    lengths = lengths_sentences(task, runs, view)
    return tuple(map(clean, (*unbeaten, *probes, *lengths)))


def ablated_systems(runs: Sequence[Run]) -> tuple[str, ...]:
    """The systems of which ``runs`` hold rows with other settings (``system@row``)."""
    names = dict.fromkeys(run.record.system.name for run in runs)
    return tuple(dict.fromkeys(base_name(name) for name in names if name != base_name(name)))


def ablation_table(
    task: TaskName, system: str, runs: Sequence[Run], variant: str = "", view: View = "lists"
) -> Table:
    """One system and its rows with other settings; nothing is marked as best.

    Args:
        task: the task whose metrics are shown.
        system: the system as the catalogue names it.
        runs: comparable runs; those of other systems are left out.
        variant: shown in the caption where two groups of runs have the same names.
        view: what targets are ranked among. Without any run that has it, the table is empty.

    Raises:
        BenchmarkError: there are no runs of the system, or runs that may not stand in one table.
    """
    own = [run for run in runs if base_name(run.record.system.name) == system]
    key = _common_key(own)
    by_name: defaultdict[str, list[Run]] = defaultdict(list)
    for run in own:
        by_name[run.record.system.name].append(run)
    footnotes = Footnotes()
    most_seeds = max(
        sum(_failure(task, run, view) is None for run in of_row) for of_row in by_name.values()
    )
    rows = tuple(_row(task, by_name[name], most_seeds, footnotes, view) for name in sorted(by_name))
    does_it = has_view(own, view, task) and any(task in run.record.system.tasks for run in own)
    title = entries()[system].display_name if system in entries() else system
    groups = (RowGroup(system, title, rows),) if does_it else ()
    return Table(
        key=key,
        variant=variant,
        task=task,
        caption=f"Ablations of {clean(title)}. {facts(task, own, rows, variant, view)}",
        columns=columns_of(own[0].record, view),
        groups=groups,
        footnotes=footnotes.of_rows(rows),
        view=view,
        further=further_metrics(own[0].record, view),
        kind=f"ablations-{system}",
    )


def _common_key(runs: Sequence[Run]) -> GroupKey:
    keys = {group_key(run) for run in runs}
    if len(keys) != 1:
        raise BenchmarkError(
            f"a table needs runs of one data set, protocol and preset, and was given {len(keys)}."
        )
    return keys.pop()


def _row(
    task: TaskName,
    runs: Sequence[Run],
    most_seeds: int,
    footnotes: Footnotes,
    view: View,
    ties: Ties | None = None,
) -> Row:
    """The row of one system's runs, one a seed; its sentences go to ``footnotes``."""
    record = max(runs, key=finished_at).record
    system, columns = record.system, columns_of(record, view)
    further = further_metrics(record, view)
    empty = Row(
        system=system.name,
        display_name=shortened(system.display_name, _LONGEST_NAME),
        family=system.family,
        status="not this task",
        seeds=(),
        cells=(Cell(),) * len(columns),
        further=(Cell(),) * len(further),
    )
    if task not in system.tasks:
        return empty

    finished: list[Run] = []
    failed: defaultdict[str, list[int]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.record.seed):
        failure = _failure(task, run, view)
        if failure is None:
            finished.append(run)
        else:
            failed[failure].append(run.record.seed)
    for failure, of_seeds in failed.items():
        which = "" if len(of_seeds) == len(runs) else f", {seeds_named(of_seeds)}"
        footnotes.failure(f"{empty.display_name}{which}: {failure}")
    stand_ins = dict.fromkeys(text for run in runs for text in run.record.system.stand_ins)
    left_out = left_out_sentence(task, runs) if view == "all-items" else ""
    said = (
        *stand_ins,
        handed_in_sentence(task, runs, view),
        left_out,
        *precision_sentences(task, runs),
        capped_sentence(finished),
    )
    numbers = [footnotes.number(sentence) for sentence in said if sentence]
    seeds = tuple(run.record.seed for run in finished)
    if finished and len(finished) < most_seeds:
        told = f"From {seeds_named(seeds)} only; others have {most_seeds}."
        if len(seeds) == 1 and system.family != REFERENCE_FAMILY:
            told += " Its marks concern this trained instance only."
        numbers.append(footnotes.number(told))
    row = replace(empty, ties=ties)
    tied = [TIED] if is_often_tied(row) else []
    return replace(
        row,
        status="failed" if not finished else "partly failed" if failed else "finished",
        seeds=seeds,
        cells=_cells(finished, view, task, columns),
        further=_cells(finished, view, task, further),
        notes=(*numbers, *([DAGGER] if failed else ()), *tied),
    )


def _failure(task: TaskName, run: Run, view: View) -> str | None:
    """Why ``run`` has no figures for ``task`` in the view, or None if it has."""
    if run.record.status == "failed":
        return run.record.error or "The run failed without a message."
    figures = run.metrics_of(view).get(task, {})
    if run.record.outside is not None and not figures:
        return f"No scores of it were handed in for {WORDS[view]}."
    columns = columns_of(run.record, view)
    missing = [name for name in columns if not math.isfinite(figures.get(name, math.nan))]
    if missing:
        return f"The run finished without figures for {', '.join(missing)}."
    return None


def _cells(
    runs: Sequence[Run], view: View, task: TaskName, metrics: Sequence[str]
) -> tuple[Cell, ...]:
    """Of each metric; without figures where a run has none, as runs from before it was kept."""
    figures = [run.metrics_of(view)[task] for run in runs]
    return tuple(_cell([of_run.get(metric) for of_run in figures]) for metric in metrics)


def _cell(figures: Sequence[float | None]) -> Cell:
    values = [value for value in figures if value is not None]
    if not values or len(values) < len(figures):
        return Cell()
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), deviation)
