r"""Tables as LaTeX that compiles as it is after ``\usepackage{booktabs}``, on any page of a paper.

Every float is a ``table*``: over both columns of a two-column paper, and the same as ``table`` in
one column. What a page of LaTeX's ``article`` cannot hold (10 pt; 345 pt wide in one column, less
than in two; 550 pt high) is cut into parts rather than scaled: wide tables by columns, the names
repeated, and long ones by rows, in further floats. To know where to cut, widths are added up from
those of Computer Modern's letters, and a little is left over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmark.report.grid import Entry, Footnote, Grid, GridGroup, with_columns
from benchmark.report.plots import title_in
from benchmark.report.text import breakable_parts, latex, latex_breakable

if TYPE_CHECKING:
    from benchmark.report.group import Drawing

_WIDTH, _HEIGHT = 341.0, 530.0  # points of a page that a table may take
_GAP = 6.0  # between two columns
_NARROWEST = (120.0, 66.0)  # to which words may be folded, in the first column and further ones
_FEWEST_TOGETHER = 3  # rows of a group at the foot of a page
_CAPTION = (10.0, 12.0)  # size of type and distance of lines
_NOTE = (8.0, 9.5)
_HEAD = 30.0  # what caption, rules and distances take beside their lines
_RULE = 6.0
_FOLDING = 1.12  # lines of words that are set in a column are not full
_INDENTED = ("", r"\quad ", r"\qquad ")  # by how many titles stand over a row

# Of Computer Modern Roman at 10 points, in thousandths of the type's size.
_WIDTHS = {
    letter: width
    for width, letters in {
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
    for letter in letters
}
_OTHER = 764
# Small sizes are cut wider: by how much, by size.
_WIDER = {5: 1.37, 6: 1.23, 7: 1.14, 8: 1.07, 9: 1.03, 10: 1.0}
_BOLD = 1.15


@dataclass(frozen=True)
class _Type:
    """A size of type; ``raised`` is that of raised marks, ``line`` the distance of lines."""

    command: str
    size: int
    line: float
    raised: int


_TYPES = (
    _Type(r"\small", 9, 11.0, 6),
    _Type(r"\footnotesize", 8, 9.5, 6),
    _Type(r"\scriptsize", 7, 8.0, 5),
)
_SPREAD = 7  # size of what is in brackets, or of a deviation


@dataclass(frozen=True)
class _Layout:
    """How a part is set: its type and, in points, the widths of its columns.

    ``folded`` are the columns whose entries go on in further lines.
    """

    type: _Type
    widths: tuple[float, ...]
    folded: frozenset[int]

    @property
    def width(self) -> float:
        """Of the whole table."""
        return sum(self.widths) + _GAP * (len(self.widths) - 1)


@dataclass
class _Page:
    """What one float holds: tables below each other, then notes."""

    used: float
    tables: list[tuple[Grid, _Layout]] = field(default_factory=list)
    notes: list[Footnote] = field(default_factory=list)


def to_latex(grid: Grid) -> str:
    r"""Floats that compile as they are after ``\usepackage{booktabs}``, as many as pages need.

    Systems are cited by their keys in the index package's BibTeX file.
    """
    pages = _pages(grid)
    return "\n".join(_float(grid, page, continued=page is not pages[0]) for page in pages)


# Widths


def width_of(text: str, size: float) -> float:
    """The width of a line of text in points, rather too large than too small.

    >>> round(width_of("0.1234", 10.0), 1)
    27.8
    """
    wider = _WIDER[math.ceil(size)]
    return sum(_WIDTHS.get(letter, _OTHER) for letter in text) * size * wider / 1000.0


def _width_of_entry(entry: Entry, kind: _Type) -> float:
    width = width_of(entry.text, kind.size) * (_BOLD if entry.mark == "best" else 1.0)
    width += width_of(entry.raised, kind.raised)
    if entry.spread:
        width += width_of(_short(entry.spread), _SPREAD) + 2.0
    if entry.cite:
        width += width_of(_as_cited(entry.cite), kind.size)
    return width


def _as_cited(keys: str) -> str:
    """How long a citation by number is."""
    return f" [{', '.join('00' for _ in keys.split(','))}]"


def _short(spread: str) -> str:
    """Without the zero before the point: it is the same in every cell."""
    return spread.replace("± 0.", "±.")


def _rows_with_depth(grid: Grid) -> Iterator[tuple[tuple[Entry, ...], int]]:
    for group in grid.groups:
        for row in group.rows:
            yield row, bool(group.title) + bool(row[0].heading)


def _natural_widths(grid: Grid, kind: _Type) -> list[float]:
    """The width that each column takes by itself."""
    widths = [width_of(name, kind.size) for name in grid.head]
    for row, depth in _rows_with_depth(grid):
        for column, entry in enumerate(row):
            indent = 0.0 if column else depth * kind.size * _WIDER[kind.size]
            widths[column] = max(widths[column], indent + _width_of_entry(entry, kind))
    first = 1
    for title, count in grid.spans:
        own = sum(widths[first : first + count]) + _GAP * (count - 1)
        missing = width_of(title, kind.size) - own
        if missing > 0:  # LaTeX widens the last column
            widths[first + count - 1] += missing
        first += count
    return widths


def _layout(grid: Grid, kind: _Type) -> _Layout | None:
    """How ``grid`` is set in a type, its words folded where need be; None if it is too wide."""
    natural = _natural_widths(grid, kind)
    words = [column for column in range(len(natural)) if grid.is_left(column)]
    room = _WIDTH - _GAP * (len(natural) - 1)
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
    return _Layout(kind, tuple(widths), folded)


def _longest_part(grid: Grid, column: int, kind: _Type) -> float:
    """The width of the longest part of a column that is never broken."""
    longest = 0.0
    for row, depth in _rows_with_depth(grid):
        indent = 0.0 if column else depth * kind.size * _WIDER[kind.size]
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


def _parts(grid: Grid) -> list[tuple[Grid, _Layout]]:
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
    return [
        (part, _Layout(kind, tuple(_natural_widths(part, kind)), frozenset())) for part in parts
    ]


def _all_found(layouts: Sequence[_Layout | None]) -> list[_Layout] | None:
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


def _pages(grid: Grid) -> list[_Page]:
    """What each float holds; the footnotes follow the last row."""
    caption = _lines(width_of(f"Table 100: {grid.caption}", 10.0), _WIDTH) * _CAPTION[1]
    pages = [_Page(_HEAD + caption)]
    for part, layout in _parts(grid):
        whole = _height(part, layout)
        if pages[-1].used + whole <= _HEIGHT:
            pages[-1].tables.append((part, layout))
            pages[-1].used += whole
            continue
        for rows in _cut(part, layout, pages[-1].used):
            if pages[-1].tables or not rows.rows:
                pages.append(_Page(_HEAD + _CAPTION[1]))
            if rows.rows:
                pages[-1].tables.append((rows, layout))
                pages[-1].used += _height(rows, layout)
    for note in grid.footnotes:
        height = _lines(width_of(f"{note.mark}{note.text}", _NOTE[0]), _WIDTH) * _NOTE[1]
        height += 0.0 if pages[-1].notes else _RULE
        if pages[-1].used + height > _HEIGHT:
            pages.append(_Page(_HEAD + _CAPTION[1]))
        pages[-1].notes.append(note)
        pages[-1].used += height
    return pages


def _lines(width: float, room: float) -> int:
    return max(math.ceil(width * _FOLDING / room), 1)


def _height_of_row(row: Sequence[Entry], layout: _Layout) -> float:
    lines = [
        _lines(_width_of_entry(row[column], layout.type), layout.widths[column])
        for column in layout.folded
    ]
    return max(lines, default=1) * layout.type.line


def _height_of_head(grid: Grid, layout: _Layout) -> float:
    return (1 + bool(grid.spans)) * layout.type.line + 3 * _RULE


def _height_of_titles(group: GridGroup, layout: _Layout) -> float:
    titles = [line for line in (group.title, *group.lines) if line and isinstance(line, str)]
    lines = [_lines(width_of(title, layout.type.size) + 20.0, layout.width) for title in titles]
    return sum(lines) * layout.type.line + _RULE


def _height(grid: Grid, layout: _Layout) -> float:
    of_groups = (
        _height_of_titles(group, layout) + sum(_height_of_row(row, layout) for row in group.rows)
        for group in grid.groups
    )
    return _height_of_head(grid, layout) + sum(of_groups)


def _cut(grid: Grid, layout: _Layout, used: float) -> Iterator[Grid]:
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


# Writing


def _float(grid: Grid, page: _Page, *, continued: bool) -> str:
    label = rf"tab:{grid.stem}"
    # The first sentence stands in a list of tables.
    first = grid.caption.partition(". ")[0].rstrip(".")
    heading = [
        rf"\caption[{latex(first)}.]{{{latex_breakable(grid.caption)}}}",
        rf"\label{{{label}}}",
    ]
    if continued:
        heading = [rf"Table~\ref{{{label}}}, continued"]
    lines = [r"\begin{table*}[t]", r"\centering", *heading]
    for part, layout in page.tables:
        # Plain classes put the caption right on the first rule.
        lines += [r"\par\smallskip", *_tabular(part, layout)]
    if page.notes:
        notes = [_note(note) for note in page.notes]
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright", *notes, "}"]
    return "\n".join([*lines, r"\end{table*}", ""])


def _tabular(grid: Grid, layout: _Layout) -> list[str]:
    columns = len(grid.head)
    alignment = "".join("l" if grid.is_left(column) else "r" for column in range(columns))
    lines = [
        rf"{{{layout.type.command}\setlength{{\tabcolsep}}{{{_GAP / 2:g}pt}}%",
        rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
        r"\toprule",
        *_spans(grid),
        rf"{' & '.join(map(latex, grid.head))} \\",
    ]
    for group, previous in zip(grid.groups, (None, *grid.groups), strict=False):
        after_one_apart = previous is not None and previous.set_apart
        lines.append(r"\midrule[\heavyrulewidth]" if after_one_apart else r"\midrule")
        if group.title:
            lines.append(_title(group.title, 0, layout, r"\textit"))
        lines += _rows(group, layout)
    return [*lines, r"\bottomrule", r"\end{tabular}}"]


def _title(title: str, depth: int, layout: _Layout, command: str = "") -> str:
    """A line over rows, which is no wider than they are."""
    size = layout.type.size
    room = layout.width - depth * size * _WIDER[size]
    if width_of(title, size) > room:
        text = _folded(rf"{command}{{{latex_breakable(title)}}}", room)
    else:
        text = rf"{command}{{{latex(title)}}}" if command else latex(title)
    columns = len(layout.widths)
    return rf"\multicolumn{{{columns}}}{{@{{}}l@{{}}}}{{{_INDENTED[depth]}{text}}} \\"


def _spans(grid: Grid) -> list[str]:
    if not grid.spans:
        return []
    titles, rules, first = [""], [], 2
    for title, width in grid.spans:
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [rf"{' & '.join(titles)} \\", "".join(rules)]


def _note(note: Footnote) -> str:
    mark = rf"\textsuperscript{{{latex(note.mark)}}}~" if note.mark else ""
    return rf"{mark}{latex_breakable(note.text)}\par"


def _rows(group: GridGroup, layout: _Layout) -> Iterator[str]:
    depth = int(bool(group.title))
    for line in group.lines:
        if isinstance(line, str):
            yield _title(line, depth, layout)
        else:
            yield _row(line, depth + bool(line[0].heading), layout)


def _row(row: Sequence[Entry], depth: int, layout: _Layout) -> str:
    cells = []
    for column, entry in enumerate(row):
        is_folded = column in layout.folded
        indent = "" if column else _INDENTED[depth]
        shown = _entry(entry, latex_breakable(entry.text) if is_folded else latex(entry.text))
        width = layout.widths[column]
        if is_folded:
            width -= 0.0 if column else depth * layout.type.size * _WIDER[layout.type.size]
            if _width_of_entry(entry, layout.type) > 0.97 * width:
                shown = _folded(shown, width)
        cells.append(indent + shown)
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry, text: str) -> str:
    command = {"best": r"\textbf", "second": r"\underline", "": ""}[entry.mark]
    shown = f"{command}{{{text}}}" if command else text
    if entry.raised:
        shown += rf"\textsuperscript{{{latex(entry.raised)}}}"
    if entry.cite:
        shown += rf"~\cite{{{entry.cite}}}"
    if entry.spread:
        shown += rf"{{\scriptsize\,{latex(_short(entry.spread))}}}"
    return shown


def _folded(text: str, width: float) -> str:
    return rf"\parbox[t]{{{width:.1f}pt}}{{\raggedright {text}\strut}}"


def figures_latex(drawings: Sequence[Drawing]) -> str:
    r"""A float for each drawing's PDF with its caption, to use after ``\usepackage{graphicx}``.

    A figure is as wide as it was drawn, so that its letters have the size of small print, or as the
    page where that is narrower or less high.
    """
    return "\n".join(map(_figure, drawings))


def _figure(drawing: Drawing) -> str:
    width = f"{drawing.figure.get_figwidth():.2f}in"
    what = title_in(drawing.figure)
    caption = drawing.caption if not what else f"{drawing.caption} ({what}.)"
    lines = [
        r"\begin{figure*}[t]",
        r"\centering",
        rf"\includegraphics[width=\ifdim{width}<\linewidth {width}\else\linewidth\fi,%",
        rf"  height=0.8\textheight,keepaspectratio]{{{drawing.stem}.pdf}}",
        rf"\caption{{{latex_breakable(caption)}}}",
        rf"\label{{fig:{drawing.stem}}}",
        r"\end{figure*}",
    ]
    return "\n".join([*lines, ""])


def standalone(body: str, options: str = "") -> str:
    """A minimal LaTeX document around ``body``, to look at tables alone.

    Args:
        body: floats.
        options: of the document's class, such as ``twocolumn``.
    """
    return "\n".join(
        [
            rf"\documentclass[{options}]{{article}}" if options else r"\documentclass{article}",
            r"\usepackage{booktabs}",
            r"\usepackage{graphicx}",
            r"\begin{document}",
            body.rstrip(),
            r"\end{document}",
            "",
        ]
    )
