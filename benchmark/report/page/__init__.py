"""The report as one page: a file that needs no server, no network and no other file.

Tables can be sorted and filtered, a switch chooses between the views, figures answer the pointer,
every run shows its configuration and environment. All text from runs passes through Jinja2's
escaping; figures are matplotlib's SVG, rebuilt element by element. Besides, the page's own policy
lets nothing be fetched and no script run but the one whose hash it names, so even markup that got
through would do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.jobs.record import Run
from benchmark.protocol.metrics import View
from benchmark.report.page.figures import svg_of
from benchmark.report.reading.papers import Paper, papers
from benchmark.report.reading.text import clean
from benchmark.report.tables.grid import Grid
from benchmark.report.tables.rows import place_of_family
from benchmark.systems.catalogue import base_name, entries, family_title

if TYPE_CHECKING:
    from markupsafe import Markup

    from benchmark.report.group import Drawing, GroupReport
    from benchmark.report.whole import Report

FOLDER = Path(__file__).parent
_SETTINGS_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class _Figure:
    caption: str
    svg: Markup


@dataclass(frozen=True)
class _Part:
    """What a section says of one view, or of neither alone: then ``view`` is empty."""

    view: str
    title: str
    grids: tuple[Grid, ...]
    figures: tuple[_Figure, ...]


@dataclass(frozen=True)
class _Section:
    """One group of comparable runs on the page."""

    anchor: str
    title: str
    parts: tuple[_Part, ...]
    settings: tuple[tuple[str, str], ...]
    runs: tuple[_Run, ...]


@dataclass(frozen=True)
class _Run:
    """What the page tells of a run beside its figures."""

    run: Run
    family: str
    configuration: str
    environment: str
    papers: tuple[Paper, ...]
    original: str


def render_page(report: Report, source: str) -> str:
    """The whole page.

    Args:
        report: what is shown.
        source: where the runs were read, as the reader named it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _own_text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("page.html.j2").render(
        source=clean(source),
        sections=[_section(group) for group in report.groups],
        families=_families(report),
        has_both_views=any(len(group.views) > 1 for group in report.groups),
        grids=report.grids,
        figures=[_figure(drawing) for drawing in report.drawings],
        published=report.published,
        submissions=report.submissions,
        sentences=[clean(sentence) for sentence in report.sentences],
        style=Markup(_own_text("page.css")),
        script=Markup(script),
        script_hash=digest,
    )


def _families(report: Report) -> list[str]:
    """The titles of the families that any main table has, in the order of the tables."""
    order = {
        family_title(group.family): place_of_family(group.family)
        for of_group in report.groups
        for view in of_group.views.values()
        for table in view.main.values()
        for group in table.groups
    }
    return sorted(order, key=lambda title: order[title])


@lru_cache(maxsize=4)
def _own_text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _figure(drawing: Drawing) -> _Figure:
    return _Figure(drawing.caption, svg_of(drawing.figure, drawing.stem, drawing.caption))


def _section(group: GroupReport) -> _Section:
    key, record = group.group.key, group.group.runs[0].record
    variant = f" (variant {group.group.variant})" if group.group.variant else ""
    return _Section(
        anchor=group.stem,
        title=clean(f"{key.dataset}, protocol {key.protocol}{variant}, preset {key.preset}"),
        parts=tuple(_parts(group)),
        settings=tuple(_settings(record.protocol.settings)),
        runs=tuple(map(_run, group.group.runs)),
    )


def _parts(group: GroupReport) -> Iterator[_Part]:
    titles: dict[View, str] = {"lists": "Candidate lists", "all-items": "All items"}
    for view, of_view in group.views.items():
        yield _Part(view, titles[view], of_view.grids, tuple(map(_figure, of_view.drawings)))
    yield _Part("", "Beside the views", group.own_grids, tuple(map(_figure, group.own_drawings)))


def _settings(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(settings.items()):
        yield clean(name), clean(json.dumps(value, ensure_ascii=False))[:_SETTINGS_SHOWN]


def _run(run: Run) -> _Run:
    system = run.record.system
    entry = entries().get(base_name(system.name).partition(":")[0])
    return _Run(
        run=run,
        family=family_title(system.family),
        configuration=_as_text(system.configuration),
        environment=_as_text(run.record.environment),
        papers=tuple(papers(system.reference)),
        original=entry.original if entry is not None else "",
    )


def _as_text(content: object) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
