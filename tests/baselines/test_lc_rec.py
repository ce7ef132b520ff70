"""LC-Rec: what its four tasks read and write, the rule that it learns, and that it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from baselines.generative_recommendation import lc_rec
from baselines.generative_recommendation.lc_rec import (
    DESCRIBE,
    FUSE,
    IDENTIFY,
    NEXT,
    LCRec,
    LCRecConfig,
    Mixture,
    Prompts,
    TaskMix,
    titles_and_details,
    words_of,
)
from baselines.generative_recommendation.wordings import (
    FUSED,
    ITEM_OF_TEXT,
    LC_REC,
    NEXT_ITEM,
    TEXT_OF_ITEM,
    PromptStyle,
)
from benchmark.data.dataset import Dataset, Items
from benchmark.errors import SystemFailure
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.names import code_tokens, identifier_texts
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.pieces import IGNORED, assembled, assembled_lengths
from benchmark.kit.training.micro_batches import Limit
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import (
    check_a_narrow_beam_drops_candidates_and_exact_scores_do_not,
    check_killed_in_training_it_ends_as_if_it_had_not_been,
    check_scores_are_the_same,
    hit_rate,
    loaded_into,
)
from tests.baselines.planted import (
    SMALL_CODES,
    Planted,
    planted_in,
    recommended,
    small_t5,
    toy_encoder,
)
from tests.training import SEED, expect

UNKNOWN = 2
"""The scratch tokenizer's id of what it does not know."""

ITEMS, USERS, EVENTS, DIM = 24, 120, 8, 16
SETTINGS = ProtocolSettings(negatives=9)
SMALL: dict[str, Any] = {
    "identifiers": SMALL_CODES,
    "backbone": small_t5(embedding_deviation=0.3),
    "prompts": "short",
    "history_length": 2,
}
QUICK: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 48,
    "micro_batch_size": None,
    "learning_rate": 0.01,
    "validate_every": 0,
}


def items_of(titles: list[str], details: list[str]) -> Items:
    """Items whose texts are title and details, the padding item in front."""
    texts = [f"{title} {rest}".strip() for title, rest in zip(titles, details, strict=True)]
    nothing = [""] * len(titles)
    return Items(texts, titles, details, nothing, [()] * len(titles), texts)


def planted_dataset() -> Dataset:
    """Each user goes round a cycle of all items; the texts say nothing of its order."""
    random = np.random.default_rng(5)
    order = 1 + random.permutation(ITEMS)
    start = random.integers(ITEMS, size=(USERS, 1))
    numbers = range(1, ITEMS + 1)
    items = items_of(
        ["", *[f"item {number}" for number in numbers]],
        ["", *[f"of shelf {number % 3}" if number % 4 else "" for number in numbers]],
    )
    return recommended(items, order[(start + np.arange(EVENTS)) % ITEMS])


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(planted_dataset(), SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def _toy_encoder() -> Iterator[None]:
    with toy_encoder(lc_rec, DIM):
        yield


def make(folder: Path, training: dict[str, Any] = QUICK, **changes: Any) -> LCRec:
    config = LCRecConfig(**{**SMALL, "training": training, **changes})
    return LCRec(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))


@pytest.fixture(scope="module")
def fitted(planted: Planted, tmp_path_factory: Any) -> LCRec:
    system = make(tmp_path_factory.mktemp("lc-rec"))
    system.fit(planted[2])
    return system


# ----------------------------------------------------------------------------------------- prompts

CODES = Identifiers.of_items(np.array([[0, 1], [2, 0], [1, 1], [1, 0]]), (3, 2))
TITLES = ["", "Red shoe", "Blue hat", "", ""]
DETAILS = ["", "made of wool", "", "just a thing", ""]


