"""Recipes: a data set as a small typed YAML file, ``datasets/<name>.yaml`` or one of the shipped.

A recipe says where the events come from (``source``), how the search log is made (``search``), how
events of one instant are ordered (``ties``), how item ids are given (``item_ids``) and which fields
are the item text (``text``). How events are split and ranked is the protocol's business, not the
recipe's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, StrictInt, StrictStr, ValidationError, model_validator

from benchmark.data.source_options import SOURCES, RecipePart, Source
from benchmark.errors import BenchmarkError, quoted, unknown_value
from benchmark.files import sha256_of_json
from benchmark.yaml_files import read_yaml

RECIPE_FOLDER = Path("datasets")
"""The folder of recipes that people edit; a recipe there wins over a shipped one of its name."""

_NOT_IN_THE_FILE = {"folder", "given_folder", "is_downloaded"}

TextField = Literal["title", "description", "brand", "categories", "decade"]


class NoSearch(RecipePart):
    """Recommendation events only."""

    kind: Literal["none"] = "none"


class OwnSearch(RecipePart):
    """The searches that the source itself holds."""

    kind: Literal["own"]


class ChannelSearch(RecipePart):
    """Each event is either a search or a recommendation event; queries come from attributes."""

    kind: Literal["channels"]
    share: float = Field(default=0.3, ge=0, le=1, strict=True)
    minimum_items: StrictInt = Field(default=10, ge=1)
    """A query backs off until this many items of the catalogue match every word of it."""

    one_with_decade: float = Field(default=0.4, ge=0, le=1, strict=True)
    two: float = Field(default=0.4, ge=0, le=1, strict=True)
    two_with_decade: float = Field(default=0.2, ge=0, le=1, strict=True)
    """The shares of the three forms: one attribute with the decade, two, two with the decade."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> ChannelSearch:
        if abs(self.one_with_decade + self.two + self.two_with_decade - 1) > 1e-9:
            raise ValueError("one_with_decade, two and two_with_decade must sum to 1")
        return self


class TwinSearch(RecipePart):
    """Purchases get, each with probability ``share``, a search session at the same time."""

    kind: Literal["twins"]
    share: float = Field(default=0.7, ge=0, le=1, strict=True)


SEARCHES: dict[str, type[RecipePart]] = {
    "none": NoSearch,
    "own": OwnSearch,
    "channels": ChannelSearch,
    "twins": TwinSearch,
}
Search = Annotated[
    NoSearch | OwnSearch | ChannelSearch | TwinSearch,
    Field(discriminator="kind"),
]


class Recipe(RecipePart):
    """Everything that determines a data set, given the source's files."""

    name: StrictStr = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    description: StrictStr = ""
    source: Source
    search: Search = NoSearch()
    ties: Literal["hash", "position", "rating"] = "hash"
    """Events of one instant: by a hash of (seed, user, item); as the source has them; or, as in
    the released construction, by rating and then item id."""

    item_ids: Literal["permuted", "sorted"] = "permuted"
    """Item ids by a seeded permutation, or in the order of the external ids (which leaks)."""

    text: tuple[TextField, ...] = Field(default=("title", "description"), min_length=1)
    seed: StrictInt = Field(default=2024, ge=0)
    folder: Path = Field(default=Path(), exclude=True)
    """Where relative paths begin: the folder of the recipe's file, no key of the file."""

    given_folder: Path | None = Field(default=None, exclude=True)
    """The folder of the source's files that was given beside the recipe, no key of the file."""

    is_downloaded: bool = Field(default=False, exclude=True)
    """Whether ``given_folder`` is the suite's own, where missing files are downloaded to."""

    @model_validator(mode="after")
    def _text_names_each_field_once(self) -> Recipe:
        if len(set(self.text)) != len(self.text):
            raise ValueError("text names a field twice")
        return self

    @property
    def source_folder(self) -> Path:
        """The folder of the source's files: the given one, else that of the recipe's ``path``."""
        if not self.reads_a_folder:
            raise TypeError(f"a source of kind {self.source.kind} has no folder")
        if self.given_folder is not None:
            return self.given_folder
        return self.folder / Path(getattr(self.source, "path", "")).expanduser()

    @property
    def reads_a_folder(self) -> bool:
        """Whether the source's files lie in a folder of the user's choice."""
        return "path" in type(self.source).model_fields

    def content_hash(self) -> str:
        """SHA-256 of what determines the data; neither the description nor a path is part of it."""
        content = self.model_dump(
            mode="json", exclude={"description": True, "source": {"path", "files"}}
        )
        return sha256_of_json(content)


