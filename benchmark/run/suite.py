"""A suite: data sets × systems × protocols × seeds under one preset, read from YAML."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.protocol.settings import DEFAULT_PRESET
from benchmark.systems.catalogue import SystemChoice, choose, entries
from benchmark.systems.configuration import named_path, read_typed


class Suite(BaseModel):
    """Data sets × systems × protocols × seeds under one preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    datasets: tuple[str, ...] = ("ml-100k",)
    systems: Literal["all"] | tuple[str, ...] = "all"
    protocols: tuple[str, ...] = (DEFAULT_PRESET,)
    seeds: tuple[int, ...] = Field(default=(2024,), min_length=1)
    preset: str = "laptop"

    def chosen_systems(self) -> list[SystemChoice]:
        """The systems in catalogue order, or in the order that was asked for."""
        if self.systems == "all":
            return [choose(name) for name, row in entries().items() if row.in_suite]
        return [choose(name) for name in dict.fromkeys(self.systems)]


def load_suite(name: str) -> Suite:
    """A suite by name or by path.

    Raises:
        BenchmarkError: it is unknown or malformed.
    """
    return read_typed(Suite, named_path("suite", name))
