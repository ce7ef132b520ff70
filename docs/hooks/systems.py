"""A page for each row of the catalogue, and the page that lists them all.

Everything on them is read where it is kept: the row, the docstrings, the golden tests, the run
records of ``results/reference``, the figures of ``results/published``, the classes' settings and
search spaces, and the presets.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

from benchmark.protocol.metrics import VIEWS
from benchmark.report.charts import curves_figure
from benchmark.report.collect import collect
from benchmark.report.grid import DASH, Entry, Footnote, Grid, GridGroup, to_markdown
from benchmark.report.plots import report_style
from benchmark.report.published import PublishedRow, read_published
from benchmark.run.listing import settings_of
from benchmark.runs.record import Run
from benchmark.systems.catalogue import SystemEntry, choose, entries, family_order, family_title
from benchmark.systems.catalogue import index_file, named_files
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.space import Choice, Parameter, Real, UntilPatience, Whole
from docs.hooks.differences import ROOT, differences_of, docstring_of, told_in
from docs.hooks.golden import tests_of

RESULTS = ROOT / "results"
VIEW_TITLES = {"lists": "candidate lists", "all-items": "all items"}
_SHOWN = {
    "lists": ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10"),
    "all-items": ("HR@10", "HR@100", "NDCG@10", "NDCG@100"),
}


@dataclass(frozen=True)
class SystemPage:
    """A page as Markdown; ``curves`` is the picture beside it, as SVG, if training left any."""

    entry: SystemEntry
    text: str
    curves: bytes | None

    @property
    def address(self) -> str:
        """Its place in the site."""
        return address_of(self.entry)


def address_of(entry: SystemEntry) -> str:
    """Where a row's page stands, from the root of the documentation.

    >>> address_of(entries()["sasrec"])
    'systems/sasrec.md'
    """
    return f"systems/{entry.name}.md"


def rows_by_family() -> dict[str, list[SystemEntry]]:
    """Family's title → its rows, in the order of the tables."""
    rows = list(entries().values())
    keys = [*family_order(), *sorted({row.family for row in rows} - set(family_order()))]
    found = {family_title(key): [row for row in rows if row.family == key] for key in keys}
    return {title: members for title, members in found.items() if members}


def index_page() -> str:
    """All systems: name, tasks and what each is, with a link to its page."""
    lines = [
        "# Systems",
        "",
        "Every row of the catalogue. Those that are not in the suite `all` run by name.",
        "",
        "| system | name | tasks | in `all` | state |",
        "|---|---|---|---|---|",
    ]
    for title, rows in rows_by_family().items():
        lines.append(f"| **{title}** | | | | |")
        lines += [
            f"| [{row.display_name}]({row.name}.md) | `{_called(row)}` | {', '.join(row.tasks)} | "
            f"{'yes' if row.in_suite else 'no'} | {_cell(row.status)} |"
            for row in rows
        ]
    return "\n".join([*lines, ""])


def system_page(entry: SystemEntry) -> SystemPage:
    """The page of one row."""
    runs = _runs()[entry.name]
    curves = _curves(entry, runs)
    parts = [
        f"# {entry.display_name}",
        entry.status,
        _what_it_is(entry),
        _differences(entry),
        _golden(entry),
        _command(entry),
        _figures(entry, runs, bool(curves)),
        _published(entry),
        _space(entry),
        _settings(entry),
    ]
    return SystemPage(entry, "\n\n".join(part for part in parts if part) + "\n", curves)


def _called(entry: SystemEntry) -> str:
    return f"{entry.name}:<Model>" if entry.variants else entry.name


def _example(entry: SystemEntry) -> str:
    """A name that ``--systems`` takes."""
    return f"{entry.name}:{entry.variants[0]}" if entry.variants else entry.name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def plain(text: str) -> str:
    """A docstring's markup as Markdown.

    >>> plain("See :mod:`baselines.joint.base` and ``alpha``.")
    'See `baselines.joint.base` and `alpha`.'
    """
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


# What it is, and where it differs


def _what_it_is(entry: SystemEntry) -> str:
    told, _ = told_in(docstring_of(entry.module))
    facts = [
        f"| family | {family_title(entry.family)} |",
        f"| tasks | {', '.join(entry.tasks)} |",
        f"| class | `{entry.target}` |",
    ]
    if entry.reference:
        facts.append(f"| paper | {_paper(entry.reference)} |")
    if entry.original:
        facts.append(f"| original | <{entry.original}> (licence: {entry.licence}) |")
    if entry.upstream:
        links = ", ".join(f"[{entries()[name].display_name}]({name}.md)" for name in entry.upstream)
        facts.append(f"| builds on | {links} |")
    if entry.needs_text:
        facts.append("| data | needs readable item texts |")
    if not entry.in_suite:
        facts.append("| suite | not in `all`: runs by name |")
    table = "\n".join(["| | |", "|---|---|", *facts])
    variants = ""
    if entry.variants:
        refused = "".join(f"\n- `{name}`: {why}" for name, why in entry.refused_variants.items())
        variants = (
            f"Variants: {', '.join(f'`{name}`' for name in entry.variants)}.\n\nRefused:\n{refused}"
        )
    text = "\n\n".join(plain(paragraph) for paragraph in told)
    return "\n\n".join(part for part in ("## What it is", table, text, variants) if part)


