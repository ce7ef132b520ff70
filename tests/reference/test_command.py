"""The programmes of the index, what a programme may not say, and options of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.errors import BenchmarkError
from benchmark.locks import locked
from benchmark.reference.__main__ import main
from benchmark.reference.programme import load_programme
from benchmark.reference.state import systems_to_tune
from benchmark.systems.catalogue import entries, named_files
from tests.run.conftest import ProjectCopy, project

__all__ = ["project"]

GOOD: dict[str, Any] = {"dataset": "ml-100k", "seeds": [1]}


@pytest.mark.parametrize("name", named_files("programmes"))
def test_programmes_of_the_index_can_be_read_and_name_recipes(name: str) -> None:
    for part in load_programme(name).parts:
        assert Path("datasets", f"{part.dataset}.yaml").is_file()
        assert all(why.endswith(".") for why in part.left_out.values())


def test_all_are_those_of_the_suite_but_for_what_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "left_out": {"bm25": "Too slow."}})
    (part,) = load_programme(str(path)).parts
    names = [name for name, row in entries().items() if row.in_suite and name != "bm25"]
    assert part.chosen() == tuple(names)


def test_what_cannot_be_tuned_is_not_tuned(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "systems": ["popularity", "bm25"], "tuning": {}})
    (part,) = load_programme(str(path)).parts
    with pytest.raises(BenchmarkError, match="none of its systems can be tuned"):
        systems_to_tune(part)


def test_the_command_stops_goes_on_and_says_what_is_left(project: ProjectCopy) -> None:
    """In processes of its own, as it is used; the first sitting has no time for any unit."""
    parts = [
        {"dataset": "tiny", "preset": "smoke", "systems": ["popularity", "random"], "seeds": [1]},
        {"dataset": "tiny", "preset": "tuned/tiny", "systems": ["popularity"], "seeds": [1]},
    ]
    written(project.root, *parts[:1])
    options = ("--programme", "programme.yaml", "--device", "cpu", "--threads", "1")

    def run(*more: str) -> str:
        done = project.run(*options, *more, module="benchmark.reference")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "some is left" in run("--minutes", "1e-9")
    runs = project.root / "results" / "reference" / "tiny-paper-smoke" / "runs"
    assert not runs.exists()
    assert "all is done" in run()
    assert sorted(path.name for path in runs.iterdir()) == ["popularity-1", "random-1"]
    written(project.root, *parts)
    told = run("--status").splitlines()
    assert told == ["tiny, paper", "  runs: 2 of 2 done", "tiny, paper", "  runs: after tuning"]


def test_units_side_by_side_leave_the_same_runs(project: ProjectCopy) -> None:
    """With one trial a system, whose values do not hang on others, the same preset too."""
    tuned = {"dataset": "tiny", "preset": "smoke", "tuning": {"trials": 1}}
    written(project.root, {**tuned, "systems": ["popularity", "qem"], "seeds": [1, 2]})
    found = []
    for jobs in ("1", "2"):
        words = ["--programme", "programme.yaml", "--device", "cpu", "--threads", "1"]
        words += ["--jobs", jobs]
        for name in ("out", "presets", "work"):
            words += [f"--{name}", f"{name}-{jobs}"]
        done = project.run(*words, module="benchmark.reference")
        assert done.returncode == 0 and "all is done" in done.stdout, done.stderr
        kept = [
            path
            for folder in (f"out-{jobs}", f"presets-{jobs}")
            for path in sorted((project.root / folder).rglob("*"))
            if path.name in ("top.npz", "metrics.json", "tiny.yaml")
        ]
        found.append([path.read_bytes() for path in kept])
    assert len(found[0]) == 9 and found[0] == found[1]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "system": ({**GOOD, "systems": ["bm26"]}, "unknown system 'bm26'"),
    "left out": ({**GOOD, "left_out": {"bm26": "It is not."}}, "unknown system 'bm26'"),
    "both": ({**GOOD, "systems": ["bm25"], "left_out": {"bm25": "No."}}, "both run and left out"),
    "twice": ({**GOOD, "systems": ["bm25", "bm25"]}, "'bm25' stands twice"),
    "seeds": ({**GOOD, "seeds": [3, 3]}, "3 stands twice"),
    "no seed": ({**GOOD, "seeds": []}, "seeds"),
    "budget": ({**GOOD, "tuning": {"trials": 0}}, "trials"),
    "key": ({**GOOD, "sedes": [1]}, "sedes"),
}


def written(folder: Path, *parts: dict[str, Any]) -> Path:
    path = folder / "programme.yaml"
    path.write_text(yaml.safe_dump({"parts": list(parts)}))
    return path


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, said = BAD[case]
    path = written(tmp_path, part)
    work = str(tmp_path / "work")
    assert main(["--programme", str(path), "--work", work, "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert said in told and (case == "system" or "programme.yaml" in told)
    assert told.count("\n") == 1 and not Path(work).exists()


@pytest.mark.parametrize("option", ["--work", "--out"])
def test_two_commands_do_not_write_into_one_folder(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = written(tmp_path, GOOD), tmp_path / option[2:]
    words = ["--programme", str(path), "--device", "cpu"]
    for one in ("--work", "--out"):
        words += [one, str(tmp_path / one[2:])]
    with locked(folder.with_name(f".{folder.name}.lock")):
        assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{folder}: another command is at work there" in told and f"with {option}." in told


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_are_a_number_above_zero(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--minutes={minutes}"]) == 2
    assert "must be a number above 0" in capsys.readouterr().err


def test_jobs_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--jobs=0"]) == 2
    assert "--jobs 0: must be at least 1." in capsys.readouterr().err
