"""The two main tables in the paper's layout, and their forms: LaTeX, Markdown, CSV.

Everything here is a pure function: runs in, a :class:`Table` out; a table in, text out. Families
are row groups in the catalogue's order, the no-learning references stand first and apart. Values
are compared as they are printed, so two rows that look equal share a mark.
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
from benchmark.report.collect import GroupKey, finished_at, group_key
from benchmark.report.text import (
    clean,
    counted,
    csv_cell,
    file_name,
    latex,
    latex_breakable,
    markdown,
    shortened,
)
from benchmark.runs.record import Run, TaskName
from benchmark.systems.catalogue import base_name, entries, family_order, family_title

REFERENCE_FAMILY = "references"
DECIMALS = 4
DAGGER = "†"
DASH = "–"
_LONGEST_NAME = 60
_LONGEST_SENTENCE = 400

Mark = Literal["", "best", "second"]
Status = Literal["finished", "partly failed", "failed", "not this task"]

_TIES = {
    "expected": "tied candidates count by the mean over all their orders",
    "pessimistic": "a tied target is ranked last among its equals",
    "optimistic": "a tied target is ranked first among its equals",
}


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over the seeds; no mean where the row has no figures."""

    mean: float | None = None
    deviation: float | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Row:
    """One system. ``seeds`` are those of the finished runs; ``notes`` are marks of footnotes."""

    system: str
    display_name: str
    family: str
    status: Status
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()

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
class Footnote:
    """A sentence under the table; ``mark`` is a number or a dagger."""

    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """One table, ready to be printed in any form. ``groups`` is empty if no system does the task.

    ``key`` says what all its runs have in common; ``variant`` is shown where that has the same
    names as another table's; ``caption`` is plain text; ``kind`` tells the table from the main
    one of its task.
    """

    key: GroupKey
    variant: str
    task: TaskName
    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    footnotes: tuple[Footnote, ...]
    kind: str = ""

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


def main_table(task: TaskName, runs: Sequence[Run], variant: str = "") -> Table:
    """The main table of ``task``: a row a system, the paper's five metrics.

    Rows of a system with other settings (``system@row``) are for :func:`ablation_table`.

    A system that does not do the task has a row of dashes if its family has a member that does; a
    reference ranker has none.

    Args:
        task: the task whose metrics are shown.
        runs: comparable runs, one a system and seed, of both tasks.
        variant: shown in the caption where two groups of runs have the same names.

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
    for system in sorted(by_system, key=_place_in_catalogue):
        row = _row(task, by_system[system], most_seeds, footnotes)
        does_it = any(task in run.record.system.tasks for run in by_system[system])
        if does_it or (row.family in with_task and row.family != REFERENCE_FAMILY):
            by_family[row.family].append(row)
    groups = tuple(
        RowGroup(family, family_title(family), tuple(by_family[family]))
        for family in sorted(by_family, key=_place_of_family)
    )
    rows = [row for group in groups for row in group.rows]
    return Table(
        key=key,
        variant=variant,
        task=task,
        caption=_caption(task, runs, rows, variant),
        columns=METRIC_NAMES,
        groups=_marked(groups),
        footnotes=footnotes.of_rows(rows),
    )


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


def _place_in_catalogue(system: str) -> tuple[int, str]:
    order = {name: place for place, name in enumerate(entries())}
    return order.get(system.partition(":")[0], len(order)), system


def _place_of_family(family: str) -> tuple[bool, int, str]:
    order = {name: place for place, name in enumerate(family_order())}
    return family != REFERENCE_FAMILY, order.get(family, len(order)), family


class _Footnotes:
    """Collects sentences; equal sentences share a number, failures share the dagger."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}
        self._failures: list[Footnote] = []

    def number(self, sentence: str) -> str:
        return self._numbers.setdefault(
            shortened(sentence, _LONGEST_SENTENCE), str(len(self._numbers) + 1)
        )

    def failure(self, sentence: str) -> None:
        self._failures.append(Footnote(DAGGER, shortened(sentence, _LONGEST_SENTENCE)))

    def of_rows(self, rows: Sequence[Row]) -> tuple[Footnote, ...]:
        numbered = [Footnote(mark, text) for text, mark in self._numbers.items()]
        dashes = any(row.status == "not this task" for row in rows)
        explained = [Footnote(DASH, "The system does not do this task.")] if dashes else []
        return (*numbered, *self._failures, *explained)


