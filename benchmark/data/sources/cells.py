"""What the cells of a table may hold: the rules of all sources and formats, kind by kind.

A rule gets the cells of one column as an Arrow array of one type and gives the values; what cannot
be used is noted and stands as "", 0 or (). CSV knows text only, so there blanks around an id do not
count, ``7.0`` is the whole number 7 (as pandas writes whole numbers beside gaps), and ``nan`` or
``NULL`` is no id. In other formats a text is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.sources.columns import Column
from benchmark.data.sources.lines import literal
from benchmark.data.sources.raw import Paths
from benchmark.errors import quoted

MISSING = "the value is missing"
EMPTY_ID = "the id is empty"
_TOO_LARGE = "is too large for a float to hold it exactly"
_LARGEST = 2.0**53
_DIGITS = 18  # more than the largest has


Note = Callable[..., None]
"""``note(mask, kind, shown=None)``: these cells are wrong."""

_CSV_WHOLE = r"^[+-]?\d+\.0*$"
_CSV_ROUNDED = r"^[+-]?\d+(\.\d*)?[eE][+-]\d+$"
_CSV_FRACTION = r"^[+-]?\d*\.\d+$"
_CSV_LINES = r"[\r\n]"
_CSV_NOTHING = r"^([+-]?(nan|NaN|inf|Inf|infinity|Infinity)|None|null|NULL|\\N|<NA>|NaT)$"
_LIKE_A_NUMBER = re.compile(r"[-+]?[.\d]{1,40}([eE][-+]?\d{1,4})?")
_WORDS = re.compile(r"^\s*(\[\s*(\d+\s*(,\s*\d+\s*)*)?\]|\d+)\s*$")


def show(array: pa.Array, row: int) -> str:
    """A cell for a message."""
    return shown(array[row].as_py())


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


# Ids


def ids(array: pa.Array, note: Note, is_csv: bool) -> NDArray[Any]:
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
        if is_csv:
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

    whole = matches(_CSV_WHOLE)
    found = texts.to_pandas().to_numpy(dtype=object)
    numbers = [int(text.split(".")[0][:_DIGITS]) for text in found[whole]]
    large = np.zeros(len(found), dtype=bool)
    large[whole] = np.array([abs(number) >= _LARGEST for number in numbers], dtype=bool)
    note(large, _TOO_LARGE, lambda row: show(texts, row))
    is_none = (
        matches(_CSV_NOTHING)
        | matches(_CSV_LINES)
        | matches(_CSV_ROUNDED)
        | (matches(_CSV_FRACTION) & ~whole)
    )
    note(is_none, "is no id", lambda row: show(texts, row))
    if not (whole.any() or is_none.any()):
        return texts
    found[whole] = [str(number) for number in numbers]
    return pa.array(found, pa.large_string(), mask=missing | is_none | large)


# Texts


def texts(array: pa.Array, note: Note) -> list[str]:
    """Texts with runs of blanks made one, "" for what is missing."""
    if is_text(array.type):
        return [" ".join(text.split()) if text else "" for text in array.to_pylist()]
    note(~nulls(array), "is no text", lambda row: show(array, row))
    return [""] * len(array)


def of_objects(column: Column, values: Sequence[Any], note: Note) -> list[Any]:
    """Cells that may be lists: hierarchies, lists of words, lists of texts."""
    read = {"paths": _hierarchies, "words": _words, "raw": _raw}[column.kind]
    found = [mended(read(column, value)) for value in values]
    wrong = np.array([one is _WRONG for one in found], dtype=bool)
    note(wrong, _NOT_SO[column.kind], lambda row: quoted(values[row]))
    nothing: Any = {"paths": (), "words": "", "raw": None}[column.kind]
    return [nothing if one is _WRONG else one for one in found]


_WRONG = object()
_NOT_SO = {
    "paths": "is no list of hierarchies",
    "words": "is no list of word numbers such as [20, 34, 3]",
    "raw": "is neither a text nor a list of texts",
}


def mended(value: Any) -> Any:
    """Texts, also within lists, without halves of characters.

    Halves that belong together are joined, a half alone is replaced by U+FFFD: a text that was cut
    by its bytes may end so.
    """
    if isinstance(value, tuple):
        return tuple(mended(one) for one in value)
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_nothing(value: Any) -> bool:
    """Whether a value stands for none: null or NaN."""
    return value is None or (isinstance(value, float) and value != value)


def _hierarchies(column: Column, value: Any) -> Paths | object:
    """A list of hierarchies; a flat list of texts is one hierarchy. Nulls and blanks are dropped.

    With ``text_form`` a text such as ``A > B > C | A > D`` says the same.
    """
    if is_nothing(value):
        return ()
    if isinstance(value, str):
        if not column.text_form:
            return () if not value.strip() else _WRONG
        value = _written_list(value) or [path.split(">") for path in value.split("|")]
    if not isinstance(value, (list, tuple)):
        return _WRONG
    given = [one for one in value if not is_nothing(one)]
    if all(isinstance(one, str) for one in given):
        given = [given]
    if not all(isinstance(path, (list, tuple)) for path in given):
        return _WRONG
    paths = []
    for path in given:
        levels = [level for level in path if not is_nothing(level)]
        if not all(isinstance(level, str) for level in levels):
            return _WRONG
        names = tuple(" ".join(level.split()) for level in levels if level.strip())
        if names:
            paths.append(names)
    return tuple(paths)


def _written_list(text: str) -> list[Any] | None:
    """The list that a text writes out, as pandas puts lists into CSV; None for any other text."""
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return None
    found = literal(text)
    return found if isinstance(found, list) else None


def _words(column: Column, value: Any) -> str | object:
    """Word 20 as "w20", so that BM25 and word vocabularies see words."""
    if is_nothing(value):
        return ""
    if isinstance(value, str):
        if not value.strip():
            return ""
        if not _WORDS.match(value):
            return _WRONG
        value = [int(number) for number in re.findall(r"\d+", value)]
    if isinstance(value, int):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(word, int) and not isinstance(word, bool) and word >= 0 for word in value
    ):
        return _WRONG
    return " ".join(f"w{word}" for word in value)


def _raw(column: Column, value: Any) -> str | tuple[str, ...] | object | None:
    """A text as it stands, or the texts of a list; None for what is missing."""
    if is_nothing(value) or isinstance(value, str):
        return None if is_nothing(value) else value
    if not isinstance(value, (list, tuple)):
        return _WRONG
    parts = tuple(part for part in value if not is_nothing(part))
    if not all(isinstance(part, str) for part in parts):
        return _WRONG
    return parts if parts or not value else None


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