def shipped_recipes() -> Path:
    """The folder of the recipes that come with the suite.

    In an installed package that is ``benchmark/recipes``; in a checkout it is ``datasets/``.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / RECIPE_FOLDER


def _recipes(folder: Path) -> dict[str, Path]:
    """Name → file of the recipes in ``folder`` and, beside those of a user, of the shipped ones."""
    folders = [shipped_recipes(), folder] if folder == RECIPE_FOLDER else [folder]
    found = {path.stem: path for one in folders for path in one.glob("*.yaml")}
    return dict(sorted(found.items()))


def recipe_names(folder: Path = RECIPE_FOLDER) -> list[str]:
    """The names of the recipes in ``folder``, sorted; without one given, the shipped ones too."""
    return list(_recipes(folder))


def recipe_path(name_or_path: str | Path, folder: Path = RECIPE_FOLDER) -> Path:
    """Where a recipe lies: anything with a slash or the ending .yaml is a path, else a name.

    Raises:
        BenchmarkError: no recipe of :func:`recipe_names` has that name.
    """
    given = str(name_or_path)
    if isinstance(name_or_path, Path) or given.endswith((".yaml", ".yml")) or "/" in given:
        return Path(name_or_path)
    recipes = _recipes(folder)
    if given not in recipes:
        if Path(f"{given}.yaml").is_file():
            raise BenchmarkError(
                f"{folder}: has no recipe {given!r}; give {given}.yaml by its path."
            )
        raise unknown_value("data set", given, list(recipes), str(folder))
    return recipes[given]


def load_recipe(name_or_path: str | Path, folder: Path = RECIPE_FOLDER) -> Recipe:
    """Read a recipe by name or by path.

    Raises:
        BenchmarkError: there is no such recipe, or it has a wrong key, type or value.
    """
    path = recipe_path(name_or_path, folder)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: a recipe must be a mapping of keys to values.")
    for key in _NOT_IN_THE_FILE & content.keys():
        raise unknown_value("key", key, _keys_of(Recipe), str(path))
    recipe = parse_recipe(content, str(path)).model_copy(update={"folder": path.parent})
    if recipe.name != path.stem:
        raise BenchmarkError(
            f"{path}: name: must be the file's own name {path.stem!r}, not {recipe.name!r}."
        )
    return recipe


def parse_recipe(content: dict[str, Any], where: str) -> Recipe:
    """A recipe from a mapping; ``where`` names its place in a complaint.

    Raises:
        BenchmarkError: a key, type or value is wrong.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _as_sentence(error, content, where) from None


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [key for key in model.model_fields if key not in _NOT_IN_THE_FILE]


def _keys_in_content(location: tuple[int | str, ...], content: Any) -> Iterator[str]:
    """The location without the tags that pydantic puts in for discriminated unions."""
    for part in location:
        is_tag = isinstance(content, dict) and part not in content and part == content.get("kind")
        if is_tag:
            continue
        yield str(part)
        if isinstance(content, dict):
            content = content.get(part)


def _as_sentence(error: ValidationError, content: dict[str, Any], where: str) -> BenchmarkError:
    """The first complaint as one sentence that names file, dotted key and allowed values."""
    first = error.errors(include_url=False)[0]
    keys = list(_keys_in_content(first["loc"], content))
    key, given, kind = ".".join(keys) or "the recipe", first["input"], first["type"]
    context = first.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _keys_of(_model_at(keys[:-1], content))
        place = ": ".join([where, ".".join(keys[:-1])]) if keys[:-1] else where
        return unknown_value("key", keys[-1], allowed, place)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = SOURCES if keys[0] == "source" else SEARCHES
        if kind == "union_tag_not_found":
            return BenchmarkError(
                f"{where}: {key}.kind: the key is missing; allowed are {', '.join(sorted(kinds))}."
            )
        return unknown_value("kind", str(context["tag"]), kinds, f"{where}: {key}.kind")
    if kind == "missing":
        return BenchmarkError(f"{where}: {key}: the key is missing.")
    if kind == "literal_error":
        allowed_values = get_args(TextField) if keys[0] == "text" else None
        expected = ", ".join(allowed_values) if allowed_values else context["expected"]
        return BenchmarkError(
            f"{where}: {key}: {quoted(given)} is not allowed; allowed are {expected}."
        )
    if kind == "value_error":
        return BenchmarkError(f"{where}: {key}: {context['error']}.")
    if key == "name" and kind == "string_pattern_mismatch":
        return BenchmarkError(
            f"{where}: name: may hold lower-case letters, digits, dots, dashes and underscores "
            f"only, not {quoted(given)}."
        )
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return BenchmarkError(f"{where}: {key}: {reason}, not {_short(given)}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _model_at(keys: list[str], content: dict[str, Any]) -> type[BaseModel]:
    if not keys:
        return Recipe
    part = content[keys[0]]
    return (SOURCES if keys[0] == "source" else SEARCHES)[part["kind"]]
