"""What the comparison says: claims of a paper's kind, and whether the runs at hand show them.

Claims are data: a file beside the catalogue says of each which rows should be better than which
others, on which task, by which metric and in which view. A side of several rows is their mean, so
what is compared are two means over the same test events. A claim is looked at wherever runs that
may stand in one table have all of its rows. All that is looked at is one family
(:mod:`benchmark.report.statistics.simultaneous`): the more claims and data sets there are, the
larger a difference must be to show one. What is not shown is not refuted either.

A claim about one system and rows of it with other settings is about small changes: the runs of all
such rows at hand are taken to deviate by one law, as in the tables of ablations, since the few
seeds of a row alone would leave its interval without end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import View
from benchmark.randomness import stable_random
from benchmark.report.compare import Part, judged_together
from benchmark.report.reading.collect import RunGroup
from benchmark.report.reading.collected_events import EventsOfRuns, of_the_same_events, users_of
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.text import clean, counted
from benchmark.report.statistics.bootstrap import CONFIDENCE, SEED
from benchmark.report.statistics.simultaneous import judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import LEVEL, Differences
from benchmark.report.tables.captions import tested_how
from benchmark.report.tables.differences import difference_entry
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup, number
from benchmark.report.tables.rows import DECIMALS
from benchmark.systems.catalogue import base_name, choose, index_file
from benchmark.systems.configuration import read_typed

CLAIMS_FILE = "claims.yaml"
STEM = "claims"


class Claim(BaseModel):
    """That the rows ``better`` have a higher mean than the rows ``than``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    group: str
    better: tuple[str, ...] = Field(min_length=1)
    than: tuple[str, ...] = Field(min_length=1)
    task: TaskName
    metric: str = "NDCG@10"
    view: View = "lists"

    @property
    def rows(self) -> tuple[str, ...]:
        """Those of both sides."""
        return (*self.better, *self.than)

    @property
    def of_one_system(self) -> str | None:
        """The system whose rows with other settings all of them are; None if there are several."""
        systems = {base_name(row) for row in self.rows}
        return systems.pop() if len(systems) == 1 else None


