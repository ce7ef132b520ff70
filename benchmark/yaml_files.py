"""Strict YAML: safe, no key twice, numbers like ``1e-3`` are numbers, aliases refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchmarkError

_LARGEST_FILE = 1_000_000  # bytes; configuration, not data


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, stricter than its default in what it takes for granted."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        # A few nested aliases expand to billions of nodes, and no configuration needs them.
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not allowed", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[position][0].start_mark
                )
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text; ``where`` names its place in a complaint.

    Raises:
        BenchmarkError: it is not valid, holds a key twice, or an alias.
    """
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise BenchmarkError(f"{where}: is not valid YAML ({reason}).") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        BenchmarkError: it is missing, too large, unreadable or not valid.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BenchmarkError(f"{path}: is larger than {_LARGEST_FILE:,} bytes.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: the file is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read ({error}).") from None
    return parse_yaml(text, str(path))
