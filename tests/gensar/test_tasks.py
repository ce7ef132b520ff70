"""GenSAR's training tasks: how often each is seen, and what each reads and writes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmark.check.world import World, make_world
from benchmark.kit.language_models.pseudo_queries import PseudoQueries
from benchmark.kit.language_models.seq2seq import ScratchSize, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.training.micro_batches import Limit, PartCosts
from benchmark.systems.view import TrainingView
from gensar.prompts import WORDINGS, PieceTexts, Prompts, tokens_of_identifiers
from gensar.tasks import TaskInstances, TaskMix

ITEMS_WITHOUT_QUERIES = (3, 4)
EVERY_TASK_ONCE = TaskMix(**dict.fromkeys(TaskMix.model_fields, "all"))


class Material:
    """The world of the check with identifiers that say which item and kind they are."""

    def __init__(self) -> None:
        self.world: World = make_world()
        self.view: TrainingView = self.world.view()
        corpus = self.view.corpus
        items = range(1, corpus.number_of_items + 1)
        collaborative = ["", *(f"<shared_a_{item}><collaborate_a_0>" for item in items)]
        semantic = ["", *(f"<shared_a_{item}><semantic_a_0>" for item in items)]
        lists = [[f"look for {item}"] * (item not in ITEMS_WITHOUT_QUERIES) for item in items]
        self.queries = PseudoQueries.of_lists([[], *lists])
        words = [*corpus.items.text, *corpus.queries.text, *self.queries.texts]
        words += WORDINGS["short"].words()
        self.tokenizer = TextTokenizer.trained_on(words, 2000)
        self.tokenizer.add(tokens_of_identifiers(semantic, collaborative))
        self.prompts = Prompts(
            self.tokenizer,
            PieceTexts(
                collaborative,
                semantic,
                corpus.queries.text,
                corpus.items.text,
                self.queries.texts,
            ),
            "short",
        )

    def instances(self, mix: TaskMix, **changes: Any) -> TaskInstances:
        return TaskInstances(self.view, self.prompts, mix, self.queries, **changes)

    def texts(self, instances: TaskInstances, rows: Any) -> list[tuple[str, str]]:
        """Prompts and targets of rows as texts."""
        batch = instances.batch(np.asarray(rows), np.random.default_rng(0))
        labels = batch["labels"].masked_fill(batch["labels"] == IGNORED, 0)
        decode = self.tokenizer.decode
        return list(zip(decode(batch["input_ids"].tolist()), decode(labels.tolist()), strict=True))


@pytest.fixture(scope="module")
def material() -> Material:
    return Material()


def only(**samples: Any) -> TaskMix:
    return TaskMix(**{**dict.fromkeys(TaskMix.model_fields, 0), **samples})


def test_the_default_mix_is_the_released_one() -> None:
    assert TaskMix().model_dump() == {
        "next_item": "all",
        "next_search_item": 100_000,
        "next_query": 1_000,
        "pseudo_query": 1_000,
        "text_to_identifier": 1_000,
        "identifier_to_text": 1_000,
    }


@pytest.mark.parametrize("samples", ["some", -1, 2.5])
def test_other_numbers_of_samples_are_refused(samples: Any) -> None:
    with pytest.raises(ValidationError):
        TaskMix(next_query=samples)


def test_an_epoch_has_every_recommendation_once_and_the_others_as_asked(
    material: Material,
) -> None:
    bought = len(material.view.examples("recommendation"))
    mix = TaskMix(
        next_search_item=50,
        next_query=7,
        pseudo_query=5,
        text_to_identifier=3,
        identifier_to_text=2,
    )
    instances = material.instances(mix)
    assert len(instances) == bought + 50 + 7 + 5 + 2 * 3 + 2 * 2
    epochs = [np.concatenate(instances.batches(16, np.random.default_rng(seed))) for seed in (0, 1)]
    for rows in epochs:
        assert len(rows) == len(instances)
        np.testing.assert_array_equal(np.sort(rows)[:bought], np.arange(bought))
    # The others are drawn afresh.
    assert set(epochs[0][epochs[0] >= bought]) != set(epochs[1][epochs[1] >= bought])
    assert instances.steps(16) == len(instances.batches(16, np.random.default_rng(0)))


def test_draws_are_with_replacement(material: Material) -> None:
    instances = material.instances(only(next_query=3000))
    rows = np.concatenate(instances.batches(100, np.random.default_rng(0)))
    assert max(Counter(rows.tolist()).values()) > 1 and len(rows) == 3000


def test_a_task_with_no_samples_is_left_out(material: Material) -> None:
    assert len(material.instances(only(next_item="all")).blocks) == 1
    assert len(material.instances(EVERY_TASK_ONCE).blocks) == 8


def test_next_item_writes_the_collaborative_identifier(material: Material) -> None:
    examples = material.view.examples("recommendation")
    texts = material.texts(material.instances(only(next_item="all")), range(len(examples)))
    for (prompt, target), item in zip(texts, examples.target, strict=True):
        assert prompt.endswith("click")
        assert target.replace(" ", "") == f"<rec_item><shared_a_{item}><collaborate_a_0>"


def test_next_search_item_reads_the_query_and_writes_the_semantic_identifier(
    material: Material,
) -> None:
    examples = material.view.examples("search")
    texts = material.texts(material.instances(only(next_search_item="all")), range(len(examples)))
    expected = material.tokenizer.decode(
        [
            material.tokenizer.marked([f"search <src_query>{query}"]).ids.tolist()
            for query in examples.query_texts
        ]
    )
    for (prompt, target), end, item in zip(texts, expected, examples.target, strict=True):
        assert prompt.endswith(end)
        assert target.replace(" ", "") == f"<src_item><shared_a_{item}><semantic_a_0>"


def test_next_query_reads_the_history_and_writes_the_query(material: Material) -> None:
    examples = material.view.examples("search").select(slice(0, 10))
    texts = material.texts(material.instances(only(next_query="all")), range(10))
    for (prompt, target), query in zip(texts, examples.query_texts, strict=True):
        assert prompt.endswith("query")
        own = material.tokenizer.marked([f"<src_query>{query}"]).ids.tolist()
        assert target == material.tokenizer.decode([own])[0]


def test_pseudo_queries_are_asked_without_a_history(material: Material) -> None:
    instances = material.instances(only(pseudo_query="all"))
    items = [
        item
        for item in range(1, material.view.corpus.number_of_items + 1)
        if item not in ITEMS_WITHOUT_QUERIES
    ]
    assert len(instances) == len(items)
    for (prompt, target), item in zip(
        material.texts(instances, range(len(items))), items, strict=True
    ):
        assert prompt.replace(" ", "") == f"search<src_query>lookfor{item}"
        assert target.replace(" ", "") == f"<src_item><shared_a_{item}><semantic_a_0>"


@pytest.mark.parametrize("task", ["text_to_identifier", "identifier_to_text"])
def test_texts_and_identifiers_of_both_kinds_stand_for_each_other(
    task: str, material: Material
) -> None:
    number = material.view.corpus.number_of_items
    instances = material.instances(only(**{task: "all"}))
    assert len(instances) == 2 * number
    texts = material.texts(instances, [4, number + 4])
    own = material.tokenizer([material.view.corpus.items.text[5]]).ids.tolist()
    text = material.tokenizer.decode([own])[0]
    for (prompt, target), kind in zip(texts, ("semantic", "collaborate"), strict=True):
        identifier = f"<shared_a_5><{kind}_a_0>"
        read, written = (text, identifier) if task == "text_to_identifier" else (identifier, text)
        assert read.replace(" ", "") in prompt.replace(" ", "")
        assert target.replace(" ", "") == written.replace(" ", "")


def test_a_mixed_batch_keeps_the_order_of_its_rows(material: Material) -> None:
    instances = material.instances(EVERY_TASK_ONCE)
    rows = np.random.default_rng(0).permutation(int(instances.starts[-1]))[:60]
    together = material.texts(instances, rows)
    assert together == [material.texts(instances, [row])[0] for row in rows]


def test_batches_of_similar_length_waste_little(material: Material) -> None:
    instances = material.instances(EVERY_TASK_ONCE)

    def padding(window: int) -> float:
        sorted_ones = material.instances(EVERY_TASK_ONCE, window=window)
        computed = used = 0
        for rows in sorted_ones.batches(16, np.random.default_rng(0)):
            mask = sorted_ones.batch(rows, np.random.default_rng(0))["attention_mask"]
            computed, used = computed + mask.numel(), used + int(mask.sum())
        return 1 - used / computed

    assert padding(1000) < padding(1) / 2
    assert len(instances) == len(material.instances(EVERY_TASK_ONCE, window=1000))


def test_without_searches_the_other_tasks_remain() -> None:
    view = make_world("recommendation").view()
    prompts = Material().prompts
    number = view.corpus.number_of_items
    silent = PseudoQueries.of_lists([[]] * (number + 1))
    instances = TaskInstances(view, prompts, EVERY_TASK_ONCE, silent)
    assert len(instances) == len(view.examples("recommendation")) + 4 * number


# -------------------------------------------------------------------------- the weight of each task

MIX = TaskMix(
    next_search_item=40,
    next_query=20,
    pseudo_query=20,
    text_to_identifier=10,
    identifier_to_text=10,
)
LIMITS = {
    "whole": Limit(),
    "64": Limit(instances=64),
    "16": Limit(instances=16),
    "3": Limit(instances=3),
    "by memory": Limit(room=2e4, costs=PartCosts((0.0, 20.0, 1.0, 30.0, 0.0, 0.0))),
    "fixed shapes": Limit(instances=32, fixed_shapes=True),
}
TARGET_OF_TASK = {
    "next item": "<rec_item>",
    "search": "<src_item>",
    "identifier": "<shared",
}


def shares_of_tasks(
    material: Material, instances: TaskInstances, rows: Any, seed: int, limit: Limit
) -> dict[str, float]:
    """What the labels of each kind of target weigh in the loss of a step."""
    found = dict.fromkeys([*TARGET_OF_TASK, "text"], 0.0)
    for batch, share in instances.parts(rows, np.random.default_rng(seed), limit):
        labels = batch["labels"]
        is_label = labels != IGNORED
        each = is_label / is_label.sum()
        if "weights" in batch:
            each = is_label * batch["weights"][:, None]
        texts = material.tokenizer.decode(labels.masked_fill(~is_label, 0).tolist())
        for text, weight in zip(texts, each.sum(dim=1).tolist(), strict=True):
            starts = [task for task, start in TARGET_OF_TASK.items() if text.startswith(start)]
            found[starts[0] if starts else "text"] += weight * share
    return found


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("group", [None, 8])
def test_a_tasks_weight_does_not_depend_on_what_is_computed_at_once(
    material: Material, group: int | None, limit: Limit
) -> None:
    instances = material.instances(MIX, loss_group_size=group)
    rows = instances.batches(100, np.random.default_rng(1))[0]
    expected = shares_of_tasks(material, instances, rows, 5, Limit())
    found = shares_of_tasks(material, instances, rows, 5, limit)
    assert found == pytest.approx(expected, rel=1e-5)
    assert sum(found.values()) == pytest.approx(1.0, rel=1e-5)
    assert min(found.values()) > 0


def test_tasks_weigh_as_in_shuffled_micro_batches(material: Material) -> None:
    """The released loss is the mean over shuffled micro-batches of the mean over their tokens."""
    group, instances = 8, material.instances(MIX, loss_group_size=8)
    rows = instances.batches(len(instances), np.random.default_rng(1))[0]
    plain = material.instances(MIX)
    names = [*TARGET_OF_TASK, "text"]
    ours, released = [], []
    for seed in range(60):
        found = shares_of_tasks(material, instances, rows, seed, Limit(instances=32))
        ours.append([found[name] for name in names])
        order = np.random.default_rng(1000 + seed).permutation(rows)
        parts = [order[start : start + group] for start in range(0, len(order), group)]
        shares = [shares_of_tasks(material, plain, part, seed, Limit()) for part in parts]
        each = [[one[name] for name in names] for one in shares]
        released.append(np.average(each, axis=0, weights=[len(part) for part in parts]))
    np.testing.assert_allclose(np.mean(ours, axis=0), np.mean(released, axis=0), rtol=0.05)


@pytest.mark.parametrize("size", [1, 16, 64])
def test_a_steps_gradient_is_that_of_the_whole_batch(material: Material, size: int) -> None:
    instances = material.instances(MIX, loss_group_size=8)
    rows = instances.batches(100, np.random.default_rng(1))[0]
    small = ScratchSize(
        width=16, layers=1, heads=2, head_width=8, feed_forward=32, dropout=0.0, text_tokens=3
    )

    def gradient(limit: Limit) -> torch.Tensor:
        torch.manual_seed(0)
        model = Seq2Seq.of_size(small, material.tokenizer.size)
        for batch, share in instances.parts(rows, np.random.default_rng(5), limit):
            (model(batch) * share).backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    expected = gradient(Limit())
    torch.testing.assert_close(gradient(Limit(instances=size)), expected, rtol=1e-3, atol=1e-6)
