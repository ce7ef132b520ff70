"""Artifacts: built once, and never taken for another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.systems.artifacts import ArtifactStore


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
