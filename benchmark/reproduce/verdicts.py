"""Whether a published figure is reproduced: the printed value against the interval of ours.

A printed figure stands for every value that is rounded to it. It is reproduced if one of these
lies within our interval; otherwise ours is above or below it, by the difference of the two values.
The interval is ours alone: what the other's figure may be off, for its own seed and its own draw of
negatives, is not known, so a figure just outside is no proof of a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["reproduced", "above", "below"]


@dataclass(frozen=True)
class Measured:
    """Our figure: the mean over seeds, and the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """``kind`` says where ours stands, ``difference`` is ours minus the printed value."""

    kind: Kind
    difference: float

    @property
    def words(self) -> str:
        """As the table has it."""
        if self.kind == "reproduced":
            return "reproduced"
        return f"{self.kind} by {abs(self.difference):.4f}"


def verdict(printed: str, ours: Measured) -> Verdict:
    """Judge our figure against a printed one.

    >>> verdict("0.4651", Measured(0.4700, 0.4634, 0.4765)).words
    'reproduced'
    >>> verdict("0.4651", Measured(0.4788, 0.4722, 0.4853)).words
    'above by 0.0137'
    """
    value = float(printed)
    rounding = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    difference = ours.mean - value
    slack = rounding + 1e-12  # of binary fractions
    if ours.low > value + slack:
        return Verdict("above", difference)
    if ours.high < value - slack:
        return Verdict("below", difference)
    return Verdict("reproduced", difference)