def prompts_of(style: PromptStyle, most_text_tokens: int = 50) -> tuple[Prompts, TextTokenizer]:
    tokenizer = TextTokenizer.trained_on([*words_of(style), *TITLES, *DETAILS], 300)
    texts = identifier_texts(CODES)
    tokenizer.add(code_tokens(texts))
    return Prompts(tokenizer, texts, TITLES, DETAILS, style, most_text_tokens), tokenizer


def test_there_are_as_many_wordings_as_in_the_original() -> None:
    assert [len(of_task) for of_task in LC_REC["instruction"]] == [17, 19, 17, 12]
    assert LC_REC["instruction"] == (NEXT_ITEM, ITEM_OF_TEXT, TEXT_OF_ITEM, FUSED)
    both = [sum("{title}" in r and "{details}" in r for r, _ in ITEM_OF_TEXT)]
    both += [sum(answer == "{title} {details}" for _, answer in TEXT_OF_ITEM)]
    assert both == [7, 5]
    for answer in ("{title}", "{details}", "{item}"):
        assert [written for _, written in FUSED].count(answer) == 4


def test_codes_are_written_as_a_letter_a_level() -> None:
    assert identifier_texts(CODES)[:3] == ["", "<a_0><b_1>", "<a_2><b_0>"]
    assert code_tokens(identifier_texts(CODES)) == ["<a_0>", "<a_1>", "<a_2>", "<b_0>", "<b_1>"]


def test_titles_and_details_hold_no_token_of_ours() -> None:
    tokenizer = TextTokenizer.trained_on([*words_of("short"), *TITLES], 300)
    texts = identifier_texts(CODES)
    own = {tokenizer.padding, tokenizer.end, *tokenizer.add(code_tokens(texts)).tolist()}
    odd = ["", *["<a_0> </s> <pad>"] * 4]
    prompts = Prompts(tokenizer, texts, odd, odd, "short", 50)
    first = 1 + len(texts)  # behind the comma and the identifiers stand the texts of the items
    start, stop = prompts.tokens.offsets[[first, first + 3 * len(texts)]]
    assert stop > start
    assert not set(prompts.tokens.ids[start:stop].tolist()) & own


@pytest.mark.parametrize("style", ["instruction", "short"])
def test_pieces_give_the_tokens_of_whole_sentences(style: PromptStyle) -> None:
    prompts, tokenizer = prompts_of(style)
    histories, items = np.array([[0, 2, 1]]), np.array([1])
    comma = " , " if style == "instruction" else " "
    wordings = [wording for of_task in LC_REC[style] for wording in of_task]
    for number, (read, written) in enumerate(wordings):
        wording = np.array([number])
        values = {
            "history": f"<a_2><b_0>{comma}<a_0><b_1>",
            "titles": f'"Blue hat"{comma}"Red shoe"',
            "item": "<a_0><b_1>",
            "details": "made of wool",
        }
        for text, title, pieces in (
            (read, '"Red shoe"', prompts.prompts(wording, histories, items)),
            (written, "Red shoe", prompts.answers(wording, items)),
        ):
            ids, mask = assembled(prompts.tokens, pieces)
            expected = tokenizer.marked([text.format(title=title, **values)]).ids.tolist()
            assert ids[mask].tolist() == expected, text
            assert UNKNOWN not in expected


def test_a_question_is_the_first_wording() -> None:
    prompts, _ = prompts_of("instruction")
    histories = np.array([[0, 2, 1], [0, 0, 0]])
    first = np.zeros(2, dtype=np.int64)
    asked, _ = assembled(prompts.tokens, prompts.questions(histories))
    trained, _ = assembled(prompts.tokens, prompts.prompts(first, histories, np.array([1, 2])))
    assert asked.tolist() == trained.tolist()


