"""What the cells of a table may hold: the rules of all sources and formats, kind by kind.

A rule gets the cells of one column as an Arrow array of one type and gives the values; what cannot
be used is noted and stands as "", 0 or (). CSV and lines of separated fields are untyped, they know
text only: there blanks around an id do not count, ``7.0``, ``+7`` and 7 are one whole number
(pandas writes 7.0 beside gaps), ``1e3`` is no id, and words such as ``nan`` or ``NULL`` are no ids
and no texts. In other formats a text is taken as it is. Lists are the business of
:mod:`benchmark.data.tables.listed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.tables.columns import Column
from benchmark.errors import quoted, shortened

MISSING = "the value is missing"
EMPTY_ID = "the id is empty"
_TOO_LARGE = "is too large for a float to hold it exactly"
_LARGEST = 2.0**53
_DIGITS = 18  # more than the largest has
_POWER = (
    "is no id: a number with an exponent may have lost digits; write it out, or give texts that "
    "look so as JSON lines or Parquet"
)


Note = Callable[..., None]
"""``note(mask, kind, shown=None)``: these cells are wrong."""

_UNTYPED_WHOLE = r"^[+-]?\d+\.0*$"
_UNTYPED_SIGNED = r"^(\+\d+|-0)$"
_UNTYPED_POWER = r"^[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$"
_UNTYPED_FRACTION = r"^[+-]?\d*\.\d+$"
_UNTYPED_LINES = r"[\r\n]"
_UNTYPED_NOTHING = r"^((?i:[+-]?(nan|inf|infinity)|none|null|nil|<na>|#?n/?a)|NaT|\\N)$"
_NO_TEXTS = frozenset(("nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", "N/A", "#N/A", "\\N"))
_LIKE_A_NUMBER = re.compile(r"[-+]?[.\d]{1,40}([eE][-+]?\d{1,4})?")


def show(array: pa.Array, row: int) -> str:
    """A cell for a message."""
    cell = array[row]
    try:
        return shown(cell.as_py())
    except (ValueError, OverflowError, LookupError):
        # A time that Python cannot hold, or one of a zone that nobody knows: its number.
        return f"{shortened(str(getattr(cell, 'value', '')))} ({shortened(str(cell.type))})".strip()


def shown(value: Any) -> str:
    """A value for a message: a number without quotes, whether it stands as a text or not."""
    if isinstance(value, str) and _LIKE_A_NUMBER.fullmatch(value):
        return value
    return quoted(value)


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is a list."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def nulls(array: pa.Array) -> NDArray[np.bool_]:
    """(cells,) where there is no value; NaN is none either."""
    mask = array.is_null(nan_is_null=pa.types.is_floating(array.type))
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return found


def is_missing_word(text: str) -> bool:
    """Whether a text without a type is a word that programs write for a missing value."""
    return text in _NO_TEXTS


# Ids


def ids(array: pa.Array, note: Note, is_untyped: bool) -> NDArray[Any]:
    """Texts (cells,) of ids, "" for what is none."""
    kind = array.type
    missing = nulls(array)
    if pa.types.is_integer(kind):
        texts = array.cast(pa.large_string())
    elif pa.types.is_floating(kind):
        texts = _ids_of_floats(array, missing, note)
    elif pa.types.is_decimal(kind):
        texts = _whole_texts(array.cast(pa.large_string()), missing, note)
    elif is_text(kind):
        texts = array.cast(pa.large_string())
        if is_untyped:
            texts = _whole_texts(pc.utf8_trim_whitespace(texts), missing, note)
        blank = pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(False)
        note(blank.to_numpy(zero_copy_only=False), EMPTY_ID)
        texts = pc.if_else(blank, pa.scalar("", pa.large_string()), texts)
    else:
        note(~missing, "is no id", lambda row: show(array, row))
        texts = pa.nulls(len(array), pa.large_string())
    note(missing, MISSING)
    values: NDArray[Any] = texts.fill_null("").to_pandas().to_numpy(dtype=object)
    return values


def _ids_of_floats(array: pa.Array, missing: NDArray[np.bool_], note: Note) -> pa.Array:
    """What pandas makes of whole numbers with gaps; only those that a float holds exactly."""
    exact = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}[array.type.bit_width]
    values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    values = np.where(missing, 0, values)
    broken = ~np.isfinite(values) | (np.nan_to_num(values) % 1 != 0)
    note(broken, "is no id", lambda row: show(array, row))
    large = ~broken & (np.abs(values) >= exact)
    note(large, _TOO_LARGE, lambda row: show(array, row))
    bad = missing | broken | large
    whole = np.where(bad, 0, values).astype(np.int64)
    return pa.array(whole, mask=bad).cast(pa.large_string())


def _whole_texts(texts: pa.Array, missing: NDArray[np.bool_], note: Note) -> pa.Array:
    """Texts of a format without types: numbers with decimals are whole numbers, or no ids."""

    def matches(pattern: str) -> NDArray[np.bool_]:
        found = pc.match_substring_regex(texts, pattern).fill_null(False)
        mask: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False) & ~missing
        return mask

    whole, signed = matches(_UNTYPED_WHOLE), matches(_UNTYPED_SIGNED)
    found = texts.to_pandas().to_numpy(dtype=object)
    numbers = [int(text.split(".")[0][:_DIGITS]) for text in found[whole]]
    large = np.zeros(len(found), dtype=bool)
    large[whole] = np.array([abs(number) >= _LARGEST for number in numbers], dtype=bool)
    note(large, _TOO_LARGE, lambda row: show(texts, row))
    is_power = matches(_UNTYPED_POWER)
    note(is_power, _POWER, lambda row: show(texts, row))
    is_none = (
        matches(_UNTYPED_NOTHING) | matches(_UNTYPED_LINES) | (matches(_UNTYPED_FRACTION) & ~whole)
    )
    note(is_none, "is no id", lambda row: show(texts, row))
    if not (whole.any() or signed.any() or is_none.any() or is_power.any()):
        return texts
    found[whole] = [str(number) for number in numbers]
    found[signed] = [text[1:] for text in found[signed]]
    return pa.array(found, pa.large_string(), mask=missing | is_none | is_power | large)


# Texts


def texts(array: pa.Array, note: Note, is_untyped: bool) -> list[str]:
    """Texts with runs of blanks made one, "" for what is missing."""
    if is_text(array.type):
        found = [" ".join(text.split()) if text else "" for text in array.to_pylist()]
        return ["" if is_missing_word(text) else text for text in found] if is_untyped else found
    note(~nulls(array), "is no text", lambda row: show(array, row))
    return [""] * len(array)


# Numbers


@dataclass(frozen=True)
class Numbers:
    """Cells as numbers (cells,): ``value`` is NaN or infinite where there is none.

    ``missing`` or ``wrong`` says why.
    """

    value: NDArray[np.float64]
    missing: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def numbers(array: pa.Array) -> Numbers:
    """Numbers, or texts of numbers."""
    kind, missing = array.type, nulls(array)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        values = np.where(missing, np.nan, values)
        return Numbers(values, missing, ~missing & ~np.isfinite(values))
    values = np.full(len(array), np.nan)
    if not is_text(kind):
        return Numbers(values, missing, ~missing)
    texts = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    missing = missing | _mask(pc.equal(texts, ""))
    is_number = _mask(pc.match_substring_regex(texts, _NUMBER))
    if not is_number.any():
        return Numbers(values, missing, ~missing)
    kept = texts.filter(pa.array(is_number))
    try:
        values[is_number] = kept.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # such as a plus sign
        parsed = pd.to_numeric(kept.to_pandas().astype(object), errors="coerce")
        values[is_number] = parsed.to_numpy(dtype=np.float64)
    return Numbers(values, missing, ~missing & ~np.isfinite(values))


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = array.fill_null(False).to_numpy(zero_copy_only=False)
    return found


_YES, _NO = ["true", "True", "TRUE"], ["false", "False", "FALSE"]


def plain_numbers(column: Column, array: pa.Array, note: Note) -> NDArray[Any]:
    """Flags, counts and whole numbers (cells,) int64, or numbers float64 with NaN for none."""
    if column.kind == "flag":
        array = _without_words(array)
    found = numbers(array)
    value, wrong = found.value, found.wrong.copy()
    kind = "is not a number"
    if column.kind == "whole":
        wrong |= np.isfinite(value) & ((value % 1 != 0) | (np.abs(value) >= _LARGEST))
        kind = "is not a whole number"
    note(wrong, kind, lambda row: show(array, row))
    if column.kind == "number":
        if column.filled:
            note(found.missing, MISSING)
        large = np.isfinite(value) & (np.abs(value) >= _LARGEST)
        note(large, "is too large", lambda row: show(array, row))
        return np.where(wrong | large, np.nan, value)
    note(found.missing, MISSING)
    value = np.where(np.isfinite(value) & ~wrong, value, 0)
    if column.kind == "flag":
        other = (value != 0) & (value != 1)
        note(other, "is neither 0 nor 1", lambda row: show(array, row))
        value = np.where(other, 0, value)
    if column.kind == "count":
        negative, large = value < 0, value >= _LARGEST
        note(negative, "is negative", lambda row: show(array, row))
        note(large, "is too large", lambda row: show(array, row))
        value = np.where(negative | large, 0, value)
    return value.astype(np.int64)


def _without_words(array: pa.Array) -> pa.Array:
    """Flags as numbers, whether they are written as true and false or as 1 and 0."""
    if pa.types.is_boolean(array.type):
        return array.cast(pa.int64())
    if not is_text(array.type):
        return array
    texts = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    for words, number in ((_YES, "1"), (_NO, "0")):
        is_word = pc.is_in(texts, value_set=pa.array(words, pa.large_string()))
        texts = pc.if_else(is_word, pa.scalar(number, pa.large_string()), texts)
    return texts
