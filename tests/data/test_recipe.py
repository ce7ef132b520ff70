"""Recipes: what is accepted, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.__main__ import main
from benchmark.data.recipe import load_recipe, recipe_names
from benchmark.errors import BenchmarkError

REPOSITORY = Path(__file__).resolve().parents[2]

HEAD = "name: r\n"
FOLDER = "source: {kind: folder, path: log}\n"


def complaint(tmp_path: Path, text: str, name: str = "r") -> str:
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchmarkError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_every_tracked_recipe_is_valid() -> None:
    folder = REPOSITORY / "datasets"
    names = recipe_names(folder)
    assert {"ml-100k", "generated"} <= set(names)
    for name in names:
        assert load_recipe(name, folder).name == name


def test_the_datasets_folder_is_no_package() -> None:
    assert not list((REPOSITORY / "datasets").rglob("*.py"))


def test_defaults(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + FOLDER)
    recipe = load_recipe(path)
    assert recipe.ties == "hash"
    assert recipe.item_ids == "permuted"
    assert recipe.text == ("title", "description")
    assert recipe.seed == 2024
    assert recipe.search.kind == "none"
    assert recipe.source_folder == tmp_path / "log"


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + FOLDER + "search: {kind: twins, share: 1e-3}\n")
    assert load_recipe(path).search.share == 0.001  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (FOLDER, ["name: the key is missing"]),
        (HEAD, ["source: the key is missing"]),
        (HEAD + "source: {path: log}\n", ["source.kind: the key is missing", "folder, generated"]),
        (
            HEAD + "source: {kind: foldr, path: log}\n",
            ["source.kind: unknown kind 'foldr'", "did you mean 'folder'", "ml-100k"],
        ),
        (HEAD + "source: {kind: folder}\n", ["source.path: the key is missing"]),
        (HEAD + "source: {kind: folder, path: 3}\n", ["source.path: ", "string, not 3"]),
        (
            HEAD + "source: {kind: folder, path: log, cores: 5}\n",
            ["source: unknown key 'cores'", "did you mean 'core'", "maximum_rows"],
        ),
        (HEAD + "source: {kind: folder, path: log, core: 0}\n", ["source.core: ", "not 0"]),
        (HEAD + "source: {kind: folder, path: log, core: yes}\n", ["source.core: ", "not True"]),
        (HEAD + "source: folder\n", ["source"]),
        (HEAD + FOLDER + "tie: hash\n", ["unknown key 'tie'", "did you mean 'ties'"]),
        (HEAD + FOLDER + "folder: x\n", ["unknown key 'folder'"]),
        (HEAD + FOLDER + "ties: random\n", ["ties: 'random' is not allowed", "'hash'", "position"]),
        (HEAD + FOLDER + "item_ids: x\n", ["item_ids: 'x'", "'permuted'", "'sorted'"]),
        (
            HEAD + FOLDER + "text: [titel]\n",
            ["text.0: 'titel' is not allowed", "title, description, brand, categories, decade"],
        ),
        (HEAD + FOLDER + "text: []\n", ["text: "]),
        (HEAD + FOLDER + "text: title\n", ["text: "]),
        (HEAD + FOLDER + "text: [title, title]\n", ["text names a field twice"]),
        (HEAD + FOLDER + "seed: '1'\n", ["seed: ", "integer, not '1'"]),
        (HEAD + FOLDER + "seed: -1\n", ["seed: ", "not -1"]),
        (HEAD + FOLDER + "search: {kind: twin}\n", ["search.kind: unknown kind 'twin'", "twins"]),
        (HEAD + FOLDER + "search: {kind: twins, share: 2}\n", ["search.share: ", "not 2"]),
        (HEAD + FOLDER + "search: {kind: twins, share: half}\n", ["search.share: ", "'half'"]),
        (HEAD + FOLDER + "search: {kind: none, share: 0.1}\n", ["search: unknown key 'share'"]),
        (HEAD + FOLDER + "search: {kind: channels, two: 0.9}\n", ["search: ", "must sum to 1"]),
        ("name: Äh\n" + FOLDER, ["name: may hold lower-case letters"]),
        ("name: ../r\n" + FOLDER, ["name: may hold lower-case letters"]),
        ("name: other\n" + FOLDER, ["name: must be the file's own name 'r'"]),
        (HEAD + FOLDER + FOLDER, ["the key 'source' stands twice"]),
        (HEAD + "source: &a {kind: folder, path: log}\nsearch: *a\n", ["aliases are not allowed"]),
        (HEAD + "source: !!python/object:os.system {}\n", ["not valid YAML"]),
        ("- a\n- b\n", ["must be a mapping"]),
        ("", ["must be a mapping"]),
        ("name: [\n", ["not valid YAML"]),
    ],
)
def test_a_mistake_gives_one_sentence(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = complaint(tmp_path, text)
    for part in parts:
        assert part in message


def test_an_oversized_recipe_is_refused(tmp_path: Path) -> None:
    assert "larger than" in complaint(tmp_path, "#" * 1_100_000)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"gone\.yaml: the file is missing"):
        load_recipe(tmp_path / "gone.yaml")


def test_an_unknown_name_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(REPOSITORY / "datasets")
    assert main(["describe", "ml-100", "--recipes", folder]) == 2
    message = capsys.readouterr().err
    assert "unknown data set 'ml-100' (did you mean 'ml-100k'?)" in message
    assert "Traceback" not in message


def test_a_name_of_a_recipe_that_lies_here_is_told_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text("name: shop\n" + FOLDER, encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"no recipe 'shop'; give shop\.yaml by its path"):
        load_recipe("shop", REPOSITORY / "datasets")
    assert load_recipe("shop.yaml").name == "shop"


def test_list_shows_a_broken_recipe_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.yaml").write_text("name: good\ndescription: Fine\n" + FOLDER)
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    assert main(["list", "--recipes", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "Fine" in shown
    assert "cannot be read" in shown


def test_content_hash_ignores_description_and_path(tmp_path: Path) -> None:
    def hash_of(**changes: str) -> str:
        keys = {"source": "{kind: folder, path: log}", **changes}
        path = tmp_path / "r.yaml"
        path.write_text(HEAD + "".join(f"{key}: {value}\n" for key, value in keys.items()))
        return load_recipe(path).content_hash()

    base = hash_of()
    assert hash_of(description="other") == base
    assert hash_of(source="{kind: folder, path: elsewhere}") == base
    for changes in (
        {"source": "{kind: folder, path: log, core: 2}"},
        {"source": "{kind: generated}"},
        {"source": "{kind: folder, path: log, allow_items_without_text: true}"},
        {"search": "{kind: twins}"},
        {"ties": "position"},
        {"item_ids": "sorted"},
        {"text": "[title]"},
        {"seed": "1"},
    ):
        assert hash_of(**changes) != base, changes
