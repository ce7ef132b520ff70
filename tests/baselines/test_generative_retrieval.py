"""DSI-QG and WebUltron: which identifiers and pairs they have, and that queries lead to items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.generative_retrieval.base import (
    QueryToIdentifier,
    identifiers_of_tokens,
    real_pairs,
    written_pairs,
)
from baselines.generative_retrieval.dsi_qg import DSIQG
from baselines.generative_retrieval.webultron import (
    IdentifierInstances,
    WebUltron,
    key_terms_of,
    passages_of,
    text_identifier,
)
from benchmark.data.dataset import Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.decoding.query_ranking import QueryRanking
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.pseudo_queries import PseudoQueries
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import IGNORED
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import (
    check_killed_in_training_it_ends_as_if_it_had_not_been,
    hit_rate,
)
from tests.baselines.planted import Planted, planted_in, searched_things, small_t5
from tests.training import SEED, expect

ITEMS, USERS, ROUNDS = 30, 40, 10
SETTINGS = ProtocolSettings(negatives=9)
WRITER: dict[str, Any] = {
    "backbone": small_t5(),
    "queries_per_item": 2,
    "most_query_tokens": 6,
    "training": {"epochs": 1, "batch_size": 64},
}
QUICK: dict[str, Any] = {
    "epochs": 80,
    "batch_size": 32,
    "learning_rate": 0.005,
    "validate_every": 0,
}
ONE = QUICK | {"epochs": 1, "batch_size": 64}
SYSTEMS: dict[str, tuple[type[QueryToIdentifier], dict[str, Any]]] = {
    "numbers": (DSIQG, {"training": QUICK}),
    "k-means": (
        DSIQG,
        {
            "docid": "semantic",
            "clusters": 3,
            "largest_cluster": 6,
            "kmeans_starts": 2,
            "training": QUICK,
        },
    ),
    "codes": (
        WebUltron,
        {
            "blocks": 4,
            "codes": 16,
            "real_pairs": "every_event",
            "general": ONE,
            "search": ONE,
            "fine_tuning": QUICK,
            "passages": 2,
        },
    ),
    "words": (
        WebUltron,
        {
            "docid": "text",
            "text_tokens": 8,
            "other_docid": False,
            "general": ONE,
            "search": ONE,
            "fine_tuning": QUICK,
        },
    ),
}


def planted_dataset() -> Dataset:
    return searched_things(USERS, ROUNDS, lambda name: f"{name} . Made of wood . It stands well .")


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(planted_dataset(), SETTINGS, "search")


def make(kind: str, folder: Path, artifacts: Path, **changes: Any) -> QueryToIdentifier:
    system, settings = SYSTEMS[kind]
    shared = {"backbone": small_t5(), "encoder": "packaged", "pseudo_queries": WRITER}
    config = system.Config(**{**shared, "queries_per_item": 2, **settings, **changes})
    return system(config, RunContext(SEED, folder, ArtifactStore(artifacts)))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("artifacts")
    return folder


@pytest.fixture(scope="module")
def fitted(planted: Planted, artifacts: Path, tmp_path_factory: Any) -> Any:
    """Fitted systems by kind, each fitted once."""
    found: dict[str, QueryToIdentifier] = {}

    def get(kind: str) -> QueryToIdentifier:
        if kind not in found:
            found[kind] = make(kind, tmp_path_factory.mktemp("system"), artifacts)
            found[kind].fit(planted[2])
        return found[kind]

    return get


# -------------------------------------------------------------------------------------- the systems


@pytest.mark.training
@pytest.mark.parametrize("kind", SYSTEMS)
def test_it_learns_which_item_a_query_means(kind: str, planted: Planted, fitted: Any) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted(kind), dataset, task), above=0.9)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    kind: str, planted: Planted, fitted: Any, artifacts: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    fitted(kind).save(tmp_path)
    loaded = make(kind, tmp_path / "other", artifacts)
    loaded.load(tmp_path, view.corpus)
    fitted(kind).make_inputs(view.corpus)  # forgets what it computed in other batches
    np.testing.assert_array_equal(loaded.score(requests), fitted(kind).score(requests))
    assert loaded.stand_ins() == fitted(kind).stand_ins()
    assert loaded.identifier_quality() == fitted(kind).identifier_quality()
    assert all("tail_items" in figures for figures in loaded.identifier_quality().values())


@pytest.mark.parametrize(
    ("kind", "stage"), [("numbers", TokenPairs), ("codes", IdentifierInstances)]
)
def test_killed_in_training_it_ends_as_if_it_had_not_been(
    kind: str, stage: Any, planted: Planted, artifacts: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    quick = ONE | {"epochs": 2, "checkpoint_seconds": 0.0}
    stages = ("training",) if kind == "numbers" else ("general", "search", "fine_tuning")
    settings = dict.fromkeys(stages, quick)
    check_killed_in_training_it_ends_as_if_it_had_not_been(
        lambda folder: make(kind, folder, artifacts, **settings),
        view,
        requests,
        tmp_path,
        killed_in=(stage, "batch"),
        after=2,
    )


def test_equal_queries_are_scored_once(
    planted: Planted, fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    asked: list[int] = []
    compute = QueryRanking._path_scores

    def counted(self: QueryRanking, query: Any, tokens: Any) -> Any:
        asked.extend(query.tolist())
        return compute(self, query, tokens)

    monkeypatch.setattr(QueryRanking, "_path_scores", counted)
    system = fitted("numbers")
    system.make_inputs(view.corpus)
    system.score(requests)
    system.score(requests)
    assert sorted(asked) == sorted(set(requests.query.tolist()))


def test_without_searches_it_says_so(planted: Planted, artifacts: Path, tmp_path: Path) -> None:
    view = TrainingView(planted[0], {"search": planted[1]}, SETTINGS)
    view._events = {}
    with pytest.raises(SystemFailure, match="no search events"):
        make("numbers", tmp_path, artifacts).fit(view)


# ----------------------------------------------------------------------- identifiers and instances


def test_numbers_are_a_permutation(planted: Planted, fitted: Any) -> None:
    system = fitted("numbers")
    written = [row[row >= 0].tolist() for row in system.targets[1:]]
    texts = system.backbone.tokenizer.decode(written)
    assert sorted(map(int, texts)) == list(range(ITEMS))
    assert list(map(int, texts)) != list(range(ITEMS))


def test_codes_end_without_an_end_and_have_an_output_layer_of_their_own(fitted: Any) -> None:
    system = fitted("codes")
    assert (system.targets[1:] >= 0).all() and system.targets.shape[1] == 4
    assert not (system.targets == system.backbone.tokenizer.end).any()
    assert not system.backbone.model.is_tied
    assert system.backbone.model.t5.config.scale_decoder_outputs
    assert fitted("words").backbone.model.is_tied


def test_the_padding_of_words_counts_unless_it_is_ignored(
    fitted: Any, artifacts: Path, tmp_path: Path
) -> None:
    learned = fitted("words").labels()[1:]
    assert learned.shape[1] == 8 and (learned >= 0).all()
    ignoring = make("words", tmp_path, artifacts, padding="ignored")
    ignoring.targets, ignoring.backbone = fitted("words").targets, fitted("words").backbone
    assert isinstance(ignoring, WebUltron)
    ignored = ignoring.labels()[1:]
    is_token = ignoring.targets[1:] >= 0
    assert (ignored[~is_token] == IGNORED).all()
    assert np.array_equal(ignored[is_token], ignoring.targets[1:][is_token])


def test_words_are_the_title_or_the_path_from_its_end() -> None:
    assert text_identifier("Home/Sofas 2/x-y.html", "Red Sofa") == "x y sofas home"
    assert text_identifier("Home/Sofas", "A Big Red Sofa") == "a big red sofa home"


def test_a_passage_begins_with_the_title_and_holds_whole_sentences() -> None:
    found = passages_of([1, 2], [[3, 4], [5, 6, 7], [8]], end=9, longest=6, most=10)
    assert found == [[1, 2, 3, 4, 5, 9], [1, 2, 8, 9]]
    assert passages_of([1, 2], [[3, 4], [5, 6, 7], [8]], end=9, longest=6, most=1) == found[:1]


def test_key_terms_are_the_rarest_tokens_in_their_order() -> None:
    texts = Tokens.of_lists([[5, 1, 6, 1, 7, 1, 8, 1, 1, 1], [1] * 10, [5, 6]], padding=0)
    weights = np.array([0.0, 0.1, 0, 0, 0, 1.0, 1.0, 1.0, 1.0])
    terms, used = key_terms_of(texts, weights, end=9, longest=5)
    assert used.tolist() == [0]  # the others have one distinct token, or too few
    assert terms.ids.tolist() == [5, 6, 7, 8, 9]


def test_real_pairs_count_once_or_once_an_event() -> None:
    query, item = np.array([1, 2, 1], dtype=np.int32), np.array([4, 4, 4], dtype=np.int32)
    assert [part.tolist() for part in real_pairs(query, item, "distinct")] == [[1, 2], [4, 4]]
    assert [len(part) for part in real_pairs(query, item, "every_event")] == [3, 3]
    assert [len(part) for part in real_pairs(query, item, "none")] == [0, 0]


def test_written_pairs_are_the_first_queries_of_each_item() -> None:
    queries = PseudoQueries.of_lists([[], ["a", "b", "c"], [], ["b"]])
    place, item = written_pairs(queries, 2)
    assert [(queries.texts[p], i) for p, i in zip(place, item.tolist(), strict=True)] == [
        ("a", 1),
        ("b", 1),
        ("b", 3),
    ]


def test_tokens_as_identifiers_leave_the_end_out() -> None:
    targets = np.array([[-1, -1, -1], [7, 5, 1], [7, 1, -1], [8, 1, -1]])
    identifiers = identifiers_of_tokens(targets, end=1)
    assert identifiers.codes.tolist() == [[-1, -1], [0, 0], [0, -1], [1, -1]]
    assert identifiers.sizes == (2, 1)
