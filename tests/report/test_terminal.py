"""Tables on a terminal: nothing is cut, whatever its width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmark.report.tables.grid import Entry, Grid, GridGroup
from benchmark.report.terminal import print_grid


def printed(grid: Grid, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_grid(grid, console)
    return console.file.getvalue().split("\n")


def without_blanks(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("width", [80, 160])
def test_nothing_of_a_table_is_cut(suite_grids: list[Grid], width: int) -> None:
    for grid in suite_grids:
        lines = printed(grid, width)
        assert all(len(line) <= width for line in lines), grid.stem
        text = without_blanks("".join(lines))
        for row in grid.rows:
            for entry in row[1:]:
                assert without_blanks(entry.text) in text, (grid.stem, entry.text)


def test_columns_that_do_not_fit_stand_below_with_the_names() -> None:
    levels = " / ".join(["100"] * 4)
    head = ("System", "Identifier", *(f"Figure {place}" for place in range(6)))
    row = (Entry("A system"), Entry("collaborative"), *([Entry(levels)] * 6))
    grid = Grid("identifiers", "Wide.", head, (GridGroup("", (row,)),), left=(1,))
    lines = printed(grid, 80)
    heads = [line for line in lines if "Identifier" in line]
    assert len(heads) > 1 and all("System" in line for line in heads)
    names = " ".join(heads).replace("System", "").replace("Identifier", "").split()
    assert names == " ".join(head[2:]).split()
    assert sum(line.count(levels) for line in lines) == 6
    assert sum("A system" in line and "collaborative" in line for line in lines) == len(heads)
