"""Instants: numbers, texts with and without zones, timestamps; the right second for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmark.data.recipe import parse_recipe
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.instants import seconds
from benchmark.data.zones import zone_of
from benchmark.errors import BenchmarkError

EVENING = 1_717_178_400  # 2024-05-31 18:00:00 UTC


def read(array: Any, **column: Any) -> tuple[list[int], list[str]]:
    """The seconds of a column's cells, and what was noted of them."""
    given = array if isinstance(array, pa.Array) else pa.array(array)
    faults = Faults()

    def note(mask: Any, kind: str, shown: Any = None) -> None:
        for row in np.flatnonzero(mask).tolist():
            value = f"{shown(row)} " if shown else ""
            faults.add(Path("f"), row + 1, "t", f"{value}{kind}", kind)

    found = seconds(Column("t", **{"kind": "seconds", **column}), given, note)
    return found.tolist(), [fault.reason for fault in faults.of(Path("f"))]


@pytest.mark.parametrize(
    ("array", "column"),
    [
        ([EVENING], {}),
        ([float(EVENING)], {}),
        ([str(EVENING)], {}),
        ([f" {EVENING}.0 "], {}),
        ([EVENING * 1000 + 999], {"kind": "milliseconds"}),
        ([f"{EVENING}000"], {"kind": "milliseconds"}),
        ([EVENING * 1000.0 + 0.5], {"kind": "milliseconds"}),
        ([EVENING], {"kind": "instant"}),
        ([EVENING * 1000.0], {"kind": "instant"}),
        (["2024-05-31T18:00:00Z"], {}),
        (["2024-05-31 18:00:00.999Z"], {}),
        (["2024-05-31T20:00:00+02:00"], {}),
        (["2024-05-31T20:00+0200"], {}),
        (["2024-05-31T20:00:00+02"], {}),
        (["2024-05-31T12:30:00-05:30"], {}),
        (["20240531T180000Z"], {}),
        (["2024-05-31T18:00:00Z"], {"zone": "Asia/Tokyo"}),  # its own zone counts
        (["2024-05-31T20:00:00"], {"zone": "Europe/Berlin"}),
        (["2024-06-01 03:00"], {"zone": "+09:00"}),
        (["2024-05-31T18:00:00"], {"zone": "UTC"}),
        ([datetime(2024, 5, 31, 18)], {}),  # timestamps without a zone are UTC,
        ([datetime(2024, 5, 31, 20)], {"zone": "Europe/Berlin"}),  # unless one is stated
        ([datetime(2024, 5, 31, 18, tzinfo=UTC)], {"zone": "Europe/Berlin"}),
        ([datetime(2024, 5, 31, 20, tzinfo=timezone(timedelta(hours=2)))], {}),
    ],
)
def test_the_same_second_in_many_forms(array: list[Any], column: dict[str, Any]) -> None:
    assert read(array, **column) == ([EVENING], [])


def test_numbers_that_are_no_dates_are_seconds() -> None:
    texts = ["20131331", "20130532", "1969", "2100", "201313", "1"]
    assert read(texts) == ([int(text) for text in texts], [])
    assert read([20130531, 2013]) == ([20130531, 2013], [])


def test_forms_may_be_mixed() -> None:
    texts = ["2024-05-31T18:00:00Z", str(EVENING), "2024-05-31T20:00:00+02:00"]
    assert read(texts) == ([EVENING] * 3, [])


def test_dates_are_midnight_in_their_zone() -> None:
    midnight = EVENING - 18 * 3600
    dates = pa.array([midnight // 86_400], pa.date32())
    assert read(dates) == ([midnight], [])
    assert read(dates, zone="+02:00") == ([midnight - 7200], [])
    assert read(["2024-05-31"], zone="+02:00") == ([midnight - 7200], [])


def test_an_hour_that_comes_twice_or_not_at_all() -> None:
    twice, never = "2024-10-27T02:30:00", "2024-03-31T02:30:00"  # in Berlin
    first = int(datetime(2024, 10, 27, 0, 30, tzinfo=UTC).timestamp())
    after = int(datetime(2024, 3, 31, 1, 0, tzinfo=UTC).timestamp())
    assert read([twice, never], zone="Europe/Berlin") == ([first, after], [])


@pytest.mark.parametrize(
    ("array", "column", "reason"),
    [
        ([-5], {}, "-5 is negative"),
        ([EVENING * 1000], {}, "lies after the year 2099; seconds, not milliseconds,"),
        ([EVENING * 1000.0**2], {"kind": "milliseconds"}, "lies after the year 2099; milliseconds"),
        ([EVENING], {"kind": "milliseconds", "earliest": 10**8}, "is too small for milliseconds"),
        ([0], {"kind": "milliseconds", "earliest": 10**8}, "is too small for milliseconds"),
        (["20130531"], {}, "20130531 is a date or a moment of 1970"),
        ([" 20130531.0"], {"kind": "instant"}, "is a date or a moment of 1970"),
        (["2013"], {}, "2013 is a date"),
        (["201305"], {"kind": "milliseconds"}, "201305 is a date"),
        (pa.array([10**12], pa.timestamp("s")), {}, "1000000000000 (timestamp[s]) lies after"),
        (pa.array([-(2**62)], pa.timestamp("s")), {"zone": "Europe/Berlin"}, "is negative"),
        (pa.array([2**62], pa.timestamp("s")), {"zone": "Europe/Berlin"}, "lies after the year"),
        (pa.array([2**63 - 1], pa.timestamp("ns", "Foo/Bar")), {}, "lies after the year 2099"),
        (pa.array([2**31 - 1], pa.date32()), {}, "2147483647 (date32[day]) lies after"),
        (pa.array([2**62], pa.date64()), {}, "lies after the year 2099"),
        (pa.array([2**62], pa.duration("s")), {}, "is neither a number nor a time"),
        ([EVENING + 0.5], {}, "is not a whole number of seconds"),
        ([f"{EVENING}.5"], {}, "is not a whole number of seconds"),
        ([float("inf")], {}, "inf is neither a number nor a time"),
        (["noon"], {}, "'noon' is neither a number nor a time"),
        (["nan"], {}, "'nan' is neither"),
        (["0x10"], {}, "'0x10' is neither"),
        (["9" * 400], {}, "is neither a number nor"),
        ([True], {}, "True is neither"),
        (["2024-02-30T00:00:00Z"], {}, "is neither"),
        (["2024-05-31T25:00:00Z"], {}, "is neither"),
        (["31.05.2024"], {}, "is neither"),
        (["2024-05-31T18:00:00"], {}, "+02:00 at its end, and no source.time_zone is stated"),
        (["2024-05-31"], {}, "has no zone"),
        (["2150-01-01T00:00:00Z"], {}, "lies after the year 2099"),
        (["1969-12-31T23:59:59Z"], {}, "is negative"),
        ([None, 1], {}, "the value is missing"),
        ([""], {}, "the value is missing"),
        ([float("nan")], {}, "the value is missing"),
    ],
)
def test_what_is_no_instant(array: list[Any], column: dict[str, Any], reason: str) -> None:
    found, reasons = read(array, **column)
    assert found[0] == 0 or "too small" in reason
    assert len(reasons) == 1
    assert reason in reasons[0]


@pytest.mark.parametrize("name", ["Europe/Nowhere", "+25:00", "../etc/passwd", "/etc/passwd", "x"])
def test_a_zone_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zone_of(name)
    source = {"kind": "company", "time_zone": name}
    with pytest.raises(BenchmarkError, match=r"source\.time_zone: must be a zone such as"):
        parse_recipe({"name": "t", "source": source}, "t.yaml")
