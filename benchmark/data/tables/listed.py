"""Cells that may be lists: hierarchies, lists of words, lists of texts, and lists in texts.

What cannot be used is noted and stands as (), "" or None, as in
:mod:`benchmark.data.tables.cells`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmark.data.raw import Paths
from benchmark.data.tables.cells import Note, is_list, is_missing_word, is_text
from benchmark.data.tables.columns import Column
from benchmark.data.tables.lines import STRING, NoRecord, literal
from benchmark.errors import quoted

_WORD = r"[0-9]{1,18}"
_WORDS_END = 10**18
_WORDS = re.compile(rf"^\s*(\[\s*({_WORD}\s*(,\s*{_WORD}\s*)*)?\]|{_WORD})\s*$")


def holds_texts(kind: pa.DataType) -> bool:
    """Whether the values of an Arrow type are texts, or lists of them."""
    return is_text(_innermost(kind))


def _innermost(kind: pa.DataType) -> pa.DataType:
    while is_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def may_hold(kind: pa.DataType) -> bool:
    """Whether the values of an Arrow type are numbers, texts or lists of them, or nothing."""
    kind = _innermost(kind)
    return bool(pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)) or any(
        is_one(kind) for is_one in (is_text, pa.types.is_null, pa.types.is_decimal)
    )


def of_objects(column: Column, values: Sequence[Any], note: Note) -> list[Any]:
    """Cells that may be lists: hierarchies, lists of words, lists of texts."""
    read = {"paths": _hierarchies, "words": _words, "raw": _raw}[column.kind]
    found = [mended(read(column, value)) for value in values]
    wrong = np.array([one is _WRONG for one in found], dtype=bool)
    reason = _NOT_WRITTEN_SO if column.text_form else NOT_SO[column.kind]
    note(wrong, reason, lambda row: quoted(values[row]))
    nothing: Any = {"paths": (), "words": "", "raw": None}[column.kind]
    return [nothing if one is _WRONG else one for one in found]


_WRONG = object()
NOT_SO = {
    "paths": "is no list of hierarchies",
    "words": "is no list of word numbers such as [20, 34, 3]",
    "raw": "is neither a text nor a list of texts",
}
_NOT_WRITTEN_SO = (
    f'{NOT_SO["paths"]}; write hierarchies as [["Home", "Kitchen"], ["Sale"]] or as '
    "Home > Kitchen | Sale"
)


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
        if is_missing_word(value.strip()):
            return ()
        written = _written_list(value)
        value = [path.split(">") for path in value.split("|")] if written is None else written
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


_PAIRS = {"[": "]", "(": ")", "{": "}"}
_LIKE_A_LIST = re.compile(r"""array\(|[\[({]\s*['"\[({]""")
_NOT_A_NUMBER = re.compile(rf"{STRING}|\b(?:nan|NaN)\b", re.DOTALL)


def _written_list(text: str) -> Any:
    """The list that a text writes out in JSON or Python, as pandas puts lists into CSV.

    Returns:
        None for a text that is no such list, ``_WRONG`` for one that looks like a list and cannot
        be read as one: cut off, a set, or as NumPy writes its arrays.
    """
    text = text.strip()
    if not _LIKE_A_LIST.match(text):
        without = re.sub(STRING, "", text, flags=re.DOTALL)
        if _PAIRS.get(text[:1]) != text[-1:] or ">" in without or "|" in without:
            return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        with_nothing = _NOT_A_NUMBER.sub(
            lambda match: match[0] if match[0][0] in "'\"" else "None", text
        )
        try:
            found = literal(with_nothing)
        except NoRecord:
            return _WRONG
    return found if isinstance(found, (list, tuple)) else _WRONG


def _words(column: Column, value: Any) -> str | object:
    """Word 20 as "w20", so that BM25 and word vocabularies see words."""
    if is_nothing(value):
        return ""
    if isinstance(value, str):
        if not value.strip():
            return ""
        if not _WORDS.match(value):
            return _WRONG
        value = [int(number) for number in re.findall(r"[0-9]+", value)]
    if isinstance(value, int):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(word, int) and not isinstance(word, bool) and 0 <= word < _WORDS_END
        for word in value
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
