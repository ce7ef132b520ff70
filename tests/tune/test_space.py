"""Every system with something to train says what of it may be tuned, and means what it says."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from benchmark.check.space import trials_of
from benchmark.kit.training import TrainingSettings
from benchmark.systems.catalogue import SystemChoice, choose, entries
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import (
    Choice,
    Real,
    UntilPatience,
    Whole,
    overrides_of,
    value_at,
)

FALLING = ("linear", "cosine")


def choice_of(system: str) -> SystemChoice:
    variants = entries()[system].variants
    return choose(f"{system}:{variants[0]}" if variants else system)


def config_of(system: str) -> type[SystemConfig]:
    config: type[SystemConfig] = entries()[system].load().Config
    return config


def trainings(system: str, config: BaseModel) -> dict[str, TrainingSettings]:
    return {name: value for name, value in config if isinstance(value, TrainingSettings)}


TRAINED = [name for name in entries() if trainings(name, configure(choice_of(name)))]


def test_rows_with_training_are_known() -> None:
    assert len(TRAINED) >= 20
    assert {"gru4rec", "tem", "gensar", "tiger", "genret"} <= set(TRAINED)
    assert not {"bm25", "random", "popularity"} & set(TRAINED)


@pytest.mark.parametrize("system", entries())
def test_a_row_has_a_space_if_it_is_trained_and_only_then(system: str) -> None:
    assert bool(config_of(system).search_space) == (system in TRAINED)


@pytest.mark.parametrize("preset", ["laptop", "smoke"])
@pytest.mark.parametrize("system", TRAINED)
def test_every_value_is_a_configuration(system: str, preset: str) -> None:
    choice = choice_of(system)
    base = load_preset(preset).overrides_for(choice.name)
    for values in trials_of(config_of(system).search_space):
        config = configure(choice, base, overrides_of(values)).model_dump(mode="json")
        for key, value in values.items():
            assert value_at(config, key) == value


@pytest.mark.parametrize("system", TRAINED)
def test_the_published_value_is_in_the_range(system: str) -> None:
    published = configure(choice_of(system)).model_dump(mode="json")
    for key, parameter in config_of(system).search_space.items():
        is_budget = isinstance(parameter, UntilPatience) or getattr(parameter, "is_budget", False)
        value = value_at(published, key)
        assert is_budget or parameter.with_value(value) == parameter, (key, value)


@pytest.mark.parametrize("preset", ["laptop", "smoke", "published"])
@pytest.mark.parametrize("system", TRAINED)
def test_training_until_patience_is_ended_by_patience(system: str, preset: str) -> None:
    choice = choice_of(system)
    base = {} if preset == "published" else load_preset(preset).overrides_for(choice.name)
    config = configure(choice, base)
    for key, parameter in config_of(system).search_space.items():
        if isinstance(parameter, UntilPatience):
            training: Any = getattr(config, key.removesuffix(".epochs"))
            assert key.endswith(".epochs")
            assert training.patience is not None and training.validate_every
            assert training.schedule not in FALLING, "its rate falls to zero at the last step"


@pytest.mark.parametrize("system", TRAINED)
def test_how_long_the_last_training_is_may_be_tuned_or_ends_by_patience(system: str) -> None:
    space = config_of(system).search_space
    epochs = [parameter for key, parameter in space.items() if key.endswith(".epochs")]
    assert epochs
    for parameter in epochs:
        assert isinstance(parameter, UntilPatience) or getattr(parameter, "is_budget", False)


def test_ranges_grow_by_a_value() -> None:
    assert Real(0.1, 0.5).with_value(1.0) == Real(0.1, 1.0)
    assert Whole(2, 8, log=True).with_value(1) == Whole(1, 8, log=True)
    assert Choice((1, 2)).with_value(3) == Choice((1, 2, 3))
    assert Choice((1, 2)).with_value(2) == Choice((1, 2))


def test_names_with_dots_are_nested() -> None:
    assert overrides_of({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    with pytest.raises(KeyError):
        value_at({"a": {"b": 1}}, "a.c")
