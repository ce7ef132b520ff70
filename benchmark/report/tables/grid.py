"""A table as a grid of printed entries, and its forms: Markdown, CSV, and LaTeX next door.

Every table of the report becomes a :class:`Grid`, whatever it is about, so that they all look alike
and each form is written once. A grid holds plain text; each form escapes it for itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.report.reading.text import csv_cell, markdown

DAGGER = "†"
DASH = "–"

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Entry:
    """What one cell shows: ``text``, then ``raised`` marks, then a small ``spread`` (± ...).

    ``value`` is the number behind the text, by which a reader may sort; ``detail`` is a sentence
    that a page shows beside it. ``ends`` of an interval and a corrected ``p_value`` have columns of
    their own in CSV. The first entry of a row may stand under a ``heading``, which is printed once
    above consecutive rows that share it; ``name`` is then what it is called without. ``cite`` are
    BibTeX keys, separated by commas, which LaTeX cites.
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
    cite: str = ""

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

    def is_left(self, column: int) -> bool:
        """Whether the column's entries stand on the left."""
        return column == 0 or column in self.left


def with_columns(grid: Grid, columns: Sequence[int]) -> Grid:
    """``grid`` with some of its columns, each with the title that stands over it."""
    spans: list[tuple[str, int]] = []
    if grid.spans:
        owners = [place for place, (_, width) in enumerate(grid.spans) for _ in range(width)]
        last = -1
        for column in columns:
            owner = owners[column - 1] if column else -1
            if owner >= 0 and owner == last:
                spans[-1] = (spans[-1][0], spans[-1][1] + 1)
            elif owner >= 0:
                spans.append((grid.spans[owner][0], 1))
            last = owner
    return replace(
        grid,
        head=tuple(grid.head[column] for column in columns),
        groups=tuple(
            replace(
                group, rows=tuple(tuple(row[column] for column in columns) for row in group.rows)
            )
            for group in grid.groups
        ),
        spans=tuple(spans),
        left=tuple(place for place, column in enumerate(columns) if column in grid.left),
    )


def number(value: float | None, text: str, detail: str = "") -> Entry:
    """An entry of a number, or a dash where there is none."""
    return Entry(DASH) if value is None else Entry(text, value=value, detail=detail)


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