@pytest.mark.parametrize(
    ("task", "item", "expected"),
    [
        (IDENTIFY, 1, 19),
        (IDENTIFY, 2, 6),  # no description
        (IDENTIFY, 3, 6),  # no title
        (IDENTIFY, 4, 0),
        (DESCRIBE, 1, 17),
        (DESCRIBE, 2, 6),
        (DESCRIBE, 4, 0),
        (FUSE, 1, 12),
        (FUSE, 2, 8),
        (FUSE, 4, 4),  # titles of the history → item
        (NEXT, 4, 17),
    ],
)
def test_only_wordings_whose_texts_are_there_are_drawn(task: int, item: int, expected: int) -> None:
    prompts, _ = prompts_of("instruction")
    possible = prompts.possible(np.array([task]), np.array([[2, 3]]), np.array([item]))
    assert possible.sum() == expected
    assert (prompts.task_of[possible[0]] == task).all()


def test_titles_are_listed_only_where_the_history_has_some() -> None:
    prompts, _ = prompts_of("instruction")
    task, items = np.array([FUSE, FUSE, NEXT]), np.array([1, 1, 1])
    histories = np.array([[3, 4], [0, 2], [0, 0]])
    assert prompts.possible(task, histories, items).sum(axis=1).tolist() == [8, 12, 0]


def test_texts_are_cut() -> None:
    prompts, _ = prompts_of("short", most_text_tokens=1)
    about = np.array([1])  # {details} → {item}
    read = prompts.prompts(about, np.zeros((1, 1), dtype=np.int32), about)
    assert assembled_lengths(prompts.tokens, read).tolist() == [1]


def test_details_are_what_follows_the_title_in_the_item_text() -> None:
    items = items_of(["", "Heat!", "Up"], ["", "crime 1990s", ""])
    assert titles_and_details(items) == (["", "Heat", "Up"], ["", "crime 1990s", ""])
    without = Items(["", "1"], ["", "x"], ["", ""], ["", ""], [(), ()], ["", "a text"])
    assert titles_and_details(without) == (["", ""], ["", "a text"])


# --------------------------------------------------------------------------------------- instances


def mixture(planted: Planted, fitted: LCRec, **mix: Any) -> Mixture:
    return Mixture(planted[2], fitted.prompts, LCRecConfig(**SMALL, tasks=TaskMix(**mix)))


def test_an_epoch_has_every_prefix_and_item_and_a_part_of_the_fused(
    planted: Planted, fitted: LCRec
) -> None:
    examples = planted[2].examples("recommendation")
    prefixes = int((examples.history(1, "recommendation").items > 0).sum())
    instances = mixture(planted, fitted)
    fused = round(0.25 * prefixes)
    assert len(instances) == prefixes + 2 * ITEMS + fused
    epochs = [np.concatenate(instances.batches(16, np.random.default_rng(seed))) for seed in (0, 1)]
    for rows in epochs:
        assert len(np.unique(rows)) == len(rows) == len(instances)
        counts = np.bincount(instances.task[rows])
        assert counts.tolist() == [prefixes, ITEMS, ITEMS, fused]
    assert set(epochs[0]) != set(epochs[1])  # other fused ones


def test_tasks_can_be_left_out_and_the_fused_are_limited(planted: Planted, fitted: LCRec) -> None:
    limited = mixture(planted, fitted, next_item=0, item_of_text=0, text_of_item=0, most_fused=9)
    rows = np.concatenate(limited.batches(4, np.random.default_rng(0)))
    assert len(rows) == len(limited) == 9
    assert (limited.task[rows] == FUSE).all()
    with pytest.raises(ValidationError):
        TaskMix(fused=1.5)


