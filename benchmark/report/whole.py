"""The whole report as values: every table and figure of a folder of runs, none of them written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.protocol.metrics import VIEWS
from benchmark.report.claims import claims_grid, read_claims
from benchmark.report.group import TASKS, Drawing, GroupReport, group_report
from benchmark.report.plots.agreement import agreement_figure
from benchmark.report.plots.style import PAGE_WIDTH
from benchmark.report.reading.collect import Collection, collect
from benchmark.report.reading.text import file_name
from benchmark.report.submissions import SUBMISSIONS_FOLDER, read_submissions
from benchmark.report.tables.audit import audits_of, diagnostics_grid, views_grid
from benchmark.report.tables.grid import Grid
from benchmark.report.tables.leaderboard import submissions_grid
from benchmark.report.tables.overviews import datasets_grid
from benchmark.report.tables.printed import side_by_side
from benchmark.report.tables.published import PUBLISHED_FOLDER, published_grids, read_published

AUDITS = "audit"  # beside the folder of runs
_AGREEMENT = (
    "Kendall's tau between the orders that protocols, metrics and views give the trained systems."
)


@dataclass(frozen=True)
class Report:
    """The whole report as values; nothing is written yet."""

    groups: tuple[GroupReport, ...]
    grids: tuple[Grid, ...]  # that are about several groups
    drawings: tuple[Drawing, ...]  # likewise
    published: tuple[Grid, ...]  # others' figures
    submissions: Grid | None  # systems that others ran, if there are any
    sentences: tuple[str, ...]


def make_report(
    runs_root: Path,
    published: Path = PUBLISHED_FOLDER,
    submissions: Path = SUBMISSIONS_FOLDER,
    width: float = PAGE_WIDTH,
) -> Report:
    """Read all runs below ``runs_root`` and make every table and figure.

    Args:
        runs_root: a folder of run folders or of reference runs, at any depth.
        published: a folder of others' figures; it need not exist.
        submissions: a folder of what others handed in; it need not exist.
        width: of the figures, in inches.

    Raises:
        BenchmarkError: there is no readable run.
    """
    collection = collect(runs_root)
    if not collection.groups:
        raise _nothing_to_report(runs_root, collection)
    groups = tuple(group_report(group, width) for group in collection.groups)
    rows, unreadable = read_published(published)
    handed_in, not_shown = read_submissions(submissions)
    audits, not_audits = audits_of(collection.groups, runs_root.parent / AUDITS)
    of_audits = [
        make_grid(found)
        for found in audits.values()
        for make_grid in (diagnostics_grid, views_grid)
    ]
    claimed = claims_grid(read_claims(), [(group.group, group.events) for group in groups])
    return Report(
        groups=groups,
        grids=(
            datasets_grid(collection.groups),
            *of_audits,
            *_several(groups),
            *((claimed,) if claimed is not None else ()),
        ),
        drawings=tuple(_agreements(groups, width)),
        published=published_grids(rows),
        submissions=submissions_grid(handed_in),
        sentences=(
            *collection.sentences,
            *(f"{group.stem}: {sentence}" for group in groups for sentence in group.sentences),
            *unreadable,
            *not_shown,
            *not_audits,
        ),
    )


def _several(groups: Sequence[GroupReport]) -> list[Grid]:
    """The main tables of several data sets side by side, where protocol and preset are the same."""
    alike: defaultdict[str, list[GroupReport]] = defaultdict(list)
    for group in groups:
        key, record = group.group.key, group.group.runs[0].record
        alike[sha256_of_json([key.protocol, record.protocol.settings, key.preset])].append(group)
    grids: list[Grid] = []
    for of_protocol in alike.values():
        for view, task in product(VIEWS, TASKS):
            tables = [g.views[view].main[task] for g in of_protocol if view in g.views]
            tables = [table for table in tables if table.groups]
            if len(tables) > 1:
                grids += side_by_side(tables)
    return grids


def _agreements(groups: Sequence[GroupReport], width: float) -> Iterator[Drawing]:
    """How alike protocols and views of one data set and preset order the systems, by task."""
    alike: defaultdict[tuple[str, str], list[GroupReport]] = defaultdict(list)
    for group in groups:
        alike[group.group.key.dataset, group.group.key.preset].append(group)
    for names, of_dataset in alike.items():
        for task in TASKS:
            views = [view for group in of_dataset for view in group.views.values()]
            figure = agreement_figure([view.main[task] for view in views], width)
            if figure is not None:
                yield Drawing(file_name(*names, task, "agreement"), _AGREEMENT, figure)


def _nothing_to_report(root: Path, collection: Collection) -> BenchmarkError:
    if collection.sentences:
        return BenchmarkError(
            f"{root}: none of its run folders can be read: {' '.join(collection.sentences)}"
        )
    return BenchmarkError(
        f"{root}: there are no runs to report; make some with `python -m benchmark.run`, "
        "or name another folder with --from."
    )
