"""Whole programmes in a forked process that can be killed, on a generated log, in seconds."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmark.files import read_json
from benchmark.jobs.context import load_data
from benchmark.jobs.execute import execute
from benchmark.jobs.record import RUN_FILE, Run
from benchmark.jobs.store import JobSpec
from benchmark.reference import sitting as module
from benchmark.reference.programme import Part, Programme, Tuning, load_programme
from benchmark.reference.sitting import Clock, Sitting
from benchmark.reference.state import Place, runs_of, state_of_tuning, systems_to_tune
from benchmark.run import plan as planning
from benchmark.tune import campaign
from benchmark.tune.journal import JOURNAL
from tests.faults.suite import RECIPE, done, ended, folder_in_memory, forked
from tests.listed import listed_rows
from tests.tune.here import run_studies_here
from tests.tune.systems import ROWS

PROGRAMME: dict[str, Any] = {
    "parts": [
        {
            "dataset": "tiny.yaml",
            "preset": "smoke",
            "tuning": {"trials": 4, "minutes": 20.0, "seed": 1},
            "systems": ["popularity", "above", "toy"],
            "seeds": [1, 2],
        }
    ]
}
MEASURED = ("cost", "finished_at")


@pytest.fixture(scope="module", autouse=True)
def listed() -> Iterator[None]:
    with listed_rows(*ROWS):
        yield


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Trials and jobs run where the command does: it is then this process that is killed."""
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch)
        yield


