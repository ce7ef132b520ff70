"""A table as a grid of printed entries, and its forms: LaTeX, Markdown, CSV.

Every table of the report becomes a :class:`Grid`, whatever it is about, so that they all look alike
and each form is written once. A grid holds plain text; each form escapes it for itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.report.text import csv_cell, latex, latex_breakable, markdown

DAGGER = "†"
DASH = "–"
_LINES_OF_A_PAGE = 40  # of rows and titles of groups, beside a caption and footnotes
_FEWEST_TOGETHER = 3  # rows of a group at the foot of a page
_MANY_COLUMNS = 8  # more than these are set in a smaller type, across both columns of a paper
_MOST_COLUMNS = 10  # of a page, beside the names
_MOST_WITH_SPREAD = 5  # the same where entries have something in brackets
_INDENTED = ("", r"\quad ", r"\qquad ")  # by how many titles stand over a row

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Entry:
    """What one cell shows: ``text``, then ``raised`` marks, then a small ``spread`` (± ...).

    ``value`` is the number behind the text, by which a reader may sort; ``detail`` is a sentence
    that a page shows beside it. ``ends`` of an interval and a corrected ``p_value`` have columns of
    their own in CSV. The first entry of a row may stand under a ``heading``, which is printed once
    above consecutive rows that share it; ``name`` is then what it is called without.
    """

    text: str = ""
    value: float | None = None
    mark: Mark = ""
    raised: str = ""
    spread: str = ""
    detail: str = ""
    ends: tuple[float, float] | None = None
    p_value: float | None = None
    heading: str = ""
    name: str = ""

    @property
    def whole(self) -> str:
        """The text, or the name where the text needs its heading."""
        return self.name or self.text


@dataclass(frozen=True)
class GridGroup:
    """Rows under one title; a group set apart is followed by a heavy rule."""

    title: str
    rows: tuple[tuple[Entry, ...], ...]
    set_apart: bool = False

    @property
    def lines(self) -> Iterator[str | tuple[Entry, ...]]:
        """The rows, and before those under a heading the heading."""
        last = ""
        for row in self.rows:
            heading = row[0].heading
            if heading and heading != last:
                yield heading
            last = heading
            yield row


@dataclass(frozen=True)
class Footnote:
    """A sentence under the table; ``mark`` is a number or a sign, or empty if it is about all."""

    mark: str
    text: str


@dataclass(frozen=True)
class Grid:
    """A table to print. ``stem`` names its files and LaTeX label, ``caption`` is plain text.

    ``head`` has a name for each column, the first one for the rows' names. ``spans`` are titles
    over several columns each, as (title, number of columns), from the second column on.
    ``left`` are the columns whose entries are words and stand on the left, as the first one does.
    """

    stem: str
    caption: str
    head: tuple[str, ...]
    groups: tuple[GridGroup, ...]
    footnotes: tuple[Footnote, ...] = ()
    spans: tuple[tuple[str, int], ...] = ()
    left: tuple[int, ...] = ()

    @property
    def rows(self) -> tuple[tuple[Entry, ...], ...]:
        """The rows of all groups."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def full_head(self) -> tuple[str, ...]:
        """The columns' names, each with the title over it."""
        titles = [title for title, width in self.spans for _ in range(width)]
        first, *names = self.head
        if titles:
            names = [f"{title} {name}" for title, name in zip(titles, names, strict=True)]
        return (first, *names)

    @property
    def is_wide(self) -> bool:
        """Whether it takes both columns of a paper."""
        has_spread = any(entry.spread for row in self.rows for entry in row)
        return has_spread or len(self.head) > _MANY_COLUMNS

    def is_left(self, column: int) -> bool:
        """Whether the column's entries stand on the left."""
        return column == 0 or column in self.left


def number(value: float | None, text: str, detail: str = "") -> Entry:
    """An entry of a number, or a dash where there is none."""
    return Entry(DASH) if value is None else Entry(text, value=value, detail=detail)


def to_latex(grid: Grid) -> str:
    r"""Floats that compile as they are after ``\usepackage{booktabs}``, as many as pages need.

    A page holds so many rows, and so many columns.
    """
    parts = _columns_of_pages(grid)
    pages = [page for part in parts for page in _pages(part)]
    return "\n".join(_latex_float(page, continued=page is not pages[0]) for page in pages)


