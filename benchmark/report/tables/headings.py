"""Variants of one system under one heading, as the catalogue has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from benchmark.report.reading.papers import known_keys
from benchmark.report.tables.grid import Entry
from benchmark.systems.catalogue import entries


def name_entries(names: Iterable[tuple[str, str, str]]) -> dict[str, Entry]:
    """System → the entry of its name in a table.

    Where a table has several variants of one system, each stands under their common heading with
    a label of its own; a variant alone has its whole name. Systems of the catalogue are cited.

    Args:
        names: of each row the system, its whole name, and its raised marks.
    """
    rows = list(names)
    known = entries()
    found = Counter(known[system].heading for system, _, _ in rows if system in known)
    shown = {}
    for system, name, raised in rows:
        entry = known.get(system)
        cite = known_keys(entry.reference) if entry is not None else ""
        if entry is not None and entry.heading and found[entry.heading] > 1:
            shown[system] = Entry(
                entry.label, raised=raised, heading=entry.heading, name=name, cite=cite
            )
        else:
            shown[system] = Entry(name, raised=raised, cite=cite)
    return shown
