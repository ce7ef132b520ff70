"""Lines from the command to the page: runs, records, intervals, verdicts, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.files import read_json
from benchmark.protocol.metrics import gains
from benchmark.report.reading.top import TOP_FILE, read_top
from benchmark.reproduce.__main__ import main
from benchmark.reproduce.lines import SAME_ORDER, read_lines
from benchmark.reproduce.measured import RUNS, found_of
from benchmark.reproduce.page import judged, states
from benchmark.reproduce.verdicts import Measured, verdict

FOLDER = Path(__file__).resolve().parents[2] / "results" / "reproduction"
COUNTS = {"users": 60, "items": 150, "events": 550}
SMALL = {"hidden_units": 8, "num_blocks": 1, "history_length": 8}
POPULARITY = {
    "title": "Counts",
    "dataset": "",  # the recipe's path
    "counts": COUNTS,
    "published": [
        {"source": "a paper", "view": "lists", "figures": {"HR@10": "0.0000", "MRR@5": "1.0000"}}
    ],
    "unmatched": [{"view": "all-items", "metrics": ["HR@5"], "why": "nothing was published"}],
    "run": {"system": "popularity", "protocol": {"cutoffs": [1, 5, 10]}},
}
TRAINED = {
    "run": {
        "system": "sasrec-bce",
        "settings": {**SMALL, "training": {"epochs": 3, "validate_every": 1, "patience": None}},
        "seeds": [1, 2],
        "passes": 3,
        "protocol": {"cutoffs": [1, 5, 10]},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of lines that were run: popularity, and a small SASRec with two seeds."""
    root = tmp_path_factory.mktemp("reproduction")
    recipe = root / "tiny.yaml"
    recipe.write_text(
        "name: tiny\nsource: {kind: generated, users: 60, items: 150, seed: 3}\n"
        "search: {kind: own}\n",
        encoding="utf-8",
    )
    counts = POPULARITY | {"dataset": str(recipe)}
    _write(root, {"counts": counts, "trained": {"like": "counts", **TRAINED}})
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of :func:`made` that a test may change."""
    shutil.copytree(made, tmp_path / "copy")
    yield tmp_path / "copy"


def _write(root: Path, lines: dict[str, Any]) -> None:
    (root / "lines.yaml").write_text(json.dumps({"lines": lines}), encoding="utf-8")


def _command(root: Path, *arguments: str) -> int:
    places = ("--folder", str(root), "--prepared", str(root / "prepared"))
    return main([*arguments, *places, "--device", "cpu", "--threads", "1"])


@pytest.fixture(scope="module")
def first_call(made: Path) -> int:
    """The exit code of the call that ran all lines."""
    return _command(made, "all")


def _refuse_runs(*arguments: object, **more: object) -> None:
    raise AssertionError("something was run")


def test_a_line_leaves_a_small_record_for_each_seed(made: Path, first_call: int) -> None:
    assert first_call == 0
    names = sorted(path.name for path in (made / RUNS).iterdir())
    assert names == ["counts-2024", "trained-1", "trained-2"]
    kept = {path.name for path in (made / RUNS / "trained-1").iterdir()}
    assert kept == {"manifest.json", "metrics.json", "run.json", "top.npz", "training.jsonl"}


def test_figures_are_the_means_of_the_records(made: Path, first_call: int) -> None:
    for name, line in read_lines(made / "lines.yaml").lines.items():
        found = found_of(name, line, made)
        assert found.seeds == line.seeds
        records = [read_json(made / RUNS / f"{name}-{s}" / "metrics.json") for s in line.seeds]
        for view, metrics in (("lists", ("HR@10", "MRR@5")), ("all-items", ("HR@5",))):
            for metric in metrics:
                ours = found.figures[view][metric]
                recorded = [record[view]["recommendation"][metric] for record in records]
                assert ours.mean == pytest.approx(np.mean(recorded), abs=1e-9)
                assert ours.low <= ours.mean <= ours.high


def test_an_interval_is_as_wide_as_users_make_it(made: Path, first_call: int) -> None:
    line = read_lines(made / "lines.yaml").lines["counts"]
    kept = read_top(made / RUNS / "counts-2024" / TOP_FILE)["lists"]["recommendation"]
    values = gains(kept.placed, "HR@10")
    ours = found_of("counts", line, made).figures["lists"]["HR@10"]
    error = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert len(values) == len(set(np.asarray(kept.users).tolist()))  # one event a user
    assert ours.high - ours.low == pytest.approx(2.0 * error, rel=0.1)


def test_seeds_widen_the_interval(made: Path, first_call: int) -> None:
    """Two runs that differ may be far from the mean of all runs."""
    line = read_lines(made / "lines.yaml").lines["trained"]
    both = found_of("trained", line, made).figures["lists"]["MRR@5"]
    part = line.run
    assert part is not None
    one = line.model_copy(update={"run": part.model_copy(update={"seeds": (1,)})})
    alone = found_of("trained", one, made).figures["lists"]["MRR@5"]
    recorded = [
        read_json(made / RUNS / f"trained-{seed}" / "metrics.json")["lists"]["recommendation"][
            "MRR@5"
        ]
        for seed in (1, 2)
    ]
    assert abs(recorded[0] - recorded[1]) > 1e-3  # else there is nothing to widen by
    assert both.high - both.low > alone.high - alone.low


def test_passes_are_those_trained_and_the_best(made: Path, first_call: int) -> None:
    line = read_lines(made / "lines.yaml").lines["trained"]
    found = found_of("trained", line, made)
    for seed, (trained, kept) in zip((1, 2), found.passes, strict=True):
        rows = (made / RUNS / f"trained-{seed}" / "training.jsonl").read_text().splitlines()
        scores = [json.loads(r)["validation"]["recommendation"]["NDCG@5"] for r in rows]
        assert (trained, kept) == (3, 1 + scores.index(max(scores)))


def test_the_page_says_published_ours_and_verdict(made: Path, first_call: int) -> None:
    line = read_lines(made / "lines.yaml").lines["counts"]
    ours = found_of("counts", line, made).figures
    verdicts = judged(line, found_of("counts", line, made))
    assert [one.kind for one in verdicts] == ["above", "below"]
    with (made / "figures.csv").open(encoding="utf-8", newline="") as opened:
        rows = {row["Metric"]: row for row in csv.DictReader(opened) if "counts" in row["group"]}
    high = ours["lists"]["HR@10"]
    assert float(rows["HR@10"]["Ours"]) == pytest.approx(high.mean, rel=1e-6)
    assert rows["HR@10"]["Verdict"] == f"above by {high.mean:.4f}"
    assert rows["MRR@5"]["Verdict"] == f"below by {1.0 - ours['lists']['MRR@5'].mean:.4f}"
    assert rows["HR@5"]["Verdict"] == "no published figure"
    page = (made / "README.md").read_text(encoding="utf-8")
    assert "| of 2 figures: 1 above, 1 below |" in page
    assert "`python -m benchmark.reproduce trained`" in page


def test_what_is_recorded_is_not_run_again(
    folder: Path, first_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.reproduce.running.run_jobs", _refuse_runs)
    shutil.rmtree(folder / "work")
    before = (folder / "README.md").read_bytes()
    assert _command(folder, "all") == 0
    assert (folder / "README.md").read_bytes() == before
    with pytest.raises(AssertionError, match="something was run"):
        _command(folder, "counts", "--fresh")


def test_a_record_of_other_settings_is_not_shown(
    folder: Path, first_call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = json.loads((folder / "lines.yaml").read_text())["lines"]
    lines["trained"]["run"]["settings"]["hidden_units"] = 16
    lines["counts"]["run"]["protocol"]["negatives"] = 20
    _write(folder, lines)
    assert _command(folder) == 0
    told = capsys.readouterr().err
    # The second line is laid over the first, so its protocol is another one too.
    assert "trained, seed 1, has another configuration and protocol: it is not shown." in told
    assert "counts, seed 2024, has another protocol: it is not shown." in told
    content = read_lines(folder / "lines.yaml")
    assert states(content, folder) == {"counts": "not run yet", "trained": "not run yet"}


def test_a_seed_that_is_missing_is_said(folder: Path, first_call: int) -> None:
    shutil.rmtree(folder / RUNS / "trained-2")
    content = read_lines(folder / "lines.yaml")
    assert states(content, folder)["trained"] == "run, but not with seed 2"


def test_a_damaged_record_is_named_and_not_shown(
    folder: Path, first_call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / RUNS / "counts-2024" / "metrics.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert _command(folder) == 0
    assert "counts-2024" in capsys.readouterr().err
    assert "HR@10 | 0.0000 | – | – | not run yet" in (folder / "README.md").read_text()


def test_other_data_than_the_published_are_refused(
    folder: Path, first_call: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = json.loads((folder / "lines.yaml").read_text())["lines"]
    lines["counts"]["counts"] = {**COUNTS, "users": 61}
    _write(folder, lines)
    assert _command(folder, "counts") == 2
    told = capsys.readouterr().err
    assert "counts: dataset:" in told
    assert "has 60 users, 150 items, 550 events here" in told
    assert "61 users, 150 items, 550 events" in told


def test_engines_are_compared_by_queries(
    folder: Path, first_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = json.loads((folder / "lines.yaml").read_text())["lines"]
    engines = {
        "title": "Two engines",
        "dataset": lines["counts"]["dataset"],
        "counts": COUNTS,
        "published": [{"source": "itself", "view": "all-items", "figures": {SAME_ORDER: "1.0000"}}],
        "compare": {"engines": ["sparse", "sparse"], "hits": 5},
    }
    _write(folder, {"engines": engines})
    assert _command(folder, "engines") == 0
    line = read_lines(folder / "lines.yaml").lines["engines"]
    found = found_of("engines", line, folder)
    assert found.figures["all-items"][SAME_ORDER] == Measured(1.0, 1.0, 1.0)
    record = read_json(folder / RUNS / "engines" / "agreement.json")
    assert record["queries"] == record["same_order"] > 0
    # A query whose hits differ is a share that is below.
    missed = Measured(*[(record["queries"] - 1) / record["queries"]] * 3)
    assert verdict("1.0000", missed).kind == "below"
    monkeypatch.setattr("benchmark.retrieval.compare.compare_engines", _refuse_runs)
    assert _command(folder, "engines") == 0


def test_the_committed_figures_are_those_of_the_committed_records() -> None:
    """Without the intervals, which take long: means are compared, and verdicts with their ends."""
    content = read_lines(FOLDER / "lines.yaml")
    with (FOLDER / "figures.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    shown = 0
    for row in rows:
        if not row["Ours low"]:
            assert row["Verdict"] == "not run yet"
            continue
        shown += 1
        name = row["group"].partition(",")[0]
        line = content.lines[name]
        ours = Measured(*(float(row[key]) for key in ("Ours", "Ours low", "Ours high")))
        if row["Published"] != "–":
            view = "lists" if "candidate lists" in row["group"] else "all-items"
            printed = next(
                one.figures[row["Metric"]]
                for one in line.published
                if one.view == view and one.source in row["group"]
            )
            assert row["Verdict"] == verdict(printed, ours).words
        if line.run is not None:
            view = "lists" if "candidate lists" in row["group"] else "all-items"
            records = [
                read_json(FOLDER / RUNS / f"{name}-{seed}" / "metrics.json")
                for seed in line.seeds
                if (FOLDER / RUNS / f"{name}-{seed}").is_dir()
            ]
            of_records = [record[view]["recommendation"][row["Metric"]] for record in records]
            assert ours.mean == pytest.approx(np.mean(of_records), abs=1e-9)
    assert shown
