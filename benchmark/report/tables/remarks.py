"""What a main table says of its own lists and rows: leaks that probes find, ties, cold users."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.jobs.record import RankChanges, Run, TaskName
from benchmark.protocol.metrics import View
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.ranks import Ties
from benchmark.report.reading.views import columns_of, cutoffs_of
from benchmark.report.tables.grid import Footnote
from benchmark.systems.catalogue import entries

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row

TIED = "="
"""The mark of a row whose targets are often tied."""

OFTEN_TIED = 0.05
ABOVE_CHANCE = 1.2
"""How far above chance a probe may stand before the table warns."""

_ONE_USER = re.compile(r"(?<![\d.,])1 users\b")
MATCHED = "bm25-matched"
"""The law of negatives whose lists are meant to give nothing away."""


def mean_ties(seeds: Sequence[TaskEvents]) -> Ties | None:
    """The mean over a system's seeds; None where a run does not tell."""
    ties = [events.ties for events in seeds if events.ties is not None]
    if not ties or len(ties) < len(seeds):
        return None
    shares = [one.share for one in ties]
    total = sum(shares)
    others = sum(one.share * one.others for one in ties) / total if total else 0.0
    return Ties(total / len(shares), others)


def _at_most(share: float) -> str:
    """How often the targets of all other rows are tied, in words.

    >>> _at_most(0.0042), _at_most(0.0004), _at_most(0.0)
    ('at most 0.4% are', 'fewer than 0.1% are', 'none is')
    """
    if not share:
        return "none is"
    return f"at most {share:.1%} are" if share >= 0.001 else "fewer than 0.1% are"


def ties_footnote(rows: Sequence[Row]) -> Footnote | None:
    """The rows whose targets are often tied, and how often at most the others' are."""
    often = [row for row in rows if is_often_tied(row)]
    if not often:
        return None
    listed = "; ".join(
        f"{row.display_name} {row.ties.share:.1%}, {row.ties.others:.1f}"
        for row in often
        if row.ties is not None
    )
    rest = [row.ties.share for row in rows if row.ties is not None and row not in often]
    others = ""
    if rest:
        others = f" Of the other rows {_at_most(max(rest))}."
    return Footnote(
        TIED,
        f"More than {OFTEN_TIED:.0%} of the targets have the score of another candidate (share of "
        f"the test events, mean number of candidates tied with the target in these): {listed}."
        f"{others}",
    )


def is_often_tied(row: Row) -> bool:
    """Whether the table marks the row's ties."""
    return row.ties is not None and row.ties.share > OFTEN_TIED


def cold_users_footnote(task: TaskName, runs: Sequence[Run]) -> Footnote | None:
    """The share of test events of users without any training event, if there are such."""
    share = max((run.record.protocol.cold_users.get(task, 0.0) for run in runs), default=0.0)
    if share <= 0.0:
        return None
    return Footnote("", f"{share:.1%} of the test events belong to users never seen in training.")


def protocol_footnotes(task: TaskName, runs: Sequence[Run]) -> tuple[Footnote, ...]:
    """What must be shown of the protocol: what its lists leave out, where it is not as its source.

    The notes are those of the test lists, which are the same for all runs of a table.
    """
    sentences: dict[str, None] = {}
    for run in runs:
        sentences |= dict.fromkeys(run.record.protocol.notes.get(task, ()))
        sentences |= dict.fromkeys(run.record.protocol.remarks)
    # Records from before that was minded say "1 users".
    said = dict.fromkeys(_ONE_USER.sub("1 user", sentence) for sentence in sentences)
    return tuple(Footnote("", sentence) for sentence in said)


def all_items_footnotes(task: TaskName, runs: Sequence[Run]) -> tuple[Footnote, ...]:
    """What must be said of ranks among all items: of how many, and of Recall."""
    sizes = [size for run in runs if (size := run.record.protocol.all_items.get(task)) is not None]
    among = (
        [f"A target is ranked among {max(sizes):,.1f} items on average, itself included."]
        if sizes
        else []
    )
    is_graded = any(task in run.record.protocol.graded for run in runs)
    recall = [] if is_graded else ["With one relevant item an event, Recall@k is HR@k."]
    return tuple(Footnote("", sentence) for sentence in (*among, *recall))


def left_out_sentence(task: TaskName, runs: Sequence[Run]) -> str:
    """How a system ranks all items if it leaves some out, and how many targets; or nothing."""
    how = next((h for run in runs if (h := run.record.system.ranking_of_all_items)), "")
    shares = [s for run in runs if (s := run.record.system.left_out.get(task)) is not None]
    share = sum(shares) / len(shares) if shares else 0.0
    if not how and share == 0.0:
        return ""
    by = f"All items are ranked by {how}, which leaves" if how else "Among all items it leaves"
    return f"{by} out {share:.1%} of the targets: they stand, tied, after all that it returns."


def handed_in_sentence(task: TaskName, runs: Sequence[Run], view: View) -> str:
    """Whose scores a row is made of that did not run here, and what they lack; or nothing."""
    parts = [run.record.outside for run in runs if run.record.outside is not None]
    if not parts:
        return ""
    by = ", ".join(dict.fromkeys(part.contributor for part in parts if part.contributor))
    where = ", ".join(dict.fromkeys(part.url for part in parts if part.url))
    on = ", ".join(dict.fromkeys(part.hardware for part in parts if part.hardware))
    told = f"Ranked from scores that {by or 'somebody'} handed in{f' ({where})' if where else ''}"
    told += f", made on {on}." if on else "."
    shares = [part.left_out_of_lists.get(task, 0.0) for part in parts]
    share = sum(shares) / len(shares)
    if view == "all-items" or share == 0.0:
        return told
    return (
        f"{told} They leave {share:.1%} of the targets out of their lists, which count as missed."
    )


