"""A page for each row of the catalogue, and the page that lists them all.

Everything on them is read where it is kept: the row, the docstrings, the golden tests, the run
records of ``results/reference``, the figures of ``results/published``, the classes' settings and
search spaces, and the presets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from benchmark.systems.catalogue import (
    SystemEntry,
    entries,
    family_order,
    family_title,
    index_file,
)
from docs.hooks.differences import differences_of, docstring_of, told_in
from docs.hooks.figures import curves_of, figures_of, published_of
from docs.hooks.golden import tests_of
from docs.hooks.settings import cell, example_of, plain, search_space_of, settings_table_of


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
            f"{'yes' if row.in_suite else 'no'} | {cell(row.status)} |"
            for row in rows
        ]
    return "\n".join([*lines, ""])


def system_page(entry: SystemEntry) -> SystemPage:
    """The page of one row."""
    curves = curves_of(entry)
    parts = [
        f"# {entry.display_name}",
        entry.status,
        _what_it_is(entry),
        _differences(entry),
        _golden(entry),
        _command(entry),
        figures_of(entry, bool(curves)),
        published_of(entry),
        search_space_of(entry),
        settings_table_of(entry),
    ]
    return SystemPage(entry, "\n\n".join(part for part in parts if part) + "\n", curves)


def _called(entry: SystemEntry) -> str:
    return f"{entry.name}:<Model>" if entry.variants else entry.name


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
    return cell(", ".join(part for part in parts if part))


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
    name = example_of(entry)
    if entry.is_ceiling:
        return (
            "## Run it\n\n```\n"
            f"python -m benchmark.run --dataset planted --systems {name}\n"
            f"python -m benchmark.run --describe {name}\n"
            "```\n\nThe first tests it on the log whose rule it knows, under protocol `paper` and "
            "preset `laptop`, the second prints its settings."
        )
    return (
        "## Run it\n\n```\n"
        f"python -m benchmark.run --systems {name}\n"
        f"python -m benchmark.run --describe {name}\n"
        f"python -m benchmark.check {name}\n"
        "```\n\nThe first runs and tests it on ml-100k under protocol `paper` and preset `laptop`, "
        "the second prints its settings, the third probes whether it keeps the contract."
    )


def pages(rows: Iterable[SystemEntry] | None = None) -> list[SystemPage]:
    """The page of every row (or of ``rows``), in the order of the catalogue."""
    return [system_page(row) for row in (entries().values() if rows is None else rows)]