class Claims(BaseModel):
    """A file of claims."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claims: tuple[Claim, ...]


def read_claims(path: Path | None = None) -> tuple[Claim, ...]:
    """The claims of a file, of the index package's if none is given; none if that has no such file.

    Raises:
        BenchmarkError: the file is malformed, or a claim names an unknown system, or a row twice.
    """
    place = index_file(CLAIMS_FILE) if path is None else path
    if path is None and not place.exists():
        return ()
    claims = read_typed(Claims, place).claims
    for claim in claims:
        for row in claim.rows:
            try:
                choose(row)
            except BenchmarkError as error:
                raise BenchmarkError(f"{place}: {claim.claim!r}: {error}") from None
        if len(set(claim.rows)) < len(claim.rows):
            raise BenchmarkError(f"{place}: {claim.claim!r}: names a row twice.")
    return claims


@dataclass(frozen=True)
class Finding:
    """A claim in one group of runs: the means of both sides, and their difference as an entry.

    ``seeds`` are those of the row that has the fewest.
    """

    claim: Claim
    group: RunGroup
    means: tuple[float, float]
    seeds: int
    difference: Entry

    @property
    def verdict(self) -> str:
        """Whether it is shown that the claim holds here."""
        value, p_value = self.difference.value or 0.0, self.difference.p_value
        if p_value is None or p_value > LEVEL or value == 0.0:
            return "not shown"
        return "shown" if value > 0.0 else "opposite shown"


def findings(
    claims: Sequence[Claim], groups: Sequence[tuple[RunGroup, EventsOfRuns]]
) -> list[Finding]:
    """Every claim in every group that has its rows, all judged together."""
    sets = [
        found
        for group, events in groups
        for key, of_key in _by_events(claims).items()
        if (found := _looked_at(group, events, *key, of_key)) is not None
    ]
    judgements = judged_together([one.part for one in sets]) if sets else []
    return [
        one.finding(place, differences)
        for one, differences in zip(sets, judgements, strict=True)
        for place in range(len(one.claims))
    ]


@dataclass(frozen=True)
class _Set:
    """Claims on the same events of one group; ``means`` are (claims, 2)."""

    group: RunGroup
    claims: tuple[Claim, ...]
    seeds: tuple[int, ...]
    means: NDArray[np.float64]
    part: Part

    def finding(self, place: int, differences: Differences) -> Finding:
        first, second = map(float, self.means[place])
        entry = difference_entry(differences, place, 0)
        return Finding(self.claims[place], self.group, (first, second), self.seeds[place], entry)


_Key = tuple[View, TaskName, str, str | None]


def _by_events(claims: Sequence[Claim]) -> dict[_Key, list[Claim]]:
    """Claims on the same events whose runs deviate by the same laws."""
    found: defaultdict[_Key, list[Claim]] = defaultdict(list)
    for claim in claims:
        found[claim.view, claim.task, claim.metric, claim.of_one_system].append(claim)
    return dict(found)


def _looked_at(
    group: RunGroup,
    events: EventsOfRuns,
    view: View,
    task: TaskName,
    metric: str,
    of_one_system: str | None,
    claims: Sequence[Claim],
) -> _Set | None:
    alike, _ = of_the_same_events(task, events.of(view, task))
    measured = {name: runs for name, runs in alike.items() if metric in runs[0].metrics}
    own = tuple(claim for claim in claims if set(claim.rows) <= measured.keys())
    if not own:
        return None
    sides = list(dict.fromkeys(side for claim in own for side in (claim.better, claim.than)))
    # Rows that no claim is about tell of the law of runs too.
    named = {row for claim in own for row in claim.rows}
    others = [row for row in measured if base_name(row) == of_one_system and row not in named]
    rows_of_all = [*sides, *((row,) for row in others)]
    values = [_mean_of_rows([measured[row] for row in side], metric) for side in rows_of_all]
    users = users_of(measured)
    means = means_of(
        values,
        np.arange(values[0].shape[1]) if users is None else users,
        alike=of_one_system is not None,
    )
    pairs = np.array([[sides.index(claim.better), sides.index(claim.than)] for claim in own])
    stem = group.key.stem(group.variant)
    random = stable_random(SEED, "claims", stem, view, task, metric, of_one_system or "")
    part = Part(
        tuple(claim.claim for claim in own),
        largest_by_chance(means, pairs, random),
        partial(judged, means, pairs),
    )
    seeds = tuple(min(len(measured[row]) for row in claim.rows) for claim in own)
    return _Set(group, own, seeds, means.value[pairs, 0], part)


def _mean_of_rows(rows: Sequence[Sequence[TaskEvents]], metric: str) -> NDArray[np.float64]:
    """The mean of some systems, (runs, events, 1); its runs are as many as the fewest have.

    Systems are trained apart from each other, so the first run of each makes the first of these.
    """
    runs = min(map(len, rows))
    found = np.stack(
        [
            np.stack([of_run.gains[:, of_run.metrics.index(metric)] for of_run in row[:runs]])
            for row in rows
        ]
    )  # (systems, runs, events)
    mean: NDArray[np.float64] = found.mean(axis=0)[:, :, None]
    return mean


def claims_grid(
    claims: Sequence[Claim], groups: Sequence[tuple[RunGroup, EventsOfRuns]]
) -> Grid | None:
    """What is shown of each claim, a row a group of runs; None if no claim can be looked at."""
    found = findings(claims, groups)
    if not found:
        return None
    by_claim: defaultdict[Claim, list[Finding]] = defaultdict(list)
    for finding in found:
        by_claim[finding.claim].append(finding)
    by_group: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for claim in claims:
        if of_claim := by_claim.get(claim):
            heading = _heading(claim, of_claim)
            by_group[claim.group] += [_row(finding, heading) for finding in of_claim]
    footnotes = [Footnote("", _sides(by_claim))]
    if others := [claim.claim for claim in claims if claim not in by_claim]:
        why = "Not looked at, since no runs that may stand in one table have all of their rows"
        footnotes.append(Footnote("", clean(f"{why}: {'; '.join(others)}.")))
    seeds = max(finding.seeds for finding in found)
    once = any(finding.seeds == 1 for finding in found)
    alike = any(finding.seeds > 1 and finding.claim.of_one_system for finding in found)
    told = " Rows of one seed are about these trained instances only." if once else ""
    if alike:
        told += " Runs of one system and its rows with other settings deviate by one law."
    return Grid(
        stem=STEM,
        caption=clean(
            "What the comparison says. Each claim is that one mean is above another; where a side "
            "has several systems it is the mean of theirs. "
            f"{tested_how(seeds)}; in brackets simultaneous {CONFIDENCE:.0%} intervals. All claims "
            f"and data sets shown, {counted(len(found), 'difference')}, are one family: the chance "
            f"that any is called shown, or its opposite, by chance is at most {LEVEL:g}. What is "
            f"not shown is not refuted.{told}"
        ),
        head=("Claim and runs", "Measured by", "Better", "Than", "Difference", "Seeds", "Verdict"),
        groups=tuple(GridGroup(group, tuple(rows)) for group, rows in by_group.items()),
        footnotes=tuple(footnotes),
        left=(1, 6),
    )


def _heading(claim: Claim, of_claim: Sequence[Finding]) -> str:
    """The claim, and on how many data sets all of its runs show it."""
    by_dataset: defaultdict[str, set[str]] = defaultdict(set)
    for finding in of_claim:
        by_dataset[finding.group.key.dataset].add(finding.verdict)
    shown = sum(verdicts == {"shown"} for verdicts in by_dataset.values())
    return clean(f"{claim.claim}: shown on {shown} of {counted(len(by_dataset), 'data set')}")


def _row(finding: Finding, heading: str) -> tuple[Entry, ...]:
    key = finding.group.key
    name = clean(f"{key.dataset}, {key.protocol}, {key.preset}")
    if finding.group.variant:
        name += f" ({finding.group.variant})"
    return (
        Entry(name, heading=heading, name=f"{heading}; {name}"),
        _measure(finding.claim),
        *(number(mean, f"{mean:.{DECIMALS}f}") for mean in finding.means),
        finding.difference,
        number(finding.seeds, str(finding.seeds)),
        Entry(finding.verdict),
    )


def _measure(claim: Claim) -> Entry:
    """Task, metric and view in few letters."""
    task = {"recommendation": "rec.", "search": "search"}[claim.task]
    view = "" if claim.view == "lists" else ", all items"
    return Entry(f"{task} {claim.metric}{view}")


def _sides(claims: Mapping[Claim, object]) -> str:
    """Which systems the sides of several are."""
    sides = dict.fromkeys(side for claim in claims for side in (claim.better, claim.than))
    told = [
        ", ".join(clean(choose(row).display_name) for row in side)
        for side in sides
        if len(side) > 1
    ]
    return f"Means of several systems: {'; '.join(told)}." if told else "Each side is one system."
