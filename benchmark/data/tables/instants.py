"""Instants of all sources as seconds since 1970 (UTC): the rules for numbers, texts and timestamps.

Numbers are seconds, or milliseconds where the column says so. Texts are such numbers, or ISO 8601
with a zone; one that may be a date, such as 20130531 or 2013, is refused. Texts and timestamps
without a zone are in the column's zone, where one is stated; else timestamps and dates are UTC, and
texts are refused. What is finer than a second is cut.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.tables.cells import MISSING, Note, is_text, nulls, numbers, show
from benchmark.data.tables.columns import Column
from benchmark.data.zones import zone_of

_LAST_SECOND = 4_102_444_800  # 2100-01-01
_FIRST_MILLISECOND = 100_000_000_000  # 1973 in milliseconds, 5138 in seconds
_SECONDS_PER_DAY = 86_400
FIRST_SECOND_IN_MILLISECONDS = 100_000_000
"""1973: smaller numbers of milliseconds are seconds."""

_DAY = r"(19[7-9]\d|20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_DATE = rf"^\s*({_DAY}|(19[7-9]\d|20\d\d)(0[1-9]|1[0-2])?)(\.0*)?\s*$"

_ZONE = r"(Z|z|[+-]\d{2}(:?\d{2})?)"
_DAY_AND_TIME = r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?|\d{8}T\d{6}(\.\d+)?)"
_WITH_ZONE = rf"^{_DAY_AND_TIME}{_ZONE}$"
_WITHOUT_ZONE = rf"^({_DAY_AND_TIME}|\d{{4}}-\d{{2}}-\d{{2}})$"


def seconds(column: Column, array: pa.Array, note: Note) -> NDArray[np.int64]:
    """Instants (cells,), 0 for what is none."""
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        found, missing = _of_timestamps(column, array), nulls(array)
        wrong = np.zeros(len(array), dtype=bool)
    else:
        read = numbers(array)
        missing, wrong = read.missing, read.wrong
        value = read.value
        if is_text(kind):
            is_date = pc.match_substring_regex(array, _DATE).fill_null(False)
            dates = is_date.to_numpy(zero_copy_only=False)
            note(
                dates,
                "is a date or a moment of 1970; give times such as 2024-05-31T18:00:00Z",
                lambda row: show(array, row),
            )
            value = np.where(dates, np.nan, value)
        found = _of_numbers(column, value, array, note)
        if is_text(kind) and wrong.any():
            wrong = wrong.copy()
            found[wrong], wrong[wrong] = _of_texts(column, array, wrong, note)
    note(missing, MISSING)
    unreadable = wrong & ~missing
    note(
        unreadable,
        "is neither a number nor a time such as 2024-05-31T18:00:00Z",
        lambda row: show(array, row),
    )
    return _within_bounds(column, found, array, note)


def _of_numbers(
    column: Column,
    value: NDArray[np.float64],
    array: pa.Array,
    note: Note,
) -> NDArray[np.float64]:
    """Numbers as seconds (cells,), 0 where there is none."""
    given = np.isfinite(value)
    value = np.where(given, value, 0.0)
    in_milliseconds = np.full(len(value), column.kind == "milliseconds")
    if column.kind == "instant":
        in_milliseconds = value >= _FIRST_MILLISECOND
    if column.kind == "seconds":
        broken = value % 1 != 0
        note(broken, "is not a whole number of seconds", lambda row: show(array, row))
        value = np.where(broken, 0.0, value)
    earliest = column.earliest * np.where(in_milliseconds, 1000, 1)
    early = given & (value >= 0) & (value < earliest)
    note(early, "is too small for milliseconds since 1970", lambda row: show(array, row))
    return np.where(in_milliseconds, np.floor(value / 1000), np.floor(value))


def _of_timestamps(column: Column, array: pa.Array) -> NDArray[np.float64]:
    kind = array.type
    if pa.types.is_date(kind):
        if pa.types.is_date32(kind):
            days = array.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
            found = days.astype(np.int64) * _SECONDS_PER_DAY
        else:
            found = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) // 1000
            found -= found % _SECONDS_PER_DAY
        is_local = True
    else:
        units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        found = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) // units
        is_local = kind.tz is None
    if column.zone and is_local:
        # Far from the years that are allowed a zone's rules cannot be applied.
        near = np.clip(found, -2 * _SECONDS_PER_DAY, _LAST_SECOND + 2 * _SECONDS_PER_DAY)
        return _localised(near.astype("datetime64[s]"), column.zone)
    return found.astype(np.float64)


def _of_texts(
    column: Column, array: pa.Array, rows: NDArray[np.bool_], note: Note
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The texts of ``rows`` as seconds, and which of them are no instant."""
    texts = pc.utf8_trim_whitespace(array.filter(pa.array(rows)).cast(pa.large_string()))
    found = np.zeros(len(texts))
    wrong = np.ones(len(texts), dtype=bool)

    def matching(pattern: str) -> NDArray[np.bool_]:
        matches = pc.match_substring_regex(texts, pattern).fill_null(False)
        mask: NDArray[np.bool_] = matches.to_numpy(zero_copy_only=False)
        return mask

    def parsed(mask: NDArray[np.bool_]) -> pd.DatetimeIndex:
        given = texts.filter(pa.array(mask)).to_pylist()
        return pd.DatetimeIndex(
            pd.to_datetime(
                pd.Index(given, dtype=object), format="ISO8601", utc=True, errors="coerce"
            )
        ).tz_localize(None)

    for mask, is_local in ((matching(_WITH_ZONE), False), (matching(_WITHOUT_ZONE), True)):
        if not mask.any():
            continue
        if is_local and not column.zone:
            everywhere = np.zeros(len(array), dtype=bool)
            everywhere[np.flatnonzero(rows)[mask]] = True
            note(
                everywhere,
                "has no zone, such as Z or +02:00 at its end, and no source.time_zone is stated",
                lambda row: show(array, row),
            )
            wrong[mask] = False
            continue
        moments = parsed(mask)
        good = ~np.isnat(moments.to_numpy())
        values = moments.to_numpy().astype("datetime64[s]")
        if is_local:
            local = _localised(values[good], column.zone)
        else:
            local = values[good].astype(np.int64).astype(np.float64)
        places = np.flatnonzero(mask)[good]
        found[places], wrong[places] = local, False
    return found, wrong


def _localised(wall: NDArray[np.datetime64], zone: str) -> NDArray[np.float64]:
    """Wall-clock times of a zone as seconds (UTC).

    Of an hour that comes twice the first is meant; one that is skipped is the instant after it.
    """
    index = pd.DatetimeIndex(wall).tz_localize(
        zone_of(zone), ambiguous=np.ones(len(wall), dtype=bool), nonexistent="shift_forward"
    )
    utc = index.tz_convert("UTC").tz_localize(None).to_numpy()
    return utc.astype("datetime64[s]").astype(np.int64).astype(np.float64)


def _within_bounds(
    column: Column, found: NDArray[np.float64], array: pa.Array, note: Note
) -> NDArray[np.int64]:
    """Instants of 1970 to 2099; others are noted."""
    negative = found < 0
    note(negative, "is negative; give times since 1970", lambda row: show(array, row))
    late = found >= _LAST_SECOND
    unit = "milliseconds" if column.kind == "milliseconds" else "seconds, not milliseconds,"
    reason = f"lies after the year 2099; {unit} since 1970 are needed{column.remedy}"
    note(late, reason, lambda row: show(array, row))
    return np.where(negative | late, 0, found).astype(np.int64)
