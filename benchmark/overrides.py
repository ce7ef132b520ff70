"""``--set owner.key=value``: changes of settings as nested mappings, laid over one another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from benchmark.errors import BenchmarkError, shortened
from benchmark.yaml_files import parse_yaml

PROTOCOL_KEY = "protocol"
"""``--set protocol.negatives=50`` changes the protocol instead of a system."""

Overrides = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def as_given(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """Settings from what YAML gave, each value of its own type: true is no 1, and "3" no 3.

    Raises:
        pydantic.ValidationError: a value is not allowed, or a key is unknown or missing.
    """
    # Strictness of JSON, not of Python: lists still make tuples, and texts paths.
    return kind.model_validate_json(json.dumps(values, default=str), strict=True)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Overrides]:
    """``["sys.training.epochs=3"]`` → ``{"sys": {"training": {"epochs": 3}}}``.

    Raises:
        BenchmarkError: one is not of the form system.key=value.
    """
    parsed: dict[str, Overrides] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        owner, dot, key = path.partition(".")
        if not (equals and dot and owner and all(key.split("."))):
            raise BenchmarkError(
                f"--set {shortened(text)}: must look like system.key=value or "
                f"{PROTOCOL_KEY}.key=value."
            )
        nested: Any = parse_yaml(value, f"--set {shortened(text)}")
        for part in reversed(key.split(".")):
            nested = {part: nested}
        parsed[owner] = merged(parsed.get(owner, {}), nested)
    return parsed


def protocol_changes(assignments: Sequence[str]) -> Overrides:
    """``["protocol.negatives=50"]`` → ``{"negatives": 50}``, for commands that run no system.

    Raises:
        BenchmarkError: one is not of the form protocol.key=value.
    """
    parsed = parse_assignments(assignments)
    other = sorted(set(parsed) - {PROTOCOL_KEY})
    if other:
        raise BenchmarkError(
            f"--set {shortened(other[0])}.…: only {PROTOCOL_KEY}.KEY=VALUE has a meaning here."
        )
    return parsed.get(PROTOCOL_KEY, {})


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Overrides:
    """``base`` with ``changes`` laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result
