"""GenSAR's prompts: pieces give the tokens of the whole text, in every wording and style."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog
from benchmark.errors import BenchmarkError
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.names import identifier_texts
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.pieces import assembled
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import TrainingExamples
from gensar.prompts import (
    WORDINGS,
    Family,
    PieceTexts,
    Prompts,
    PromptStyle,
    code_names,
    cut_texts,
    tokens_of_identifiers,
)

QUERIES = ["", "red shoes", "a hat, please"]
ITEM_TEXTS = ["", "Blue shoes. For running", "A red hat", "Gloves: warm"]
CODES = np.array([[-1, -1, -1], [0, 1, 0], [0, 2, 0], [1, 0, 0]], dtype=np.int32)
COLLABORATIVE = identifier_texts(Identifiers(CODES, (2, 3, 1)), code_names(1, "collaborate", 3))
SEMANTIC = identifier_texts(Identifiers(CODES, (2, 3, 1)), code_names(1, "semantic", 3))
STYLES = get_args(PromptStyle)

TIME = np.array([10, 20, 20, 20, 30, 40])
ITEM = np.array([1, 2, 3, 1, 2, 3])
QUERY = np.array([0, 0, 1, 2, 0, 1])


def tokenizer() -> TextTokenizer:
    made = TextTokenizer.trained_on([*QUERIES, *ITEM_TEXTS], 300)
    made.add(tokens_of_identifiers(SEMANTIC, COLLABORATIVE))
    return made


def make(style: PromptStyle = "instruction", **changes: Any) -> Prompts:
    texts = PieceTexts(COLLABORATIVE, SEMANTIC, QUERIES, ITEM_TEXTS, ["warm gloves"])
    return Prompts(tokenizer(), texts, style, **changes)


@pytest.mark.parametrize("odd", ["lamp </s> x", "<src_item> lamp", "{code}{code}", "<pad>"])
def test_texts_of_others_hold_no_token_of_ours(odd: str) -> None:
    made = tokenizer()
    added = tokens_of_identifiers(SEMANTIC, COLLABORATIVE)
    own = set(made.marked(added).ids.tolist()) | {made.padding, made.end}
    text = odd.format(code=added[0])
    queries, texts = ["", text, *QUERIES[2:]], ["", text, *ITEM_TEXTS[2:]]
    prompts = Prompts(
        made, PieceTexts(COLLABORATIVE, SEMANTIC, queries, texts, [text]), "instruction"
    )
    asked = tokens_of(prompts, prompts.asked(np.array([1])))
    assert asked[0] == made.marked(["<src_query>"]).ids[0]
    assert asked[1:] == made([text]).ids.tolist()
    assert len(asked) > 2
    assert not set(asked[1:]) & own
    for pieces in (prompts.text(np.array([1])), prompts.pseudo(np.array([0]))):
        assert not set(tokens_of(prompts, pieces)[1:]) & own


def last_event(bought: int = 3, found: int = 2, query: int = 1) -> TrainingExamples:
    """The last event, of the query ``query``, with what went before it."""
    asked = np.where(np.arange(6) == 5, query, QUERY)
    log = EventLog.from_columns(
        user=np.ones(6),
        item=ITEM,
        query=asked,
        behaviour=np.where(asked > 0, SEARCH, RECOMMENDATION),
        timestamp=TIME,
        session=np.cumsum(asked > 0) * (asked > 0),
        number_of_users=1,
    )
    seen = [np.array([number], dtype=np.int32) for number in (bought, found)]
    visible = EventSet(np.array([5]), *seen, hidden=np.array([-1]))
    return TrainingExamples("search", log, visible, QUERIES)


def tokens_of(prompts: Prompts, pieces: Any) -> list[int]:
    return assembled(prompts.tokens, pieces)[0][0].tolist()


def whole(text: str) -> list[int]:
    return tokenizer().marked([text]).ids.tolist()


def test_codes_are_named_by_kind_and_level() -> None:
    assert code_names(2, "semantic", 4) == ["shared_a", "shared_b", "semantic_a", "semantic_b"]
    assert COLLABORATIVE[2] == "<shared_a_0><collaborate_a_2><collaborate_b_0>"
    assert COLLABORATIVE[0] == ""


def test_only_codes_that_occur_become_tokens_in_the_order_of_strings() -> None:
    assert tokens_of_identifiers(["<b_1><b_10>"], ["<a_2>"]) == sorted(
        ["<a_2>", "<b_1>", "<b_10>", "<rec_item>", "<src_item>", "<src_query>"]
    )
    assert tokens_of_identifiers(["<b_1>"], ["<a_2>"], marks_behaviour=False) == ["<a_2>", "<b_1>"]


def test_a_history_is_in_the_order_of_time_with_recommendations_first() -> None:
    prompts = make()
    expected = "; ".join(
        [
            f"<rec_item>{COLLABORATIVE[1]}",
            f"<rec_item>{COLLABORATIVE[2]}",
            f"<src_query>{QUERIES[1]}",
            f"<src_item>{SEMANTIC[3]}",
            f"<src_query>{QUERIES[2]}",
            f"<src_item>{SEMANTIC[1]}",
            f"<rec_item>{COLLABORATIVE[2]}",
        ]
    )
    assert tokens_of(prompts, prompts.history(last_event())) == whole(expected)


def test_each_kind_of_event_is_cut_to_its_own_length() -> None:
    prompts = make(recommendation_history=1, search_history=1)
    expected = f"<src_query>{QUERIES[2]}; <src_item>{SEMANTIC[1]}; <rec_item>{COLLABORATIVE[2]}"
    assert tokens_of(prompts, prompts.history(last_event())) == whole(expected)


@pytest.mark.parametrize(
    ("history_of", "expected"),
    [
        ("recommendation", [f"<rec_item>{COLLABORATIVE[item]}" for item in (1, 2, 2)]),
        (
            "search",
            [
                f"<src_query>{QUERIES[1]}",
                f"<src_item>{SEMANTIC[3]}",
                f"<src_query>{QUERIES[2]}",
                f"<src_item>{SEMANTIC[1]}",
            ],
        ),
    ],
)
def test_a_history_may_hold_one_kind_of_event(history_of: Any, expected: list[str]) -> None:
    prompts = make(history_of=history_of)
    assert tokens_of(prompts, prompts.history(last_event())) == whole("; ".join(expected))


def test_without_behaviour_tokens_identifiers_and_queries_stand_alone() -> None:
    prompts = make(marks_behaviour=False, recommendation_history=1, search_history=1)
    expected = f"{QUERIES[2]}; {SEMANTIC[1]}; {COLLABORATIVE[2]}"
    assert tokens_of(prompts, prompts.history(last_event())) == whole(expected)
    assert tokens_of(prompts, prompts.clicked(np.array([3]))) == whole(COLLABORATIVE[3])


@pytest.mark.parametrize("style", STYLES)
def test_pieces_give_the_tokens_of_the_whole_prompt_in_every_wording(style: PromptStyle) -> None:
    prompts, wordings = make(style), WORDINGS[style]
    example = last_event()
    history = f"<src_query>{QUERIES[2]}{wordings.separator} <src_item>{SEMANTIC[1]}"
    prompts = make(style, history_of="search", search_history=1)
    item = np.array([2])
    filled = {
        "{history}": history,
        "{query}": f"<src_query>{QUERIES[1]}",
        "{text}": ITEM_TEXTS[2],
        "{identifier}": SEMANTIC[2],
    }

    def text_of(wording: str) -> str:
        for slot, text in filled.items():
            wording = wording.replace(slot, text)
        return wording

    cases = (
        (prompts.identify, wordings.identify, prompts.text(item)),
        (prompts.describe, wordings.describe, prompts.identifier(item, True)),
        (prompts.recommend, wordings.recommend, prompts.history(example)),
        (prompts.ask, wordings.ask, prompts.history(example)),
    )
    for family, texts, slot in cases:
        assert len(family) == len(texts) == (10 if style == "instruction" else 1)
        for number, wording in enumerate(texts):
            pieces = family.pieces(np.array([number]), slot)
            assert tokens_of(prompts, pieces) == whole(text_of(wording)), wording

    query = prompts.asked(example.query)
    for (one, sentence), (two, wording) in product(
        enumerate(wordings.search_history), enumerate(wordings.search)
    ):
        pieces = prompts.search_prompt(
            prompts.history(example), query, np.array([one]), np.array([two])
        )
        assert tokens_of(prompts, pieces) == whole(f"{text_of(sentence)} {text_of(wording)}")


def test_without_a_history_a_search_has_no_sentence_on_it() -> None:
    prompts, first = make(), np.array([0])
    example = last_event(0, 0)
    pieces = prompts.search_prompt(
        prompts.history(example), prompts.asked(example.query), first, first
    )
    wording = WORDINGS["instruction"].search[0]
    assert tokens_of(prompts, pieces) == whole(wording.replace("{query}", "<src_query>red shoes"))


def test_wordings_of_a_family_have_the_same_slots() -> None:
    with pytest.raises(BenchmarkError, match="differ in slots"):
        Family(["a {text}", "a {query}"], 0)


def test_only_long_texts_are_cut() -> None:
    made = TextTokenizer.trained_on(["red shoes for running"], 300)
    most = int(made(["red shoes"]).lengths[0])
    assert cut_texts(made, ["red  shoes", "red shoes for running"], most) == [
        "red  shoes",
        "red shoes",
    ]
    assert cut_texts(made, [], most) == []
