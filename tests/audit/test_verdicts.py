"""D15 to D19 against plain loops, and the verdicts at the end of an audit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmark.audit import advice, simple
from benchmark.audit.intervals import Measured
from benchmark.audit.searches import (
    LISTED,
    NEGATIVES,
    SEEN,
    SEVERAL,
    SPLIT,
    TARGETS,
    clicks_of_one_search,
    fellow_clicks,
    touched_items,
)
from benchmark.audit.training import holds_event, untrained_users, validation_sees_tests
from benchmark.audit.verdicts import FACTOR, judge
from benchmark.data.dataset import SEARCH, Dataset, EventLog
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings, with_changes
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.view import TrainingView
from tests.protocol.logs import dataset_of, log_of, search_dataset, shop_dataset

FEW = {"negatives": 30}


def settings_of(preset: str, **changes: object) -> ProtocolSettings:
    return PRESETS[preset].model_copy(update={**FEW, **changes})


def with_searches_of_a_day(seed: int) -> Dataset:
    """A shop in which all clicks of a user and day are of one search."""
    dataset = shop_dataset(seed, users=60)
    log = dataset.log
    _, search = np.unique(np.stack([log.user, log.timestamp]), axis=1, return_inverse=True)
    return dataset.with_log(
        EventLog.from_columns(
            user=log.user,
            item=log.item,
            query=log.query,
            behaviour=log.behaviour,
            timestamp=log.timestamp,
            session=np.where(log.behaviour == SEARCH, search.reshape(-1) + 1, 0),
            number_of_users=log.number_of_users,
        )
    )


def history_items(dataset: Dataset, task: Task, row: int) -> list[tuple[int, int]]:
    """The (item, session) pairs of the visible history of a test event."""
    history = task.requests(dataset, "test").select(np.array([row])).history(500)
    return list(
        zip(
            history.items[history.mask].tolist(),
            history.sessions[history.mask].tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_clicks_of_one_search_as_by_looking(preset: str) -> None:
    dataset = with_searches_of_a_day(1)
    log, task = dataset.log, build_tasks(dataset, settings_of(preset))["search"]
    several, seen, listed = [], [], []
    for row, position in enumerate(task.test.position.tolist()):
        user, session, item = log.user[position], log.session[position], log.item[position]
        fellows = set(log.item[(log.user == user) & (log.session == session)].tolist()) - {item}
        several.append(bool(fellows))
        seen.append(any(s == session and i != item for i, s in history_items(dataset, task, row)))
        listed.append(bool(fellows & set(task.test_candidates.items[row].tolist())))
    of_user = {
        part: {
            (user, session)
            for user, session in zip(
                log.user[events.position].tolist(),
                log.session[events.position].tolist(),
                strict=True,
            )
        }
        for part, events in (("valid", task.valid), ("test", task.test))
    }
    users = {user for user, _ in of_user["test"]}
    both = {user for user, _ in of_user["valid"] & of_user["test"]}
    found = {name: share.value for name, share in clicks_of_one_search(dataset, task).items()}
    assert found == {
        SEVERAL: pytest.approx(np.mean(several)),
        SEEN: pytest.approx(np.mean(seen)),
        LISTED: pytest.approx(np.mean(listed)),
        SPLIT: pytest.approx(len(both) / len(users)),
    }
    assert found[SEVERAL] > 0.3
    if preset == "released":
        assert found[SEEN] > 0.1
        assert found[SPLIT] > 0.1


def test_clicks_without_a_session_are_searches_of_their_own() -> None:
    log = log_of([(1, "s", item, item) for item in range(1, 6)])
    log = replace(log, session=np.zeros(5, dtype=np.int32))
    event, _ = fellow_clicks(log, np.arange(5))
    assert not len(event)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_stands_in_the_history_as_by_looking(preset: str) -> None:
    dataset = with_searches_of_a_day(2)
    task = build_tasks(dataset, settings_of(preset))["search"]
    lists = task.test_candidates
    seen = [
        {item for item, _ in history_items(dataset, task, row)} for row in range(len(task.test))
    ]
    expected = np.array(
        [[item in own for item in row] for row, own in zip(lists.items.tolist(), seen, strict=True)]
    )
    np.testing.assert_array_equal(simple.in_history(task.requests(dataset, "test")), expected)
    is_target = np.arange(expected.shape[1])[None, :] == lists.target_column[:, None]
    found = touched_items(dataset, task)
    assert found[TARGETS].value == pytest.approx(expected[is_target].mean())
    assert found[NEGATIVES].value == pytest.approx(expected[~is_target].mean())


class WholeHistories(TrainingView):
    """A view that hands out what the validation events of the whole log see, without users."""

    def __init__(self, dataset: Dataset, tasks: dict[str, Task]) -> None:
        self.whole = {name: task.requests(dataset, "valid") for name, task in tasks.items()}

    def validation_requests(self, task: str) -> Requests:
        return self.whole[task]


def test_test_events_in_validation_histories_as_by_looking() -> None:
    dataset = shop_dataset(4, users=60)
    log = dataset.log
    tasks = build_tasks(dataset, settings_of("paper"))
    held_out = {
        tuple(column[row].item() for column in (log.user, log.behaviour, log.item, log.timestamp))
        for task in tasks.values()
        for row in task.test.position
    }
    view = WholeHistories(dataset, tasks)
    found = validation_sees_tests(dataset, tasks, view)
    for name, task in tasks.items():
        history = view.validation_requests(name).history(500)
        sees = [
            any(
                (user, *event) in held_out
                for event in zip(
                    history.behaviours[row].tolist(),
                    history.items[row].tolist(),
                    history.timestamps[row].tolist(),
                    strict=True,
                )
            )
            for row, user in enumerate(log.user[task.valid.position].tolist())
        ]
        assert found[name].value == pytest.approx(np.mean(sees))
        assert found[name].value > 0.02


def test_the_other_tasks_test_event_before_the_validation_event_is_found() -> None:
    rows = [
        *((1, "r", item, item) for item in range(1, 5)),
        *((1, "s", item, 10 + item) for item in range(5, 9)),
        *((2, "s", item, item) for item in range(1, 5)),
        *((2, "r", item, 10 + item) for item in range(5, 9)),
    ]
    dataset = dataset_of(log_of(rows), 60)
    tasks = build_tasks(dataset, settings_of("paper"))
    log, view = dataset.log, WholeHistories(dataset, tasks)
    position = np.concatenate([task.test.position for task in tasks.values()])
    # User 1 searches after the last purchase, user 2 buys after the last search.
    for name, expected in (("search", [True, False]), ("recommendation", [False, True])):
        users = log.user[tasks[name].valid.position]
        found = holds_event(log, position, view.validation_requests(name), users)
        assert found.tolist() == expected


def test_users_that_training_never_saw() -> None:
    dataset = shop_dataset(5, users=60)
    settings = settings_of("paper", split="global-time")
    tasks = build_tasks(dataset, settings)
    view = TrainingView(dataset, tasks, settings)
    trained = set(view.log.user.tolist())
    for name, share in untrained_users(dataset, tasks, view).items():
        users = dataset.log.user[tasks[name].test.position].tolist()
        assert share.value == pytest.approx(np.mean([user not in trained for user in users]))


# Rules without learning, and what is said of them


def test_hit_rates_of_a_rule_are_those_of_its_ranks() -> None:
    dataset = search_dataset(1, users=80)
    task = build_tasks(dataset, settings_of("paper"))["search"]

    def by_number(requests: Requests) -> np.ndarray:
        return requests.candidates.astype(np.float32)

    found = simple.reached("number", by_number, dataset, task)
    target = dataset.log.item[task.test.position]
    rank = 1 + np.sum(task.test_candidates.items > target[:, None], axis=1)
    for k in (1, 5, 10):
        assert found.rates[k].value == pytest.approx(np.mean(rank <= k))
        assert found.chance[k] == k / 31
    assert simple.reached("nothing", lambda r: 0 * by_number(r), dataset, task).rates[5].value == (
        pytest.approx(5 / 31)
    )


def test_pairs_of_training_are_those_of_the_training_log() -> None:
    dataset = search_dataset(2, users=80)
    settings = settings_of("paper")
    tasks = build_tasks(dataset, settings)
    log = TrainingView(dataset, tasks, settings).log
    pairs = set(zip(log.query.tolist(), log.item.tolist(), strict=True))
    requests = tasks["search"].requests(dataset, "test")
    scores = simple.known_pair(log, dataset.number_of_items)(requests)
    expected = [
        [(query, item) in pairs for item in row]
        for query, row in zip(requests.query.tolist(), requests.candidates.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(scores, np.array(expected, dtype=np.float32))


def test_the_prior_counts_pairs_and_falls_back_on_the_items() -> None:
    rows = [(user, "s", item, user * 10 + item) for user in range(1, 4) for item in (1, 2, 3, 4)]
    dataset = dataset_of(log_of(rows), 60)
    log = dataset.log
    task = build_tasks(dataset, settings_of("paper"))["search"]
    requests = task.requests(dataset, "test").with_candidates(np.array([[1, 5, 6]] * 3))
    scores = simple.query_item_prior(log, 1, 60)(requests)
    share = np.array([4, 1, 1]) / (12 + 61)
    np.testing.assert_allclose(scores[0], (np.array([3, 0, 0]) + 10 * share) / (12 + 10), rtol=1e-6)
    last = simple.seen_last(simple.query_item_prior(log, 1, 60))(requests)
    assert (last[:, 0] < last[:, 1:].max(axis=1)).all()


def findings(dataset: Dataset, settings: ProtocolSettings) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for verdict in judge(dataset, build_tasks(dataset, settings), settings).verdicts:
        found.setdefault(verdict.number, [])
        if verdict.is_finding:
            found[verdict.number].append(verdict.sentence)
    return found


def test_top_hits_give_the_target_away_and_matched_ones_do_not() -> None:
    dataset = search_dataset(0, users=200)
    (reverse,) = [
        line for line in findings(dataset, settings_of("paper"))["D17"] if "lowest BM25" in line
    ]
    assert "times chance" in reverse
    assert "Take protocol.search_negatives=bm25-matched" in reverse
    # Of a dozen rules on three worlds, chance alone may lift one above its bound, not one on each.
    clean = [
        findings(search_dataset(seed, users=200), settings_of("clean"))["D17"] for seed in range(3)
    ]
    assert sum(any("BM25" in line for line in of_world) for of_world in clean) <= 1


def test_the_usual_place_in_an_order_is_learned_on_validation_lists() -> None:
    """Targets are third by number in every list, which neither order finds."""
    dataset = search_dataset(3, users=60)
    task = build_tasks(dataset, settings_of("paper"))["search"]
    random = np.random.default_rng(0)

    def third(events: EventSet) -> Candidates:
        targets = np.clip(dataset.log.item[events.position], 50, 850)
        lower = np.array([random.choice(target, 7, replace=False) for target in targets - 1]) + 1
        items = np.concatenate([targets[:, None] + [[0, 1, 2]], lower[:, :7]], axis=1)
        return Candidates.with_targets(random.permuted(items, axis=1).astype(np.int32), targets)

    task = replace(task, valid_candidates=third(task.valid), test_candidates=third(task.test))

    def by_number(requests: Requests) -> np.ndarray:
        return requests.candidates.astype(np.float32)

    assert simple.reached("", by_number, dataset, task).rates[1].value == 0
    rule = simple.usual_place(by_number, dataset, task)
    assert simple.reached("", rule, dataset, task).rates[1].value == 1
    ties = simple.reached(
        "", simple.usual_place(lambda r: 0 * by_number(r), dataset, task), dataset, task
    )
    assert ties.rates[5].value == pytest.approx(0.5)


def test_a_figure_above_chance_whose_bound_is_not_is_no_finding() -> None:
    def of(low: float) -> simple.Reached:
        nothing = np.zeros(0)
        rates = {10: Measured(0.2, low, 0.3, 50)}
        return simple.Reached(
            "rule", "search", {10: nothing}, nothing.astype(np.int32), rates, {10: 0.1}
        )

    assert of(low=0.11).above(FACTOR) == []
    assert of(low=0.13).above(FACTOR) == [10]


def test_a_finding_needs_a_bound_above_the_factor() -> None:
    dataset = search_dataset(0, users=200)
    settings = settings_of("paper")
    tasks = build_tasks(dataset, settings)
    judged = judge(dataset, tasks, settings)
    rates = judged.figures["D17"]
    for rule in ("BM25", "lowest BM25 first", "pair of training"):
        is_above = any(rates[f"{rule} HR@{k}"].low > FACTOR * k / 31 for k in (1, 5, 10))
        lines = [v.what for v in judged.verdicts if v.number == "D17" and v.is_finding]
        assert any(line.startswith(f"{rule}, ") for line in lines) == is_above


def test_popular_negatives_and_copied_targets_are_findings_of_released_alone() -> None:
    dataset = shop_dataset(3, users=150, items=400)
    found = {preset: findings(dataset, settings_of(preset)) for preset in PRESETS}
    for number in ("D1", "D2", "D4", "D9"):
        assert found["released"][number], number
        assert not found["paper"][number], number
        assert not found["clean"][number], number
    assert "search test events have a twin" in found["paper"]["D5"][0]
    assert not found["clean"]["D5"]


def test_items_touched_before_are_a_finding_where_lists_are_full_of_them() -> None:
    """Every user searches for one word; all items match it, and most have been bought before."""
    rows = []
    for user in range(1, 61):
        items = np.random.default_rng(user).permutation(np.arange(1, 41)).tolist()
        rows += [(user, "r", item, place) for place, item in enumerate(items[:25])]
        rows += [(user, "s", item, 30 + place) for place, item in enumerate(items[25:30])]
    dataset = dataset_of(log_of(rows), 40, texts=["word"] * 40)
    settings = settings_of("paper", negatives=9)
    tasks = {"search": build_tasks(dataset, settings)["search"]}
    judged = judge(dataset, tasks, settings)
    (verdict,) = [verdict for verdict in judged.verdicts if verdict.number == "D16"]
    assert judged.figures["D16"][NEGATIVES].value > 0.5
    assert judged.figures["D16"][TARGETS].value == 0
    assert verdict.is_finding
    assert "protocol.search_exclude=touched" in verdict.sentence


def test_every_question_gets_an_answer_in_the_order_of_the_numbers() -> None:
    dataset = shop_dataset(1, users=60)
    settings = settings_of("clean")
    verdicts = judge(dataset, build_tasks(dataset, settings), settings).verdicts
    numbers = list(dict.fromkeys(verdict.number for verdict in verdicts))
    assert numbers == ["D1", "D2", "D3", "D4", "D5", "D8", "D9", "D15", "D16", "D17", "D18", "D20"]
    for verdict in verdicts:
        assert ("nothing found" in verdict.sentence) != verdict.is_finding
        assert bool(verdict.advice) == verdict.is_finding


IN_FORCE = {
    **PRESETS,
    "matched in vain": with_changes(PRESETS["paper"], {"search_negatives": "bm25-matched"}),
    "popular": with_changes(PRESETS["clean"], {"recommendation_negatives": "popularity"}),
    "own sampler": with_changes(
        PRESETS["released"], {"sampler": "vectorised", "collision": "expected"}
    ),
}
MENDS = {
    "history_cut": "strict-time",
    "counters": "by-key",
    "twins": "removed",
    "recommendation_negatives": "uniform",
    "search_negatives": "bm25-matched",
    "search_exclude": "touched",
    "searches": "whole",
}


@pytest.mark.parametrize("name", IN_FORCE)
def test_advice_can_be_followed_and_changes_something(name: str) -> None:
    settings = IN_FORCE[name]
    told = [advice.take(settings, key, value, "nothing") for key, value in MENDS.items()]
    told += [
        advice.on_visible_targets(settings),
        advice.on_unpopular_targets(settings),
        advice.on_copies("search", settings),
        advice.on_touched_items(settings),
        advice.on_hits(settings, 100),
    ]
    for sentence in told:
        for key, value in re.findall(r"Take protocol\.(\w+)=([\w-]+)", sentence):
            assert getattr(settings, key) != value
            assert getattr(with_changes(settings, {key: value}), key) == value
        for preset in re.findall(r"preset (paper|clean)", sentence):
            assert settings != PRESETS[preset], sentence
    in_force = [
        sentence
        for sentence, (key, value) in zip(told, MENDS.items(), strict=False)
        if getattr(settings, key) == value
    ]
    assert all(sentence == "nothing" for sentence in in_force)


def test_uniform_negatives_are_not_advised_where_they_are_drawn_so() -> None:
    """Each target of the test is new: training never saw it, so the least popular item wins."""
    rows = []
    for user in range(1, 81):
        items = [1 + (8 * user + place) % 96 for place in range(8)] + [97 + user % 4]
        rows += [(user, "r", item, place) for place, item in enumerate(items)]
    dataset = dataset_of(log_of(rows), 100)
    changes = {"negatives": 15}
    (line,) = findings(dataset, with_changes(PRESETS["paper"], changes))["D8"]
    assert "No setting mends it: negatives are uniform already" in line
    changes |= {"recommendation_negatives": "popularity"}
    (line,) = findings(dataset, with_changes(PRESETS["paper"], changes))["D8"]
    assert "Take protocol.recommendation_negatives=uniform (presets paper and clean)." in line


def test_counts_and_ages_are_those_of_the_training_log() -> None:
    dataset = search_dataset(2, users=80)
    settings = settings_of("paper")
    tasks = build_tasks(dataset, settings)
    log, size = TrainingView(dataset, tasks, settings).log, dataset.number_of_items
    requests = tasks["search"].requests(dataset, "test")
    lists = requests.candidates.tolist()
    searched = log.item[log.search.positions].tolist()
    counts = [[searched.count(item) for item in row] for row in lists[:20]]
    popular = simple.most_popular_first(log, "search", size)(requests)[:20]
    np.testing.assert_array_equal(popular, np.array(counts, dtype=np.float32))
    np.testing.assert_array_equal(
        simple.least_popular_first(log, "search", size)(requests)[:20], -popular
    )
    first: dict[int, float] = {}
    for item, time in zip(log.item.tolist(), log.timestamp.tolist(), strict=True):
        first[item] = min(time, first.get(item, np.inf))
    times = np.array([[first.get(item, np.inf) for item in row] for row in lists])
    age = simple.newest_first(log, size)(requests)
    np.testing.assert_array_equal(
        age[:, :, None] > age[:, None, :], times[:, :, None] > times[:, None, :]
    )


def test_new_search_targets_are_a_property_of_the_log() -> None:
    """Every item matches the query; the last search of each user finds what nobody had found."""
    rows = []
    for user in range(1, 81):
        items = [1 + (user + place) % 20 for place in range(8)] + [20 + user]
        rows += [(user, "s", item, place) for place, item in enumerate(items)]
    dataset = dataset_of(log_of(rows), 100, texts=["word"] * 100)
    found = findings(dataset, settings_of("paper", negatives=15))["D20"]
    assert [line.split(",")[0] for line in found] == [
        "D20: least popular first",
        "D20: newest first",
    ]
    for line in found:
        assert "times chance" in line
        assert "A property of the log, through time, and not of the lists" in line


def test_cutoffs_that_lists_are_too_short_for_are_not_said_to_be_looked_at() -> None:
    dataset = search_dataset(0, users=60)
    for negatives, sentence in (
        (2, "at HR@1 on all test events"),
        (7, "at HR@1, 5 on all test events"),
        (30, "at HR@1, 5, 10 on all test events"),
    ):
        settings = with_changes(PRESETS["clean"], {"negatives": negatives})
        tasks = {"search": build_tasks(dataset, settings)["search"]}
        verdicts = judge(dataset, tasks, settings).verdicts
        (verdict,) = [one for one in verdicts if one.number == "D9"]
        assert sentence in verdict.sentence
        length = tasks["search"].test_candidates.items.shape[1]
        silent = {2: "5, 10", 7: "10"}.get(negatives)
        assert (
            f"; HR@{silent} of search says nothing, since lists of {length} candidates are too "
            "short for it." in verdict.sentence
        ) == (silent is not None)
