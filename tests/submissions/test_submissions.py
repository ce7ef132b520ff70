"""Submissions: made from a run, checked figure by figure, and shown apart from what ran here."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import find_run_folders
from benchmark.protocol.__main__ import _parser as protocol_parser
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import configure_protocol
from benchmark.report.__main__ import main as report
from benchmark.report.submissions import Manifest, read_submission, read_submissions
from benchmark.report.tables.leaderboard import submissions_grid
from benchmark.submissions.__main__ import _parser, main
from benchmark.submissions.check import check_submission
from tests.handed_in import BOTH, World, make_world

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "results" / "submissions"
GIVEN = ("--licence", "CC0-1.0", "--commit", "0123abc4567")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(world: World) -> Path:
    """The folder of a run that was handed in."""
    told = ("--label", "My system", "--contributor", "A. Author", "--url", "https://example.org")
    files = world.write(world.root / "mine")
    assert world.evaluate(files, world.root / "results", *told, "--hardware", "an abacus") == 0
    (folder,) = find_run_folders(world.root / "results" / "runs")
    return folder


@pytest.fixture(scope="module")
def made(world: World, run: Path) -> Path:
    """A true submission with ranks and TREC files, made by the command; only to be read."""
    place = world.root / "submissions"
    files = str(world.root / "mine")
    assert main(["make", str(run), *GIVEN, "--root", str(place), "--trec", files]) == 0
    return place / "mine"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """One that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "submissions" / "mine"))


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "submission.yaml").read_text("utf-8"))
    return content


