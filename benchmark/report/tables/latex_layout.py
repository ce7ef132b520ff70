"""Where tables are cut, so that a page of LaTeX's ``article`` holds each part.

A page is 345 pt wide in one column, less than in two, and 550 pt high; type is of 10 pt. What does
not fit is cut into parts rather than scaled: wide tables by columns, the names repeated, and long
ones by rows. To know where, widths are added up from those of Computer Modern, and a little is left
over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from benchmark.report.reading.text import breakable_parts
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup, with_columns

_WIDTH, _HEIGHT = 341.0, 530.0  # points of a page that a table may take
GAP = 6.0  # between two columns
_NARROWEST = (120.0, 66.0)  # to which words may be folded, in the first column and further ones
_FEWEST_TOGETHER = 3  # rows of a group at the foot of a page
_CAPTION = (10.0, 12.0)  # size of type and distance of lines
_NOTE = (8.0, 9.5)
_HEAD = 30.0  # what caption, rules and distances take beside their lines
_RULE = 6.0
_FOLDING = 1.12  # lines of words that are set in a column are not full

# Of Computer Modern Roman at 10 points, in thousandths of the type's size.
_WIDTHS = {
    sign: width
    for width, signs in {
        278: "ijl.,:;'`!|[]",
        306: "f",
        333: " -",
        361: "I",
        389: "()t",
        392: "rs",
        444: "cez",
        500: "0123456789aogJ/*",
        528: "kvxy",
        556: 'bdhnpqu"$?S',
        611: "Z",
        652: "FL",
        680: "EP",
        722: "wTCB",
        764: "ADHKNRUVXYOGQ&+=<>~±≈−",
        833: "m%#",
        917: "M",
        1028: "W",
    }.items()
    for sign in signs
}
_OTHER = 764
# Small sizes are cut wider: by how much, by size.
_WIDER = {5: 1.37, 6: 1.23, 7: 1.14, 8: 1.07, 9: 1.03, 10: 1.0}
_BOLD = 1.15


@dataclass(frozen=True)
class Type:
    """A size of type; ``raised`` is that of raised marks, ``line`` the distance of lines."""

    command: str
    size: int
    line: float
    raised: int


_TYPES = (
    Type(r"\small", 9, 11.0, 6),
    Type(r"\footnotesize", 8, 9.5, 6),
    Type(r"\scriptsize", 7, 8.0, 5),
)
_SPREAD = 7  # size of what is in brackets, or of a deviation


@dataclass(frozen=True)
class Layout:
    """How a part is set: its type and, in points, the widths of its columns.

    ``folded`` are the columns whose entries go on in further lines.
    """

    type: Type
    widths: tuple[float, ...]
    folded: frozenset[int]

    @property
    def width(self) -> float:
        """Of the whole table."""
        return sum(self.widths) + GAP * (len(self.widths) - 1)


@dataclass
class Page:
    """What one float holds: tables below each other, then notes."""

    used: float
    tables: list[tuple[Grid, Layout]] = field(default_factory=list)
    notes: list[Footnote] = field(default_factory=list)


def width_of(text: str, size: float) -> float:
    """The width of a line of text in points, rather too large than too small.

    >>> round(width_of("0.1234", 10.0), 1)
    27.8
    """
    wider = _WIDER[math.ceil(size)]
    return sum(_WIDTHS.get(sign, _OTHER) for sign in text) * size * wider / 1000.0


def indent_of(depth: int, kind: Type) -> float:
    """How far a row stands in under so many titles, in points."""
    return depth * kind.size * _WIDER[kind.size]


def width_of_entry(entry: Entry, kind: Type) -> float:
    """The width of all that an entry shows, on one line, in points."""
    width = width_of(entry.text, kind.size) * (_BOLD if entry.mark == "best" else 1.0)
    width += width_of(entry.raised, kind.raised)
    if entry.spread:
        width += width_of(short(entry.spread), _SPREAD) + 2.0
    if entry.cite:
        width += width_of(_as_cited(entry.cite), kind.size)
    return width


def _as_cited(keys: str) -> str:
    """How long a citation by number is."""
    return f" [{', '.join('00' for _ in keys.split(','))}]"


def short(spread: str) -> str:
    """Without the zero before the point: it is the same in every cell."""
    return spread.replace("± 0.", "±.")


def _rows_with_depth(grid: Grid) -> Iterator[tuple[tuple[Entry, ...], int]]:
    for group in grid.groups:
        for row in group.rows:
            yield row, bool(group.title) + bool(row[0].heading)


def _natural_widths(grid: Grid, kind: Type) -> list[float]:
    """The width that each column takes by itself."""
    widths = [width_of(name, kind.size) for name in grid.head]
    for row, depth in _rows_with_depth(grid):
        for column, entry in enumerate(row):
            indent = 0.0 if column else indent_of(depth, kind)
            widths[column] = max(widths[column], indent + width_of_entry(entry, kind))
    first = 1
    for title, count in grid.spans:
        own = sum(widths[first : first + count]) + GAP * (count - 1)
        missing = width_of(title, kind.size) - own
        if missing > 0:  # LaTeX widens the last column
            widths[first + count - 1] += missing
        first += count
    return widths


def _layout(grid: Grid, kind: Type) -> Layout | None:
    """How ``grid`` is set in a type, its words folded where need be; None if it is too wide."""
    natural = _natural_widths(grid, kind)
    words = [column for column in range(len(natural)) if grid.is_left(column)]
    room = _WIDTH - GAP * (len(natural) - 1)
    room -= sum(width for column, width in enumerate(natural) if column not in words)
    least = {
        column: min(natural[column], max(_NARROWEST[column > 0], _longest_part(grid, column, kind)))
        for column in words
    }
    if sum(least.values()) > room:
        return None
    given = _poured(least, {column: natural[column] for column in words}, room)
    widths = [given.get(column, width) for column, width in enumerate(natural)]
    folded = frozenset(column for column in words if given[column] < natural[column])
    return Layout(kind, tuple(widths), folded)


def _longest_part(grid: Grid, column: int, kind: Type) -> float:
    """The width of the longest part of a column that is never broken."""
    longest = 0.0
    for row, depth in _rows_with_depth(grid):
        indent = 0.0 if column else indent_of(depth, kind)
        for word in row[column].text.split():
            parts = breakable_parts(word)
            longest = max(longest, *(indent + width_of(part, kind.size) for part in parts))
    return longest + 12.0  # a mark or a citation stays at its word


def _poured(least: dict[int, float], most: dict[int, float], room: float) -> dict[int, float]:
    """``room`` shared among columns: each its least, then all equally up to their most."""
    given = dict(least)
    left = room - sum(given.values())
    growing = [column for column in given if given[column] < most[column]]
    while growing and left > 0.01:
        step = min(left / len(growing), *(most[column] - given[column] for column in growing))
        for column in growing:
            given[column] += step
        left -= step * len(growing)
        growing = [column for column in growing if most[column] - given[column] > 0.01]
    return given


# Cutting


def _parts(grid: Grid) -> list[tuple[Grid, Layout]]:
    """``grid`` in the fewest parts whose columns a page can hold, in the largest type."""
    repeated = 1
    while repeated in grid.left:
        repeated += 1
    columns = range(repeated, len(grid.head))
    units = _units(grid, columns)
    for number in range(1, max(len(units), 1) + 1):
        cuts = [units[round(i * len(units) / number)] for i in range(number)] if units else []
        ends = [*cuts[1:], len(grid.head)]
        parts = [
            with_columns(grid, [*range(repeated), *range(first, end)])
            for first, end in zip(cuts or [repeated], ends, strict=True)
        ]
        tried = [[_layout(part, kind) for part in parts] for kind in _TYPES]
        fitting = [found for found in map(_all_found, tried) if found is not None]
        if fitting:
            # Rather in a smaller type than with words folded, if that is not the smallest.
            whole = (found for found in fitting if not any(layout.folded for layout in found))
            chosen = next(whole, fitting[0])
            if chosen[0].type is _TYPES[-1]:
                chosen = fitting[0]
            return list(zip(parts, chosen, strict=True))
    # One column alone is too wide: nothing narrower can be made of it.
    kind = _TYPES[-1]
    return [(part, Layout(kind, tuple(_natural_widths(part, kind)), frozenset())) for part in parts]


def _all_found(layouts: Sequence[Layout | None]) -> list[Layout] | None:
    found = [layout for layout in layouts if layout is not None]
    return found if len(found) == len(layouts) else None


def _units(grid: Grid, columns: range) -> list[int]:
    """Where ``grid`` may be cut: before any column, or before a title over several columns."""
    if not grid.spans:
        return list(columns)
    firsts, first = [], 1
    for _, width in grid.spans:
        firsts.append(first)
        first += width
    halves = [with_columns(grid, [0, *range(f, f + w)]) for f, (_, w) in
              zip(firsts, grid.spans, strict=True)]  # fmt: skip
    if all(_layout(half, _TYPES[-1]) is not None for half in halves):
        return firsts
    return list(columns)


def pages_of(grid: Grid) -> list[Page]:
    """What each float holds; the footnotes follow the last row."""
    caption = _lines(width_of(f"Table 100: {grid.caption}", 10.0), _WIDTH) * _CAPTION[1]
    pages = [Page(_HEAD + caption)]
    for part, layout in _parts(grid):
        whole = _height(part, layout)
        if pages[-1].used + whole <= _HEIGHT:
            pages[-1].tables.append((part, layout))
            pages[-1].used += whole
            continue
        for rows in _cut(part, layout, pages[-1].used):
            if pages[-1].tables or not rows.rows:
                pages.append(Page(_HEAD + _CAPTION[1]))
            if rows.rows:
                pages[-1].tables.append((rows, layout))
                pages[-1].used += _height(rows, layout)
    for note in grid.footnotes:
        height = _lines(width_of(f"{note.mark}{note.text}", _NOTE[0]), _WIDTH) * _NOTE[1]
        height += 0.0 if pages[-1].notes else _RULE
        if pages[-1].used + height > _HEIGHT:
            pages.append(Page(_HEAD + _CAPTION[1]))
        pages[-1].notes.append(note)
        pages[-1].used += height
    return pages


def _lines(width: float, room: float) -> int:
    return max(math.ceil(width * _FOLDING / room), 1)


def _height_of_row(row: Sequence[Entry], layout: Layout) -> float:
    lines = [
        _lines(width_of_entry(row[column], layout.type), layout.widths[column])
        for column in layout.folded
    ]
    return max(lines, default=1) * layout.type.line


def _height_of_head(grid: Grid, layout: Layout) -> float:
    return (1 + bool(grid.spans)) * layout.type.line + 3 * _RULE


def _height_of_titles(group: GridGroup, layout: Layout) -> float:
    titles = [line for line in (group.title, *group.lines) if line and isinstance(line, str)]
    lines = [_lines(width_of(title, layout.type.size) + 20.0, layout.width) for title in titles]
    return sum(lines) * layout.type.line + _RULE


def _height(grid: Grid, layout: Layout) -> float:
    of_groups = (
        _height_of_titles(group, layout) + sum(_height_of_row(row, layout) for row in group.rows)
        for group in grid.groups
    )
    return _height_of_head(grid, layout) + sum(of_groups)


def _cut(grid: Grid, layout: Layout, used: float) -> Iterator[Grid]:
    """``grid`` by rows, first what goes on a page of which so much is used, possibly nothing."""
    head = _height_of_head(grid, layout)
    page: list[GridGroup] = []
    used += head
    for group in grid.groups:
        rows = group.rows
        titles = _height_of_titles(group, layout)
        while rows:
            count, height = 0, titles
            for row in rows:
                height += _height_of_row(row, layout)
                if used + height > _HEIGHT:
                    break
                count += 1
            is_new_page = not page and used <= _HEAD + _CAPTION[1] + head
            if is_new_page:
                count = max(count, 1)
            if count < min(len(rows), _FEWEST_TOGETHER) and not is_new_page:
                yield replace(grid, groups=tuple(page))
                page, used = [], _HEAD + _CAPTION[1] + head
                continue
            page.append(replace(group, rows=rows[:count]))
            used += titles + sum(_height_of_row(row, layout) for row in rows[:count])
            rows = rows[count:]
    yield replace(grid, groups=tuple(page))
