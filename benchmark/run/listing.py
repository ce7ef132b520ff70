"""What ``--list`` and ``--describe`` print: all that can be named, and a system's settings.

Long lines are folded, never cut, so what is printed can be read at 80 columns and through a pipe.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from benchmark.data.recipe import recipe_names
from benchmark.protocol.settings import PRESETS
from benchmark.systems.catalogue import choose, entries, family_order, family_title, named_files
from benchmark.systems.configuration import configure, load_preset
from benchmark.yaml_files import read_yaml

if TYPE_CHECKING:
    from rich.console import Console


def print_catalogue(out: Console) -> None:
    """Print the systems by family, presets, suites, protocols and data sets."""
    from rich.table import Table

    rows = entries().values()
    # Names are what one types, so they stay whole.
    names = {row.name: f"  {row.name}{':<Model>' if row.variants else ''}" for row in rows}
    longest = max(map(len, names.values()), default=0)
    families = [*family_order(), *sorted({row.family for row in rows} - set(family_order()))]
    for family in families:
        members = [row for row in rows if row.family == family]
        if not members:
            continue
        out.print(family_title(family), style="bold")
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
        table.add_column(no_wrap=True, width=longest)
        table.add_column(overflow="fold", ratio=1)
        table.add_column(overflow="fold", width=len("recommendation, search"))
        for row in members:
            table.add_row(names[row.name], row.display_name, ", ".join(row.tasks))
        out.print(table)
    for kind in ("presets", "suites"):
        out.print(f"\n{kind.capitalize()}", style="bold")
        for name, path in named_files(kind).items():
            out.print(f"  {name}: {read_yaml(path).get('description', '')}")
    out.print("\nProtocols", style="bold")
    out.print(f"  {', '.join(PRESETS)}")
    out.print("\nData sets", style="bold")
    out.print(f"  {', '.join(recipe_names())}")


@dataclass(frozen=True)
class Setting:
    """One setting of a system: its key, value, default, and what it means."""

    key: str
    value: Any
    default: Any
    meaning: str


def print_settings(
    name: str, preset: str, assignments: Mapping[str, Mapping[str, Any]], out: Console
) -> None:
    """Print every setting of a system with its meaning, its default and what a preset makes of it.

    Raises:
        BenchmarkError: the system or preset is unknown, or a setting is.
    """
    choice = choose(name)
    default = configure(choice)
    chosen = configure(
        choice,
        load_preset(preset).overrides_for(choice.base_name),
        choice.settings,
        assignments.get(choice.base_name, {}),
    )
    tasks = ", ".join(choice.entry.tasks)
    out.print(f"{choice.display_name} ({choice.name}): {tasks}", style="bold")
    changed = " and --set" if assignments.get(choice.base_name) else ""
    out.print(
        f"Each setting as KEY = VALUE under preset {preset}{changed}, as --set "
        f"{choice.base_name}.KEY=VALUE changes it; where that is not the default, the default "
        "stands behind it. Defaults are the publication's values."
    )
    for setting in settings_of(chosen, default):
        value, usual = _written(setting.value), _written(setting.default)
        out.print(f"\n{setting.key} = {value}" + (f"  (default {usual})" if value != usual else ""))
        if setting.meaning:
            indented = textwrap.indent(
                textwrap.fill(setting.meaning, max(out.width - 4, 20)), "    "
            )
            out.print(indented, style="dim")


def settings_of(chosen: BaseModel, default: BaseModel, within: str = "") -> Iterator[Setting]:
    """Every setting, those of parts one by one, in the order in which they are declared."""
    meanings = meanings_of(type(chosen))
    for key in type(chosen).model_fields:
        value, usual = getattr(chosen, key), getattr(default, key, None)
        if isinstance(value, BaseModel):
            usual = usual if isinstance(usual, type(value)) else value
            yield from settings_of(value, usual, f"{within}{key}.")
        else:
            yield Setting(f"{within}{key}", value, usual, meanings.get(key, ""))


@cache
def meanings_of(kind: type[BaseModel]) -> Mapping[str, str]:
    """What the source says under each field of a class and of those that it extends, by field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue  # made at run time, or without its source
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, following in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                told = following.value if isinstance(following, ast.Expr) else None
                if isinstance(told, ast.Constant) and isinstance(told.value, str):
                    found[field.target.id] = " ".join(told.value.split())
    return {key: meaning for key, meaning in found.items() if key in kind.model_fields}


def _written(value: Any) -> str:
    """A value as an option or a file takes it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if value is None:
        return "null"
    return value if isinstance(value, str) and value else json.dumps(value, default=str)
