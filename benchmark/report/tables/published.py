"""Figures that others published, each row with its source, and whether they can be true at all.

They stand in a table of their own: other data, other candidates, other splits. Nothing is compared
with them by bold type.

With one true item an event, HR@k and NDCG@k of a system are tied to each other. An event whose true
item stands at rank r adds 1 to HR@k and 1 / log2(r + 1) to NDCG@k from k = r on. So what enters
between two cutoffs k1 < k2 enters at ranks k1 + 1 to k2, and

    (HR@k2 - HR@k1) / log2(k2 + 1)  <=  NDCG@k2 - NDCG@k1  <=  (HR@k2 - HR@k1) / log2(k1 + 2).

This holds for every event, hence for every mean over events, users, runs or seeds. With k1 = 0,
where both are 0, it says that NDCG@1 is HR@1. Printed figures are rounded, which is allowed for.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.report.reading.text import file_name, shortened
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup

PUBLISHED_FOLDER = Path("results/published")
IMPOSSIBLE = "‡"
_WORDS = ("system", "task", "data", "candidates", "source", "url", "note")
_METRIC = re.compile(r"(HR|NDCG)@(\d+)")
_SHOWN = ("HR@1", "HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20")


@dataclass(frozen=True)
class PublishedRow:
    """One row of another's table. ``figures`` are as printed, so that their digits are known.

    ``file`` is the stem of the file that it was read from: each file is a table.
    """

    file: str
    system: str
    task: str
    data: str
    candidates: str
    figures: Mapping[str, str]
    source: str
    url: str
    note: str

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Why the figures cannot all be true; empty if they can."""
        values = {name: float(text) for name, text in self.figures.items()}
        digits = min(len(text.partition(".")[2]) for text in self.figures.values())
        return contradictions(values, rounding=0.5 * 10.0**-digits)


def contradictions(figures: Mapping[str, float], rounding: float = 0.0) -> tuple[str, ...]:
    """Sentences that say which figures of one true item an event exclude each other.

    Args:
        figures: "HR@k" and "NDCG@k" → value between 0 and 1; other names are passed over.
        rounding: how far each printed value may be from the true one.

    >>> contradictions({"HR@5": 0.4, "HR@10": 0.5, "NDCG@5": 0.3, "NDCG@10": 0.35})
    ('NDCG gains 0.05 from 5 to 10; at most 0.0356 is possible.',)
    """
    hits, gains = {0: 0.0}, {0: 0.0}
    for name, value in figures.items():
        if match := _METRIC.fullmatch(name):
            (hits if match[1] == "HR" else gains)[int(match[2])] = value
    if 1 in hits:
        gains.setdefault(1, hits[1])
    slack = rounding + 1e-9
    found = [
        f"{name} is {value:g}, not between 0 and 1."
        for name, value in figures.items()
        if _METRIC.fullmatch(name) and not -slack <= value <= 1.0 + slack
    ]
    for kind, values in (("HR", hits), ("NDCG", gains)):
        found += [
            f"{kind}@{high} is below {kind}@{low}."
            for low, high in combinations(sorted(values), 2)
            if low and values[high] < values[low] - 2 * slack
        ]
    for low, high in combinations(sorted(hits.keys() & gains.keys()), 2):
        # The values at 0 are exact.
        error = slack * (2 if low else 1)
        entering, gain = hits[high] - hits[low], gains[high] - gains[low]
        least = (entering - error) / math.log2(high + 1) - error
        most = (entering + error) / math.log2(low + 2) + error
        if gain < least or gain > most:
            word, bound = ("at least", least) if gain < least else ("at most", most)
            found.append(
                f"NDCG gains {gain:.3g} from {low} to {high}; {word} {bound:.3g} is possible."
            )
    return tuple(found)


def read_published(folder: Path) -> tuple[tuple[PublishedRow, ...], tuple[str, ...]]:
    """The rows of every CSV file in ``folder``, and a sentence for each file that is none."""
    rows: list[PublishedRow] = []
    sentences = []
    for path in sorted(folder.glob("*.csv")):
        try:
            rows += _read(path)
        except (BenchmarkError, OSError, UnicodeDecodeError, csv.Error) as error:
            sentences.append(f"{path}: {error} Its figures are not shown.")
    return tuple(rows), tuple(sentences)


def _read(path: Path) -> list[PublishedRow]:
    with path.open(encoding="utf-8", newline="") as opened:
        reader = csv.DictReader(opened)
        names = reader.fieldnames or []
        if missing := [name for name in _WORDS if name not in names]:
            raise BenchmarkError(f"has no column {', '.join(missing)}.")
        rows = []
        for line in reader:
            figures = {
                name: (line[name] or "").strip()
                for name in names
                if _METRIC.fullmatch(name) and (line[name] or "").strip()
            }
            bad = [text for text in figures.values() if not re.fullmatch(r"[01]?\.\d+|[01]", text)]
            words = {name: (line[name] or "").strip() for name in _WORDS}
            if bad or not figures or not words["source"] or not words["url"]:
                what = f"{bad[0]!r} is no share" if bad else "a row needs figures, source and url"
                raise BenchmarkError(f"line {reader.line_num}: {what}.")
            rows.append(PublishedRow(path.stem, **words, figures=figures))
        return rows


def published_grids(rows: Sequence[PublishedRow]) -> tuple[Grid, ...]:
    """The published figures, a grid a file; what cannot be true is marked."""
    by_file: defaultdict[str, list[PublishedRow]] = defaultdict(list)
    for row in rows:
        by_file[row.file].append(row)
    return tuple(_grid(name, of_file) for name, of_file in by_file.items())


def _grid(name: str, rows: Sequence[PublishedRow]) -> Grid:
    """The rows of one file, grouped by task, data and candidates."""
    numbers: dict[str, str] = {}
    found: list[Footnote] = []
    groups: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for row in rows:
        source = f"{row.source}: {row.url}" + (f" ({row.note})" if row.note else "")
        mark = numbers.setdefault(source, str(len(numbers) + 1))
        wrong = row.contradictions
        if wrong:
            found.append(
                Footnote(IMPOSSIBLE, f"{row.system}, {row.data}, {row.task}: {' '.join(wrong)}")
            )
        title = f"{row.task.capitalize()}, {row.data}, {row.candidates}"
        groups[title].append(
            (
                Entry(
                    shortened(row.system, 60),
                    raised=f"{mark},{IMPOSSIBLE}" if wrong else mark,
                    detail=" ".join(wrong),
                ),
                *(
                    Entry(row.figures[name], value=float(row.figures[name]))
                    if name in row.figures
                    else Entry(DASH)
                    for name in _SHOWN
                ),
            )
        )
    return Grid(
        stem=file_name("published", name),
        caption=(
            "Figures that others published, as printed there: not measured here and not comparable "
            "with our tables, since data, splits and candidates differ. "
            f"{IMPOSSIBLE}: figures that cannot all be true of one system with one true item an "
            "event, whatever it is."
        ),
        head=("System", *_SHOWN),
        groups=tuple(GridGroup(title, tuple(of_title)) for title, of_title in groups.items()),
        footnotes=(*(Footnote(mark, text) for text, mark in numbers.items()), *found),
    )
