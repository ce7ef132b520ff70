r"""Tables and figures as LaTeX that compiles as it is after ``\usepackage{booktabs,graphicx}``.

Every float is a ``table*``: over both columns of a two-column paper, and the same as ``table`` in
one column. How much one holds is decided beforehand (:mod:`benchmark.report.tables.latex_layout`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from benchmark.report.plots.style import is_column, title_in
from benchmark.report.reading.text import latex, latex_breakable
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup
from benchmark.report.tables.latex_layout import (
    GAP,
    Layout,
    Page,
    indent_of,
    pages_of,
    short,
    width_of,
    width_of_entry,
)

if TYPE_CHECKING:
    from benchmark.report.group import Drawing

_INDENTED = ("", r"\quad ", r"\qquad ")  # by how many titles stand over a row


def to_latex(grid: Grid) -> str:
    r"""Floats that compile as they are after ``\usepackage{booktabs}``, as many as pages need.

    Systems are cited by their keys in the index package's BibTeX file.
    """
    pages = pages_of(grid)
    return "\n".join(_float(grid, page, continued=page is not pages[0]) for page in pages)


def _float(grid: Grid, page: Page, *, continued: bool) -> str:
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


def _tabular(grid: Grid, layout: Layout) -> list[str]:
    columns = len(grid.head)
    alignment = "".join("l" if grid.is_left(column) else "r" for column in range(columns))
    lines = [
        rf"{{{layout.type.command}\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}%",
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


def _title(title: str, depth: int, layout: Layout, command: str = "") -> str:
    """A line over rows, which is no wider than they are."""
    size = layout.type.size
    room = layout.width - indent_of(depth, layout.type)
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


def _rows(group: GridGroup, layout: Layout) -> Iterator[str]:
    depth = int(bool(group.title))
    for line in group.lines:
        if isinstance(line, str):
            yield _title(line, depth, layout)
        else:
            yield _row(line, depth + bool(line[0].heading), layout)


def _row(row: Sequence[Entry], depth: int, layout: Layout) -> str:
    cells = []
    for column, entry in enumerate(row):
        is_folded = column in layout.folded
        indent = "" if column else _INDENTED[depth]
        shown = _entry(entry, latex_breakable(entry.text) if is_folded else latex(entry.text))
        width = layout.widths[column]
        if is_folded:
            width -= 0.0 if column else indent_of(depth, layout.type)
            if width_of_entry(entry, layout.type) > 0.97 * width:
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
        shown += rf"{{\scriptsize\,{latex(short(entry.spread))}}}"
    return shown


def _folded(text: str, width: float) -> str:
    return rf"\parbox[t]{{{width:.1f}pt}}{{\raggedright {text}\strut}}"


def figures_latex(drawings: Sequence[Drawing]) -> str:
    r"""A float for each drawing's PDF with its caption, to use after ``\usepackage{graphicx}``.

    A figure is as wide as it was drawn, so that its letters have the size of small print, or as the
    page where that is narrower or less high. One drawn for a column floats in a column.
    """
    return "\n".join(map(_figure, drawings))


def _figure(drawing: Drawing) -> str:
    width = f"{drawing.figure.get_figwidth():.2f}in"
    floating = "figure" if is_column(drawing.figure.get_figwidth()) else "figure*"
    what = title_in(drawing.figure)
    caption = drawing.caption if not what else f"{drawing.caption} ({what}.)"
    lines = [
        rf"\begin{{{floating}}}[t]",
        r"\centering",
        rf"\includegraphics[width=\ifdim{width}<\linewidth {width}\else\linewidth\fi,%",
        rf"  height=0.8\textheight,keepaspectratio]{{{drawing.stem}.pdf}}",
        rf"\caption{{{latex_breakable(caption)}}}",
        rf"\label{{fig:{drawing.stem}}}",
        rf"\end{{{floating}}}",
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
