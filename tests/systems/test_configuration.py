"""From defaults, presets and options to one configuration."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.systems.catalogue import choose, entries, with_settings
from benchmark.systems.configuration import Preset, configure, load_preset, named_path
from benchmark.systems.contract import SystemConfig


class Part(BaseModel):
    epochs: int = 10
    rate: float = 0.1


class Config(SystemConfig):
    width: int = 4
    training: Part = Part(epochs=50)


def test_a_part_given_as_a_mapping_keeps_the_systems_own_defaults() -> None:
    assert Config(training={"rate": 0.5}).training == Part(epochs=50, rate=0.5)
    assert Config.model_validate({"training": {"epochs": 1}}).training == Part(epochs=1, rate=0.1)
    assert Config(training=Part()).training.epochs == 10


class Outer(SystemConfig):
    inner: Config = Config(width=8, training=Part(epochs=70, rate=0.2))


def test_a_part_of_a_part_keeps_them_too() -> None:
    """Not those of the part's own class, which say 50 epochs and a width of 4."""
    inner = Outer.model_validate({"inner": {"training": {"rate": 0.5}}}).inner
    assert inner == Config(width=8, training=Part(epochs=70, rate=0.5))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError):
        Config(widht=3)


def test_later_overrides_win_part_by_part() -> None:
    config = configure(
        choose("sasrec"), {"training": {"epochs": 3, "batch_size": 8}}, {"training": {"epochs": 4}}
    )
    default = configure(choose("sasrec")).training
    assert (config.training.epochs, config.training.batch_size) == (4, 8)
    assert config.training.learning_rate == default.learning_rate


def test_a_suites_row_keeps_its_system_and_is_called_by_both() -> None:
    row = with_settings(choose("bm25"), "low-b", "BM25, b = 0.1", {"b": 0.1})
    assert (row.name, row.base_name, row.display_name) == ("bm25@low-b", "bm25", "BM25, b = 0.1")
    assert choose(row.name).entry is choose("bm25").entry


def test_the_configurations_of_upstream_systems_come_from_the_same_preset() -> None:
    preset = Preset(systems={"bm25": {"k1": 1.5}})
    entry = choose("popularity").entry
    named = type(entry)(**{**vars(entry), "upstream": ("bm25",)})
    assert preset.upstream_of(named)["bm25"]["k1"] == 1.5
    assert preset.upstream_of(named, {"bm25": {"b": 0.2}})["bm25"]["b"] == 0.2


@pytest.mark.parametrize("name", ["laptop", "laptop-long", "smoke", "paper"])
def test_every_preset_configures_its_systems(name: str) -> None:
    preset = load_preset(name)
    for system, overrides in preset.systems.items():
        variants = entries()[system].variants
        configure(choose(f"{system}:{variants[0]}" if variants else system), overrides)


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(BenchmarkError, match="laptop"):
        named_path("preset", "laptpo")
