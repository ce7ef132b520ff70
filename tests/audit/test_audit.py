"""The audit as a whole: what rankers without learning reach, how it is saved and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.audit import audit as audit_module
from benchmark.audit import rankers
from benchmark.audit.audit import audit
from benchmark.audit.rankers import (
    Ranker,
    affordable_sample,
    agreement,
    on_catalogue,
    popularity_under_each_law,
    sampled_rows,
)
from benchmark.audit.record import Audit, read_audits, save_audit
from benchmark.audit.trained import fitted, runs_of
from benchmark.audit.verdicts import Judgement
from benchmark.data.__main__ import main
from benchmark.data.dataset import Dataset
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import search_dataset, shop_dataset
from tests.report.conftest import write_run

FEW = {"negatives": 30}


def audit_of(dataset: Dataset, preset: str) -> Audit:
    settings = PRESETS[preset].model_copy(update=FEW)
    tasks = build_tasks(dataset, settings)
    return audit(dataset, tasks, preset, settings, catalogue_events=40)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return shop_dataset(3, users=150, items=400)


@pytest.fixture(scope="module")
def audits(shop: Dataset) -> dict[str, Audit]:
    return {preset: audit_of(shop, preset) for preset in PRESETS}


def test_clean_neither_leaks_nor_rewards_rankers_that_learn_nothing(
    audits: dict[str, Audit],
) -> None:
    assert set(audits["clean"].leaks.values()) == {0.0}
    assert not {verdict.number for verdict in audits["clean"].findings} & {"D9", "D16"}


def test_released_leaks_and_rewards_copying_the_history(audits: dict[str, Audit]) -> None:
    assert audits["released"].leaks["D1"] > 0.05
    copied = {name: found.diagnostics["D9"]["search HR@1"] for name, found in audits.items()}
    assert copied["released"] > copied["clean"] + 0.03
    assert copied["released"] > copied["paper"] + 0.03


def test_lists_of_top_hits_reward_the_reverse_of_bm25() -> None:
    found = audit_of(search_dataset(0, users=200), "paper")
    assert found.best_for_nothing("search") > 0.5
    assert audit_of(search_dataset(0, users=200), "clean").best_for_nothing("search") < 0.3


def test_every_diagnostic_has_its_place(audits: dict[str, Audit]) -> None:
    numbers = [f"D{number}" for number in range(1, 21) if number not in (10, 14)]
    assert list(audits["paper"].diagnostics) == numbers


def test_figures_stand_within_their_intervals(audits: dict[str, Audit]) -> None:
    for found in audits.values():
        assert found.intervals.keys() <= found.diagnostics.keys()
        for number, of_number in found.intervals.items():
            for name, (low, high) in of_number.items():
                assert low <= found.diagnostics[number][name] <= high


def test_all_events_are_ranked_against_the_catalogue_where_there_are_few(
    shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build_tasks(shop, ProtocolSettings(**FEW))["search"]
    assert affordable_sample(shop, task) == len(task.test)
    monkeypatch.setattr(rankers, "MOST_SCORES", len(task.test) * shop.number_of_items - 1)
    assert affordable_sample(shop, task) == rankers.FEWER_EVENTS


def test_what_is_saved_is_read_again(audits: dict[str, Audit], tmp_path: Path) -> None:
    for found in audits.values():
        save_audit(tmp_path, found)
    (tmp_path / "other.json").write_text("{}")
    read, sentences = read_audits(tmp_path)
    assert {found.protocol: found for found in read} == audits
    assert len(sentences) == 1
    assert "other.json" in sentences[0]


def test_an_audit_is_the_same_each_time(shop: Dataset, audits: dict[str, Audit]) -> None:
    assert audit_of(shop, "clean") == audits["clean"]


# Against the whole catalogue


class ByNumber:
    """Prefers items of a higher number."""

    def score(self, requests: Requests) -> np.ndarray:
        return requests.candidates.astype(np.float32)


def rank_among_untouched(dataset: Dataset, task: Task, row: int) -> int:
    """The target's rank by item number among the items that the user never touched."""
    log, position = dataset.log, int(task.test.position[row])
    target = int(log.item[position])
    touched = set(log.item[log.user == log.user[position]].tolist())
    better = set(range(target + 1, dataset.number_of_items + 1)) - touched
    return 1 + len(better)


@pytest.mark.parametrize("known", [True, False])
def test_the_catalogue_is_ranked_without_what_the_user_has_touched(
    known: bool, shop: Dataset
) -> None:
    """Also where all users are unknown to training, hence user 0 to the ranker."""
    settings = ProtocolSettings(**FEW)
    task = build_tasks(shop, settings)["recommendation"]
    task = replace(task, known_users=np.full(shop.number_of_users + 1, known))
    rows = sampled_rows(task, 50, seed=1)
    ranker = Ranker("number", "Number", ("recommendation",), ByNumber())
    found = on_catalogue(ranker, shop, task, settings, rows)
    ranks = np.array([rank_among_untouched(shop, task, row) for row in rows.tolist()])
    for k in (1, 5, 10, 50):
        assert found[f"HR@{k}"] == pytest.approx(np.mean(ranks <= k))


