"""Terms must be those of Lucene's analysers, or BM25 negatives differ from the published ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.retrieval import ANALYSERS, analyse_cjk_bigrams, analyse_english
from benchmark.retrieval.analysis import tokenise
from benchmark.retrieval.porter import stem


def golden_bm25() -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables of items and queries, and what the real library made of them."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    folder = Path(os.environ.get("GOLDEN_DIR", beside))
    if not folder.is_dir():
        pytest.skip("the golden folder is absent; GOLDEN_DIR names it")
    golden = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    return golden["stage1"], golden["bm25"]


@pytest.mark.parametrize(
    "token",
    ["3.5mm", "usb2.0", "12,345.67", "1;2", "e.g", "a:b", "don't", "don’t", "l·l", "www.a.com",
     "hdmi_cable", "_private", "naïve", "cafe\u0301s", "１２", "x1y2"],
)  # fmt: skip
def test_one_token(token: str) -> None:
    assert tokenise(token) == [token]
    assert tokenise(f"({token}), {token}!") == [token, token]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("USB-C", ["USB", "C"]),
        ("AT&T", ["AT", "T"]),
        ("a/b", ["a", "b"]),
        ("1:2", ["1", "2"]),
        ("a.5", ["a", "5"]),
        ("5.a", ["5", "a"]),
        ("a,b", ["a", "b"]),
        ("end. Next", ["end", "Next"]),
        ("x² ½ ①", ["x"]),
        ("© 2020 Acme® Foo™ ★", ["©", "2020", "Acme", "®", "Foo", "™", "★"]),
        ("漢字カタカナひら", ["漢", "字", "カタカナ", "ひ", "ら"]),
        ("カナ_a", ["カナ_a"]),
        ("👍🏽 👨‍👩‍👧 🇯🇵", ["👍🏽", "👨‍👩‍👧", "🇯🇵"]),
        ("__ - ... é", ["é"]),
        ("___", []),
        ("", []),
    ],
)
def test_token_boundaries(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_tokens_of_more_than_255_characters_are_split() -> None:
    assert list(map(len, tokenise("x" * 600))) == [255, 255, 90]
    assert list(map(len, tokenise("é" + "x" * 299))) == [255, 45]


@given(st.text(alphabet="aZ09_.:,;'-/ &", max_size=60))
def test_the_short_cut_for_ascii_text_changes_no_token(text: str) -> None:
    # One ideograph at the end takes the whole text through the pattern for all of Unicode.
    assert [*tokenise(text), "漢"] == tokenise(text + " 漢")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        # where Lucene and PyStemmer's "porter" part (the author's later changes)
        ("technology", "technolog"), ("psychology", "psycholog"), ("possibly", "possibl"),
        ("incredibly", "incred"), ("terminology", "terminolog"),
        # the examples of the paper, step by step
        ("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("caress", "caress"),
        ("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"), ("bled", "bled"),
        ("motoring", "motor"), ("sing", "sing"), ("conflated", "conflat"), ("sized", "size"),
        ("hopping", "hop"), ("falling", "fall"), ("hissing", "hiss"), ("filing", "file"),
        ("failing", "fail"), ("happy", "happi"), ("sky", "sky"), ("relational", "relat"),
        ("conditional", "condit"), ("rational", "ration"), ("vietnamization", "vietnam"),
        ("triplicate", "triplic"), ("formalize", "formal"), ("goodness", "good"),
        ("adoption", "adopt"), ("replacement", "replac"), ("homologous", "homolog"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controll", "control"),
        ("roll", "roll"),
        # short words stay; digits and underscores are consonants
        ("is", "is"), ("as", "as"), ("3.5mm", "3.5mm"), ("hdmi_cables", "hdmi_cabl"),
    ],
)  # fmt: skip
def test_porter_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize("possessive", ["Sony's", "SONY'S", "sony’s", "sony\uff07s"])
def test_the_possessive_is_dropped(possessive: str) -> None:
    assert analyse_english(possessive) == ["soni"]


def test_stop_words_go_and_repetitions_stay() -> None:
    assert analyse_english("The case AND this Case, with IT") == ["case", "case"]


def test_stop_words_are_compared_before_stemming() -> None:
    # "theirs" stems to "their", which is a stop word itself
    assert analyse_english("theirs") == ["their"]


def test_lower_case_maps_one_character_to_one() -> None:
    # Java's rule; str.lower gives "i" and a combining dot, and a final sigma
    assert analyse_english("İ ΟΔΟΣ") == ["i", "οδοσ"]


def test_golden_documents_and_queries_have_the_terms_of_lucene() -> None:
    stage, expected = golden_bm25()
    for row in stage["item_info"][1:]:
        assert analyse_english(f"{row[2]} {row[3]}") == expected["analyzed_docs"][str(row[0])]
    for number, (text, _) in enumerate(stage["query_vocab"]):
        if number:
            assert analyse_english(text) == expected["analyzed_queries"][str(number)]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("无线耳机", ["无线", "线耳", "耳机"]),
        ("无线,耳机", ["无线", "耳机"]),
        ("和", ["和"]),
        ("和 Apple和", ["和", "apple", "和"]),
        ("スマホの充電", ["スマ", "マホ", "ホの", "の充", "充電"]),
        ("한국어", ["한국", "국어"]),
        ("ＵＳＢ ケーブル", ["usb", "ケー", "ーブ", "ブル"]),
        ("ｶﾞｽ", ["ガス"]),  # half-width, voiced mark of its own
        ("the www an t 5V", ["an", "5v"]),  # its stop list: with www and t, without an
        ("cables", ["cables"]),  # no stemming
        ("", []),
    ],
)
def test_cjk_bigrams(text: str, terms: list[str]) -> None:
    assert analyse_cjk_bigrams(text) == terms


def test_the_english_analyser_keeps_single_ideographs() -> None:
    assert analyse_english("无线耳机") == ["无", "线", "耳", "机"]


@given(st.text(max_size=40))
def test_no_text_gives_an_empty_term(text: str) -> None:
    for analyse in ANALYSERS.values():
        assert all(analyse(text))
