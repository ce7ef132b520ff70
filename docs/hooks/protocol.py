"""Tables of the protocol's page: settings with their values in presets, audit figures, verdicts."""

from __future__ import annotations

import ast
import re
from typing import Literal, get_args, get_origin

from benchmark.audit.record import TITLES, read_audits
from benchmark.errors import BenchmarkError
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.run.listing import meanings_of
from docs.hooks.differences import ROOT, paragraphs_of
from docs.hooks.settings import cell, plain, written

_TOLD_HERE = {
    "D13": "Kendall's tau between the orders that candidate lists and the whole catalogue give the "
    "rankers of a task, by NDCG@10.",
    "D17": "What BM25's order, its reverse, the usual place of targets in it, and the pairs of "
    "training reach on the search lists, as multiples of chance.",
}
"""What no docstring says under its number."""
_NUMBERED = re.compile(r"^D(\d+)(?: to D(\d+))?: (.*)$")


def settings_table() -> str:
    """Every setting: the values that it may take, what it is in each preset, and what it means."""
    meanings = meanings_of(ProtocolSettings)
    lines = [
        f"| setting | {' | '.join(f'`{name}`' for name in PRESETS)} | meaning |",
        f"|---|{'---|' * len(PRESETS)}---|",
    ]
    for key, field in ProtocolSettings.model_fields.items():
        values = [written(getattr(preset, key)) for preset in PRESETS.values()]
        is_one_of = get_origin(field.annotation) is Literal
        allowed = (
            f" One of {', '.join(f'`{value}`' for value in get_args(field.annotation))}."
            if is_one_of
            else ""
        )
        told = plain(meanings.get(key, ""))
        lines.append(f"| `{key}` | {' | '.join(values)} | {cell(told + allowed)} |")
    return "\n".join(lines)


def audit_table() -> str:
    """Every figure of the audit: its number, what it is about, and what is counted."""
    counted = counted_by()
    lines = ["| figure | about | what is counted |", "|---|---|---|"]
    lines += [
        f"| {number} | {cell(title)} | {cell(counted.get(number, ''))} |"
        for number, title in TITLES.items()
    ]
    return "\n".join(lines)


def verdicts_table() -> str:
    """What the audit says of each protocol on ml-100k, as it is kept in ``docs/audit``."""
    audits, problems = read_audits(ROOT / "docs" / "audit")
    if problems:
        raise BenchmarkError(" ".join(problems))
    said = {audit.protocol: audit.verdicts for audit in audits}
    names = [name for name in PRESETS if name in said]
    lines = [f"| figure | {' | '.join(f'`{name}`' for name in names)} |"]
    lines.append(f"|---|{'---|' * len(names)}")
    for number in TITLES:
        cells = [
            "<br>".join(
                cell(f"**Finding:** {verdict.what}" if verdict.is_finding else verdict.what)
                for verdict in said[name]
                if verdict.number == number
            )
            for name in names
        ]
        if any(cells):
            lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counted_by() -> dict[str, str]:
    """Figure's number → what the docstring of the function that counts it says.

    >>> counted_by()["D11"]
    'The share of search test negatives that are no BM25 hits.'
    """
    found = dict(_TOLD_HERE)
    files = [
        path for path in (ROOT / "benchmark" / "audit").glob("*.py") if path.name != "advice.py"
    ]
    # The verdicts say what follows from a figure, so they speak last.
    for path in sorted(files, key=lambda path: (path.name == "verdicts.py", path.name)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef):
                continue
            for paragraph in paragraphs_of(ast.get_docstring(node) or "")[:2]:
                if match := _NUMBERED.match(paragraph):
                    text = plain(match[3][:1].upper() + match[3][1:])
                    for number in range(int(match[1]), int(match[2] or match[1]) + 1):
                        found.setdefault(f"D{number}", text)
    return found
