"""Presets and changes of them: from YAML and options to one typed configuration a system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError, sentence_of_validation, unknown_value
from benchmark.overrides import Overrides, merged
from benchmark.systems.catalogue import (
    SystemChoice,
    SystemEntry,
    choose,
    entries,
    named_files,
)
from benchmark.yaml_files import read_yaml

if TYPE_CHECKING:
    from benchmark.systems.contract import SystemConfig


class Preset(BaseModel):
    """A named file of overrides per system, nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    systems: dict[str, Overrides] = {}

    def overrides_for(self, name: str) -> Overrides:
        """What the preset changes for a system; ``group:Variant`` falls back to its group."""
        if name in self.systems:
            return self.systems[name]
        return self.systems.get(name.partition(":")[0], {})

    def upstream_of(
        self,
        entry: SystemEntry,
        assignments: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> dict[str, Overrides]:
        """The full configurations of the systems that ``entry`` builds on, as JSON values.

        Raises:
            BenchmarkError: a key is unknown or a value is not allowed.
        """
        return {
            name: configure(
                choose(name), self.overrides_for(name), assignments.get(name, {})
            ).model_dump(mode="json")
            for name in entry.upstream
        }


Model = TypeVar("Model", bound=BaseModel)


def read_typed(kind: type[Model], path: Path) -> Model:
    """Read a YAML file into a typed value.

    Raises:
        BenchmarkError: the file is missing or malformed; the key is named.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: must be a mapping of keys to values.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise sentence_of_validation(error, str(path)) from None


def named_path(kind: str, name: str) -> Path:
    """A file of the index package by name ("preset", "suite"), or any path that ends in .yaml."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = named_files(f"{kind}s")
    if name not in known:
        raise unknown_value(kind, name, known)
    return known[name]


def load_preset(name: str) -> Preset:
    """A preset by name or by path.

    Raises:
        BenchmarkError: it is unknown, malformed, or names an unknown system.
    """
    path = named_path("preset", name)
    preset = read_typed(Preset, path)
    for system in preset.systems:
        if system.partition(":")[0] not in entries():
            raise unknown_value("system", system, entries(), where=f"{path}: systems")
    return preset


def configure(choice: SystemChoice, *overrides: Mapping[str, Any]) -> SystemConfig:
    """The system's configuration: the paper's defaults, then each of ``overrides`` in turn.

    Raises:
        BenchmarkError: a key is unknown or a value is not allowed.
    """
    config_class: type[SystemConfig] = choice.entry.load().Config
    values: Overrides = {}
    for change in (choice.overrides, *overrides):
        values = merged(values, change)
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        complaint = sentence_of_validation(error, f"system {choice.name!r}")
        if error.errors()[0]["type"] == "extra_forbidden":
            known = ", ".join(config_class.model_fields) or "none"
            complaint = BenchmarkError(f"{complaint} Its keys are: {known}.")
        raise complaint from None
