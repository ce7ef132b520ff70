"""What cells may hold: ids, texts, hierarchies and numbers, in typed formats and in CSV."""

from __future__ import annotations

import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmark.data.tables import cells
from benchmark.data.tables import listed as listed_cells
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.lines import NoRecord, literal, record_of


class Noted:
    """Collects what a rule says of its cells."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def __call__(self, mask: Any, kind: str, shown: Any = None) -> None:
        for row in np.flatnonzero(mask).tolist():
            assert row not in self.reasons  # a cell has one fault at most
            self.reasons[row] = f"{shown(row)} {kind}" if shown else kind


def ids(values: Any, is_untyped: bool = False) -> tuple[list[str], dict[int, str]]:
    noted = Noted()
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return cells.ids(array, noted, is_untyped).tolist(), noted.reasons


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", " a", "0.0", "nan"], ["a", " a", "0.0", "nan"]),  # typed texts are as they are
        ([0, -3, 2**62], ["0", "-3", str(2**62)]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        ([0.0, 7.0, -2.0], ["0", "7", "-2"]),
        ([Decimal("12"), Decimal("3")], ["12", "3"]),
        ([Decimal("12.00")], ["12"]),
    ],
)
def test_ids_of_typed_formats(values: Any, expected: list[str]) -> None:
    assert ids(values) == (expected, {})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.25], "1.25 is no id"),
        ([float("inf")], "inf is no id"),
        ([2.0**53], "is too large for a float to hold it exactly"),
        (pa.array([2.0**24], pa.float32()), "is too large for a float to hold it exactly"),
        ([float("nan")], "the value is missing"),
        ([None, "a"], "the value is missing"),
        ([""], "the id is empty"),
        ([" \t"], "the id is empty"),
        ([True], "True is no id"),
        ([Decimal("1.5")], "is no id"),
        (pa.array([5], pa.timestamp("s")), "is no id"),
        ([["a"]], "is no id"),
    ],
)
def test_what_is_no_id(values: Any, reason: str) -> None:
    found, reasons = ids(values)
    assert found[0] == ""
    assert list(reasons) == [0]
    assert reason in reasons[0]


def test_ids_of_csv_compare_like_with_like() -> None:
    texts = ["0", "0.0", "7.", " u1 ", "u1", "1.2.3", "007", "-0.0", "+7", "A1.5", "", "-0", "-7"]
    expected = ["0", "0", "7", "u1", "u1", "1.2.3", "007", "0", "7", "A1.5", "", "0", "-7"]
    assert ids(texts, is_untyped=True) == (expected, {10: "the id is empty"})


@pytest.mark.parametrize(
    "text",
    [
        *("1.25", ".5", "1e+16", "1e3", "1.5E3", "-2e0"),
        *("nan", "NaN", "NAN", "-inf", "Infinity", "None", "NONE", "NULL", "Null", "nil", "NaT"),
        *("\\N", "<NA>", "NA", "na", "N/A", "#N/A"),
    ],
)
def test_texts_of_csv_that_are_no_ids(text: str) -> None:
    found, reasons = ids([text, "1"], is_untyped=True)
    assert found == ["", "1"]
    assert "is no id" in reasons[0]


def test_a_large_float_in_csv_may_have_lost_its_last_digits() -> None:
    assert "too large for a float" in ids(["9007199254740994.0"], is_untyped=True)[1][0]
    assert ids(["9007199254740994"], is_untyped=True) == (["9007199254740994"], {})


def listed(kind: Any, values: list[Any], **column: Any) -> tuple[list[Any], dict[int, str]]:
    noted = Noted()
    return listed_cells.of_objects(Column("c", kind, **column), values, noted), noted.reasons


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([["Home", "Kitchen"], ["Sale"]], (("Home", "Kitchen"), ("Sale",))),
        (["Home", "Kitchen"], (("Home", "Kitchen"),)),  # a flat list is one hierarchy
        (("Home",), (("Home",),)),
        ([["Home", None, "Kitchen", float("nan"), " "]], (("Home", "Kitchen"),)),
        ([None, ["Home"], [], [None]], (("Home",),)),
        ([["Two  blanks\n"]], (("Two blanks",),)),
        ([], ()),
        ([[]], ()),
        (None, ()),
        (float("nan"), ()),
        ([["A\ud83d"]], (("A\ufffd",),)),
    ],
)
def test_hierarchies(value: Any, expected: Any) -> None:
    for text_form in (False, True):
        assert listed("paths", [value], text_form=text_form) == ([expected], {})


@pytest.mark.parametrize(
    "value",
    [5, True, {"a": 1}, [["A", 5]], ["A", ["B"]], [[["A"]]], [{"a": 1}], "Home", b"x"],
)
def test_what_is_no_list_of_hierarchies(value: Any) -> None:
    found, reasons = listed("paths", [value])
    assert found == [()]
    assert "is no list of hierarchies" in reasons[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Shop > Toys | Sale", (("Shop", "Toys"), ("Sale",))),
        ("Home", (("Home",),)),
        (" ", ()),
        ("['Home', 'Kitchen']", (("Home", "Kitchen"),)),  # as pandas writes lists into CSV
        ("[['Home', 'Kitchen'], ['Sale']]", (("Home", "Kitchen"), ("Sale",))),
        ('["Home", "Kitchen"]', (("Home", "Kitchen"),)),
        ('[["Home", null, "Kitchen"]]', (("Home", "Kitchen"),)),
        ('["Home\\/Garden", "\\u00e9"]', (("Home/Garden", "é"),)),
        ("[['Home', nan]]", (("Home",),)),
        ("['nan', 'Kitchen']", (("nan", "Kitchen"),)),
        ("('Home', 'Kitchen')", (("Home", "Kitchen"),)),
        ("(('Home', 'Kitchen'),)", (("Home", "Kitchen"),)),
        ("[\"Men's\", 'Shoes']", (("Men's", "Shoes"),)),
        ("['a > b']", (("a > b",),)),
        ("[]", ()),
        ("[[]]", ()),
        *((word, ()) for word in ("nan", "NaN", "NULL", "None", " <NA> ")),
        ("[New] > Toys | [Sale]", (("[New]", "Toys"), ("[Sale]",))),
    ],
)
def test_hierarchies_as_texts(text: str, expected: Any) -> None:
    assert listed("paths", [text], text_form=True) == ([expected], {})


@pytest.mark.parametrize(
    "text",
    [
        "['Home' 'Kitchen']",  # as NumPy writes arrays
        "['A' 'B', 'C']",
        "['A' u'B']",
        "[['A' 'B']\n ['C']]",
        "[['A'] ['B']]",
        "[array(['Home', 'Kitchen'], dtype=object)]",
        "array(['Home'], dtype=object)",
        "[list(['Home'])]",
        "{'Home', 'Kitchen'}",
        '{"a": "b"}',
        "['Home', 'Kit",
        "[1, 2]",
        '[["Home", true]]',
        "[b'A']",
        "['A', ['B']]",
        "[Sale]",
        "(Sale)",
        "[" * 50_000 + "]" * 50_000,
        r"['" + r"\'" * 40_000,
    ],
)
def test_a_text_that_looks_like_a_list_is_read_as_one_or_refused(text: str) -> None:
    found, reasons = listed("paths", [text], text_form=True)
    assert found == [()]
    assert "is no list of hierarchies; write hierarchies as " in reasons[0]


def test_words() -> None:
    good = ["[20, 34, 3]", "7", "[]", "", None, [20, 34], []]
    expected = ["w20 w34 w3", "w7", "", "", "", "w20 w34", ""]
    assert listed("words", good) == (expected, {})
    long = "9" * 5_000
    for bad in (
        *("[20; 34]", "red", "[\u0663]", long, f"[1, {long}]"),
        *([20, None], [1.5], [True], [-1], [10**30], {"a": 1}),
    ):
        found, reasons = listed("words", [bad])
        assert found == [""]
        assert "is no list of word numbers" in reasons[0]


def test_raw_texts() -> None:
    good = ["a  b", "", None, float("nan"), ["a", None, "b"], [], [None], "\ud83d\ude00 \ud83d"]
    expected = ["a  b", "", None, None, ("a", "b"), (), None, "\U0001f600 \ufffd"]
    assert listed("raw", good) == (expected, {})
    for bad in (5, [["a"]], [5], {"a": 1}, True):
        assert listed("raw", [bad])[0] == [None]


def numbers(kind: Any, values: Any, **column: Any) -> tuple[list[Any], dict[int, str]]:
    noted = Noted()
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return cells.plain_numbers(Column("c", kind, **column), array, noted).tolist(), noted.reasons


def test_flags() -> None:
    for values in ([1, 0], [1.0, 0.0], [True, False], ["1", "0"], ["True", "false"]):
        assert numbers("flag", values) == ([1, 0], {})
    for bad in (7, 0.5, "yes", None, ""):
        assert len(numbers("flag", pa.array([bad]))[1]) == 1


def test_whole_numbers_and_counts() -> None:
    assert numbers("whole", [3.0, -1.0]) == ([3, -1], {})
    assert "is not a whole number" in numbers("whole", [1.5])[1][0]
    assert "is not a whole number" in numbers("whole", [1e300])[1][0]
    assert numbers("whole", [float("nan")])[1] == {0: "the value is missing"}
    assert numbers("count", [2, 0]) == ([2, 0], {})
    assert "is negative" in numbers("count", [-1])[1][0]
    assert "is too large" in numbers("count", [1e300])[1][0]


def test_numbers_may_be_missing_unless_each_row_must_have_one() -> None:
    found, reasons = numbers("number", ["4.5", None, ""])
    assert (found[0], reasons) == (4.5, {})
    assert np.isnan(found[1:]).all()
    assert numbers("number", [None, 1.0], filled=True)[1] == {0: "the value is missing"}
    for bad in ("good", "inf", float("inf"), True):
        assert "is not a number" in numbers("number", [bad])[1][0]
    assert "is too large" in numbers("number", [1e300])[1][0]


def test_texts_have_single_blanks_and_gaps_are_empty() -> None:
    noted = Noted()
    assert cells.texts(pa.array(["a  b\n", None, ""]), noted, False) == ["a b", "", ""]
    assert cells.texts(pa.array([float("nan")], from_pandas=False), noted, False) == [""]
    assert cells.texts(pa.nulls(1), noted, False) == [""]
    assert noted.reasons == {}
    assert cells.texts(pa.array([1984]), noted, False) == [""]
    assert noted.reasons == {0: "1984 is no text"}


def test_messages_quote_a_part_of_a_long_value() -> None:
    for value in ("x" * 10**6, "9" * 10**6):
        reasons = numbers("number", [value])[1]
        assert len(reasons[0]) < 250
    assert len(listed("paths", [{"a": "x" * 10**6}])[1][0]) < 250


def test_words_for_missing_values_are_no_texts_in_csv() -> None:
    words = pa.array(["nan", "NaN", "None", "NULL", "<NA>", "\\N", " nan ", "Nan bread", "none"])
    noted = Noted()
    assert cells.texts(words, noted, True) == [""] * 7 + ["Nan bread", "none"]
    assert cells.texts(words, noted, False)[:2] == ["nan", "NaN"]
    assert noted.reasons == {}


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (pa.timestamp("s"), 10**12, "1000000000000 (timestamp[s])"),
        (pa.timestamp("s", "Foo/Bar"), 10**9, "1000000000 (timestamp[s, tz=Foo/Bar])"),
        (pa.date32(), 2**31 - 1, "2147483647 (date32[day])"),
        (pa.date64(), 2**62, f"{2**62} (date64[ms])"),
        (pa.duration("s"), 2**62, f"{2**62} (duration[s])"),
    ],
)
def test_a_time_that_python_cannot_hold_is_shown_by_its_number(
    kind: Any, value: int, said: str
) -> None:
    array = pa.array([value], kind)
    assert ids(array) == ([""], {0: f"{said} is no id"})
    assert numbers("number", array)[1] == {0: f"{said} is not a number"}
    assert not listed_cells.may_hold(pa.list_(kind))


def test_what_lists_may_hold() -> None:
    for kind in (pa.string(), pa.list_(pa.large_string()), pa.null(), pa.int64(), pa.bool_()):
        assert listed_cells.may_hold(kind)
    assert not listed_cells.may_hold(pa.struct([("a", pa.int64())]))


# A column that is wrong throughout


def test_a_column_that_is_wrong_throughout_is_one_sentence() -> None:
    faults, path = Faults(), Path("t.csv")
    faults.add_rows(path, np.arange(1, 31), "time", "is late", lambda n: str(n))
    faults.add_rows(path, np.arange(31, 41), "time", "is negative")
    faults.add_rows(path, np.arange(1, 3), "other", "is empty")
    faults.settle_column(path, "time", 40, "must be early")
    faults.settle_column(path, "other", 40, "must be full")
    assert faults.sentences() == [
        "t.csv: column time: must be early, but none of the 40 rows fits; row 1: 0 is late.",
        "t.csv: row 1, column other: is empty.",
        "t.csv: row 2, column other: is empty.",
    ]


def test_a_literal_that_python_would_warn_of_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert literal("[1if 2 else 3]") is None
        assert literal("{'a': ['b', 2.5, None]}") == {"a": ["b", 2.5, None]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'a': 1, 'a': 1}", "the key 'a' stands twice"),
        ("{'a': [({'b': 1, 'b': 2},)]}", "the key 'b' stands twice"),
        ("{1: 2, True: 3}", "the key True stands twice"),
        ("{'a': 'b' 'c'}", "two texts without a comma"),
    ],
)
def test_a_literal_means_one_thing(text: str, reason: str) -> None:
    with pytest.raises(NoRecord, match=reason):
        literal(text)
    with pytest.raises(NoRecord, match=reason):
        record_of(text, is_literal=True)