@cache
def _bibliography() -> dict[str, dict[str, str]]:
    """Key → field → text of the file of references, braces and accents' commands taken out."""
    text = index_file("references.bib").read_text(encoding="utf-8")
    found = {}
    for key, body in re.findall(r"@\w+\{([^,]+),(.*?)\n\}", text, flags=re.DOTALL):
        fields = dict(re.findall(r"(\w+) = \{(.*)\}", body))
        found[key] = {
            name: re.sub(r"\{\\.(\w)\}|[{}]", r"\1", value) for name, value in fields.items()
        }
    return found


def _paper(key: str) -> str:
    fields = _bibliography()[key]
    where = fields.get("booktitle") or fields.get("journal") or fields.get("publisher") or ""
    first = fields["author"].split(" and ")[0].partition(",")[0]
    others = " et al." if " and " in fields["author"] else ""
    parts = [f"{first}{others}", f"*{fields['title']}*", where, fields["year"]]
    return _cell(", ".join(part for part in parts if part))


def _differences(entry: SystemEntry) -> str:
    rows = {row.name: row.module for row in entries().values()}
    found = differences_of(entry.module, rows)
    if not found:
        return ""
    lines, last = ["## Differences from the original", ""], entry.module
    for number, (module, difference) in enumerate(found, start=1):
        if module != last:
            lines += ["", f"Told by `{module}`, for all that share it:", ""]
            last = module
        lines.append(f"{number}. {plain(difference)}.")
    return "\n".join(lines)


def _golden(entry: SystemEntry) -> str:
    names = [row.name for row in entries().values() if row.module == entry.module]
    tests = tests_of(names, entry.module)
    if not tests:
        return ""
    lines = ["## What pins it", ""]
    for test in tests:
        files = ", ".join(f"`{pattern}`" for pattern in test.patterns)
        lines.append(f"- `{test.path}`, on the golden files whose names match {files}")
    lines += [
        "",
        "Golden files hold numbers that the original computed or, where its authors published no "
        "code, a re-implementation or the paper's equations. `GOLDEN_DIR` and `GOLDEN_NEXT_DIR` "
        "say where they are; without them these tests are skipped.",
    ]
    return "\n".join(lines)


def _command(entry: SystemEntry) -> str:
    return (
        "## Run it\n\n```\n"
        f"python -m benchmark.run --systems {_example(entry)}\n"
        f"python -m benchmark.run --describe {_example(entry)}\n"
        f"python -m benchmark.check {_example(entry)}\n"
        "```\n\nThe first trains and tests it on ml-100k under protocol `paper` and preset "
        "`laptop`, the second prints its settings, the third probes whether it keeps the contract."
    )


# Figures, ours and published


@cache
def _runs() -> Mapping[str, Sequence[Run]]:
    """System → its reference runs; none for those that have none."""
    found: defaultdict[str, list[Run]] = defaultdict(list)
    for group in collect(RESULTS / "reference").groups:
        for run in group.runs:
            if run.record.status == "finished":
                found[run.record.system.name].append(run)
    return found


def _figures(entry: SystemEntry, runs: Sequence[Run], has_curves: bool) -> str:
    if not runs:
        return (
            "## Figures\n\nNo reference run of it is kept, so there is no figure to show: the "
            "command above makes one."
        )
    sections = ["## Figures"]
    for view in VIEWS:
        grid = _grid_of_view(entry, runs, view)
        if grid is not None:
            sections.append(to_markdown(grid).rstrip())
    sections.append("The tables with all systems, marks and notes: [results](../results.md).")
    if has_curves:
        sections.append(f"![Validation NDCG@5 by epoch of {entry.display_name}]({entry.name}.svg)")
    return "\n\n".join(sections)


def _grid_of_view(entry: SystemEntry, runs: Sequence[Run], view: Any) -> Grid | None:
    """Means over the seeds, a row for each task and group of runs."""
    by_group: defaultdict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        record = run.record
        by_group[record.dataset.name, record.protocol.name, record.preset].append(run)
    metrics = _SHOWN[view]
    rows = []
    for (dataset, protocol, preset), of_group in sorted(by_group.items()):
        for task in entry.tasks:
            values = [run.metrics_of(view).get(task, {}) for run in of_group]
            if not all(values):
                continue
            cells = [
                Entry(f"{sum(found) / len(found):.4f}") if None not in found else Entry(DASH)
                for found in ([of_run.get(metric) for of_run in values] for metric in metrics)
            ]
            seeds = ", ".join(str(run.record.seed) for run in of_group)
            rows.append((Entry(f"{task}: {dataset}, {protocol}, {preset}, seeds {seeds}"), *cells))
    if not rows:
        return None
    stand_ins = dict.fromkeys(text for run in runs for text in run.record.system.stand_ins)
    return Grid(
        stem=entry.name,
        caption=f"Reference runs, ranked among {VIEW_TITLES[view]}; means over seeds.",
        head=("Task and runs", *metrics),
        groups=(GridGroup("", tuple(rows)),),
        footnotes=tuple(Footnote("", text) for text in stand_ins),
    )