def _columns_of_pages(grid: Grid) -> list[Grid]:
    """``grid`` in parts whose columns a page can hold; the last one has the footnotes.

    Columns under titles stay together.
    """
    has_spread = any(entry.spread for row in grid.rows for entry in row)
    most = _MOST_WITH_SPREAD if has_spread else _MOST_COLUMNS
    columns = len(grid.head) - 1
    if columns <= most or grid.spans or grid.left:
        return [grid]
    width = -(-columns // -(-columns // most))
    firsts = range(1, columns + 1, width)
    return [
        replace(
            grid,
            head=(grid.head[0], *grid.head[first : first + width]),
            groups=tuple(
                replace(
                    group,
                    rows=tuple((row[0], *row[first : first + width]) for row in group.rows),
                )
                for group in grid.groups
            ),
            footnotes=grid.footnotes if first == firsts[-1] else (),
        )
        for first in firsts
    ]


def _pages(grid: Grid) -> list[Grid]:
    """``grid`` in parts that a page can hold; the last one has the footnotes."""
    pages: list[list[GridGroup]] = [[]]
    used = 0
    for group in grid.groups:
        rows, title = group.rows, bool(group.title) + len(list(group.lines)) - len(group.rows)
        while rows:
            room = _LINES_OF_A_PAGE - used - title
            if used and room < min(len(rows), _FEWEST_TOGETHER):
                pages.append([])
                used = 0
                continue
            part, rows = rows[:room], rows[room:]
            pages[-1].append(replace(group, rows=part))
            used += title + len(part)
    last = len(pages) - 1
    return [
        replace(grid, groups=tuple(page), footnotes=grid.footnotes if place == last else ())
        for place, page in enumerate(pages)
    ]


def _latex_float(grid: Grid, *, continued: bool) -> str:
    label = rf"tab:{grid.stem}"
    heading = [rf"\caption{{{latex_breakable(grid.caption)}}}", rf"\label{{{label}}}"]
    if continued:
        heading = [rf"Table~\ref{{{label}}}, continued"]
    environment = "table*" if grid.is_wide else "table"
    columns = len(grid.head)
    size = r"\small\setlength{\tabcolsep}{4pt}"
    if grid.is_wide:
        type_size = r"\scriptsize" if columns > _MOST_COLUMNS else r"\footnotesize"
        size = rf"{type_size}\setlength{{\tabcolsep}}{{1.5pt}}"
    alignment = "".join("l" if grid.is_left(column) else "r" for column in range(columns))
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        size,
        *heading,
        # Plain classes put the caption right on the first rule.
        r"\par\smallskip",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_latex_spans(grid),
        rf"{' & '.join(map(latex, grid.head))} \\",
    ]
    for group, previous in zip(grid.groups, (None, *grid.groups), strict=False):
        after_one_apart = previous is not None and previous.set_apart
        lines.append(r"\midrule[\heavyrulewidth]" if after_one_apart else r"\midrule")
        if group.title:
            title = rf"\textit{{{latex(group.title)}}}"
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{{title}}} \\")
        lines += _latex_rows(group, columns)
    lines += [r"\bottomrule", r"\end{tabular}"]
    if grid.footnotes:
        notes = [_latex_note(note) for note in grid.footnotes]
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright", *notes, "}"]
    return "\n".join([*lines, rf"\end{{{environment}}}", ""])


def _latex_spans(grid: Grid) -> list[str]:
    if not grid.spans:
        return []
    titles, rules, first = [""], [], 2
    for title, width in grid.spans:
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [rf"{' & '.join(titles)} \\", "".join(rules)]


def _latex_note(note: Footnote) -> str:
    mark = rf"\textsuperscript{{{latex(note.mark)}}}~" if note.mark else ""
    return rf"{mark}{latex_breakable(note.text)}\par"


def _latex_rows(group: GridGroup, columns: int) -> list[str]:
    depth = int(bool(group.title))
    lines = []
    for line in group.lines:
        if isinstance(line, str):
            heading = rf"{_INDENTED[depth]}{latex(line)}"
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{{heading}}} \\")
        else:
            lines.append(_latex_row(line, depth + bool(line[0].heading)))
    return lines


def _latex_row(row: Sequence[Entry], depth: int) -> str:
    cells = []
    for column, entry in enumerate(row):
        command = {"best": r"\textbf", "second": r"\underline", "": ""}[entry.mark]
        text = latex(entry.text)
        shown = f"{command}{{{text}}}" if command else text
        if entry.raised:
            shown += rf"\textsuperscript{{{latex(entry.raised)}}}"
        if entry.spread:
            shown += rf"{{\scriptsize\,{latex(entry.spread)}}}"
        cells.append(shown if column else _INDENTED[depth] + shown)
    return " & ".join(cells) + r" \\"


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


def to_markdown(grid: Grid) -> str:
    """A GitHub table: best in bold, second underlined by HTML, footnotes as a list."""
    names = grid.full_head
    lines = [
        markdown(grid.caption),
        "",
        _markdown_line([markdown(name) for name in names]),
        _markdown_line(["---" if grid.is_left(i) else "---:" for i in range(len(names))]),
    ]
    for group in grid.groups:
        if group.title:
            title = f"*{markdown(group.title)}*"
            lines.append(_markdown_line([title, *[""] * (len(names) - 1)]))
        for line in group.lines:
            if isinstance(line, str):
                cells = [markdown(line), *[""] * (len(names) - 1)]
            else:
                cells = [_markdown_entry(entry) for entry in line]
            lines.append(_markdown_line(cells))
    if grid.footnotes:
        lines.append("")
        marks = [f"<sup>{note.mark}</sup> " if note.mark else "" for note in grid.footnotes]
        lines += [
            f"- {mark}{markdown(note.text)}"
            for mark, note in zip(marks, grid.footnotes, strict=True)
        ]
    return "\n".join([*lines, ""])


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_entry(entry: Entry) -> str:
    text = markdown(entry.text)
    shown = {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[entry.mark]
    if entry.heading:
        shown = f"&emsp;{shown}"
    if entry.raised:
        shown += f"<sup>{markdown(entry.raised)}</sup>"
    return f"{shown} {markdown(entry.spread)}" if entry.spread else shown


def to_csv(grid: Grid) -> str:
    """One line a row, the group's title first; numbers as they are, not as they are rounded."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    with_ends = {
        column for row in grid.rows for column, entry in enumerate(row) if entry.ends is not None
    }
    head = ["group"]
    for column, name in enumerate(grid.full_head):
        more = ("low", "high", "p") if column in with_ends else ()
        head += map(csv_cell, (name, *(f"{name} {figure}" for figure in more)))
    writer.writerow(head)
    for group in grid.groups:
        for row in group.rows:
            values = [csv_cell(group.title)]
            for column, entry in enumerate(row):
                is_word = entry.value is None
                values.append(csv_cell(entry.whole) if is_word else f"{entry.value:.10g}")
                if column in with_ends:
                    more = (*(entry.ends or (None, None)), entry.p_value)
                    values += ["" if figure is None else f"{figure:.10g}" for figure in more]
            writer.writerow(values)
    return written.getvalue()
