"""Artifacts: built once, and never taken for another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import read_json, write_json, write_manifest
from benchmark.systems import artifacts
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.effort import Effort


def text_of(store: ArtifactStore, number: int, kind: str = "text") -> str:
    def build(folder: Path) -> None:
        (folder / "text").write_text(str(number))

    return (store.get(kind, {"number": number}, build) / "text").read_text()


@pytest.mark.parametrize("other_kind", [False, True])
def test_a_folder_under_the_name_of_another_artifact_is_not_taken(
    tmp_path: Path, other_kind: bool
) -> None:
    store = ArtifactStore(tmp_path)
    text_of(store, 1)
    (first,) = tmp_path.glob("text-*/")
    asked = {"number": 1, "kind": "word"} if other_kind else {"number": 2}
    text_of(store, **asked)
    (second,) = set(tmp_path.glob("*-*/")) - {first}
    shutil.rmtree(second)
    shutil.copytree(first, second)
    (second / "text").read_text()
    assert text_of(ArtifactStore(tmp_path), **asked) == str(asked["number"])
    assert text_of(ArtifactStore(tmp_path), 1) == "1"


def test_what_is_refused_after_building_is_not_kept(tmp_path: Path) -> None:
    def refuse() -> None:
        raise BenchmarkError("other code.")

    with pytest.raises(BenchmarkError, match="other code"):
        text_of(ArtifactStore(tmp_path, verify=refuse), 1)
    assert not list(tmp_path.glob("text-*/"))


SPENT = [0.0]
"""Seconds of work so far, by the clock of these tests."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "effort_so_far", lambda: Effort(SPENT[0], SPENT[0]))


def busy(folder: Path, seconds: float) -> None:
    """Write a file after so much work."""
    SPENT[0] += seconds
    (folder / "text").write_text("done")


def nested(store: ArtifactStore) -> tuple[str, str, str]:
    """One artifact that is built from a second one, which is built from a third."""
    names = []

    def inner(folder: Path) -> None:
        busy(folder, 0.05)

    def middle(folder: Path) -> None:
        names.append(store.get("inner", {}, inner).name)
        busy(folder, 0.1)

    def outer(folder: Path) -> None:
        names.append(store.get("middle", {}, middle).name)
        busy(folder, 0.2)

    return (store.get("outer", {}, outer).name, *reversed(names))


def test_each_artifact_is_charged_with_its_own_work_whoever_built_it(tmp_path: Path) -> None:
    builder = ArtifactStore(tmp_path)
    outer, middle, inner = nested(builder)
    work = {name: effort.cpu for name, effort in builder.used.items()}
    assert work.keys() == {outer, middle, inner}
    assert work == pytest.approx({inner: 0.05, middle: 0.1, outer: 0.2})
    assert builder.built.cpu == pytest.approx(0.35)

    user = ArtifactStore(tmp_path)
    user.get("outer", {}, lambda folder: pytest.fail("it is there"))
    assert user.used == builder.used
    assert user.built.cpu == 0


def test_what_was_known_before_is_a_part_of_what_is_built_from_it(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    inner = store.get("inner", {}, lambda folder: busy(folder, 0.05)).name
    store.get(
        "outer", {}, lambda folder: store.get("inner", {}, busy_never).joinpath("text").read_text()
    )
    user = ArtifactStore(tmp_path)
    user.get("outer", {}, busy_never)
    assert inner in user.used


def busy_never(folder: Path) -> None:
    pytest.fail("it is there")


def test_one_of_before_is_charged_with_its_seconds(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    folder = store.get("old", {}, lambda folder: busy(folder, 0.0))
    content = read_json(folder / "cost.json")
    write_json(folder / "cost.json", {"seconds": 5.0})
    write_manifest(folder)
    assert set(content) == {"seconds", "own", "parts"}
    user = ArtifactStore(tmp_path)
    user.get("old", {}, busy_never)
    assert user.used[folder.name] == Effort(5.0, 5.0)
