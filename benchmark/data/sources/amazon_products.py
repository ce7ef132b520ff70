"""Products of both sources of Amazon: texts as cleaned, metadata by id, and those without text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.data.raw import NO_QUERY, NO_SESSION, RawLog
from benchmark.data.tables.table import Table

LONGEST_TEXT = 2000
"""A cleaned text with so many characters or more becomes empty, as in the official notebook."""

_TAG = re.compile(r"</?\w[^>]*>")
_QUOTE_OR_BREAK = re.compile(r'["\n\r]')
_BY_LINE = re.compile(r"^\s*by\n")


def clean_text(text: str | Sequence[str]) -> str:
    """The official notebook's cleaning: entities, tags, quotes, line breaks and the last dot.

    >>> clean_text("<b>Bold</b> &amp; fast...")
    'Bold & fast.'
    """
    parts = [text.strip()] if isinstance(text, str) else list(text)
    plain = [_QUOTE_OR_BREAK.sub("", _without_tags(html.unescape(part))) for part in parts]
    joined = plain[0] if isinstance(text, str) else " ".join(part.strip() for part in plain)
    # The first character stays even where it is a dot: "..." becomes "..".
    ended = joined[:1] + joined[1:].rstrip(".") + "."
    return ended if len(ended) < LONGEST_TEXT else ""


def _without_tags(text: str) -> str:
    # Behind the last ">" no tag ends: looking for one from each "<" there takes quadratic time.
    end = text.rfind(">") + 1
    return _TAG.sub("", text[:end]) + text[end:]


def clean_brand(brand: str) -> str:
    """The brand without a leading line "by"."""
    return _BY_LINE.sub("", brand).strip()


class OfProducts:
    """A table of metadata in the order of ``products``, by their ids in its column ``key``.

    ``rows`` are the table's, one a product; -1 where a product has no metadata.
    """

    def __init__(self, metadata: Table | None, key: str, products: Sequence[str]) -> None:
        self._metadata = metadata
        row_of = {}
        if metadata is not None:
            ids = metadata.ids(key)
            row_of = {ids.distinct[code]: row for row, code in enumerate(ids.code.tolist())}
        self.rows = [row_of.get(product, -1) for product in products]

    def column(self, name: str, nothing: Any) -> list[Any]:
        """The texts of a column, one a product; ``nothing`` where it has no metadata."""
        values = self._metadata.texts(name) if self._metadata is not None else []
        return [values[row] if row >= 0 else nothing for row in self.rows]


def only_items_with_text(log: RawLog) -> RawLog:
    """The events of items that have a title or a description, and a note on the others."""
    items = log.items
    has_text = np.array(
        [bool(a or b) for a, b in zip(items.title, items.description, strict=True)], dtype=bool
    )
    keep = has_text[log.item]
    if keep.all():
        return log
    lost = len(np.unique(log.item[~keep]))
    purchases = int(np.count_nonzero(~keep & (log.query == NO_QUERY)))
    searches = int(np.count_nonzero(~keep & (log.session != NO_SESSION)))
    return log.take(keep).with_notes(
        f"{lost:,} items without title and description were left out, with {purchases:,} purchases "
        f"and {searches:,} searches."
    )
