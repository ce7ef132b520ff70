"""The probe of a search space: a tuner may try any of its values, so each must be a setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from benchmark.check.subject import SEED, Subject, Violation
from benchmark.errors import sentence_of_validation, shortened
from benchmark.kit.training import TrainingSettings
from benchmark.overrides import merged
from benchmark.systems.space import Choice, Parameter, Real, UntilPatience, overrides_of, value_at

_DRAWN = 50


def declares_what_may_be_tuned(subject: Subject) -> str:
    """A trained system declares a search space, all of whose values its configuration takes."""
    config_class = subject.system_class.Config
    space = getattr(config_class, "search_space", {})
    try:
        defaults = config_class(**subject.required)
    except ValidationError:
        return "not to be seen: it cannot be made without arguments"  # which is told elsewhere
    if not space:
        trained = [name for name, value in defaults if isinstance(value, TrainingSettings)]
        if trained:
            raise Violation(f"its Config has {', '.join(trained)}, but an empty search_space.")
        return "nothing to tune"
    published = defaults.model_dump(mode="json")
    for key, parameter in space.items():
        try:
            value = value_at(published, key)
        except KeyError:
            raise Violation(f"search_space names {key!r}, which its Config has not.") from None
        _require_range(key, parameter, value)
    for values in trials_of(space):
        try:
            config_class.model_validate(merged(subject.required, overrides_of(values)))
        except ValidationError as error:
            said = shortened(str(sentence_of_validation(error, "search_space")))
            raise Violation(said) from None
    _require_patience(space, defaults)
    return f"{len(space)} fields"


def _require_range(key: str, parameter: Parameter, published: Any) -> None:
    """The published value is the first trial's, so it is one of the space."""
    if isinstance(parameter, UntilPatience) or getattr(parameter, "is_budget", False):
        return
    if parameter.with_value(published) != parameter:
        raise Violation(f"the default of {key}, {published}, is not in its search_space.")


def _require_patience(space: Mapping[str, Parameter], defaults: BaseModel) -> None:
    for key, parameter in space.items():
        if isinstance(parameter, UntilPatience):
            training: Any = defaults
            for part in key.split(".")[:-1]:
                training = getattr(training, part)
            if training.patience is None or not training.validate_every:
                raise Violation(f"{key} is until patience, but no patience ends that training.")


def trials_of(space: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Every end of every range and every choice, and some values of all together, drawn."""
    ends = {key: _ends(parameter) for key, parameter in space.items()}
    for key, values in ends.items():
        for value in values:
            yield {key: value}
    for place in (0, -1):
        yield {key: values[place] for key, values in ends.items()}
    random = np.random.default_rng(SEED)
    for _ in range(_DRAWN):
        yield {key: _drawn(parameter, random) for key, parameter in space.items()}


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    if isinstance(parameter, Choice):
        return parameter.values
    if isinstance(parameter, UntilPatience):
        return (parameter.epochs,)
    return (parameter.low, parameter.high)


def _drawn(parameter: Parameter, random: np.random.Generator) -> Any:
    if isinstance(parameter, Choice):
        return parameter.values[int(random.integers(len(parameter.values)))]
    if isinstance(parameter, UntilPatience):
        return parameter.epochs
    if isinstance(parameter, Real):
        return float(random.uniform(parameter.low, parameter.high))
    return int(random.integers(parameter.low, parameter.high + 1))
