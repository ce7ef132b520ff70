"""The papers of the systems, out of the index package's BibTeX file: links to them, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote_plus

from benchmark.systems.catalogue import INDEX_PACKAGE

_ENTRY = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\}\s*,?\s*$", re.MULTILINE)
_ACCENT = re.compile(r"\{?\\[`'^\"~=.uvHcr]\s*\{?([A-Za-z])\}?\}?")


@dataclass(frozen=True)
class Paper:
    """A paper as the page names it: first author and year, title, address."""

    short: str
    title: str
    url: str


def papers(keys: str) -> Iterator[Paper]:
    """The papers of a system's ``reference``: one BibTeX key or several, separated by commas."""
    known = _references()
    for key in (part.strip() for part in keys.split(",")):
        if key in known:
            yield known[key]


def known_keys(keys: str) -> str:
    """Those of a system's ``reference`` that LaTeX can cite, separated by commas."""
    known = _references()
    return ",".join(key for key in map(str.strip, keys.split(",")) if key in known)


def bibliographies() -> list[Path]:
    """The BibTeX files of the index package."""
    return sorted(Path(str(files(INDEX_PACKAGE))).glob("*.bib"))


@lru_cache(maxsize=1)
def _references() -> dict[str, Paper]:
    """Every entry of the BibTeX files of the index package."""
    found = {}
    for path in bibliographies():
        for key, body in _ENTRY.findall(path.read_text(encoding="utf-8")):
            fields = {name.lower(): _plain(value) for name, value in _FIELD.findall(body)}
            found[key] = _paper(key, fields)
    return found


def _plain(value: str) -> str:
    return _ACCENT.sub(r"\1", value).replace("{", "").replace("}", "").strip()


def _paper(key: str, fields: dict[str, str]) -> Paper:
    authors = fields.get("author", "").split(" and ")
    first = authors[0].partition(",")[0] or key
    others = " et al." if len(authors) > 1 else ""
    title = fields.get("title", key)
    if "url" in fields:
        url = fields["url"]
    elif "doi" in fields:
        url = f"https://doi.org/{fields['doi']}"
    elif "eprint" in fields:
        url = f"https://arxiv.org/abs/{fields['eprint']}"
    else:
        url = f"https://scholar.google.com/scholar?q={quote_plus(title)}"
    return Paper(f"{first}{others} ({fields.get('year', 'n. d.')})", title, url)
