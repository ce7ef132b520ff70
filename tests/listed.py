"""Systems of tests that the catalogue lists for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.systems.catalogue import SystemEntry, entries


@contextmanager
def listed_rows(*rows: SystemEntry) -> Iterator[None]:
    """The catalogue has these rows while something runs here, and no longer."""
    catalogue = entries()
    catalogue |= {row.name: row for row in rows}
    try:
        yield
    finally:
        for row in rows:
            del catalogue[row.name]
