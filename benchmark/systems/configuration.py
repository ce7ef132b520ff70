"""Presets and changes of them: from YAML and options to one typed configuration a system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError, sentence_of_validation, unknown_value
from benchmark.files import read_json
from benchmark.overrides import Overrides, as_given, merged
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


class Tuning(BaseModel):
    """Where settings come from that ``python -m benchmark.tune`` has chosen by validation figures.

    ``minutes`` were measured, differ from run to run, and stand in a file beside the preset, so
    that the preset itself is the same whenever its trials are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    protocol: str
    seed: int
    most_trials: int
    most_minutes: float
    clock: Literal["CPU", "device"]
    trials: int  # that have ended, the pruned and failed ones among them
    pruned: int
    failed: int
    best_trial: int
    metric: str
    validation: float
    published: float | None  # of the first trial, which has the published values
    code: str  # hash of the sources that the trials ran
    base: str = (
        ""  # hash of all else that decided them: data, protocol, seed, settings of the start
    )
    minutes: float | None = None


class Preset(BaseModel):
    """A named file of overrides per system, and nothing else but where they come from.

    What systems share stands once, as a named part, and ``use: NAME`` puts it in place: a value, or
    a mapping that the keys beside ``use`` are laid over; of several names the later ones are laid
    over the earlier. A preset that extends another lays its parts and systems over those of the
    other before parts are put in place, so a part of another value changes all that use it. Where
    both use parts in one place, those of the extending preset are laid over those of the other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    extends: str | None = None
    parts: dict[str, Any] = {}
    systems: dict[str, Overrides] = {}
    tuning: dict[str, Tuning] = {}
    """How the settings of systems were found, where a study found them."""

    def overrides_for(self, name: str) -> Overrides:
        """What the preset changes for a system; ``group:Variant`` lies over what its group has."""
        of_group = self.systems.get(name.partition(":")[0], {})
        return merged(of_group, self.systems.get(name, {}))

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
        return as_given(kind, content)
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
    """A preset by name or by path, with the parts in their places and nothing left to extend.

    Raises:
        BenchmarkError: it is unknown, malformed, names an unknown system or part, extends itself,
            or has a part that no system uses.
    """
    path = named_path("preset", name)
    chain = _extended(path)
    parts: Overrides = {}
    systems: Overrides = {}
    tuning: dict[str, Tuning] = {}
    for preset in reversed(chain):
        parts, systems = _laid_over(parts, preset.parts), _laid_over(systems, preset.systems)
        # What a later preset changes is no longer what a study found.
        kept = {} if preset.parts else {s: t for s, t in tuning.items() if s not in preset.systems}
        tuning = {**kept, **preset.tuning}
    for system in systems:
        if system.partition(":")[0] not in entries():
            raise unknown_value("system", system, entries(), where=f"{path}: systems")
    placing = _Parts(parts, str(path))
    placed = {system: placing.placed(own, system) for system, own in systems.items()}
    for part in chain[0].parts:
        if part not in placing.used:
            raise BenchmarkError(f"{path}: parts.{part}: no system uses it.")
    return Preset(description=chain[0].description, systems=placed, tuning=tuning)


def _extended(path: Path) -> list[Preset]:
    """A preset as it stands in its file, then what it extends, and so on."""
    seen, chain = [path], [_as_it_stands(path)]
    while chain[-1].extends is not None:
        name = chain[-1].extends
        own = Path(name).parent.parts or name.endswith((".yaml", ".yml"))
        path = seen[-1].parent / name if own else named_path("preset", name)
        if path.resolve() in [one.resolve() for one in seen]:
            raise BenchmarkError(f"{seen[0]}: extends itself by way of {seen[-1].stem!r}.")
        seen.append(path)
        chain.append(_as_it_stands(path))
    return chain


def minutes_file(preset: Path) -> Path:
    """Where the minutes of a tuned preset's studies stand: system → minutes, as JSON."""
    return preset.with_suffix(".minutes.json")


def _as_it_stands(path: Path) -> Preset:
    """A preset from its file, with the minutes that stand beside it."""
    preset = read_typed(Preset, path)
    if not preset.tuning or not minutes_file(path).is_file():
        return preset
    minutes = read_json(minutes_file(path))
    if not isinstance(minutes, dict) or not all(isinstance(m, float) for m in minutes.values()):
        raise BenchmarkError(f"{minutes_file(path)}: must be a mapping of systems to minutes.")
    timed = {
        name: tuning.model_copy(update={"minutes": minutes.get(name)})
        for name, tuning in preset.tuning.items()
    }
    return preset.model_copy(update={"tuning": timed})


_USE = "use"


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> Overrides:
    """``merged``, but what both use in one place is kept, as a tuple of layers."""
    result = merged(base, own)
    for key, value in own.items():
        if key not in base:
            continue
        if key == _USE:
            before = base[key] if isinstance(base[key], tuple) else (base[key],)
            result[key] = (*before, value)
        elif isinstance(value, Mapping) and isinstance(base[key], Mapping):
            result[key] = _laid_over(base[key], value)
    return result


class _Parts:
    """Named parts and how they are put in place of ``use``; ``used`` are those that were."""

    def __init__(self, parts: Mapping[str, Any], path: str) -> None:
        self._parts, self._path = parts, path
        self.used: set[str] = set()

    def placed(self, value: Any, system: str, within: tuple[str, ...] = ()) -> Any:
        """``value`` of ``system`` without any ``use``; ``within`` are the parts that led to it."""
        if isinstance(value, list):
            return [self.placed(inner, system, within) for inner in value]
        if not isinstance(value, Mapping):
            return value
        own = {
            key: self.placed(inner, system, within) for key, inner in value.items() if key != _USE
        }
        if _USE not in value:
            return own
        layers = value[_USE] if isinstance(value[_USE], tuple) else (value[_USE],)
        of_layers = [layer if isinstance(layer, list) else [layer] for layer in layers]
        last = [self._part(name, system, within) for name in of_layers[-1]]
        if len(last) == 1 and not own and not isinstance(last[0], Mapping):
            return last[0]  # one value in place of what the extended preset uses
        names = [name for layer in of_layers for name in layer]
        found = [self._part(name, system, within) for name in names]
        for name, part in zip(names, found, strict=True):
            if not isinstance(part, Mapping):
                raise BenchmarkError(
                    f"{self._path}: systems.{system}: the part {name!r} is one value, so nothing "
                    f"can stand beside it."
                )
        result: Overrides = {}
        for part in (*found, own):
            result = merged(result, part)
        return result

    def _part(self, name: Any, system: str, within: tuple[str, ...]) -> Any:
        where = f"{self._path}: systems.{system}"
        if not isinstance(name, str) or name not in self._parts:
            raise unknown_value("part", str(name), self._parts, where)
        if name in within:
            raise BenchmarkError(f"{where}: the part {name!r} uses itself.")
        self.used.add(name)
        return self.placed(self._parts[name], system, (*within, name))


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
        return as_given(config_class, values)
    except ValidationError as error:
        raise sentence_of_validation(error, f"system {choice.name!r}", config_class) from None
