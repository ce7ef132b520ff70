"""GenSAR's texts as the original writes them, and how it counts hits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.pieces import assembled
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import TrainingExamples
from gensar.prompts import BEHAVIOUR_TOKENS, PieceTexts, Prompts, tokens_of_identifiers
from gensar.released import released_hits, released_metric
from tests.golden.gensar_decoding import check_tries
from tests.golden.loading import golden_folder, golden_stems


def read_cases(name: str) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((golden_folder() / f"{name}.json").read_text("utf-8"))
    return cases


def by_item(identifiers: dict[str, str]) -> list[str]:
    return ["", *(identifiers[str(item)] for item in range(1, len(identifiers) + 1))]


class OneCase:
    """A user's events as a log, and the event that is asked for as an example."""

    def __init__(self, row: dict[str, Any], queries: list[str]) -> None:
        bought = [(time, item, 0) for item, time in row["user_rec"]]
        found = [
            (time, item, queries.index(query)) for _, item, time, query in row["user_sessions"]
        ]
        events = sorted([*bought, *found], key=lambda event: event[0])  # stable: bought first
        times, items, asked = (np.array(column) for column in zip(*events, strict=True))
        is_search = asked > 0
        log = EventLog.from_columns(
            user=np.ones(len(events)),
            item=items,
            query=asked,
            behaviour=np.where(is_search, SEARCH, RECOMMENDATION),
            timestamp=times,
            session=np.cumsum(is_search) * is_search,
            number_of_users=1,
        )
        own = np.flatnonzero((items == row["item"]) & (is_search == (row["task"] == "search")))
        seen = [np.array([row[name]], dtype=np.int32) for name in ("rec_his", "src_session_his")]
        visible = EventSet(own[-1:], *seen, hidden=np.array([-1]))
        task = "search" if row["task"] == "search" else "recommendation"
        self.example = TrainingExamples(task, log, visible, queries)


@pytest.mark.parametrize("name", golden_stems("gensar_cases.*", suffix=".json"))
def test_texts_and_hits_are_the_originals(name: str) -> None:
    cases = read_cases(name)
    rows = cases["histories"]
    asked = {session[3] for row in rows for session in row["user_sessions"]}
    queries = ["", *sorted(asked)]
    collaborative = by_item(cases["collaborative_identifiers"])
    semantic = by_item(cases["semantic_identifiers"])
    added = tokens_of_identifiers(semantic, collaborative)
    assert added == cases["new_tokens"] and set(BEHAVIOUR_TOKENS) < set(added)

    tokenizer = TextTokenizer.trained_on(queries, 1000)
    tokenizer.add(added)
    settings = cases["settings"]
    prompts = Prompts(
        tokenizer,
        PieceTexts(collaborative, semantic, queries),
        "instruction",
        recommendation_history=settings["max_rec_his_len"],
        search_history=settings["max_src_session_his_len"],
    )

    def tokens_of(pieces: Any) -> list[int]:
        ids, _ = assembled(prompts.tokens, pieces)
        return ids[0].tolist()

    for row in rows:
        example = OneCase(row, queries).example
        whole = tokenizer.marked([row["history"], row["target"], row.get("query", "")])
        history, target, query = np.split(whole.ids, whole.offsets[1:-1])
        assert tokens_of(prompts.history(example)) == history.tolist()
        if row["task"] == "search":
            assert tokens_of(prompts.found(example.target)) == target.tolist()
            assert tokens_of(prompts.asked(example.query)) == query.tolist()
        else:
            assert tokens_of(prompts.clicked(example.target)) == target.tolist()

    for case in cases["hit_counting"]:
        hits = released_hits(case["predictions"], case["scores"], case["target"])
        assert hits.tolist() == case["hits"]
        for metric, expected in case["metrics"].items():
            np.testing.assert_allclose(released_metric(hits, metric), expected, atol=1e-9)

    check_tries(cases)
