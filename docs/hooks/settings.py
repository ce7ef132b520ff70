"""A system's settings and its search space, as tables of its page."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from benchmark.run.listing import settings_of
from benchmark.systems.catalogue import SystemEntry, choose, named_files
from benchmark.systems.configuration import Preset, configure, load_preset
from benchmark.systems.space import Choice, Parameter, Real, UntilPatience


def cell(text: str) -> str:
    """A text inside a table."""
    return text.replace("|", "\\|")


def plain(text: str) -> str:
    """A docstring's markup as Markdown.

    >>> plain("See :mod:`baselines.joint.base` and ``alpha``.")
    'See `baselines.joint.base` and `alpha`.'
    """
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def example_of(entry: SystemEntry) -> str:
    """A name that ``--systems`` takes."""
    return f"{entry.name}:{entry.variants[0]}" if entry.variants else entry.name


def written(value: Any) -> str:
    """A setting's value as JSON, which is how options and files take it."""
    text = json.dumps(value, default=_jsonable)
    return f"`{cell(text)}`"


def _jsonable(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def in_words(parameter: Parameter) -> str:
    """A part of a search space as a sentence's end.

    >>> in_words(Real(0.1, 0.5)), in_words(Choice((1, 2)))
    ('a number from 0.1 to 0.5', 'one of `1`, `2`')
    """
    if isinstance(parameter, Choice):
        return f"one of {', '.join(written(value) for value in parameter.values)}"
    if isinstance(parameter, UntilPatience):
        return f"not searched: {parameter.epochs:,} at least, so that patience ends training"
    kind = "a number" if isinstance(parameter, Real) else "a whole number"
    how = ", its logarithm drawn uniformly" if parameter.log else ""
    return f"{kind} from {parameter.low:g} to {parameter.high:g}{how}"


def search_space_of(entry: SystemEntry) -> str:
    """The section of what a tuner may choose; empty if that is nothing."""
    space: Mapping[str, Parameter] = getattr(entry.load().Config, "search_space", {})
    if not space:
        return ""
    rows = "\n".join(f"| `{key}` | {in_words(space[key])} |" for key in sorted(space))
    return (
        "## Search space\n\nWhat `python -m benchmark.tune` may choose.\n\n"
        f"| setting | values |\n|---|---|\n{rows}"
    )


def settings_table_of(entry: SystemEntry) -> str:
    """Every setting with its meaning and default, and what the presets make of it."""
    choice = choose(example_of(entry))
    default = configure(choice)
    under: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for preset, changed in _presets().items():
        chosen = configure(choice, changed.overrides_for(choice.base_name))
        for setting in settings_of(chosen, default):
            if setting.value != setting.default:
                under[setting.key][written(setting.value)].append(preset)
    lines = [
        f"| `{setting.key}` | {written(setting.default)} | {_by_presets(under[setting.key])} | "
        f"{cell(plain(setting.meaning))} |"
        for setting in settings_of(default, default)
    ]
    if not lines:
        return "## Settings\n\nIt has none."
    return "\n".join(
        [
            "## Settings",
            "",
            f"`--set {example_of(entry)}.KEY=VALUE` changes one. Defaults are the publication's "
            "values where there is one; presets that change a setting stand beside it.",
            "",
            "| key | default | presets | meaning |",
            "|---|---|---|---|",
            *lines,
        ]
    )


def _by_presets(values: Mapping[str, Sequence[str]]) -> str:
    """Each value that presets have, and which have it."""
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in values.items())


@cache
def _presets() -> Mapping[str, Preset]:
    """The presets that are no study's, by name."""
    return {name: load_preset(name) for name in named_files("presets") if "/" not in name}
