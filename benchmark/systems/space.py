"""Search spaces: what of a system's settings a tuner may choose, declared beside its ``Config``.

A space maps fields by their dotted names ("training.learning_rate") to the values that they may
take. Values are plain (numbers, words, truth values), so a trial is a mapping that a preset can
hold. What a space does not name keeps the value of the preset that tuning begins from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmark.overrides import Overrides, merged

Plain = bool | int | float | str


@dataclass(frozen=True)
class Choice:
    """One of some values, in no order."""

    values: tuple[Plain, ...]

    def with_value(self, value: Any) -> Choice:
        """The same with ``value`` among them."""
        return self if value in self.values else Choice((*self.values, value))


@dataclass(frozen=True)
class Real:
    """A number between two, both included; ``log`` draws its logarithm uniformly."""

    low: float
    high: float
    log: bool = False

    def with_value(self, value: Any) -> Real:
        """The same, wide enough for ``value``."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Whole:
    """A whole number between two, both included.

    ``is_budget`` marks one that says how long training is, such as the epochs of a schedule that
    falls to zero at the last step: published ones fit other data and machines, so the trial of the
    published values takes it from the preset.
    """

    low: int
    high: int
    log: bool = False
    is_budget: bool = False

    def with_value(self, value: Any) -> Whole:
        """The same, wide enough for ``value``."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class UntilPatience:
    """Not searched: so many epochs, or the preset's if they are more, that patience ends training.

    For trainings that are validated and whose learning rate does not hang on the last step.
    """

    epochs: int = 1000


Parameter = Choice | Real | Whole | UntilPatience

SearchSpace = Mapping[str, Parameter]

LEARNING_RATE = Real(1e-4, 1e-2, log=True)
WEIGHT_DECAY = Choice((0.0, 1e-6, 1e-5, 1e-4, 1e-3))
DROPOUT = Real(0.0, 0.7)


def nested(key: str, value: Any) -> Overrides:
    """``training.epochs``, 3 → ``{"training": {"epochs": 3}}``."""
    result: Any = value
    for part in reversed(key.split(".")):
        result = {part: result}
    return dict(result)


def overrides_of(values: Mapping[str, Any]) -> Overrides:
    """Values by dotted names as nested mappings, as a preset holds them."""
    result: Overrides = {}
    for key in sorted(values):
        result = merged(result, nested(key, values[key]))
    return result


def value_at(configuration: Mapping[str, Any], key: str) -> Any:
    """What stands at a dotted name.

    Raises:
        KeyError: nothing does.
    """
    found: Any = configuration
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise KeyError(key)
        found = found[part]
    return found