def _patch(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_jobs(
        jobs: Sequence[JobSpec],
        processes: int,
        console: Console,
        *,
        goes_on: Callable[[], bool],
        ended: Callable[[JobSpec, Run], None],
    ) -> None:
        for job in jobs:
            if goes_on():
                ended(job, execute(job))

    run_studies_here(monkeypatch, campaign)
    monkeypatch.setattr(module, "run_jobs", run_jobs)


def begin(root: Path, **changes: Any) -> None:
    """Write recipe and programme into a folder of their own, and go there."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "tiny.yaml").write_text(RECIPE)
    (part,) = PROGRAMME["parts"]
    (root / "programme.yaml").write_text(yaml.safe_dump({"parts": [{**part, **changes}]}))
    os.chdir(root)  # presets are named from here
    load_data.cache_clear()


def place(**changes: Any) -> Place:
    folders = (Path(name) for name in ("reference", "presets", "work", "prepared"))
    return Place(*folders, device="cpu", threads=1, **changes)


def programme() -> Programme:
    return load_programme("programme.yaml")


def sit(
    root: Path, goes_on: Callable[[], bool] = lambda: True, **changes: Any
) -> Callable[[], None]:
    """A sitting, which says at its end whether all is done."""

    def work() -> None:
        begin(root, **changes)
        sitting = Sitting(place(), Console(quiet=True), goes_on)
        is_done = sitting.work(programme())
        assert not sitting.failed, sitting.failed
        Path("said").write_text(str(is_done))

    return work


def kept(root: Path) -> dict[str, Any]:
    """What a sitting leaves to be committed: name → content, but for what is measured."""
    found: dict[str, Any] = {}
    for folder in ("reference", "presets"):
        for path in sorted((root / folder).rglob("*")):
            name = str(path.relative_to(root))
            if path.name == RUN_FILE:
                record = read_json(path)
                record["settings"] = {**(record["settings"] or {}), "tuning": None}
                found[name] = {k: v for k, v in record.items() if k not in MEASURED}
            elif path.suffix == ".md":
                minutes = r"[\d.]+ CPU minutes|(?<= )\d+\.\d\d(?= \|)"  # in words, in a column
                found[name] = re.sub(minutes, "", path.read_text())
            elif path.name in ("manifest.json", "shown.json") or ".minutes." in path.name:
                found[name] = "of what is measured"
            elif path.is_file():
                found[name] = path.read_bytes()
    return found


@dataclass(frozen=True)
class Whole:
    """An undisturbed sitting: its folder, what it left, and seconds by the clock."""

    root: Path
    kept: dict[str, Any]
    seconds: float

    @property
    def stem(self) -> str:
        (stem,) = {Path(name).parts[1] for name in self.kept if name.startswith("reference")}
        return stem


@pytest.fixture(scope="module")
def whole(in_this_process: None) -> Iterator[Whole]:
    with folder_in_memory() as folder:
        errors = folder / "errors"
        started = time.monotonic()
        assert done(sit(folder / "whole"), errors) == 0, errors.read_text()
        assert (folder / "whole" / "said").read_text() == "True"
        yield Whole(folder / "whole", kept(folder / "whole"), time.monotonic() - started)


def test_it_leaves_a_preset_compact_runs_and_tables(whole: Whole) -> None:
    runs = {f"{system}-{seed}" for system in ("popularity", "above", "toy") for seed in (1, 2)}
    beside = [n for n in whole.kept if f"{whole.stem}/runs/" in n]
    assert {Path(name).parts[3] for name in beside} == runs
    assert {Path(name).name for name in beside} <= {
        "run.json",
        "metrics.json",
        "top.npz",
        "manifest.json",
        "training.jsonl",
    }  # no weights
    shown = {"recommendation.md", "recommendation-all-items.md"}
    assert {f"reference/{whole.stem}/{name}" for name in shown} <= whole.kept.keys()
    tuned = yaml.safe_load((whole.root / "presets" / "tuned" / "tiny.yaml").read_text())
    assert set(tuned["tuning"]) == {"toy", "above"}
    toy = read_json(whole.root / "reference" / whole.stem / "runs" / "toy-2" / RUN_FILE)
    assert toy["settings"]["chosen"] == "tuned" and toy["preset"] == "presets/tuned/tiny.yaml"
    rate = tuned["systems"]["toy"]["training"]["learning_rate"]
    assert toy["system"]["configuration"]["training"]["learning_rate"] == rate


def test_killed_at_ten_random_moments_it_ends_with_the_same_bytes(whole: Whole) -> None:
    random_moments, kills, number = random.Random(3), 0, 0
    with folder_in_memory() as folder:
        errors = folder / "errors"
        while kills < 10:
            killed = folder / f"killed-{number}"
            child = forked(sit(killed), errors)
            time.sleep(random_moments.uniform(0.02, 0.4) * whole.seconds)
            os.kill(child, signal.SIGKILL)
            code = ended(child)
            assert code in (0, -signal.SIGKILL), errors.read_text()
            kills += code == -signal.SIGKILL
            if code == 0 or kills == 10:
                assert done(sit(killed), errors) == 0, errors.read_text()
                assert kept(killed) == whole.kept
                assert not [*(killed / "work" / "work").iterdir(), *killed.rglob(".partial-*")]
                assert not list((killed / "work" / "runs").rglob(RUN_FILE))
                number += 1


def test_in_sittings_of_one_unit_it_ends_with_the_same_bytes(whole: Whole) -> None:
    """8 trials and 6 runs; the first question of a sitting is whether a part may begin."""
    with folder_in_memory() as folder:
        errors, counts = folder / "errors", list[tuple[int, int]]()
        for _ in range(14):
            answers = iter([True, True])
            goes_on = functools.partial(next, answers, False)
            assert done(sit(folder, goes_on), errors) == 0, errors.read_text()
            trials = len(list(ended_trials(folder)))
            counts.append((trials, len(list((folder / "reference").rglob(RUN_FILE)))))
        assert counts == [*((n, 0) for n in range(1, 9)), *((8, n) for n in range(1, 7))]
        assert kept(folder) == whole.kept


def ended_trials(root: Path) -> Iterator[str]:
    journal = root / "work" / "tuning" / "tiny" / JOURNAL
    for line in journal.read_text().splitlines():
        if "is_pruned" in line:
            yield line


def test_what_is_committed_is_not_done_again(whole: Whole) -> None:
    """As in a fresh checkout: without the folder of the work."""
    with folder_in_memory() as folder:
        errors = folder / "errors"
        for name in ("reference", "presets"):
            shutil.copytree(whole.root / name, folder / name)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        assert done(sit(folder), errors) == 0, errors.read_text()
        assert (folder / "said").read_text() == "True"
        assert before == {path: path.stat().st_mtime_ns for path in before}
        assert not list(folder.rglob(JOURNAL))


def test_what_is_missing_or_damaged_is_made_again(whole: Whole) -> None:
    with folder_in_memory() as folder:
        errors = folder / "errors"
        for name in ("reference", "presets"):
            shutil.copytree(whole.root / name, folder / name)
        runs = folder / "reference" / whole.stem / "runs"
        shutil.rmtree(runs / "popularity-2")
        (runs / "popularity-1" / "top.npz").write_bytes(b"nonsense")
        assert done(sit(folder), errors) == 0, errors.read_text()
        assert kept(folder) == whole.kept


def test_other_code_counts_only_where_it_is_asked_for(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.root)
    load_data.cache_clear()
    (part,) = programme().parts
    assert states(part, place()) == {"done"}
    monkeypatch.setattr(planning, "job_code", lambda system, upstream: {"module": "other"})
    assert states(part, place()) == {"other code"}
    assert states(part, place(keeps_other_code=True)) == {"done"}
    load_data.cache_clear()


@pytest.mark.parametrize(
    "changes",
    [{"trials": 5, "minutes": 20.0, "seed": 1}, {"trials": 4, "minutes": 20.0, "seed": 2}],
)
def test_another_budget_or_seed_is_another_tuning(
    whole: Whole, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.root)
    (part,) = programme().parts
    assert states_of_tuning(part.model_copy(update={"tuning": Tuning(**changes)})) == {"left"}


def states(part: Part, where: Place) -> set[str]:
    """Of all units."""
    return {state for _, state in runs_of(part, where).states} | states_of_tuning(part, where)


def states_of_tuning(part: Part, where: Place | None = None) -> set[str]:
    where = where or place()
    assert part.tuning is not None
    tuned = tuple(systems_to_tune(part))
    assert tuned == ("toy", "above")  # what others build on comes first
    campaign = module.campaign_of(part, part.tuning, tuned, where, Console(quiet=True))
    return {state_of_tuning(campaign.planned(system), part.tuning, where) for system in tuned}


def test_the_clock_says_no_when_the_minutes_are_over_and_never_again_yes() -> None:
    now = time.monotonic()
    assert Clock(None).goes_on()
    assert Clock(1.0, now).goes_on()
    over = Clock(1.0, now - 61.0)
    assert not over.goes_on()
    assert not Clock(1.0, now, is_over=True).goes_on()
