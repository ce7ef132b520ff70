"""A trained run in use: known and new users, known and new texts, and one sentence for mistakes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmark as gb
from benchmark.data.prepare import load as load_dataset
from benchmark.errors import BenchmarkError
from benchmark.jobs.record import read_run
from benchmark.recommend import main
from benchmark.serve import load
from benchmark.serve.speed import latencies
from benchmark.speed.__main__ import main as speed
from tests.interface.conftest import Ran

NEW_TEXT = "a text that no log holds"


def items(model: Any, *numbers: int) -> list[str]:
    """External ids."""
    return [model.dataset.items.external_id[number] for number in numbers]


def test_recommendations_are_the_systems_own(jsr: Any) -> None:
    history = items(jsr, 3, 5, 8)
    found = jsr.recommend(history, k=7)
    assert list(found.columns) == ["item", "title", "score"]
    assert list(found.index) == list(range(1, 8))
    assert found.score.is_monotonic_decreasing
    assert not set(history) & set(found.item)
    titles = dict(zip(jsr.dataset.items.external_id, jsr.dataset.items.title, strict=True))
    assert [titles[item] for item in found.item] == list(found.title)
    everything = jsr.recommend(history, k=jsr.dataset.number_of_items, seen="kept")
    assert len(everything) == jsr.dataset.number_of_items
    kept = everything[~everything.item.isin(history)]
    assert list(kept.item[:7]) == list(found.item)


def test_a_user_of_the_data_is_answered_from_the_log(jsr: Any) -> None:
    log, user = jsr.dataset.log, 4
    touched = {
        jsr.dataset.items.external_id[item]
        for item in log.item[log.offsets[user] : log.offsets[user + 1]].tolist()
    }
    found = jsr.recommend(user=jsr.dataset.users[user], k=100)
    assert not touched & set(found.item)
    stranger = jsr.recommend(items(jsr, 3), k=100)
    # JSR knows users by their ids, so a known one is ranked for otherwise.
    assert list(stranger.score[:5]) != list(found.score[:5])


def test_a_new_text_is_answered_and_batches_change_nothing(jsr: Any) -> None:
    known = jsr.dataset.queries.text[1]
    words = f"{known} {jsr.dataset.queries.text[2]}"
    found = jsr.search(words, items(jsr, 3), k=5)
    assert len(found) == 5
    assert list(found.score) != list(jsr.search(known, items(jsr, 3), k=5).score)
    from benchmark.serve.model import Ask

    asked = [Ask(items(jsr, 3), query=text, seen="kept") for text in (words, known, NEW_TEXT)]
    together = jsr.answer("search", asked, 5)
    for one, hits in zip(asked, together, strict=True):
        (alone,) = jsr.answer("search", [one], 5)
        np.testing.assert_allclose(
            [hit.score for hit in hits], [hit.score for hit in alone], rtol=1e-5, atol=1e-6
        )
    past = jsr.search(known, [(NEW_TEXT, *items(jsr, 3)), *items(jsr, 5)], k=3, seen="left out")
    assert not set(items(jsr, 3, 5)) & set(past.item)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda model: model.recommend(["nothing"]), "'nothing' is none of the 240 items"),
        (lambda model: model.recommend(user="nobody"), "'nobody' is none of the 120 users"),
        (lambda model: model.recommend(), "needs a history or a user"),
        (lambda model: model.recommend(items(model, 1), k=0), "allowed are 1 and more"),
        (
            lambda model: model.recommend(items(model, 1), k=2.5),
            "k: must be a whole number, not 2.5",
        ),
        (lambda model: model.recommend("i1"), "must be a list of items' ids, not 'i1'"),
        (lambda model: model.recommend([None]), "history: None is neither an item's id nor"),
        (lambda model: model.recommend([("tea", "i", "j")]), "is neither an item's id nor"),
        (lambda model: model.recommend([(5, "i")]), "history: 5 is no text of a query"),
        (lambda model: model.recommend(user=1.5), "user: 1.5 is neither a text nor"),
        (lambda model: model.search(None), "query: must be a text, not None"),
        (lambda model: model.search("   "), "needs a query text"),
        (lambda model: model.search("tea", seen="no"), "seen: unknown value 'no'.* kept, left out"),
    ],
)
def test_a_mistake_is_one_sentence(jsr: Any, ask: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(BenchmarkError, match=sentence) as caught:
        ask(jsr)
    assert "\n" not in str(caught.value)


def test_a_whole_number_is_the_id_of_its_text(ran: Ran) -> None:
    model = ran.model("popularity")
    model._item_ids, model._user_ids = {"7": 3, "8": 5}, {"11": 2}
    given = model.recommend([np.int64(7), ("tea", 8)], user=11)
    assert given.equals(model.recommend(["7", ("tea", "8")], user="11"))


def test_a_system_that_reads_no_texts_says_so(ran: Ran) -> None:
    model = ran.model("popularity")
    assert len(model.search(model.dataset.queries.text[1], k=3)) == 3
    with pytest.raises(BenchmarkError, match=f"does not read the texts .*{NEW_TEXT}"):
        model.search(NEW_TEXT)
    # A search of the past by such a text is one without a query.
    assert len(model.recommend([(NEW_TEXT, *items(model, 3))], k=3)) == 3


def test_what_cannot_be_loaded_says_why(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="not a finished run, nor does one lie below"):
        load(tmp_path)
    with pytest.raises(BenchmarkError, match="there is no such folder; a run lies in"):
        load(tmp_path / "nothing")
    folder = ran.folder("jsr")
    with pytest.raises(BenchmarkError, match=f"not a finished run; give {folder}\\."):
        load(folder.parent)
    with pytest.raises(BenchmarkError, match="the first of 2"):
        load(ran.root / "results")
    reference = next((Path(__file__).parents[2] / "results/reference").rglob("run.json"), None)
    assert reference is not None
    with pytest.raises(BenchmarkError, match="holds no fitted system"):
        load(reference.parent)
    other = tmp_path / "other.yaml"
    other.write_text("name: other\nsource: {kind: generated, seed: 1}\n", encoding="utf-8")
    with pytest.raises(BenchmarkError, match="was fitted on another data set 'generated'"):
        load(ran.folder("popularity"), dataset=other, prepared=tmp_path / "prepared")


def test_a_run_that_was_copied_elsewhere_answers_alike(ran: Ran, jsr: Any, tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    shutil.copytree(ran.folder("jsr"), folder)
    assert read_run(folder).record.identity == jsr.run.record.identity
    data = load_dataset("generated", root=ran.root / "prepared")
    copied = load(folder, dataset=data, device="cpu", threads=1)
    history = items(jsr, 2, 9)
    assert list(copied.recommend(history).score) == list(jsr.recommend(history).score)


def test_a_run_whose_data_are_nowhere_says_how_to_give_them(tmp_path: Path) -> None:
    recipe = tmp_path / "shop.yaml"
    recipe.write_text("name: shop\nsource: {kind: generated}\n", encoding="utf-8")
    where: dict[str, Any] = {"results": tmp_path / "results", "prepared": tmp_path / "prepared"}
    rows = gb.run_suite(systems=["popularity"], dataset=recipe, preset="smoke", **where)
    folder = rows.folder.iloc[0]
    with pytest.raises(
        BenchmarkError, match=r"'shop' is not prepared below .*--dataset.*--prepared"
    ):
        load(folder, prepared=tmp_path / "elsewhere")
    assert load(folder, prepared=tmp_path / "elsewhere", dataset=recipe).name == "Popularity"


def test_the_command_prints_what_the_model_says(
    ran: Ran, jsr: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    history = items(jsr, 3, 5)
    given = [str(ran.folder("jsr")), "--prepared", str(ran.root / "prepared"), "--threads", "1"]
    given += ["--device", "cpu", "--k", "4"]
    assert main([*given, "--history", ",".join(history), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    expected = jsr.recommend(history, k=4)
    assert [hit["item"] for hit in shown["items"]] == list(expected.item)
    assert [hit["score"] for hit in shown["items"]] == list(expected.score)
    assert main([*given, "--history", ",".join(history), "--seen", "kept", "--json"]) == 0
    kept = jsr.recommend(history, k=4, seen="kept")
    assert [hit["item"] for hit in json.loads(capsys.readouterr().out)["items"]] == list(kept.item)
    assert main([*given, "--query", NEW_TEXT, "--user", jsr.dataset.users[4]]) == 0
    assert jsr.search(NEW_TEXT, user=jsr.dataset.users[4]).item.iloc[0] in capsys.readouterr().out
    for wrong, sentence in ((["--history", "x"], "'x' is none of"), ([], "--history or --user")):
        assert main([*given, *wrong]) == 2
        message = capsys.readouterr().err
        assert sentence in message
        assert message.count("\n") == 1


def test_the_speed_of_answers_has_a_line_a_task_and_batch(ran: Ran) -> None:
    lines = list(latencies([ran.folder("jsr")], ran.root / "prepared", measured=2))
    heads = [line.partition(": p50 ")[0] for line in lines]
    assert heads == [
        f"JSR on generated (240 items), {task}, batch {size}"
        for task in ("recommendation", "search")
        for size in (1, 32)
    ]
    for line in lines:
        half, most = (float(part) for part in re.findall(r"p\d+ ([\d.]+) ms", line))
        assert 0 < half <= most


def test_the_topic_needs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed(["serve"]) == 2
    assert "--runs must name" in capsys.readouterr().err
