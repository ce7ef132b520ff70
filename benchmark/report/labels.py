"""Where labels go: beside points in the plane, and in a row along an axis, without overlap.

Both routines are deterministic and know nothing of matplotlib. Lengths are in points (1/72 inch),
boxes are ``(left, bottom, right, top)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]
Point = tuple[float, float]

_DISTANCES = (5.0, 8.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 78.0)
# Right of the point first, then above and below: where a reader looks for its name.
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, *range(15, 360, 15)))
_MARKER = 4.5  # half the side of a marker with its edge
_GAP = (3.0, 1.0)  # least space between two labels, beside and above each other
_ROUNDS = 30
_OUTSIDE, _OVERLAP, _COVERED, _CROSSING, _LEADER, _LINE = 1e5, 1e3, 600.0, 120.0, 15.0, 12.0


@dataclass(frozen=True)
class Placed:
    """A label's box; ``leader`` is the nearest point of the box if it stands far from its point."""

    box: Box
    leader: Point | None


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions nearest to ``wanted`` in least squares, ``gap`` apart, in order, within the range.

    If they do not fit, the gap shrinks. Neighbours too close are pooled, as in isotonic regression.
    """
    if not wanted:
        return []
    count = len(wanted)
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = sorted(range(count), key=lambda i: (wanted[i], i))
    # With i gaps taken off, "at least a gap apart" becomes "not descending".
    blocks: list[tuple[float, int]] = []
    for place, i in enumerate(order):
        mean, size = wanted[i] - place * gap, 1
        while blocks and blocks[-1][0] > mean:
            last, last_size = blocks.pop()
            mean = (mean * size + last * last_size) / (size + last_size)
            size += last_size
        blocks.append((mean, size))
    level = [mean for mean, size in blocks for _ in range(size)]
    highest = high - (count - 1) * gap
    result = [0.0] * count
    for place, i in enumerate(order):
        result[i] = min(max(level[place], low), highest) + place * gap
    return result


def place_labels(
    points: Sequence[Point],
    sizes: Sequence[Point],
    area: Box,
    lines: Sequence[tuple[Point, Point]] = (),
) -> list[Placed]:
    """A box for each point's label: greedy first, then each moves until no move helps.

    Args:
        points: where the markers are.
        sizes: (width, height) of each label.
        area: what no label may leave.
        lines: drawn segments that labels should not cover.
    """
    chosen: list[Placed] = []
    options = [list(_options(point, size)) for point, size in zip(points, sizes, strict=True)]
    fixed = [
        [(place, _fixed_cost(i, place, points, area, lines) + cost) for place, cost in of_point]
        for i, of_point in enumerate(options)
    ]

    def best(i: int, others: Sequence[Placed]) -> Placed:
        return min(
            fixed[i], key=lambda option: option[1] + _cost_of_others(points[i], option[0], others)
        )[0]

    for i in range(len(points)):
        chosen.append(best(i, chosen))
    for _ in range(_ROUNDS):
        before = list(chosen)
        for i in range(len(points)):
            chosen[i] = best(i, chosen[:i] + chosen[i + 1 :])
        if chosen == before:
            break
    return chosen


def _options(point: Point, size: Point) -> Iterator[tuple[Placed, float]]:
    """Every place for a label around its point, with what its distance and side cost."""
    width, height = size
    for distance in _DISTANCES:
        for preference, angle in enumerate(_ANGLES):
            cos, sin = math.cos(angle), math.sin(angle)
            # The box touches the circle of this distance on its inner side.
            x = point[0] + cos * (distance + width / 2)
            y = point[1] + sin * (distance + height / 2)
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            nearest = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
            away = math.dist(point, nearest)
            leader = nearest if away > 9.0 else None
            yield Placed(box, leader), 1.5 * away + 0.15 * preference + (_LEADER if leader else 0.0)


def _fixed_cost(
    own: int,
    place: Placed,
    points: Sequence[Point],
    area: Box,
    lines: Sequence[tuple[Point, Point]],
) -> float:
    """What does not depend on the other labels."""
    box = place.box
    cost = 0.0
    if box[0] < area[0] or box[1] < area[1] or box[2] > area[2] or box[3] > area[3]:
        cost += _OUTSIDE
    for i, (x, y) in enumerate(points):
        marker = (x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER)
        if _overlap(box, marker) > 0:
            cost += _COVERED
        if i != own and place.leader and _crosses((points[own], place.leader), marker):
            cost += _CROSSING
    return cost + _LINE * sum(_crosses(line, box) for line in lines)


def _cost_of_others(point: Point, place: Placed, others: Sequence[Placed]) -> float:
    cost = 0.0
    left, bottom, right, top = place.box
    wide = (left - _GAP[0], bottom - _GAP[1], right + _GAP[0], top + _GAP[1])
    for other in others:
        shared = _overlap(wide, other.box)
        if shared > 0:
            cost += _OVERLAP + shared
        if place.leader and _crosses((point, place.leader), other.box):
            cost += _CROSSING
        # The other's leader runs from its point, which is not known here: its end is close enough.
        if other.leader and left < other.leader[0] < right and bottom < other.leader[1] < top:
            cost += _CROSSING
    return cost


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _crosses(segment: tuple[Point, Point], box: Box) -> bool:
    """Whether the segment passes through the box (Liang-Barsky clipping)."""
    (x0, y0), (x1, y1) = segment
    enter, leave = 0.0, 1.0
    for start, step, low, high in (
        (x0, x1 - x0, box[0], box[2]),
        (y0, y1 - y0, box[1], box[3]),
    ):
        if step == 0.0:
            if not low <= start <= high:
                return False
            continue
        first, second = sorted(((low - start) / step, (high - start) / step))
        enter, leave = max(enter, first), min(leave, second)
    return enter <= leave