def _curves(entry: SystemEntry, runs: Sequence[Run]) -> bytes | None:
    figure = curves_figure(runs, entry.display_name) if runs else None
    if figure is None:
        return None
    written = BytesIO()
    with report_style():
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of ``results/published``."""
    return read_published(RESULTS / "published")[0]


def _published(entry: SystemEntry) -> str:
    wanted = _letters(entry.heading or entry.display_name.partition(" (")[0])
    rows = [row for row in published_rows() if _letters(row.system.partition(" (")[0]) == wanted]
    if not rows:
        return ""
    names = sorted({name for row in rows for name in row.figures}, key=_by_metric)
    grid = Grid(
        stem=entry.name,
        caption=(
            "As printed there: other data, splits and candidates, so not to be compared with the "
            "figures above."
        ),
        head=("Task, data, candidates", *names, "source"),
        groups=(
            GridGroup(
                "",
                tuple(
                    (
                        Entry(f"{row.task}, {row.data}, {row.candidates}"),
                        *(Entry(row.figures.get(name, DASH)) for name in names),
                        Entry(row.source),
                    )
                    for row in rows
                ),
            ),
        ),
        footnotes=tuple(
            Footnote("", f"{row.data}: {why}") for row in rows for why in row.contradictions
        ),
        left=(len(names) + 1,),
    )
    links = "\n".join(f"- <{url}>" for url in dict.fromkeys(row.url for row in rows))
    return f"## Published figures\n\n{to_markdown(grid).rstrip()}\n\nSources:\n\n{links}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _by_metric(name: str) -> tuple[str, int]:
    kind, _, cutoff = name.partition("@")
    return kind, int(cutoff)


# Settings


def _written(value: Any) -> str:
    text = json.dumps(value, default=_jsonable)
    return f"`{_cell(text)}`"


def _jsonable(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def in_words(parameter: Parameter) -> str:
    """A part of a search space as a sentence's end.

    >>> in_words(Real(0.1, 0.5)), in_words(Choice((1, 2)))
    ('a number from 0.1 to 0.5', 'one of `1`, `2`')
    """
    if isinstance(parameter, Choice):
        return f"one of {', '.join(_written(value) for value in parameter.values)}"
    if isinstance(parameter, UntilPatience):
        return f"not searched: {parameter.epochs:,} at least, so that patience ends training"
    kind = "a number" if isinstance(parameter, Real) else "a whole number"
    how = ", its logarithm drawn uniformly" if parameter.log else ""
    return f"{kind} from {parameter.low:g} to {parameter.high:g}{how}"


def _space(entry: SystemEntry) -> str:
    space: Mapping[str, Parameter] = getattr(entry.load().Config, "search_space", {})
    if not space:
        return ""
    rows = "\n".join(f"| `{key}` | {in_words(space[key])} |" for key in sorted(space))
    return (
        "## Search space\n\nWhat `python -m benchmark.tune` may choose.\n\n"
        f"| setting | values |\n|---|---|\n{rows}"
    )


def _settings(entry: SystemEntry) -> str:
    """Every setting with its meaning and default, and what the presets make of it."""
    choice = choose(_example(entry))
    default = configure(choice)
    under: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for preset, changed in _presets().items():
        chosen = configure(choice, changed.overrides_for(choice.base_name))
        for setting in settings_of(chosen, default):
            if setting.value != setting.default:
                under[setting.key][_written(setting.value)].append(preset)
    lines = [
        f"| `{setting.key}` | {_written(setting.default)} | {_by_presets(under[setting.key])} | "
        f"{_cell(plain(setting.meaning))} |"
        for setting in settings_of(default, default)
    ]
    if not lines:
        return "## Settings\n\nIt has none."
    return "\n".join(
        [
            "## Settings",
            "",
            f"`--set {_example(entry)}.KEY=VALUE` changes one. Defaults are the publication's "
            "values; presets that change a setting stand beside it.",
            "",
            "| key | default | presets | meaning |",
            "|---|---|---|---|",
            *lines,
        ]
    )


def _by_presets(values: Mapping[str, Sequence[str]]) -> str:
    """Each value that presets have, and which have it."""
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in values.items())


@cache
def _presets() -> Mapping[str, Any]:
    """The presets that are no study's, by name."""
    return {name: load_preset(name) for name in named_files("presets") if "/" not in name}


def pages(rows: Iterable[SystemEntry] | None = None) -> list[SystemPage]:
    """The page of every row (or of ``rows``), in the order of the catalogue."""
    return [system_page(row) for row in (entries().values() if rows is None else rows)]
