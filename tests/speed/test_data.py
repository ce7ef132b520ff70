"""What the topic ``data`` says of lists at scale; not how fast they are."""

from __future__ import annotations

from benchmark.speed.data import lists_of_worlds
from benchmark.speed.measure import as_lines


def test_lists_of_worlds_are_compared_by_protocol() -> None:
    measured = lists_of_worlds({"paper": (1, 2), "clean": (1,)})
    names = [one.what for one in measured]
    assert names == ["lists of paper, CPU time"] * 2 + ["lists of clean, CPU time"]
    assert all(one.units > 15_000 * users for one, users in zip(measured, (1, 2, 1), strict=True))
    assert measured[0].units < measured[1].units  # events
    assert all(one.seconds > 0 for one in measured)
    lines = list(as_lines(measured))
    assert lines[0].endswith("| 1.00 x") and lines[2].endswith("| 1.00 x")
    assert " items, 288 queries, peak memory so far" in lines[0]
