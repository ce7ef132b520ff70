"""The cache of prepared data: complete or absent, never stale, never silently wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.data import build as build_module
from benchmark.data import load
from benchmark.data.__main__ import main
from benchmark.data.dataset import Dataset, fingerprint_of
from benchmark.data.describe import statistics
from benchmark.data.prepare import prepare
from benchmark.data.recipe import parse_recipe
from benchmark.errors import BenchmarkError
from benchmark.files import MANIFEST
from tests.damage import cut_in_half, flip_a_bit
from tests.data.joint_files import write_qilin
from tests.imports import imported_by

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATED = """
name: tiny
description: "[bold]tiny"
source: {kind: generated, users: 30, items: 40, short_users: 2}
search: {kind: own}
text: [title]
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GENERATED)
    return path


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the data sets that were built, as they are built."""
    names: list[str] = []
    original = build_module.build_dataset

    def counting(recipe: Any, raw: Any) -> Dataset:
        names.append(recipe.name)
        return original(recipe, raw)

    monkeypatch.setattr(build_module, "build_dataset", counting)
    return names


def folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def assert_equal(first: Dataset, second: Dataset) -> None:
    assert first.fingerprint == second.fingerprint == fingerprint_of(second)
    assert first.items == second.items
    assert first.queries == second.queries
    assert tuple(first.users) == tuple(second.users)
    assert first.notes == second.notes
    for column in ("user", "item", "query", "behaviour", "timestamp", "session", "offsets"):
        stored, built = getattr(second.log, column), getattr(first.log, column)
        assert stored.dtype == built.dtype
        np.testing.assert_array_equal(stored, built)


@pytest.mark.parametrize(
    "change",
    [
        ("users: 30", "users: 31"),
        ("short_users: 2", "short_users: 3"),
        ("text: [title]", "text: [title, brand]"),
        ("search: {kind: own}", "search: {kind: none}"),
        ("text:", "seed: 9\ntext:"),
    ],
)
def test_another_content_of_the_recipe_is_another_data_set(
    change: tuple[str, str], recipe_file: Path, tmp_path: Path, builds: list[str]
) -> None:
    root = tmp_path / "prepared"
    first = load(recipe_file, root=root)
    recipe_file.write_text(GENERATED.replace(*change))
    assert recipe_file.read_text() != GENERATED
    second = load(recipe_file, root=root)
    assert builds == ["tiny", "tiny"]
    assert len(folders(root)) == 2
    assert_equal(second, load(recipe_file, root=root))
    recipe_file.write_text(GENERATED)
    assert_equal(first, load(recipe_file, root=root))
    assert len(builds) == 2


def test_what_is_read_back_is_what_was_built(
    recipe_file: Path, tmp_path: Path, builds: list[str]
) -> None:
    root = tmp_path / "prepared"
    built = load(recipe_file, root=root)
    stored = load(recipe_file, root=root)
    assert builds == ["tiny"]
    assert_equal(built, stored)
    assert len(folders(root)) == 1


def test_nested_categories_are_read_back(
    write_folder: Any, make_recipe: Any, tmp_path: Path
) -> None:
    write_folder()
    recipe = make_recipe(search={"kind": "twins"})
    assert_equal(prepare(recipe, root=tmp_path / "p"), prepare(recipe, root=tmp_path / "p"))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "empty manifest"])
@pytest.mark.parametrize("name", ["log.parquet", "items.parquet", "meta.json"])
def test_a_damaged_cache_is_built_anew_and_says_so(
    damage: str,
    name: str,
    recipe_file: Path,
    tmp_path: Path,
    builds: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "prepared"
    first = load(recipe_file, root=root)
    (folder,) = folders(root)
    path = folder / name
    if damage == "flip":
        flip_a_bit(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        (folder / MANIFEST).write_text("[]")
    else:
        (folder / MANIFEST).write_text('{"files": {}}')
        cut_in_half(path)
    with caplog.at_level(logging.WARNING):
        second = load(recipe_file, root=root)
    assert builds == ["tiny", "tiny"]
    assert "is damaged and is prepared anew" in caplog.text
    assert_equal(first, second)
    assert_equal(first, load(recipe_file, root=root))
    assert builds == ["tiny", "tiny"]


def test_an_unfinished_folder_is_not_taken_for_a_data_set(
    recipe_file: Path, tmp_path: Path, builds: list[str]
) -> None:
    root = tmp_path / "prepared"
    first = load(recipe_file, root=root)
    (folder,) = folders(root)
    (folder / MANIFEST).unlink()
    assert_equal(first, load(recipe_file, root=root))
    assert len(builds) == 2


def test_a_changed_source_is_another_data_set(
    write_folder: Any, make_recipe: Any, tmp_path: Path
) -> None:
    write_folder()
    first = prepare(make_recipe(), root=tmp_path / "prepared")
    write_folder(interactions={"timestamp": [100, 300, 100, 100]})
    second = prepare(make_recipe(), root=tmp_path / "prepared")
    assert first.fingerprint != second.fingerprint
    assert len(folders(tmp_path / "prepared")) == 2


def test_parts_of_one_name_in_two_folders_are_two_files(tmp_path: Path) -> None:
    folder = write_qilin(tmp_path / "qilin")
    source = {"kind": "qilin", "path": str(folder), "core": 1}
    recipe = parse_recipe({"name": "q", "source": source, "search": {"kind": "own"}}, "q")
    before = prepare(recipe, root=tmp_path / "root")
    part = folder / "search_train" / "00000.parquet"
    pq.write_table(pq.read_table(part).slice(0, 2), part)
    assert len(prepare(recipe, root=tmp_path / "root").log) < len(before.log)


def test_tables_may_be_folders_of_parts(
    write_folder: Any, make_recipe: Any, tmp_path: Path
) -> None:
    folder, recipe = write_folder(), make_recipe()
    whole = prepare(recipe, root=tmp_path / "root")
    for name in ("interactions", "items"):
        table = pq.read_table(folder / f"{name}.parquet")
        (folder / f"{name}.parquet").unlink()
        (folder / name).mkdir()
        for part in range(2):
            pq.write_table(table.slice(part * 2, 2), folder / name / f"part-{part}.parquet")
    parts = prepare(recipe, root=tmp_path / "root")
    assert parts.fingerprint == whole.fingerprint
    assert len(folders(tmp_path / "root")) == 2


def test_two_processes_at_once_build_once(recipe_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "prepared"
    code = (
        "import logging, sys; from pathlib import Path; from benchmark.data import load;"
        "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout);"
        "print(load(Path(sys.argv[1]), root=Path(sys.argv[2])).fingerprint)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(recipe_file), str(root)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 2
    assert sum(output.count("preparing.") for output in outputs) == 1
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert len(folders(root)) == 1


def test_a_root_that_is_a_file_gives_one_sentence(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prepared").write_text("")
    assert main(["prepare", str(recipe_file), "--root", str(tmp_path / "prepared")]) == 2
    error = capsys.readouterr().err
    assert "prepared: cannot be written" in error
    assert "Traceback" not in error


def test_a_failed_source_leaves_nothing(
    write_folder: Any, make_recipe: Any, tmp_path: Path
) -> None:
    write_folder(items={"title": None, "description": None})
    with pytest.raises(BenchmarkError):
        prepare(make_recipe(), root=tmp_path / "prepared")
    assert not folders(tmp_path / "prepared")


def test_describe_shows_the_numbers(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "prepared"
    assert main(["describe", str(recipe_file), "--root", str(root)]) == 0
    shown = capsys.readouterr().out
    numbers = statistics(load(recipe_file, root=root))
    assert numbers.users == 32
    assert numbers.recommendation_events + numbers.search_events == numbers.events
    assert numbers.words_per_query == 2
    for value in (numbers.users, numbers.items, numbers.queries, numbers.distinct_query_item_pairs):
        assert f" {value:,} " in shown
    assert numbers.first_day.startswith("2020-")
    assert "This log is invented" in shown


def test_importing_the_package_stays_light() -> None:
    assert not imported_by("import benchmark.data", {"pandas", "pyarrow", "torch", "pydantic"})


def test_preparing_imports_neither_torch_nor_recbole(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from benchmark.data import load\n"
        "try: load(Path('datasets/ml-100k.yaml'), root=Path(sys.argv[1]))\n"
        "except Exception as error: print(error, file=sys.stderr)"
    )
    assert not imported_by(code, {"torch", "recbole"}, str(tmp_path))