def test_each_task_reads_and_writes_what_belongs_to_its_example(
    planted: Planted, fitted: LCRec
) -> None:
    instances, tokenizer = mixture(planted, fitted), fitted.backbone.tokenizer
    codes, items = identifier_texts(fitted.identifiers), planted[0].items
    titles, details = titles_and_details(items)
    rows = np.arange(len(instances.task))
    batch = instances.batch(rows, np.random.default_rng(0))
    labels = batch["labels"].masked_fill(batch["labels"] == IGNORED, tokenizer.padding)
    read = ["".join(text.split()) for text in tokenizer.decode(batch["input_ids"].tolist())]
    written = ["".join(text.split()) for text in tokenizer.decode(labels.tolist())]
    seen = set()
    for row, prompt, answer in zip(rows, read, written, strict=True):
        example = instances.example[row]
        item = int(instances.items[example])
        history = [int(number) for number in instances.histories[example] if number]
        title, text = titles[item].replace(" ", ""), details[item].replace(" ", "")
        past = "".join(codes[number] for number in history)
        past_titles = "".join(f'"{titles[number]}"'.replace(" ", "") for number in history)
        pairs = {
            NEXT: {(past, codes[item])},
            IDENTIFY: {(f'"{title}"', codes[item]), (text, codes[item])}
            | {(f'"{title}"{text}', codes[item])},
            DESCRIBE: {(f"name{codes[item]}", title), (f"about{codes[item]}", text)},
            FUSE: {(f"name{past}", title), (f"about{past}", text), (past_titles, codes[item])},
        }[int(instances.task[row])]
        assert (prompt, answer) in pairs and prompt and answer
        seen.add((int(instances.task[row]), answer == codes[item], prompt[:4] == "name"))
    assert len(seen) == 7  # next, identify, name and describe an item, and three kinds of fused


def shares_of_answers(instances: Mixture, rows: Any, seed: int, limit: Limit) -> list[float]:
    """What labels of codes, and of texts, weigh in the loss of a step."""
    codes = instances.prompts.targets()[1:, 0]
    found = [0.0, 0.0]
    for batch, share in instances.parts(rows, np.random.default_rng(seed), limit):
        is_label = batch["labels"] != IGNORED
        weights = is_label / is_label.sum()
        if "weights" in batch:
            weights = is_label * batch["weights"][:, None]
        is_text = ~np.isin(batch["labels"][:, 0].numpy(), codes) & is_label[:, 0].numpy()
        each = weights.sum(dim=1).numpy() * share
        found[0] += float(each[~is_text].sum())
        found[1] += float(each[is_text].sum())
    return found


@pytest.mark.parametrize("limit", [Limit(instances=64), Limit(instances=16), Limit(instances=3)])
@pytest.mark.parametrize("group", [None, 16])
def test_a_tasks_weight_does_not_depend_on_what_is_computed_at_once(
    planted: Planted, fitted: LCRec, group: int | None, limit: Limit
) -> None:
    instances = mixture(planted, fitted)
    instances.loss_group_size = group
    rows = instances.batches(150, np.random.default_rng(1))[0]
    expected = shares_of_answers(instances, rows, 5, Limit())
    assert shares_of_answers(instances, rows, 5, limit) == pytest.approx(expected, rel=1e-5)
    assert sum(expected) == pytest.approx(1.0, rel=1e-5) and min(expected) > 0.01


def test_tasks_weigh_as_in_shuffled_micro_batches(planted: Planted, fitted: LCRec) -> None:
    instances, group = mixture(planted, fitted), 16
    rows = instances.batches(150, np.random.default_rng(1))[0]
    instances.loss_group_size = group
    ours = [shares_of_answers(instances, rows, seed, Limit(instances=50)) for seed in range(60)]
    instances.loss_group_size = None
    released = []
    for seed in range(60):
        order = np.random.default_rng(1000 + seed).permutation(rows)
        parts = [order[start : start + group] for start in range(0, len(order), group)]
        each = [shares_of_answers(instances, part, seed, Limit()) for part in parts]
        released.append(np.average(each, axis=0, weights=[len(part) for part in parts]))
    np.testing.assert_allclose(np.mean(ours, axis=0), np.mean(released, axis=0), rtol=0.05)


