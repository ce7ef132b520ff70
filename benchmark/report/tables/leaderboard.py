"""The table of submissions, apart from all that ran here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import VIEWS, View, shown_metrics
from benchmark.report.reading.text import clean, shortened
from benchmark.report.reading.views import headline
from benchmark.report.submissions import Submission
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup
from benchmark.report.tables.rows import DECIMALS

STEM = "submissions"

_TASKS: tuple[TaskName, ...] = ("recommendation", "search")
_DIGITS_OF_A_COMMIT = 10


def submissions_grid(submissions: Sequence[Submission]) -> Grid | None:
    """The leaderboard, a group a data set and protocol; None if there are no submissions."""
    if not submissions:
        return None
    groups: defaultdict[tuple[str, ...], list[Submission]] = defaultdict(list)
    for one in submissions:
        manifest = one.manifest
        groups[_title(one), manifest.dataset_fingerprint, manifest.settings_fingerprint].append(one)
    numbers: dict[str, str] = {}
    titles = [title for title, *_ in groups]
    parts = []
    for key in sorted(groups):
        title = key[0] if titles.count(key[0]) == 1 else f"{key[0]} (data {key[1][:8]})"
        ordered = sorted(groups[key], key=lambda one: (-_best(one), one.manifest.name))
        parts.append(GridGroup(title, tuple(_row(one, numbers) for one in ordered)))
    return Grid(
        stem=STEM,
        caption=(
            "Submissions: systems that their contributors ran elsewhere, apart from all that ran "
            "here. Figures follow from the ranks handed in: NDCG@5 among candidate lists and "
            "NDCG@10 among all items, or the first of the protocol's cut-offs. Nothing is tested, "
            "and how settings were chosen is the contributor's word."
        ),
        head=(
            "System",
            "Rec. lists",
            "Rec. all items",
            "Search lists",
            "Search all items",
            "Date",
            "Commit",
            "Hardware",
            "Contributor",
        ),
        groups=tuple(parts),
        footnotes=tuple(Footnote(mark, text) for text, mark in numbers.items()),
        left=(5, 6, 7, 8),
    )


def _title(submission: Submission) -> str:
    changes = submission.manifest.settings
    told = ", ".join(f"{key} = {value}" for key, value in sorted(changes.items()))
    settings = f" with {told}" if told else ""
    return clean(
        f"{submission.manifest.dataset}, protocol {submission.manifest.protocol}{settings}"
    )


def _headline(submission: Submission, view: View) -> str:
    return headline(shown_metrics(submission.settings.cutoffs_of(view)), view)


def _best(submission: Submission) -> float:
    """By which rows are sorted: the mean of what a row shows."""
    shown = [
        metrics.get(_headline(submission, view), 0.0)
        for view, tasks in submission.manifest.figures.items()
        for metrics in tasks.values()
    ]
    return sum(shown) / len(shown)


def _row(submission: Submission, numbers: dict[str, str]) -> tuple[Entry, ...]:
    manifest = submission.manifest
    told = f"Code: {manifest.code or 'not told'}. Ranks under {manifest.licence}."
    if submission.ranks_file is None:
        told += " TREC files, whose figures the check recomputes where the data are at hand."
    mark = numbers.setdefault(clean(told), str(len(numbers) + 1))
    return (
        Entry(shortened(manifest.system, 60), raised=mark),
        *(_figure(submission, task, view) for task in _TASKS for view in VIEWS),
        Entry(manifest.date.isoformat()),
        Entry(manifest.commit[:_DIGITS_OF_A_COMMIT] or DASH),
        Entry(shortened(manifest.hardware, 60)),
        Entry(shortened(manifest.contributor, 60)),
    )


def _figure(submission: Submission, task: TaskName, view: View) -> Entry:
    metrics = submission.manifest.figures.get(view, {}).get(task, {})
    name = _headline(submission, view)
    if name not in metrics:
        return Entry(DASH)
    return Entry(f"{metrics[name]:.{DECIMALS}f}", value=metrics[name], detail=name)