def test_the_sample_is_drawn_once(shop: Dataset) -> None:
    task = build_tasks(shop, ProtocolSettings(**FEW))["search"]
    rows = sampled_rows(task, 50, seed=1)
    assert len(rows) == len(set(rows.tolist())) == 50
    np.testing.assert_array_equal(rows, sampled_rows(task, 50, seed=1))
    np.testing.assert_array_equal(sampled_rows(task, 10_000, seed=1), np.arange(len(task.test)))


def test_agreement_of_two_views() -> None:
    first = {"a": 0.1, "b": 0.2, "c": 0.3}
    assert agreement(first, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 9.0}) == pytest.approx(1)
    assert agreement(first, {"a": 3.0, "b": 2.0, "c": 1.0}) == pytest.approx(-1)
    assert agreement(first, {"a": 1.0, "b": 1.0, "c": 1.0}) is None
    assert agreement({"a": 0.1}, {"a": 0.1}) is None


def test_popular_negatives_put_popularity_below_uniform_ones() -> None:
    random = np.random.default_rng(0)
    dataset = shop_dataset(5, users=200, items=400)
    steep = np.minimum((random.pareto(1.0, len(dataset.log)) * 10).astype(int) + 1, 400)
    log = dataset.log
    popular = type(log).from_columns(
        user=log.user,
        item=steep,
        query=log.query,
        behaviour=log.behaviour,
        timestamp=log.timestamp,
        session=log.session,
        number_of_users=log.number_of_users,
    )
    dataset = dataset.with_log(popular)
    settings = ProtocolSettings(**FEW)
    found = popularity_under_each_law(dataset, build_tasks(dataset, settings), settings)
    assert found["uniform"]["HR@10"] > found["popularity"]["HR@10"] + 0.1


# The command


def test_the_command_prints_and_saves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "audit"
    arguments = ["audit", "generated", "--root", str(tmp_path), "--out", str(out)]
    assert main([*arguments, "--protocol", "paper,clean", "--catalogue-events", "20"]) == 0
    printed = capsys.readouterr().out
    for text in ("D1", "D13", "History copy", "paper", "clean", "catalogue"):
        assert text in printed
    assert {path.name for path in out.iterdir()} == {"generated-paper.json", "generated-clean.json"}


def test_a_verdict_is_a_line_and_strict_means_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["audit", "generated", "--root", str(tmp_path), "--out", str(tmp_path / "audit")]
    arguments += ["--protocol", "released", "--catalogue-events", "5"]
    monkeypatch.setenv("COLUMNS", "60")  # a line is a line in a narrow terminal too
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    (found,), _ = read_audits(tmp_path / "audit")
    assert found.findings
    for verdict in found.verdicts:
        assert f"{'!' if verdict.is_finding else ' '} {verdict.sentence}" in lines
    assert main([*arguments, "--strict"]) == 1

    monkeypatch.setattr(audit_module, "judge", lambda *_: Judgement())
    assert main([*arguments, "--strict"]) == 0
    assert "generated, released: no findings" in capsys.readouterr().out


def test_one_setting_alone_is_a_protocol_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit"
    arguments = ["audit", "generated", "--root", str(tmp_path), "--out", str(out)]
    assert main([*arguments, "--protocol", "paper", "--set", "protocol.negatives=20"]) == 0
    (found,), _ = read_audits(out)
    assert found.protocol == "custom:paper"
    assert found.settings["negatives"] == 20


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--protocol", "papper"], "unknown protocol 'papper'"),
        (["--set", "bm25.k1=2"], "only protocol.KEY=VALUE"),
        (["--catalogue-events", "0"], "must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "generated", "--root", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error


def test_of_several_runs_of_a_system_the_newest_is_audited(shop: Dataset, tmp_path: Path) -> None:
    settings = PRESETS["paper"]
    for layers, finished in ((1, "2026-01-01T09:00:00Z"), (2, "2026-01-01T08:00:00+00:00")):
        write_run(
            tmp_path,
            search=0.1,
            fingerprint=shop.fingerprint,
            settings=settings.model_dump(mode="json"),
            configuration={"layers": layers},
            finished_at=finished,
        )
    (run,) = runs_of(tmp_path, shop, settings)
    assert run.record.system.configuration == {"layers": 1}


def test_a_system_that_the_catalogue_lacks_now_is_passed_over(
    shop: Dataset, tmp_path: Path
) -> None:
    settings = PRESETS["paper"]
    write_run(
        tmp_path,
        search=0.1,
        fingerprint=shop.fingerprint,
        settings=settings.model_dump(mode="json"),
        finished_at="2026-01-01T09:00:00Z",
    )
    (run,) = runs_of(tmp_path, shop, settings)
    (run.folder / "system").mkdir()
    assert fitted([run], shop, tmp_path / "artifacts") == []
