"""The tables of the audits that were saved beside the runs: what the protocols give away.

One table a data set shows the diagnostics under every protocol that was audited, another what each
ranker reaches on the candidate lists and against the whole catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.audit.record import TITLES, Audit, read_audits
from benchmark.protocol.settings import PRESETS
from benchmark.report.reading.collect import RunGroup
from benchmark.report.reading.text import clean, file_name
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup, number

_COMPARED = ("HR@10", "NDCG@10")
_PARTS_OF_SPLIT = {"train": 1, "valid": 2, "test": 3}


def audits_of(
    groups: Sequence[RunGroup], folder: Path
) -> tuple[dict[str, list[Audit]], tuple[str, ...]]:
    """The audits in ``folder`` that belong to data sets of ``groups``, and what cannot be read.

    Returns:
        Fingerprint of a data set → its audits, the protocols in their order; and a sentence for
        each file that cannot be read.
    """
    audits, sentences = read_audits(folder)
    audits.sort(key=lambda found: _place_of_protocol(found.protocol))
    found_of: dict[str, list[Audit]] = {}
    for group in groups:
        fingerprint = group.runs[0].record.dataset.fingerprint
        its_audits = [found for found in audits if found.fingerprint == fingerprint]
        if its_audits:
            found_of[fingerprint] = its_audits
    return found_of, tuple(sentences)


def diagnostics_grid(audits: Sequence[Audit]) -> Grid:
    """A group of rows for each diagnostic, a column for each protocol.

    Every verdict that something is given away is a footnote, marked where its figures begin.
    """
    groups = []
    footnotes: list[Footnote] = []
    for key, title in TITLES.items():
        figures = [found.diagnostics.get(key, {}) for found in audits]
        names = dict.fromkeys(name for of_protocol in figures for name in of_protocol)
        if not names:
            continue
        rows = [
            (Entry(clean(name)), *(_figure_of(found, key, name) for found in audits))
            for name in sorted(names, key=_reading_order)
        ]
        first, *entries = rows[0]
        for column, found in enumerate(audits):
            findings = [verdict for verdict in found.findings if verdict.number == key]
            marks = [str(len(footnotes) + number) for number in range(1, len(findings) + 1)]
            entries[column] = replace(entries[column], raised=",".join(marks))
            footnotes += [
                Footnote(mark, clean(f"{found.protocol}, {verdict.sentence}"))
                for mark, verdict in zip(marks, findings, strict=True)
            ]
        groups.append(GridGroup(f"{key} {title}", ((first, *entries), *rows[1:])))
    dataset = audits[0].dataset
    return Grid(
        stem=file_name(dataset, "audit"),
        caption=f"What the protocols give away on {clean(dataset)}.",
        head=("Diagnostic", *(clean(found.protocol) for found in audits)),
        groups=tuple(groups),
        footnotes=tuple(footnotes),
    )


def views_grid(audits: Sequence[Audit]) -> Grid:
    """Each ranker on the lists and against the whole catalogue, under each protocol."""
    groups = []
    for task in dict.fromkeys(task for found in audits for task in found.rankers):
        results = [
            (found.protocol, result) for found in audits for result in found.rankers.get(task, ())
        ]
        names = list(dict.fromkeys(result.name for _, result in results))
        results.sort(key=lambda of_protocol: names.index(of_protocol[1].name))
        rows = tuple(
            (
                Entry(clean(result.display_name)),
                Entry(clean(protocol)),
                *(_figure(result.lists[metric]) for metric in _COMPARED),
                *(_figure(result.catalogue[metric]) for metric in _COMPARED),
            )
            for protocol, result in results
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
                "items that the protocol admits.",
            ),
        ),
        spans=(("", 1), ("Lists", len(_COMPARED)), ("Whole catalogue", len(_COMPARED))),
        left=(1,),
    )


def _place_of_protocol(name: str) -> tuple[int, str]:
    """The presets in their order, then the others by name."""
    presets = list(PRESETS)
    return (presets.index(name) if name in presets else len(presets), name)


def _reading_order(name: str) -> list[tuple[int, str]]:
    """HR@5 before HR@10, and the parts of a split as time goes; a file keeps neither order."""
    return [
        (int(part), "") if part.isdecimal() else (_PARTS_OF_SPLIT.get(part, 0), part)
        for part in re.findall(r"\d+|[^\W\d]+|\W", name)
    ]


def _figure_of(found: Audit, key: str, name: str) -> Entry:
    """A figure of a diagnostic, its interval as detail."""
    value = found.diagnostics.get(key, {}).get(name)
    bounds = found.intervals.get(key, {}).get(name)
    detail = "" if bounds is None else f"one-sided 95 % bounds: {bounds[0]:.3f} to {bounds[1]:.3f}"
    return replace(_figure(value), detail=detail)


def _figure(value: float | None) -> Entry:
    return number(value, "" if value is None else f"{value:,.3f}")
