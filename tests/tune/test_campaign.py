"""Whole tunings in this process, or in a forked one that can be killed, in seconds."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.run.backend import Processes
from benchmark.systems.configuration import load_preset
from benchmark.systems.view import TrainingView
from benchmark.tune import campaign as module
from benchmark.tune.campaign import Campaign, Wanted
from benchmark.tune.studies import Budget, Found, seconds_spent
from benchmark.tune.worker import _in_words
from tests.faults.suite import RECIPE, done, ended, folder_in_memory, forked
from tests.listed import listed_rows
from tests.tune.here import run_studies_here
from tests.tune.systems import ROWS, Toy, ToyInArtifact


@pytest.fixture(scope="module", autouse=True)
def listed() -> Iterator[None]:
    with listed_rows(*ROWS):
        yield


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    run_studies_here(monkeypatch, module)


def wanted(root: Path, systems: tuple[str, ...] = ("toy",), trials: int = 7) -> Wanted:
    root.mkdir(parents=True, exist_ok=True)
    (root / "tiny.yaml").write_text(RECIPE)
    return Wanted(
        dataset=str(root / "tiny.yaml"),
        systems=systems,
        preset="smoke",
        protocol="paper",
        seed=1,
        assignments=(),
        budget=Budget(trials, 20.0),
        backend=Processes(1),
        threads=1,
        device="cpu",
        precision="fp32",
        results=root / "results",
        presets=root / "results" / "presets",
        prepared_root=root / "prepared",
    )


def run(what: Wanted) -> Found:
    return Campaign(what, Console(quiet=True)).run()


def preset_in(what: Wanted) -> Path:
    return what.presets / "tuned" / "tiny.yaml"


@pytest.mark.parametrize("system", ["toy", "toy-in-artifact"])
def test_killed_at_ten_random_moments_it_ends_with_the_same_bytes(system: str) -> None:
    """Also where a training is an artifact, which a killed process may leave complete."""
    random_moments, kills = random.Random(5), 0
    with folder_in_memory() as place:
        errors = place / "errors"
        whole = wanted(place / "whole", (system,))
        started = time.monotonic()
        assert done(lambda: run(whole), errors) == 0, errors.read_text()
        duration = time.monotonic() - started
        truth, number = preset_in(whole).read_bytes(), 0
        while kills < 10:
            killed = wanted(place / f"killed-{number}", (system,))
            number += 1
            for _ in range(random_moments.randint(1, 6)):
                child = forked(lambda what=killed: run(what), errors)
                time.sleep(random_moments.uniform(0, duration))
                os.kill(child, signal.SIGKILL)
                code = ended(child)
                assert code in (0, -signal.SIGKILL), errors.read_text()
                kills += code == -signal.SIGKILL
            assert done(lambda what=killed: run(what), errors) == 0, errors.read_text()
            assert preset_in(killed).read_bytes() == truth
            left = [*(killed.results / "tuning" / "tiny" / "work").iterdir()]
            assert not [*left, *killed.results.rglob(".partial-*")]


def test_trials_that_others_share_their_artifacts_with_cost_the_same(tmp_path: Path) -> None:
    """What another system had built before is charged as if this one had."""
    alone = run(wanted(tmp_path / "alone", ("toy",), trials=2))
    second = run(wanted(tmp_path / "both", ("toy-in-artifact", "toy"), trials=2))[1]
    for study, trials in (*alone, second):
        counts = [
            {n: e for n, e in trial.outcome.artifacts.items() if n.startswith("counts-")}
            for trial in trials
        ]
        assert len(counts[0]) == 1 and counts[0] == counts[1]
        (shared,) = counts[0].values()
        rest = [replace(t, outcome=replace(t.outcome, artifacts={})) for t in trials]
        learned = [e for t in trials for n, e in t.outcome.artifacts.items() if n not in counts[0]]
        assert seconds_spent(study, trials) == pytest.approx(
            seconds_spent(study, rest) + shared.cpu + sum(effort.cpu for effort in learned)
        )


def test_training_in_an_artifact_is_charged_to_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn_for_long(self: ToyInArtifact, view: TrainingView) -> None:
        Toy.learn(self, view)
        started = time.process_time()
        while time.process_time() < started + 0.4:
            pass

    monkeypatch.setattr(ToyInArtifact, "learn", learn_for_long)
    ((_, trials),) = run(wanted(tmp_path, ("toy-in-artifact",), trials=3))
    for trial in trials:
        learned = [e for n, e in trial.outcome.artifacts.items() if n.startswith("learned-")]
        assert len(learned) == 1 and learned[0].cpu > 0.35  # the clock counts hundredths
        assert trial.outcome.own.cpu < 0.3


def test_a_trial_tells_what_its_artifacts_took(tmp_path: Path) -> None:
    ((study, (trial,)),) = run(wanted(tmp_path, ("toy-in-artifact",), trials=1))
    spent = sum(effort.cpu for effort in trial.outcome.artifacts.values())
    own = f"{trial.outcome.own.cpu:.1f} s and {spent:.1f} s of artifacts in CPU time"
    assert _in_words(study, trial.outcome) == f"validation {trial.outcome.value:.4f}, {own}"
    alone = _in_words(study, replace(trial.outcome, artifacts={}))
    assert alone.endswith(f", {trial.outcome.own.cpu:.1f} s in CPU time")


def test_a_system_is_tuned_on_top_of_the_tuned_one_that_it_builds_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    what = wanted(tmp_path, ("above", "toy"), trials=5)
    found = run(what)
    assert [study.job.system for study, _ in found] == ["above", "toy"]
    tuned = load_preset(str(preset_in(what))).systems["toy"]
    said = f"{tuned['training']['learning_rate']} {tuned['size']}"
    assert set((tmp_path / "BELOW").read_text().splitlines()) == {said}


def test_what_was_tuned_on_top_of_other_settings_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    what = wanted(tmp_path, ("above", "toy"), trials=3)
    run(what)
    assert list(yaml.safe_load(preset_in(what).read_text())["systems"]) == ["toy", "above"]
    other = replace(what, systems=("toy",), assignments=("toy.size=8",))
    Campaign(other, Console()).run()
    assert "above: is taken out of" in capsys.readouterr().out
    content = yaml.safe_load(preset_in(what).read_text())
    assert list(content["systems"]) == list(content["tuning"]) == ["toy"]


def test_values_that_are_given_are_held(tmp_path: Path) -> None:
    what = wanted(tmp_path, trials=3)
    ((study, _),) = run(replace(what, assignments=("toy.training.learning_rate=0.2",)))
    assert set(study.space) == {"size"}
    assert load_preset(str(preset_in(what))).systems["toy"].keys() == {"size", "training"}
    assert yaml.safe_load(preset_in(what).read_text())["systems"]["toy"]["training"] == {
        "epochs": 6,
        "learning_rate": 0.2,
    }


def test_the_preset_of_a_file_is_named_from_where_the_tuned_one_lies(tmp_path: Path) -> None:
    base = tmp_path / "mine.yaml"
    base.write_text("systems:\n  qem: {embedding_size: 8}\n")
    what = replace(wanted(tmp_path, trials=2), preset=str(base))
    run(what)
    assert yaml.safe_load(preset_in(what).read_text())["extends"] == "../../../mine.yaml"
    assert load_preset(str(preset_in(what))).systems["qem"] == {"embedding_size": 8}
    with pytest.raises(BenchmarkError, match="extends"):
        run(wanted(tmp_path, trials=2))


def test_minutes_stand_beside_the_preset_and_are_read_with_it(tmp_path: Path) -> None:
    what = wanted(tmp_path, trials=2)
    run(what)
    assert "minutes" not in yaml.safe_load(preset_in(what).read_text())["tuning"]["toy"]
    minutes = load_preset(str(preset_in(what))).tuning["toy"].minutes
    assert minutes is not None and minutes > 0
    preset_in(what).with_suffix(".minutes.json").unlink()
    assert load_preset(str(preset_in(what))).tuning["toy"].minutes is None
    preset_in(what).with_suffix(".minutes.json").write_text("[]")
    with pytest.raises(BenchmarkError, match=r"minutes\.json: must be a mapping"):
        load_preset(str(preset_in(what)))


def test_a_preset_that_changes_a_tuned_system_says_nothing_of_its_tuning(tmp_path: Path) -> None:
    what = wanted(tmp_path, ("toy", "toy-in-artifact"), trials=2)
    run(what)
    later = tmp_path / "later.yaml"
    later.write_text(f"extends: {preset_in(what)}\nsystems:\n  toy: {{size: 4}}\n")
    assert list(load_preset(str(later)).tuning) == ["toy-in-artifact"]
