"""Where a system differs from its original, numbered, as the docstrings of its modules tell it.

A docstring says it in a sentence that begins with "What differs" (or "Differences of its own"),
clause by clause; the sentences after it in that paragraph belong to it. Where a system takes over
another network or differs in what it stands for, a sentence of its own says so. Modules that a
docstring names (``prodsearch.py``, :mod:`baselines.dense_retrieval.base`, the row ``hstu``) are
read too, since what systems share stands there once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_LIST = re.compile(r"^(?:What (?:else )?differs|Differences of its own)[^:.]*: *")
_ELSEWHERE = re.compile(r"^(?:What else differs|Other differences|Its query encoder)[^:]*\.$")
_ALONE = re.compile(
    r"^(?:It differs from|Against |The suite's loop, |Ours, since nothing is published|"
    r"As nothing is published|The original fills|Similarity is)|, not the authors' code"
)
_NO_DIFFERENCE = re.compile(r"^Where presets ask for stand-ins|^All of it can be switched")
_NAMED = re.compile(r":mod:`(?P<module>[\w.]+)`|``(?P<file>\w+)\.py``|``(?P<row>[a-z0-9-]+)``")
_SENTENCE_ENDS = re.compile(r"(?<=[a-z)\"`0-9]\.) +(?=[A-Z`])")


def module_path(module: str) -> Path:
    """The file of a module of this repository, by its dotted name."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def docstring_of(module: str) -> str:
    """A module's docstring, read without importing it; empty if the module is not of this project.

    >>> docstring_of("baselines.references.random").split(".")[0]
    'Random: the floor'
    """
    path = module_path(module)
    if not path.is_file():
        return ""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def paragraphs_of(text: str) -> list[str]:
    r"""Paragraphs, each on one line.

    >>> paragraphs_of("One\nparagraph.\n\nAnother.")
    ['One paragraph.', 'Another.']
    """
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def clauses_of(sentence: str) -> list[str]:
    """A sentence at its semicolons, but for those between brackets.

    >>> clauses_of("words are ours; a rate (fixed; not tuned) rises; and that is all.")
    ['words are ours', 'a rate (fixed; not tuned) rises', 'that is all']
    """
    clauses, depth, start = [], 0, 0
    for place, letter in enumerate(sentence):
        depth += (letter in "([") - (letter in ")]")
        if letter == ";" and not depth:
            clauses.append(sentence[start:place])
            start = place + 1
    clauses.append(sentence[start:])
    return [re.sub(r"^and (?!the same)", "", clause.strip().rstrip(".")) for clause in clauses]


def differences_in(docstring: str) -> list[str]:
    r"""Each difference that a docstring tells, as a sentence without its full stop.

    >>> differences_in("A model.\n\nAs published. What differs: words are ours; no user is read.")
    ['Words are ours', 'No user is read']
    """
    return told_in(docstring)[1]


def told_in(docstring: str) -> tuple[list[str], list[str]]:
    r"""What a docstring says besides differences, as paragraphs, and each difference.

    >>> told_in("A model.\n\nAs published. What differs: words are ours.")[0]
    ['A model.', 'As published.']
    """
    found: list[str] = []
    others: list[str] = []
    for paragraph in paragraphs_of(docstring):
        is_list, rest = False, []
        for sentence in _SENTENCE_ENDS.split(paragraph):
            if _ELSEWHERE.search(sentence) or _NO_DIFFERENCE.search(sentence):
                continue
            if match := _LIST.search(sentence):
                is_list = True
                found += clauses_of(sentence[match.end() :])
            elif is_list or _ALONE.search(sentence):
                found.append(sentence.rstrip(".:"))
            else:
                rest.append(sentence)
        others += [" ".join(rest)] if rest else []
    return others, [clause[:1].upper() + clause[1:] for clause in found]


def differences_of(module: str, rows: Mapping[str, str]) -> list[tuple[str, str]]:
    """(module, difference) of a system's module, then of those that its docstring names.

    Args:
        module: the dotted name of the system's module.
        rows: name in the catalogue → module, for docstrings that name a row.
    """
    return [
        (name, difference)
        for name in modules_named_from(module, rows)
        for difference in differences_in(docstring_of(name))
    ]


def modules_named_from(module: str, rows: Mapping[str, str]) -> list[str]:
    """The module and all that is told by others: what its docstring refers to, and so on."""
    known = [module]
    for name in known:  # grows while it is read
        known += [other for other in dict.fromkeys(_references(name, rows)) if other not in known]
    return known


def _references(module: str, rows: Mapping[str, str]) -> Iterator[str]:
    """The modules whose docstring tells a part of the differences of ``module``."""
    package = module.rpartition(".")[0]
    for sentence in _SENTENCE_ENDS.split(" ".join(docstring_of(module).split())):
        if not re.search(r"differ|described in|stand in|told in|see ``", sentence):
            continue
        for match in _NAMED.finditer(sentence):
            name = match["module"] or (match["file"] and f"{package}.{match['file']}")
            if match["row"] and re.search(r"told in", sentence):
                name = rows.get(match["row"])
            if name and name.startswith(package.partition(".")[0]) and module_path(name).is_file():
                yield name
