"""Where labels go: beside points in the plane, and in a row along an axis, without overlap.

Both routines are deterministic and know nothing of matplotlib. Lengths are in points (1/72 inch),
boxes are ``(left, bottom, right, top)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Point = tuple[float, float]
FloatArray = NDArray[np.float64]

_DISTANCES = (5.0, 8.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 78.0, 100.0, 130.0)
# Right of the point first, then above and below: where a reader looks for its name.
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, *range(10, 360, 10)))
_NEEDS_LEADER = 9.0  # from a label that stands farther off, a line leads to its point
_AMBIGUOUS = 0.5  # nearer than its own point by so much, and a line says whose label it is
_MARKER = 4.5  # half the side of a marker with its edge
_GAP = (3.0, 1.0)  # least space between two labels, beside and above each other
_ROUNDS = 60
_TANGLED = 300.0  # two leaders that cross
# A label that hides another mark, or is hidden, is wrong; one that crosses a line is only ugly.
_OUTSIDE, _OVERLAP, _COVERED, _CROSSING, _LEADER, _LINE = 1e5, 1e4, 1e4, 2e3, 15.0, 60.0


@dataclass(frozen=True)
class Placed:
    """A label's box; ``leader`` is the nearest point of the box if it stands far from its point.

    Far is what is farther than usual, or than another point is from the label.
    """

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
    if not points:
        return []
    options = [_Options.around(point, size) for point, size in zip(points, sizes, strict=True)]
    fixed = [
        of_label.cost + _fixed_cost(i, of_label, points, area, lines)
        for i, of_label in enumerate(options)
    ]
    count = len(points)
    # Each search ends where no single move helps; where that is depends on who chose first.
    orders = [
        list(range(count)),
        sorted(range(count), key=lambda i: points[i][1]),
        sorted(range(count), key=lambda i: -points[i][1]),
        sorted(range(count), key=lambda i: (-sizes[i][0], i)),
    ]
    found = [_search(options, fixed, order) for order in orders]
    _, chosen = min(found, key=lambda pair: pair[0])
    return [of_label.placed(place, points) for of_label, place in zip(options, chosen, strict=True)]


def _search(
    options: Sequence[_Options], fixed: Sequence[FloatArray], order: Sequence[int]
) -> tuple[float, list[int]]:
    """What the places cost in the end, and the place of each label, chosen in an order."""
    chosen = dict.fromkeys(order, 0)

    def costs(i: int, others: Sequence[int]) -> FloatArray:
        boxes = np.array([options[j].boxes[chosen[j]] for j in others]).reshape(-1, 4)
        leaders = np.array(
            [(options[j].point, options[j].leaders[chosen[j]]) for j in others]
        ).reshape(-1, 2, 2)
        return np.asarray(fixed[i] + _cost_of_others(options[i], boxes, leaders))

    for place, i in enumerate(order):
        chosen[i] = int(np.argmin(costs(i, order[:place])))
    total = 0.0
    for _ in range(_ROUNDS):
        before, total = dict(chosen), 0.0
        for i in order:
            of_places = costs(i, [j for j in order if j != i])
            chosen[i] = int(np.argmin(of_places))
            total += float(of_places[chosen[i]])
        if chosen == before:
            break
    return total, [chosen[i] for i in range(len(order))]


@dataclass(frozen=True)
class _Options:
    """Every place for the label of one point.

    ``boxes`` is (places, 4); ``leaders`` (places, 2) is NaN where the label needs none; ``cost``
    (places,) is what distance and side cost.
    """

    point: Point
    boxes: FloatArray
    leaders: FloatArray
    cost: FloatArray

    @classmethod
    def around(cls, point: Point, size: Point) -> _Options:
        distances = np.repeat(_DISTANCES, len(_ANGLES))
        angles = np.tile(_ANGLES, len(_DISTANCES))
        half = np.array(size) / 2
        # The box touches the circle of this distance on its inner side.
        centres = np.array(point) + np.stack(
            [np.cos(angles) * (distances + half[0]), np.sin(angles) * (distances + half[1])], axis=1
        )
        boxes = np.concatenate([centres - half, centres + half], axis=1)
        nearest = np.clip(np.array(point), boxes[:, :2], boxes[:, 2:])
        away = np.hypot(*(nearest - np.array(point)).T)
        far = away > _NEEDS_LEADER
        preference = np.tile(np.arange(len(_ANGLES)), len(_DISTANCES))
        return cls(
            point=point,
            boxes=boxes,
            leaders=np.where(far[:, None], nearest, np.nan),
            cost=1.5 * away + 0.15 * preference + _LEADER * far,
        )

    def placed(self, place: int, points: Sequence[Point]) -> Placed:
        """The label there; a line leads to its point if another of ``points`` lies nearer."""
        left, bottom, right, top = map(float, self.boxes[place])
        x, y = map(float, self.leaders[place])
        if math.isnan(x):
            x, y = (
                float(np.clip(self.point[i], *sides))
                for i, sides in enumerate(((left, right), (bottom, top)))
            )
            at = np.array(points)
            aside = at - np.clip(at, (left, bottom), (right, top))
            own = math.dist(self.point, (x, y))
            if not (np.hypot(*aside.T) < own - _AMBIGUOUS).any():
                return Placed((left, bottom, right, top), None)
        return Placed((left, bottom, right, top), (x, y))


def _fixed_cost(
    own: int,
    options: _Options,
    points: Sequence[Point],
    area: Box,
    lines: Sequence[tuple[Point, Point]],
) -> FloatArray:
    """What does not depend on the other labels, (places,)."""
    boxes = options.boxes
    low, high = np.array(area[:2]), np.array(area[2:])
    outside = ((boxes[:, :2] < low) | (boxes[:, 2:] > high)).any(axis=1)
    at = np.array(points)
    markers = np.concatenate([at - _MARKER, at + _MARKER], axis=1)
    covered = (_overlap(boxes[:, None], markers) > 0).sum(axis=1)
    crossed = _crosses(np.array(options.point), options.leaders[:, None], markers)
    crossed[:, own] = False
    cost = _OUTSIDE * outside + _COVERED * covered + _CROSSING * crossed.sum(axis=1)
    if lines:
        drawn = np.array(lines)  # (lines, 2, 2)
        cost = cost + _LINE * _crosses(drawn[:, 0], drawn[:, 1], boxes[:, None]).sum(axis=1)
    return cost


def _cost_of_others(options: _Options, boxes: FloatArray, leaders: FloatArray) -> FloatArray:
    """What the other labels' ``boxes`` and ``leaders`` cost each place, (places,).

    A leader is (2, 2): where it begins and ends; NaN where a label needs none.
    """
    own = options.boxes[:, None]
    gap = np.array([-_GAP[0], -_GAP[1], _GAP[0], _GAP[1]])
    shared = _overlap(own + gap, boxes)
    cost = np.where(shared > 0, _OVERLAP + shared, 0.0)
    cost += _CROSSING * _crosses(np.array(options.point), options.leaders[:, None], boxes)
    cost += _CROSSING * _crosses(leaders[:, 0], leaders[:, 1], own)
    cost += _TANGLED * _meet(np.array(options.point), options.leaders[:, None], leaders)
    return np.asarray(cost.sum(axis=1))


def _meet(start: FloatArray, end: FloatArray, leaders: FloatArray) -> NDArray[np.bool_]:
    """Whether segments from a start to ends cross other leaders; a NaN end gives false."""

    def side(a: FloatArray, b: FloatArray, of: FloatArray) -> FloatArray:
        ahead, there = b - a, of - a
        return np.asarray(ahead[..., 0] * there[..., 1] - ahead[..., 1] * there[..., 0])

    others, ends = leaders[:, 0], leaders[:, 1]
    apart = side(start, end, others) * side(start, end, ends) < 0.0
    return np.asarray(apart & (side(others, ends, start) * side(others, ends, end) < 0.0))


def _overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """The area that boxes share; negative sides count as none."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(np.clip(sides, 0.0, None).prod(axis=-1))


def _crosses(start: FloatArray, end: FloatArray, boxes: FloatArray) -> NDArray[np.bool_]:
    """Whether segments pass through boxes (Liang-Barsky clipping); a NaN end gives false."""
    step = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (boxes[..., :2] - start) / step
        second = (boxes[..., 2:] - start) / step
    within = (boxes[..., :2] <= start) & (start <= boxes[..., 2:])
    # A segment along one axis either stays between the box's sides or never is.
    still = step == 0.0
    enter = np.where(still, np.where(within, -np.inf, np.inf), np.minimum(first, second))
    leave = np.where(still, np.where(within, np.inf, -np.inf), np.maximum(first, second))
    enters = np.maximum(enter.max(axis=-1), 0.0)
    leaves = np.minimum(leave.min(axis=-1), 1.0)
    return np.asarray(enters <= leaves)