def write_manifest(folder: Path, content: Any) -> None:
    (folder / "submission.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def check(world: World, folder: Path) -> int:
    """The command on one submission."""
    prepared = str(world.root / "prepared")
    return main(["check", folder.name, "--root", str(folder.parent), "--prepared", prepared])


def refused(world: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert check(world, folder) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    return said.err.removeprefix("error: ").strip()


def test_a_submission_is_what_the_run_says(made: Path, run: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        "submission.yaml",
        "ranks.parquet",
        *(f"{name}{view}.trec.gz" for name in BOTH for view in ("", "-all-items")),
    }
    manifest = manifest_of(made)
    expected = {
        "name": "mine",
        "system": "My system",
        "family": "outside",
        "contributor": "A. Author",
        "code": "https://example.org",
        "commit": "0123abc4567",
        "hardware": "an abacus",
        "licence": "CC0-1.0",
        "dataset": "tiny",
        "protocol": "paper",
        "settings": {},
    }
    assert {key: manifest[key] for key in expected} == expected
    assert (made / "ranks.parquet").read_bytes() == (run / "ranks.parquet").read_bytes()


def test_a_true_submission_passes_with_data_and_without(
    world: World, made: Path, copy: Path, tmp_path: Path
) -> None:
    with_data = check_submission(made, world.root / "prepared").sentences
    assert with_data == (
        "its figures follow from ranks.parquet",
        "data and lists are those that it names",
        "its TREC files give the same figures",
    )
    without = check_submission(made, tmp_path).sentences
    assert without[0] == with_data[0] and "tiny is not at hand" in without[1]
    (copy / "ranks.parquet").unlink()
    assert check_submission(copy, world.root / "prepared").sentences == with_data[1:]
    with pytest.raises(BenchmarkError, match="holds TREC files alone, and data set tiny is not at"):
        check_submission(copy, tmp_path)


@pytest.mark.parametrize("kept", ["ranks", "trec"])
@pytest.mark.parametrize("deviation", [2e-6, -2e-6, 0.1])
def test_a_deviation_above_1e_6_is_refused(
    kept: str,
    deviation: float,
    world: World,
    copy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in copy.glob("*.trec.gz" if kept == "ranks" else "ranks.parquet"):
        path.unlink()
    manifest = manifest_of(copy)
    true = manifest["figures"]["all-items"]["search"]["MRR@20"]
    manifest["figures"]["all-items"]["search"]["MRR@20"] = true + deviation
    write_manifest(copy, manifest)
    said = refused(world, copy, capsys)
    assert said.startswith(f"{copy / 'submission.yaml'}: figures.all-items.search.MRR@20: claims ")
    manifest["figures"]["all-items"]["search"]["MRR@20"] = true + deviation * 1e-7
    write_manifest(copy, manifest)
    assert check(world, copy) == 0


Change = Callable[[dict[str, Any]], None]


def setting(key: str, value: Any) -> Change:
    return lambda manifest: manifest.update({key: value})


SPOILT: dict[str, tuple[Change, str]] = {
    "no such key": (setting("licens", "x"), "licens: there is no such key"),
    "a key is missing": (lambda m: m.pop("hardware"), "hardware: the key is required but missing"),
    "another format": (setting("format", 2), "format must be 1, the only one there is"),
    "another folder's name": (setting("name", "other"), "name: must be the folder's own name"),
    "no date": (setting("date", "yesterday"), "date: must be a day such as 2026-11-30"),
    "seconds": (setting("date", 12345), "date: must be a day such as 2026-11-30"),
    "no address": (setting("code", "my disk"), "code: "),
    "neither": (lambda m: m.update(code="", commit=""), "code or commit: one of the two"),
    "commit": (setting("commit", "HEAD"), "commit: "),
    "family": (setting("family", "jont"), "family must be one of references, "),
    "no contributor": (setting("contributor", ""), "contributor: "),
    "protocol": (setting("protocol", "papers"), "did you mean 'paper'"),
    "another protocol": (
        setting("protocol", "released"),
        "settings_fingerprint: is not that of protocol released with these settings",
    ),
    "unknown setting": (setting("settings", {"negative": 5}), "negative: there is no such key"),
    "other settings": (
        setting("settings", {"negatives": 50}),
        "settings_fingerprint: is not that of protocol custom:paper with these settings",
    ),
    "other lists": (
        lambda m: m["lists"].update(search="0" * 64),
        "lists.search: is not the fingerprint of the lists of tiny under protocol paper",
    ),
    "lists of no figures": (lambda m: m["lists"].pop("search"), "lists must have the tasks of fig"),
    "other task": (
        lambda m: m["figures"]["lists"].update(ranking={"HR@1": 0.5}),
        "figures.lists.ranking",
    ),
    "a figure too few": (
        lambda m: m["figures"]["lists"]["search"].pop("HR@5"),
        "figures.lists.search.HR@5: is missing; ranks.parquet gives 0.",
    ),
    "a figure too many": (
        lambda m: m["figures"]["lists"]["search"].update({"HR@3": 0.5}),
        "figures.lists.search.HR@3: does not follow from ranks.parquet",
    ),
    "a text for a figure": (
        lambda m: m["figures"]["lists"]["search"].update({"HR@5": "0.5"}),
        "figures.lists.search.HR@5: ",
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_fault_of_the_manifest_is_one_sentence(
    fault: str, world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = SPOILT[fault]
    manifest = manifest_of(copy)
    change(manifest)
    write_manifest(copy, manifest)
    said = refused(world, copy, capsys)
    assert said.startswith(f"{copy / 'submission.yaml'}: ") and sentence in said


def test_what_is_no_manifest_is_one_sentence(
    world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(copy, ["a", "list"])
    assert "must be a mapping of keys to values" in refused(world, copy, capsys)
    (copy / "submission.yaml").write_text("a: [")
    assert "is not valid YAML" in refused(world, copy, capsys)
    (copy / "submission.yaml").unlink()
    assert "submission.yaml: the file is missing" in refused(world, copy, capsys)


def test_ranks_or_trec_files_must_be_there(
    world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in [*copy.glob("*.trec.gz"), copy / "ranks.parquet"]:
        path.unlink()
    assert "holds neither ranks.parquet nor TREC files" in refused(world, copy, capsys)


def changed_ranks(folder: Path, column: str, change: Callable[[Any], Any]) -> None:
    table = pq.read_table(folder / "ranks.parquet")
    values = pa.array(change(table[column].to_numpy().copy()), table.schema.field(column).type)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, values), folder / "ranks.parquet")


@pytest.mark.parametrize(
    ("column", "change", "sentence"),
    [
        ("above", lambda values: values * 0, "figures.lists.recommendation.HR@1: claims "),
        ("above", lambda values: values + 10**6, "is below more items than there are"),
        ("above", lambda values: values - 10**6, "is not a table of ranks"),
        ("tied", lambda values: values + 10**4, "is below more items than there are"),
        ("others", lambda values: values + 1, "column others: is not that of the"),
        ("user", lambda values: values[::-1], "column user: is not that of the"),
    ],
)
def test_ranks_that_are_none_of_these_tests_are_refused(
    column: str,
    change: Callable[[Any], Any],
    sentence: str,
    world: World,
    copy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed_ranks(copy, column, change)
    assert sentence in refused(world, copy, capsys)


def test_damaged_ranks_are_one_sentence(
    world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (copy / "ranks.parquet").read_bytes()
    (copy / "ranks.parquet").write_bytes(content[: len(content) // 2])
    assert "ranks.parquet: is not a table of ranks" in refused(world, copy, capsys)


def test_trec_files_must_give_the_ranks(
    world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = world.write(copy.parent.parent / "other", depth=40)
    shutil.copy2(other / "search-all-items.trec", copy)
    (copy / "search-all-items.trec.gz").unlink()
    said = refused(world, copy, capsys)
    assert "gives other ranks than ranks.parquet has for search-all-items" in said


# The command


def test_every_submission_is_checked_and_each_fault_said(
    world: World, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b-wrong", "c-right"):
        shutil.copytree(copy, copy.with_name(name))
        write_manifest(copy.with_name(name), manifest_of(copy) | {"name": name})
    manifest = manifest_of(copy) | {"name": "b-wrong", "commit": "HEAD"}
    write_manifest(copy.with_name("b-wrong"), manifest)
    prepared = str(world.root / "prepared")
    assert main(["check", "--root", str(copy.parent), "--prepared", prepared]) == 2
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.out.splitlines()] == ["c-right", "mine"]
    assert said.err.count("\n") == 1 and "b-wrong" in said.err
    assert main(["check", "mime", "--root", str(copy.parent)]) == 2
    assert "unknown submission 'mime' (did you mean 'mine'?)" in capsys.readouterr().err
    assert main(["check", "--root", str(copy.parent / "none")]) == 0
    assert "there are no submissions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--commit", "HEAD"), "commit: "),
        (("--date", "1 May"), "--date '1 May': must be a day such as"),
        (("--name", "a b"), "name: "),
        (("--licence", ""), "licence: "),
        (("--trec", "."), "holds no run"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    given: tuple[str, str],
    sentence: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["make", str(run), *GIVEN, *given, "--root", "submissions"]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_submission_is_not_written_over(
    run: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", str(run), *GIVEN, "--root", str(made.parent)]) == 2
    assert "is there already; give another --name, or remove it" in capsys.readouterr().err


def test_trec_files_of_another_run_are_refused(
    world: World, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = world.write(tmp_path / "other", depth=40)
    place = str(tmp_path / "submissions")
    assert main(["make", str(run), *GIVEN, "--root", place, "--trec", str(other)]) == 2
    assert "was made from another recommendation-all-items.trec" in capsys.readouterr().err
    assert not (tmp_path / "submissions").exists()


def test_changed_protocols_make_the_round(world: World, tmp_path: Path) -> None:
    changes = {"negatives": 20, "all_items_cutoffs": "7,40"}
    _, settings = configure_protocol("paper", changes)
    tasks = load_tasks(world.dataset, settings, world.root / "prepared")
    files = world.write(tmp_path / "mine", tasks)
    given = [part for key, one in changes.items() for part in ("--set", f"protocol.{key}={one}")]
    assert world.evaluate(files, tmp_path / "results", *given) == 0
    (run,) = find_run_folders(tmp_path / "results" / "runs")
    told = ("--contributor", "A", "--hardware", "B", "--name", "changed")
    place = tmp_path / "submissions"
    assert main(["make", str(run), *GIVEN, *told, "--root", str(place)]) == 0
    manifest = manifest_of(place / "changed")
    assert manifest["settings"] == {"negatives": 20, "all_items_cutoffs": [7, 40]}
    assert check(world, place / "changed") == 0
    grid = submissions_grid([read_submission(place / "changed")])
    assert grid is not None
    assert "protocol paper with all_items_cutoffs = [7, 40], negatives = 20" in grid.groups[0].title


# What the report shows


def test_tables_and_page_show_submissions_apart(
    world: World, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder as a clone has it; the suite's own tables hold no row of a submission."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    copy.parent.rename(tmp_path / "results" / "submissions")
    folder = tmp_path / "results" / "submissions" / "mine"
    shutil.copytree(world.root / "results" / "runs", tmp_path / "results" / "runs")
    write_manifest(folder, manifest_of(folder) | {"system": "Theirs", "date": "2026-05-01"})
    assert report(["--html"]) == 0
    table = (tmp_path / "results" / "tables" / "submissions.md").read_text(encoding="utf-8")
    figures = manifest_of(folder)["figures"]
    for word in ("Theirs", "2026-05-01", "0123abc456", "an abacus", "A. Author", "CC0-1.0"):
        assert word in table
    for name in BOTH:
        assert f"{figures['lists'][name]['NDCG@5']:.4f}" in table
        assert f"{figures['all-items'][name]['NDCG@10']:.4f}" in table
    for path in (tmp_path / "results" / "tables").glob("tiny-*.md"):
        assert "Theirs" not in path.read_text(encoding="utf-8")
    page = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    section = page.split('id="section-submissions"')[1].split("</section>")[0]
    assert all(word in section for word in ("Theirs", "2026-05-01", "0123abc456", "an abacus"))
    assert page.count("Theirs") == section.count("Theirs")


def test_a_false_submission_is_said_and_not_shown(copy: Path) -> None:
    manifest = manifest_of(copy)
    manifest["figures"]["lists"]["search"]["HR@1"] += 0.01
    write_manifest(copy, manifest)
    found, sentences = read_submissions(copy.parent)
    assert found == () and len(sentences) == 1
    assert "claims" in sentences[0] and sentences[0].endswith("It is not shown.")
    assert submissions_grid(found) is None


def test_rows_stand_by_data_and_protocol_the_best_first(copy: Path) -> None:
    better = Path(shutil.copytree(copy, copy.with_name("better")))
    (better / "ranks.parquet").unlink()  # so that its claim is shown as it stands
    manifest = manifest_of(copy) | {"name": "better", "system": "Better"}
    for of_view in manifest["figures"].values():
        for metrics in of_view.values():
            metrics.update({name: min(1.0, 2 * value) for name, value in metrics.items()})
    write_manifest(better, manifest)
    grid = submissions_grid([read_submission(copy), read_submission(better)])
    assert grid is not None
    (group,) = grid.groups
    assert group.title == "tiny, protocol paper"
    assert [row[0].text for row in group.rows] == ["Better", "My system"]
    assert "whose figures the check recomputes" in " ".join(note.text for note in grid.footnotes)


# This repository


def test_every_committed_submission_is_what_it_says(tmp_path: Path) -> None:
    """The one check of CI: every figure of each follows from its ranks or TREC files."""
    folders = [path for path in COMMITTED.iterdir() if path.is_dir()]
    for folder in folders:
        check_submission(folder, tmp_path / "prepared")
    assert main(["check", "--root", str(COMMITTED), "--prepared", str(tmp_path / "prepared")]) == 0


def test_the_readme_names_every_key_of_the_manifest_and_its_commands_run() -> None:
    told = (COMMITTED / "README.md").read_text(encoding="utf-8")
    for key in Manifest.model_fields:
        assert f"| `{key}` |" in told, key
    parsers = {"submissions": _parser(), "protocol": protocol_parser()}
    commands = re.findall(r"^ *python -m benchmark\.(\w+) (.+)$", told, re.MULTILINE)
    shown = {(module, command.split()[0]) for module, command in commands}
    assert shown == {
        ("protocol", "export"),
        ("protocol", "evaluate"),
        ("submissions", "make"),
        ("submissions", "check"),
    }
    page = (ROOT / "docs" / "outside.md").read_text(encoding="utf-8")
    pattern = r"^python -m benchmark\.(protocol|submissions) (.+)$"
    in_page = re.findall(pattern, page, re.MULTILINE)
    assert len(in_page) == 2
    for module, command in commands + in_page:
        parsers[module].parse_args(shlex.split(command))
