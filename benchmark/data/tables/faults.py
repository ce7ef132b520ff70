"""What is wrong with a source's files, collected while a loader reads them.

A loader notes every fault and goes on where it can. :func:`settled` raises the first one, and
``python -m benchmark.data validate`` prints them all: one reading with one set of rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

_EXAMPLES = 20  # of one fault in one column; the others are counted

Found = TypeVar("Found")


@dataclass(frozen=True)
class Fault:
    """One fault: the file, the row from 1 (0: the file as a whole), the column ("": none)."""

    path: Path
    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        """One sentence."""
        row = f"row {self.row:,}" if self.row else ""
        column = f"column {self.column}" if self.column else ""
        place = ", ".join(part for part in (row, column) if part)
        return f"{self.path}: {f'{place}: ' if place else ''}{self.reason}."


@dataclass
class Faults:
    """What was found so far; of one fault in one column only the first rows are kept."""

    found: list[Fault | str] = field(default_factory=list)
    counts: dict[tuple[Path, str, str], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, path: Path, row: int, column: str, reason: str, kind: str = "") -> None:
        """Note a fault; ``kind`` is what alike faults have in common (default: the reason)."""
        key = (path, column, kind or reason)
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= _EXAMPLES:
            self.found.append(Fault(path, row, column, reason))

    def add_rows(
        self,
        path: Path,
        rows: NDArray[np.integer[Any]],
        column: str,
        kind: str,
        shown: Callable[[int], str] | None = None,
    ) -> None:
        """Note the same fault for many rows, each counted from 1.

        Args:
            shown: the value that stands in the n-th of ``rows``, for the message.
        """
        for number, row in enumerate(rows[:_EXAMPLES].tolist()):
            value = f"{shown(number)} " if shown is not None else ""
            self.add(path, row, column, f"{value}{kind}", kind)
        if len(rows) > _EXAMPLES:
            self.counts[path, column, kind] += len(rows) - _EXAMPLES

    def add_sentence(self, sentence: str) -> None:
        """Note what was said as a whole sentence."""
        self.found.append(sentence)

    def take_over(self, others: Faults) -> None:
        """Add what another reading found."""
        self.found += others.found
        for key, count in others.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count

    def of(self, path: Path) -> list[Fault]:
        """What is wrong with this file."""
        return [one for one in self.found if isinstance(one, Fault) and one.path == path]

    def settle_column(self, path: Path, column: str, rows: int, rule: str) -> None:
        """Make one sentence of the faults of a column in which all of the ``rows`` are wrong."""
        if rows < 2 or sum(self._counts_of(path, column)) < rows:
            return
        places = [
            place
            for place, fault in enumerate(self.found)
            if isinstance(fault, Fault) and (fault.path, fault.column) == (path, column)
        ]
        first = self.found[places[0]]
        assert isinstance(first, Fault)
        reason = f"{rule}, but none of the {rows:,} rows fits; row {first.row:,}: "
        self.found[places[0]] = Fault(path, 0, column, reason + first.reason)
        for place in reversed(places[1:]):
            del self.found[place]
        for key in [key for key in self.counts if key[:2] == (path, column)]:
            self.counts[key] = 1

    def settle_rows(self, path: Path, rule: str) -> None:
        """Make one sentence of the faults of a file in which no row could be read."""
        rows = len([fault for fault in self.of(path) if fault.row and not fault.column])
        more = sum(count - _EXAMPLES for count in self._counts_of(path, "") if count > _EXAMPLES)
        if rows > 1:
            self.settle_column(path, "", rows + more, rule)

    def _counts_of(self, path: Path, column: str) -> list[int]:
        return [count for key, count in self.counts.items() if key[:2] == (path, column)]

    def raise_first(self) -> None:
        """Stop at the first fault.

        Raises:
            BenchmarkError: there is one.
        """
        if self.found:
            raise BenchmarkError(str(self.found[0]))

    def sentences(self) -> list[str]:
        """Every kept fault, and how many more there are of each kind."""
        lines = [str(fault) for fault in self.found]
        for (path, column, kind), count in self.counts.items():
            if count > _EXAMPLES:
                place = f"column {column}: " if column else ""
                lines.append(f"{path}: {place}{count - _EXAMPLES:,} more ({kind}).")
        return lines


def settled(work: Callable[[Faults], Found | None]) -> Found:
    """What ``work`` makes of the files.

    Raises:
        BenchmarkError: it noted a fault; the first one is said.
    """
    faults = Faults()
    found = work(faults)
    faults.raise_first()
    assert found is not None
    return found
