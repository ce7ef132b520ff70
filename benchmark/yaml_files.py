"""Strict YAML: safe, no key twice, numbers like ``1e-3`` are numbers, and ``8:1:1`` is none.

Aliases, tags and numbers that JSON has not (infinite ones, and beyond 64 bits) are refused: what is
configured is hashed and stored as JSON. The scanner is that of libyaml, since PyYAML's own takes
time that is quadratic in the nesting.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchmarkError, quoted, shortened

_LARGEST = 2**63  # of whole numbers
_LARGEST_FILE = 1_000_000  # bytes; configuration, not data


_MOST_VALUES = 100_000
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _StrictLoader(yaml.composer.Composer, yaml.CSafeLoader):
    """The safe loader, stricter than its default in what it takes for granted."""

    def __init__(self, text: str) -> None:
        yaml.CSafeLoader.__init__(self, text)
        yaml.composer.Composer.__init__(self)
        self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"holds more than {_MOST_VALUES:,} keys and values"
            )
        event: Any = self.peek_event()
        mark: Any = event.start_mark
        # A few nested aliases expand to billions of nodes, and no configuration needs them.
        if isinstance(event, yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, "tags such as !!int are not allowed", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                is_repeated = key in seen
            except TypeError:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a single value", key_node.start_mark
                ) from None
            if is_repeated:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {quoted(key)} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        # YAML 1.1 reads 8:1:1 as 28861, to base 60; everybody else reads a text.
        if isinstance(node, yaml.ScalarNode) and ":" in node.value and node.tag in _NUMBERS:
            node.tag = "tag:yaml.org,2002:str"
        value = super().construct_object(node, deep)
        if isinstance(value, (int, float)) and not _is_in_json(value):
            reason = f"{shortened(node.value)} is no finite number of 64 bits"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
        return value


def _is_in_json(number: float) -> bool:
    return abs(number) < _LARGEST if isinstance(number, int) else math.isfinite(number)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text; ``where`` names its place in a complaint.

    Raises:
        BenchmarkError: it is not valid, or holds a key twice, an alias, a tag or a number that is
            infinite or beyond 64 bits.
    """
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = shortened(str(error)) or "nested too deeply"
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
