"""A suite: data sets × systems × protocols × seeds under one preset, read from YAML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError, quoted
from benchmark.overrides import Overrides
from benchmark.protocol.settings import DEFAULT_PRESET
from benchmark.systems.catalogue import SystemChoice, choose, entries, with_settings
from benchmark.systems.configuration import named_path, read_typed

LARGEST_SEED = 2**63 - 1
"""Records are JSON, which other programs read as numbers of 64 bits."""


class Row(BaseModel):
    """A system with settings of its own, such as an ablation; its name is ``system@name``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    label: str = ""
    settings: Overrides = {}


class Suite(BaseModel):
    """Data sets × systems × protocols × seeds under one preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    datasets: tuple[str, ...] = ("ml-100k",)
    systems: Literal["all"] | tuple[str | Row, ...] = "all"
    protocols: tuple[str, ...] = (DEFAULT_PRESET,)
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...] = Field(
        default=(2024,), min_length=1
    )
    preset: str = "laptop"

    def chosen_systems(self) -> list[SystemChoice]:
        """The systems in catalogue order, or in the order that was asked for.

        Raises:
            BenchmarkError: a system is unknown, or two rows have one name.
        """
        if self.systems == "all":
            return [choose(name) for name, row in entries().items() if row.in_suite]
        chosen: dict[str, SystemChoice] = {}
        for row in self.systems:
            if isinstance(row, str):
                chosen[row] = choose(row)
                continue
            choice = with_settings(choose(row.system), row.name, row.label, row.settings)
            if choice.name in chosen:
                raise BenchmarkError(f"suite: two rows are called {choice.name!r}.")
            chosen[choice.name] = choice
        return list(chosen.values())


def load_suite(name: str) -> Suite:
    """A suite by name or by path.

    Raises:
        BenchmarkError: it is unknown or malformed, or names something twice.
    """
    path = named_path("suite", name)
    suite = read_typed(Suite, path)
    for key in ("datasets", "systems", "protocols", "seeds"):
        refuse_repetitions(getattr(suite, key), f"{path}: {key}")
    return suite


def refuse_repetitions(values: Iterable[Any], where: str) -> None:
    """A job that stands twice would count twice in a mean; ``values`` may be the word "all".

    Raises:
        BenchmarkError: a value stands twice; ``where`` is its option or key.
    """
    seen = set()
    for value in () if isinstance(values, str) else values:
        name = f"{value.system}@{value.name}" if isinstance(value, Row) else value
        if name in seen:
            raise BenchmarkError(f"{where}: {quoted(name)} stands twice.")
        seen.add(name)