def _row(task: TaskName, runs: Sequence[Run], most_seeds: int, footnotes: _Footnotes) -> Row:
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
        numbers.append(footnotes.number(f"From {_seeds(seeds)} only; others have {most_seeds}."))
    return replace(
        empty,
        status="failed" if not finished else "partly failed" if failed else "finished",
        seeds=seeds,
        cells=tuple(
            _cell([run.metrics[task][metric] for run in finished]) for metric in METRIC_NAMES
        ),
        notes=(*numbers, *([DAGGER] if failed else ())),
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


def _caption(task: TaskName, runs: Sequence[Run], rows: Sequence[Row], variant: str) -> str:
    return (
        f"{_facts(task, runs, rows, variant)} "
        "Best trained system in bold, second underlined; rankers without learning stand apart."
    )


def _facts(task: TaskName, runs: Sequence[Run], rows: Sequence[Row], variant: str) -> str:
    """What was ranked, under which protocol and preset, and how it was averaged."""
    record = runs[0].record
    dataset, protocol = record.dataset, record.protocol
    events = max((run.record.protocol.test_events.get(task, 0) for run in runs), default=0)
    sizes = [counted(dataset.users, "user"), counted(dataset.items, "item")]
    sizes.append(counted(events, "test event"))
    named = f" (variant {variant})" if variant else ""
    numbers = {len(row.seeds) for row in rows if row.seeds}
    averaged = "Mean over the test events, one seed"
    if max(numbers, default=0) > 1:
        averaged = (
            f"Mean over the test events and {'' if len(numbers) == 1 else 'up to '}{max(numbers)} "
            "seeds, ± sample standard deviation over the seeds"
        )
    ties = protocol.settings.get("ties")
    rule = "" if ties is None else f"; {_TIES.get(str(ties), f'rule for ties: {ties}')}"
    return clean(
        f"{task.capitalize()} on {dataset.name} ({', '.join(sizes)}), "
        f"protocol {protocol.name}{named}{_differences(protocol.name, protocol.settings)}, "
        f"preset {record.preset}. {averaged}{rule}."
    )


def _differences(name: str, settings: Mapping[str, Any]) -> str:
    """How the settings in force differ from the named preset, or from the default one."""
    base = name if name in PRESETS else DEFAULT_PRESET
    named = PRESETS[base].model_dump(mode="json")
    different = [
        f"{key} = {value}" for key, value in sorted(settings.items()) if named.get(key) != value
    ]
    return f" ({base} with {', '.join(different)})" if different else ""


def to_latex(table: Table) -> str:
    r"""A float that compiles as it is after ``\usepackage{booktabs}``.

    It is as wide as both columns of a paper if the cells carry deviations.
    """
    environment = "table*" if table.has_deviations else "table"
    header = " & ".join(["System", *map(latex, table.columns)])
    notes = [
        rf"\textsuperscript{{{latex(note.mark)}}}~{latex_breakable(note.text)}\par"
        for note in table.footnotes
    ]
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        r"\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{latex_breakable(table.caption)}}}",
        rf"\label{{tab:{table.stem}}}",
        # Plain classes put the caption right on the first rule.
        r"\par\smallskip",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        rf"{header} \\",
    ]
    for group, previous in zip(table.groups, (None, *table.groups), strict=False):
        # A heavy rule sets the references apart from what is compared.
        after_references = previous is not None and previous.is_reference
        lines.append(r"\midrule[\heavyrulewidth]" if after_references else r"\midrule")
        title = rf"\textit{{{latex(group.title)}}}"
        lines.append(rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{{title}}} \\")
        lines += [_latex_row(row) for row in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if notes:
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright"]
        lines += [*notes, "}"]
    return "\n".join([*lines, rf"\end{{{environment}}}", ""])


def _latex_row(row: Row) -> str:
    notes = ",".join(latex(mark) for mark in row.notes)
    raised = rf"\textsuperscript{{{notes}}}" if notes else ""
    cells = []
    for cell in row.cells:
        if cell.mean is None:
            cells.append(latex(row.placeholder))
            continue
        mean = f"{cell.mean:.{DECIMALS}f}"
        command = {"best": r"\textbf", "second": r"\underline", "": ""}[cell.mark]
        shown = f"{command}{{{mean}}}" if command else mean
        if cell.deviation is not None:
            shown += rf"{{\scriptsize$\,\pm\,${cell.deviation:.{DECIMALS}f}}}"
        cells.append(shown)
    return " & ".join([rf"\quad {latex(row.display_name)}{raised}", *cells]) + r" \\"


def standalone(body: str) -> str:
    """A minimal LaTeX document around ``body``, to look at a table alone."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[margin=2cm]{geometry}",
            r"\usepackage{booktabs}",
            r"\begin{document}",
            body.rstrip(),
            r"\end{document}",
            "",
        ]
    )


def to_markdown(table: Table) -> str:
    """A GitHub table: best in bold, second underlined by HTML, footnotes as a list."""
    lines = [
        markdown(table.caption),
        "",
        _markdown_line(["System", *table.columns]),
        _markdown_line(["---", *["---:"] * len(table.columns)]),
    ]
    for group in table.groups:
        lines.append(_markdown_line([f"*{markdown(group.title)}*", *[""] * len(table.columns)]))
        lines += [_markdown_row(row) for row in group.rows]
    if table.footnotes:
        lines.append("")
        lines += [f"- <sup>{note.mark}</sup> {markdown(note.text)}" for note in table.footnotes]
    return "\n".join([*lines, ""])


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_row(row: Row) -> str:
    raised = f"<sup>{','.join(row.notes)}</sup>" if row.notes else ""
    cells = []
    for cell in row.cells:
        if cell.mean is None:
            cells.append(row.placeholder)
            continue
        mean = f"{cell.mean:.{DECIMALS}f}"
        shown = {"best": f"**{mean}**", "second": f"<u>{mean}</u>", "": mean}[cell.mark]
        if cell.deviation is not None:
            shown += f" ± {cell.deviation:.{DECIMALS}f}"
        cells.append(shown)
    return _markdown_line([markdown(row.display_name) + raised, *cells])


def to_csv(table: Table) -> str:
    """Plain numbers, one line a system; ``variant`` tells apart what only shares its names."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    figures = [name for column in table.columns for name in (column, f"{column} deviation")]
    names = ["dataset", "protocol", "preset", "task", "family", "system", "status", "seeds"]
    writer.writerow([*names, *figures, "variant"])
    key = table.key
    for row in table.rows:
        words = [key.dataset, key.protocol, key.preset, table.task, row.family, row.system]
        values = [value for cell in row.cells for value in (cell.mean, cell.deviation)]
        writer.writerow(
            [
                *map(csv_cell, words),
                row.status,
                " ".join(map(str, row.seeds)),
                *("" if value is None else f"{value:.6f}" for value in values),
                key.variant,
            ]
        )
    return written.getvalue()
