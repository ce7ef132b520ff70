"""Time zones by name or offset: ``Europe/Berlin``, ``+02:00``."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):?([0-5]\d)")


def zone_of(name: str) -> tzinfo:
    """The time zone.

    Raises:
        ValueError: there is none of that name.
    """
    if name in ("UTC", "Z"):
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone((-1 if offset[1] == "-" else 1) * timedelta(minutes=minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"there is no time zone {name!r}") from None
