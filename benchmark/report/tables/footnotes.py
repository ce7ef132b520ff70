"""Footnotes of a table while it is made: equal sentences share a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.report.reading.text import shortened
from benchmark.report.tables.grid import DAGGER, DASH, Footnote
from benchmark.report.tables.remarks import TIED

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row, Table

_LONGEST_SENTENCE = 400


class Footnotes:
    """Collects sentences; equal sentences share a number, failures share the dagger."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}
        self._failures: list[Footnote] = []
        self._of_tables: list[Footnote] = []  # about ties and all rows, of finished tables

    def number(self, sentence: str) -> str:
        """The sentence's number."""
        return self._numbers.setdefault(
            shortened(sentence, _LONGEST_SENTENCE), str(len(self._numbers) + 1)
        )

    def failure(self, sentence: str) -> None:
        """Take a sentence on why there are no figures."""
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
        """All of them, and what dashes mean if a row has some."""
        dashes = any(row.status == "not this task" for row in rows)
        return self.all("The system does not do this task." if dashes else "")

    def all(self, dash: str = "") -> tuple[Footnote, ...]:
        """All of them, in the order in which a table shows them; ``dash`` says what dashes mean."""
        numbered = [Footnote(mark, text) for text, mark in self._numbers.items()]
        dashes = [Footnote(DASH, dash)] if dash else []
        return (*numbered, *self._failures, *dashes, *self._of_tables)


def seeds_named(seeds: Sequence[int]) -> str:
    """The seeds in words."""
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
