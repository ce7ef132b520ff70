"""The tables of the audits that were saved beside the runs: what the protocols give away.

One table a data set shows the diagnostics under every protocol that was audited, another what each
ranker reaches on the candidate lists and against the whole catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.audit.record import TITLES, Audit, read_audits
from benchmark.report.collect import RunGroup
from benchmark.report.grid import Entry, Footnote, Grid, GridGroup, number
from benchmark.report.text import clean, file_name

_COMPARED = ("HR@10", "NDCG@10")


def audit_grids(
    groups: Sequence[RunGroup], folder: Path
) -> tuple[tuple[Grid, ...], tuple[str, ...]]:
    """The tables of the audits in ``folder`` that belong to data sets of ``groups``.

    Returns:
        The tables, and a sentence for each file that cannot be read.
    """
    audits, sentences = read_audits(folder)
    grids: list[Grid] = []
    shown: set[str] = set()
    for group in groups:
        dataset = group.runs[0].record.dataset
        if dataset.fingerprint in shown:
            continue
        shown.add(dataset.fingerprint)
        its_audits = [found for found in audits if found.fingerprint == dataset.fingerprint]
        if its_audits:
            grids += [diagnostics_grid(its_audits), views_grid(its_audits)]
    return tuple(grids), tuple(sentences)


def diagnostics_grid(audits: Sequence[Audit]) -> Grid:
    """A group of rows for each diagnostic, a column for each protocol."""
    groups = []
    for key, title in TITLES.items():
        figures = [found.diagnostics.get(key, {}) for found in audits]
        names = dict.fromkeys(name for of_protocol in figures for name in of_protocol)
        if not names:
            continue
        rows = tuple(
            (Entry(clean(name)), *(_figure(of_protocol.get(name)) for of_protocol in figures))
            for name in names
        )
        groups.append(GridGroup(f"{key} {title}", rows))
    dataset = audits[0].dataset
    return Grid(
        stem=file_name(dataset, "audit"),
        caption=f"What the protocols give away on {clean(dataset)}.",
        head=("Diagnostic", *(clean(found.protocol) for found in audits)),
        groups=tuple(groups),
    )


def views_grid(audits: Sequence[Audit]) -> Grid:
    """Each ranker on the lists and against the whole catalogue, under each protocol."""
    groups = []
    for task in dict.fromkeys(task for found in audits for task in found.rankers):
        rows = tuple(
            (
                Entry(clean(result.display_name)),
                Entry(clean(found.protocol)),
                *(_figure(result.lists[metric]) for metric in _COMPARED),
                *(_figure(result.catalogue[metric]) for metric in _COMPARED),
            )
            for found in audits
            for result in found.rankers.get(task, ())
        )
        groups.append(GridGroup(task.capitalize(), rows))
    dataset, sizes = audits[0].dataset, audits[0].catalogue_events
    sampled = ", ".join(f"{size:,} of {task}" for task, size in sizes.items())
    return Grid(
        stem=file_name(dataset, "audit-catalogue"),
        caption=f"Candidate lists against the whole catalogue on {clean(dataset)}.",
        head=("Ranker", "Protocol", *_COMPARED, *_COMPARED),
        groups=tuple(groups),
        footnotes=(
            Footnote(
                "1",
                f"Whole catalogue: a sample of test events ({sampled}), ranked among all "
                "items that the user never touched.",
            ),
        ),
        spans=(("", 1), ("Lists", len(_COMPARED)), ("Whole catalogue", len(_COMPARED))),
        left=(1,),
    )


def _figure(value: float | None) -> Entry:
    return number(value, "" if value is None else f"{value:,.3f}")