def test_items_without_text_are_left_out_of_the_tasks_on_texts(
    planted: Planted, fitted: LCRec
) -> None:
    prompts = fitted.prompts
    bare = Prompts(
        fitted.backbone.tokenizer,
        identifier_texts(fitted.identifiers),
        ["", "", *["a title"] * (ITEMS - 1)],
        [""] * (ITEMS + 1),
        "short",
        9,
    )
    instances = Mixture(planted[2], bare, fitted.config)
    of_items = instances.items[instances.example[instances.task == IDENTIFY]]
    assert of_items.tolist() == list(range(2, ITEMS + 1))
    assert prompts.has_title.sum() == ITEMS


def test_rows_are_measured_in_their_longest_wording(planted: Planted, fitted: LCRec) -> None:
    instances = mixture(planted, fitted)
    rows = np.arange(len(instances.task))
    drawn = [instances.batch(rows, np.random.default_rng(seed)) for seed in range(8)]
    lengths = [
        (batch["attention_mask"].sum(dim=1) + (batch["labels"] != IGNORED).sum(dim=1) - 2).numpy()
        for batch in drawn  # without the two ends
    ]
    longest = np.max(lengths, axis=0)
    assert (longest <= instances.lengths).all()
    has_one_wording = instances.task == NEXT
    assert (longest == instances.lengths)[has_one_wording].all()
    np.testing.assert_allclose(longest, instances.lengths, atol=10)


# -------------------------------------------------------------------------------------- the system


@pytest.mark.training
@pytest.mark.parametrize("scoring", ["beam", "exact"])
def test_it_learns_what_follows_the_last_item(
    planted: Planted, fitted: LCRec, tmp_path: Path, scoring: str
) -> None:
    dataset, task, view = planted
    fitted.save(tmp_path)
    system = make(tmp_path, scoring=scoring)
    system.load(tmp_path, view.corpus)
    expect(hit_rate(system, dataset, task), above=0.9)


def test_a_narrow_beam_drops_candidates_and_exact_scores_do_not(
    planted: Planted, fitted: LCRec, tmp_path: Path
) -> None:
    check_a_narrow_beam_drops_candidates_and_exact_scores_do_not(make, fitted, planted, tmp_path)


def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    planted: Planted, fitted: LCRec, tmp_path: Path
) -> None:
    dataset, task, view = planted
    loaded = loaded_into(make(tmp_path / "other"), fitted, tmp_path, view.corpus)
    check_scores_are_the_same(loaded, fitted, task.requests(dataset, "test"))
    assert loaded.identifier_quality() == fitted.identifier_quality()
    quality = loaded.identifier_quality()["semantic"]
    assert quality["sharing"] == 0
    assert {"alignment_1", "variance_explained_1", "selected_step"} <= quality.keys()
    assert loaded.stand_ins() == fitted.stand_ins()
    assert "t5-small" in loaded.stand_ins()[0] and "toy" in loaded.stand_ins()[1]


def test_killed_in_training_it_ends_as_if_it_had_not_been(planted: Planted, tmp_path: Path) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test").select(slice(0, 8))
    training = QUICK | {"epochs": 2, "batch_size": 256, "checkpoint_seconds": 0.0}
    check_killed_in_training_it_ends_as_if_it_had_not_been(
        lambda folder: make(folder, training),
        view,
        requests,
        tmp_path,
        killed_in=(Mixture, "parts"),
        after=4,
    )


def test_without_recommendation_events_it_says_so(planted: Planted, tmp_path: Path) -> None:
    view = TrainingView(planted[0], build_tasks(planted[0], SETTINGS), SETTINGS)
    view._events = {}
    with pytest.raises(SystemFailure, match="no recommendation events"):
        make(tmp_path).fit(view)


def test_the_defaults_are_the_papers() -> None:
    config = LCRecConfig()
    assert config.identifiers.sizes == (256,) * 4
    assert config.identifiers.epsilons == (0.0, 0.0, 0.0, 0.003)
    assert config.identifiers.hidden_sizes == (2048, 1024, 512, 256, 128, 64)
    assert not config.identifiers.batch_norm
    assert (config.history_length, config.beam_size, config.scoring) == (5, 30, "beam")
