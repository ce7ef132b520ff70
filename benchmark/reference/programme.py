"""A programme: what the reference consists of, as a YAML file says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError, unknown_value
from benchmark.protocol.settings import DEFAULT_PRESET
from benchmark.run.suite import LARGEST_SEED, Row, Suite, refuse_repetitions
from benchmark.systems.catalogue import choose, entries
from benchmark.systems.configuration import named_path, read_typed

MOST_TRIALS = 10_000

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Tuning(BaseModel):
    """The budget of each system's tuning, the same for all: whichever ends first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=12, ge=1, le=MOST_TRIALS)
    minutes: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Of CPU over all threads, or of the device."""
    seed: Seed = 2024


class Part(BaseModel):
    """One data set under one protocol.

    ``preset`` is what runs have, or what tuning begins from. ``tuned/<data set>`` is what the
    tuning of a data set has found, also of another one. ``left_out`` says of systems why they are
    not run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    protocol: str = DEFAULT_PRESET
    preset: str = "laptop"
    tuning: Tuning | None = None
    systems: Literal["all"] | tuple[str | Row, ...] = "all"
    left_out: dict[str, str] = {}
    seeds: tuple[Seed, ...] = Field(min_length=1)

    def chosen(self) -> tuple[str | Row, ...]:
        """The systems that are run, in the order of the catalogue or of the file."""
        if self.systems != "all":
            return self.systems
        suite = (name for name, row in entries().items() if row.in_suite)
        return tuple(name for name in suite if name not in self.left_out)

    def suite(self, preset: str) -> Suite:
        """The runs, with the settings of ``preset``."""
        return Suite(
            datasets=(self.dataset,),
            systems=self.chosen(),
            protocols=(self.protocol,),
            seeds=self.seeds,
            preset=preset,
        )

    @property
    def label(self) -> str:
        """How the part is called on the terminal."""
        return f"{self.dataset}, {self.protocol}"


class Programme(BaseModel):
    """The parts, in the order in which they are worked off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    parts: tuple[Part, ...] = Field(min_length=1)


def load_programme(name: str) -> Programme:
    """A programme by name or by path.

    Raises:
        BenchmarkError: it is unknown or malformed, names a system that is unknown or stands both
            among the systems and among those left out, or something twice.
    """
    path = named_path("programme", name)
    programme = read_typed(Programme, path)
    subjects = [f"{part.dataset}, {part.protocol}, {part.preset}" for part in programme.parts]
    refuse_repetitions(subjects, f"{path}: parts")
    for number, part in enumerate(programme.parts):
        where = f"{path}: parts.{number}"
        _refuse_bad_systems(part, where)
        refuse_repetitions(part.systems, f"{where}.systems")
        refuse_repetitions(part.seeds, f"{where}.seeds")
    return programme


def _refuse_bad_systems(part: Part, where: str) -> None:
    for name in part.left_out:
        if name.partition(":")[0] not in entries():
            raise unknown_value("system", name, entries(), f"{where}.left_out")
    names = base_names(part.chosen())
    for name in names:
        choose(name)
        if name in part.left_out:
            raise BenchmarkError(f"{where}: system {name!r} is both run and left out.")
    if not names:
        raise BenchmarkError(f"{where}: all systems are left out.")


def base_names(systems: Iterable[str | Row]) -> list[str]:
    """The systems of rows, each once."""
    return list(dict.fromkeys(one if isinstance(one, str) else one.system for one in systems))
