"""The exceptions that reach a user, and the exit codes that they mean.

A :class:`BenchmarkError` is a mistake in what the user gave (an option, a recipe, a file): its text
is one sentence that names the file, key or system and, where there is a choice, the allowed values.
A :class:`SystemFailure` is the fault of one system: the suite records it and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

EXIT_FAILED_SYSTEM = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


LONGEST_QUOTE = 200
"""Characters of the input that one message shows at most."""


def quoted(value: object) -> str:
    """A piece of the input for a message: as Python writes it, and cut where it is long."""
    return shortened(repr(value[: 2 * LONGEST_QUOTE] if isinstance(value, str) else value))


def shortened(text: str) -> str:
    """A text on one line, at most ``LONGEST_QUOTE`` characters of it."""
    line = " ".join(text[: 4 * LONGEST_QUOTE].split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 1]}…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """``number`` with its noun.

    >>> counted(1, "seed"), counted(3, "seed"), counted(1682, "item")
    ('1 seed', '3 seeds', '1,682 items')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def text_of(error: BaseException) -> str:
    """What an error says; its own code may fail to tell."""
    try:
        return str(error)
    except Exception:
        return "an error that cannot be printed"


class BenchmarkError(Exception):
    """Bad input from the user; the message is the one sentence that is shown."""


class SystemUnavailable(BenchmarkError):
    """The code of a system cannot be loaded: the others can run."""


class SystemFailure(Exception):
    """A system broke its contract (a wrong shape, a non-finite score, an exception)."""


def unknown_value(kind: str, given: str, allowed: Iterable[str], where: str = "") -> BenchmarkError:
    """The sentence for a value outside a closed set, with the nearest allowed value as a hint.

    ``kind`` is what was asked for ("system", "preset"), ``where`` the file or option it stood in.
    """
    choices = sorted(allowed)
    near = get_close_matches(given[:LONGEST_QUOTE], choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    place = f"{where}: " if where else ""
    return BenchmarkError(
        f"{place}unknown {kind} {quoted(given)}{hint}; allowed are {', '.join(choices) or 'none'}."
    )


def sentence_of_validation(error: Any, where: str, kind: Any = None) -> BenchmarkError:
    """The first complaint of a pydantic ``ValidationError`` as one sentence: place, key, reason.

    Where keys of the top level contradict each other the reason alone names them. With the model
    that was to be made, ``kind``, an unknown key is followed by the nearest one of its part, and by
    all of them.
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if not key and first["type"] != "value_error":
        key = "(top level)"
    reasons = {
        "extra_forbidden": "there is no such key",
        "missing": "the key is required but missing",
    }
    said = first["msg"].removeprefix("Value error, ")
    reason = reasons.get(first["type"], said[:1].lower() + said[1:])
    # Of several keys together the reason names those that matter.
    is_told = first["type"] in reasons or isinstance(first["input"], dict)
    given = "" if is_told else f", not {quoted(first['input'])}"
    place = f"{where}: {key}" if key else where
    known = _keys_beside(kind, first["loc"]) if first["type"] == "extra_forbidden" else None
    if known is None:
        return BenchmarkError(f"{place}: {reason}{given}.")
    near = get_close_matches(str(first["loc"][-1])[:LONGEST_QUOTE], known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    part = ".".join(map(str, first["loc"][:-1]))
    owner = f"The keys of {part}" if part else "Its keys"
    return BenchmarkError(f"{place}: {reason}{hint}. {owner} are: {', '.join(known) or 'none'}.")


def _keys_beside(kind: Any, place: tuple[str | int, ...]) -> list[str] | None:
    """The keys of the part that a key stands in; None where the part is no model."""
    for name in place[:-1]:
        fields = getattr(kind, "model_fields", {})
        if name not in fields:
            return None
        kind = fields[name].annotation
    fields = getattr(kind, "model_fields", None)
    return None if fields is None else list(fields)
