"""Strict YAML: whatever is odd is one sentence of bounded length, in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.overrides import parse_assignments
from benchmark.yaml_files import parse_yaml

ODD = [
    "!!int ''",
    "!!timestamp foo",
    "!!bool foo",
    "!!float ''",
    "!!binary x",
    "!!set {a}",
    "!!omap x",
    "!!python/object/apply:os.system ['true']",
    "a: !mine 1",
    "a: .inf",
    "a: -.INF",
    "a: .nan",
    "a: 1e400",
    "a: 99999999999999999999",
    "a: 0x" + "f" * 6000,
    "a: " + "1" * 5000,
    "a: 2001-99-99",
    "? [1]\n: 2",
    "{{}: 1}",
    "<<: 3",
    "=: 1",
    "a: &b 1\nc: *b",
    "[" * 3000,
    "\x00",
    "a: \ud800",
    "a: 1\n'a': 2",
    "1: a\n1.0: b",
    "k" * 5000 + ": 1\n" + "k" * 5000 + ": 2",
    "a: {" + "b: 1, " * 5000,
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_yaml_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BenchmarkError, match="here: is not valid YAML") as caught:
        parse_yaml(text, "here")
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_usual_yaml_is_read() -> None:
    text = "a: 1\nb: {c: [1e-3, 2.5, yes, null]}\n3: 'x'"
    assert parse_yaml(text, "here") == {"a": 1, "b": {"c": [0.001, 2.5, True, None]}, 3: "x"}
    assert parse_yaml(f"a: {2**63 - 1}", "here") == {"a": 2**63 - 1}


def test_many_keys_are_compared_by_their_hash() -> None:
    """Each with all before it would be 200 million comparisons."""

    class Counted(str):
        compared = 0
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    from benchmark import yaml_files

    keys = "\n".join(f"k{number}: 1" for number in range(20_000))
    loader = yaml_files._StrictLoader
    construct = loader.construct_scalar
    try:
        loader.construct_scalar = lambda self, node: Counted(construct(self, node))
        assert len(parse_yaml(keys, "here")) == 20_000
    finally:
        del loader.construct_scalar
    assert Counted.compared < 100_000


def test_infinite_numbers_cannot_be_set() -> None:
    with pytest.raises(BenchmarkError, match=r"--set sasrec\.x=\.inf: is not valid YAML"):
        parse_assignments(["sasrec.x=.inf"])


@pytest.mark.parametrize("text", ["x" * 10_000, "a.b=" + "[" * 9_000, "a..b=1", "=1", "a.b" * 4000])
def test_an_assignment_is_quoted_in_part(text: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        parse_assignments([text])
    assert len(str(caught.value)) < 500


CHARACTERS = "ab:{}[]!&*?-|>'\"#%@`,\n 0123456789.eE+_xo~<=/\ud800é"


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(CHARACTERS), max_size=40))
def test_any_text_is_a_value_of_json_or_a_sentence(text: str) -> None:
    try:
        value = parse_yaml(text, "here")
    except BenchmarkError as error:
        assert len(str(error)) < 250
    else:
        if not _holds_dates_or_keys(value):
            sha256_of_json(value)


def _holds_dates_or_keys(value: object) -> bool:
    """Dates, and keys that are no texts, are for the typed reader to refuse."""
    if isinstance(value, dict):
        return any(not isinstance(k, str) or _holds_dates_or_keys(v) for k, v in value.items())
    if isinstance(value, list):
        return any(map(_holds_dates_or_keys, value))
    return not (value is None or isinstance(value, (str, int, float)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 900_000, "nesting depth"),
        ("{a: " * 200_000, "depth"),
        ("- " * 20_000, "depth"),
        ("".join(" " * depth + "a:\n" for depth in range(1_300)), "depth"),
        ("a: [" + "[]," * 300_000 + "]", "holds more than 100,000 keys and values"),
        ("".join(f"k{number}: 1\n" for number in range(80_000)), "holds more than 100,000 keys"),
    ],
    ids=["brackets", "mappings", "lists", "indents", "values", "keys"],
)
def test_what_is_nested_deeply_or_too_much_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BenchmarkError, match=reason) as complaint:
        parse_yaml(text, "here")
    assert len(str(complaint.value)) < 300
