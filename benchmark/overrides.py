"""``--set owner.key=value``: changes of settings as nested mappings, laid over one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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
    found = kind.model_validate(values)
    wrong = list(_of_another_type(values, found.model_dump(), ()))
    if wrong:
        raise ValidationError.from_exception_data(kind.__name__, wrong)
    return found


_TYPES = {bool: "bool_type", int: "int_type", float: "float_type"}


def _of_another_type(given: Any, taken: Any, place: tuple[str | int, ...]) -> Iterator[Any]:
    """What was given and taken for a number or a truth value that it is not."""
    pairs: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(given, Mapping) and isinstance(taken, Mapping):
        pairs = ((key, given[key], taken[key]) for key in given if key in taken)
    elif isinstance(given, (list, tuple)) and isinstance(taken, (list, tuple)):
        pairs = ((row, *both) for row, both in enumerate(zip(given, taken, strict=False)))
    for key, one, other in pairs:
        yield from _of_another_type(one, other, (*place, key))
    kind = _TYPES.get(type(taken))
    is_kept = type(given) is type(taken) or (type(given) is int and kind == "float_type")
    if kind is not None and not is_kept:
        yield {"type": kind, "loc": place, "input": given}


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