def precision_sentences(task: TaskName, runs: Sequence[Run]) -> tuple[str, ...]:
    """For each precision below single, how many ranks in lists it changes."""
    found: dict[str, list[RankChanges]] = {}
    for run in runs:
        own = run.record.rank_changes.get(task)
        if own is not None:
            precision = run.record.environment.get("precision", "another precision")
            found.setdefault(precision, []).append(own)
    sentences = []
    for precision, changes in found.items():
        events = sum(one.events for one in changes)
        share = sum(one.changed * one.events for one in changes) / max(events, 1)
        one_sided = sum(one.one_sided * one.events for one in changes) / max(events, 1)
        ranked = [one.events * (1 - one.one_sided) for one in changes]
        moved = sum(one.mean_places * own for one, own in zip(changes, ranked, strict=True))
        lost = f"; {one_sided:.1%} have one in one of both alone, and the others" * (one_sided > 0)
        sentences.append(
            f"Computed in {precision}: of {events:,} ranks in lists, {share:.1%} differ from those "
            f"in single precision{lost or ', all'} by {moved / max(sum(ranked), 1e-9):.2f} places "
            "in the mean."
        )
    return tuple(sentences)


def list_length(task: TaskName, runs: Sequence[Run]) -> int:
    """How many candidates each test event has; 0 if no run tells."""
    return max((run.record.protocol.list_lengths.get(task, 0) for run in runs), default=0)


def lengths_sentences(task: TaskName, runs: Sequence[Run], view: View) -> tuple[str, ...]:
    """Cut-offs at which HR counts every target that is returned, for want of others in its list."""
    record = runs[0].record
    cutoffs = cutoffs_of(record, view)
    if view == "lists":
        length: float = list_length(task, runs)
        shorts = [run.record.protocol.shortest_lists.get(task, length) for run in runs]
        least = min(shorts, default=length)
    else:
        sizes = (run.record.protocol.all_items.get(task, 0.0) for run in runs)
        length = least = max(sizes, default=0.0)
    empty = [f"HR@{k}" for k in cutoffs if 0 < length <= k]
    partly = [f"HR@{k}" for k in cutoffs if 0 < least <= k < length]
    of_what = "lists have" if view == "lists" else "on average a target is ranked among"
    told = []
    if empty:
        told.append(
            f"{' and '.join(empty)} {'says' if len(empty) == 1 else 'say'} nothing of the order: "
            f"{of_what} {length:,.6g} items, so every target that is returned counts."
        )
    if partly:
        told.append(
            f"{' and '.join(partly)} {'counts' if len(partly) == 1 else 'count'} every target that "
            f"is returned in the shorter lists, which have {least:,} items or more."
        )
    return tuple(told)


def probes_sentences(task: TaskName, rows: Sequence[Row], runs: Sequence[Run]) -> tuple[str, ...]:
    """Under a protocol of matched lists: what rows without learning reach, as multiples of chance.

    The rows are those that the catalogue calls probes of lists. A further sentence warns of each
    that stands more than :data:`ABOVE_CHANCE` times above chance.
    """
    record = runs[0].record
    settings = record.protocol.settings
    if settings.get("search_negatives") != MATCHED:
        return ()
    length = list_length(task, runs) or int(settings.get("negatives", 0)) + 1
    columns = columns_of(record, "lists")
    cutoffs = tuple(k for k in cutoffs_of(record, "lists") if k < length)  # others say nothing
    shown, above, absent = [], [], []
    own = {row.system: row for row in rows}
    for name, entry in entries().items():
        if not entry.probe_of_lists or task not in entry.tasks:
            continue
        times = _times_of_chance(own[name], columns, length, cutoffs) if name in own else []
        if not times:
            absent.append(entry.display_name)
            continue
        shown.append(f"{entry.display_name} {', '.join(f'{value:.2f}' for value in times)}")
        above += [
            f"{entry.display_name} at HR@{k} ({value:.2f})"
            for k, value in zip(cutoffs, times, strict=True)
            if value > ABOVE_CHANCE
        ]
    listed = "; ".join(shown) or "no such row was run"
    missing = f"; not run: {', '.join(absent)}" if absent and shown else ""
    at = ", ".join(map(str, cutoffs))
    sentence = f"What the lists give away: HR@{at} as multiples of chance: {listed}{missing}."
    if not above:
        return (sentence,)
    return (
        sentence,
        f"Warning: above {ABOVE_CHANCE:g} times chance without learning: {'; '.join(above)}.",
    )


def _times_of_chance(
    row: Row, columns: Sequence[str], length: int, cutoffs: Sequence[int]
) -> list[float]:
    """HR at each cutoff over that of a random order of ``length`` candidates; none if it failed."""
    times = []
    for k in cutoffs:
        mean = row.cells[columns.index(f"HR@{k}")].mean
        if mean is None:
            return []
        times.append(mean / min(1.0, k / length))
    return times
