"""Recipes: a data set as a small typed YAML file, ``datasets/<name>.yaml`` or one of the shipped.

A recipe says where the events come from (``source``), how the search log is made (``search``), how
events of one instant are ordered (``ties``), how item ids are given (``item_ids``) and which fields
are the item text (``text``). How events are split and ranked is the protocol's business, not the
recipe's. A new source is one class here and one module in :mod:`benchmark.data.sources`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmark.data.zones import zone_of
from benchmark.errors import BenchmarkError, quoted, unknown_value
from benchmark.files import sha256_of_json
from benchmark.yaml_files import read_yaml

RECIPE_FOLDER = Path("datasets")
"""The folder of recipes that people edit; a recipe there wins over a shipped one of its name."""

_NOT_IN_THE_FILE = {"folder", "given_folder", "is_downloaded"}

TextField = Literal["title", "description", "brand", "categories", "decade"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Part):
    core: StrictInt = Field(default=1, ge=1, le=1000)
    """Users and items with fewer events are dropped, again and again until none is left to drop."""

    readable_text: ClassVar[bool] = True
    """Whether people and language models can read the item texts."""


class _TablesSource(_Source):
    """What the sources with files of tables share."""

    maximum_rows: StrictInt = Field(default=50_000_000, ge=1)
    """A table with more rows is refused: Parquet before it is read, text where the row stands."""


class Ml100kSource(_Source):
    """MovieLens 100k as it lies in the installed recbole package."""

    kind: Literal["ml-100k"]
    minimum_rating: StrictInt = Field(default=4, ge=1, le=5)
    core: StrictInt = Field(default=5, ge=1, le=1000)


class FolderSource(_TablesSource):
    """A folder with ``interactions.parquet``, ``items.parquet`` and maybe ``searches.parquet``."""

    kind: Literal["folder"]
    path: StrictStr = Field(min_length=1)
    """Relative to the recipe's file."""

    allow_items_without_text: StrictBool = False


class FileFacts(_Part):
    """What is known of a file to download; given facts are checked, a given place is used."""

    url: StrictStr | None = None
    size: StrictInt | None = Field(default=None, ge=1)
    """In bytes."""

    sha256: StrictStr | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class AmazonSource(_TablesSource):
    """A category of the Amazon reviews of 2014: see :mod:`benchmark.data.sources.amazon`."""

    kind: Literal["amazon"]
    category: StrictStr = Field(pattern=r"^[A-Za-z0-9_]+$")
    """As in the names of the published files, such as Electronics or Toys_and_Games."""

    path: StrictStr = ""
    """A folder with the files, relative to the recipe's file; without it they are downloaded."""

    subcategory: StrictStr = ""
    """Keep only items whose first category hierarchy has this name as its second level."""

    missing_ratings: Literal["none", "drawn"] = "none"
    """For copies without ratings: order purchases of one day by product only, or draw ratings."""

    files: dict[str, FileFacts] = Field(default_factory=dict)
    """Place, size and checksum of files to download, by name."""


class _JointSource(_TablesSource):
    """What the sources with tables of recommendations and of searches share."""

    core: StrictInt = Field(default=5, ge=1, le=1000)
    path: StrictStr = ""
    """The folder of the tables, relative to the recipe's file; or it is given with --source."""

    first_item_when_no_click: StrictBool = False
    """Whether a search without a click counts as a click on the first item shown."""

    only_users_of_both: StrictBool = True
    """Keep only users who both searched and used recommendations."""

    unknown_items: Literal["refuse", "drop"] = "refuse"
    """What becomes of events with items that are not in the catalogue."""


class KuaisarSource(_JointSource):
    """KuaiSAR's published tables: see :mod:`benchmark.data.sources.kuaisar`."""

    kind: Literal["kuaisar"]
    item_types: tuple[StrictStr, ...] = ("VIDEO", "IMAGE_ATLAS")
    """The types of shown items that count in searches: those that the recommender shows too."""

    readable_text: ClassVar[bool] = False


class QilinSource(_JointSource):
    """Qilin's published Parquet folders: see :mod:`benchmark.data.sources.qilin`."""

    kind: Literal["qilin"]


class CompanySource(_JointSource):
    """A company's own log: see :mod:`benchmark.data.sources.company`."""

    kind: Literal["company"]
    summaries: StrictBool = False
    """Take the item texts from the table ``summaries``."""

    timestamps: Literal["seconds", "milliseconds"] = "seconds"
    """The unit of timestamps that are numbers."""

    time_zone: StrictStr = ""
    """Of timestamps that are written without a zone: a name or an offset; "" for none stated."""

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            zone_of(name or "UTC")
        except ValueError:
            raise ValueError(
                f"must be a zone such as Europe/Berlin, or an offset such as +02:00, not "
                f"{quoted(name)}"
            ) from None
        return name


FEWEST_ITEMS = 8
"""Of a generated log."""


class GeneratedSource(_Source):
    """An invented log with planted signals: see :mod:`benchmark.data.sources.generated`."""

    kind: Literal["generated"]
    users: StrictInt = Field(default=120, ge=1, le=100_000)
    items: StrictInt = Field(default=240, ge=FEWEST_ITEMS, le=100_000)
    seed: StrictInt = Field(default=2024, ge=0)
    events_per_user: StrictInt = Field(default=16, ge=3, le=10_000)
    search_share: float = Field(default=0.4, ge=0, le=1, strict=True)
    strength: float = Field(default=0.8, ge=0, le=1, strict=True)
    """The probability that an event follows its rule instead of chance."""

    short_users: StrictInt = Field(default=0, ge=0, le=100_000)
    """Further users, who have one and two events in turn."""


class WorldSource(_Source):
    """A synthetic world of any size: see :mod:`benchmark.data.sources.world`."""

    kind: Literal["world"]
    users: StrictInt = Field(default=2_000, ge=1, le=10_000_000)
    items: StrictInt = Field(default=2_000, ge=16, le=10_000_000)
    topics: StrictInt = Field(default=40, ge=2, le=100_000)
    seed: StrictInt = Field(default=2024, ge=0)
    events_per_user: StrictInt = Field(default=20, ge=3, le=10_000)
    """The mean; users have between half and one and a half times as many."""

    search_share: float = Field(default=0.4, ge=0, le=1, strict=True)
    taste: float = Field(default=0.6, ge=0, le=1, strict=True)
    """The probability that an event is in one of the user's two topics."""

    season: float = Field(default=0.3, ge=0, le=1, strict=True)
    """The probability that another event is in the topic of its week."""

    query_noise: float = Field(default=0.1, ge=0, le=1, strict=True)
    """The probability that a word of a query is any word of its kind."""

    @model_validator(mode="after")
    def _each_topic_has_items(self) -> WorldSource:
        if self.topics > self.items:
            raise ValueError("topics must not be more than items")
        return self


class NoSearch(_Part):
    """Recommendation events only."""

    kind: Literal["none"] = "none"


class OwnSearch(_Part):
    """The searches that the source itself holds."""

    kind: Literal["own"]


class ChannelSearch(_Part):
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


class TwinSearch(_Part):
    """Purchases get, each with probability ``share``, a search session at the same time."""

    kind: Literal["twins"]
    share: float = Field(default=0.7, ge=0, le=1, strict=True)


SOURCES: dict[str, type[_Source]] = {
    "ml-100k": Ml100kSource,
    "folder": FolderSource,
    "amazon": AmazonSource,
    "kuaisar": KuaisarSource,
    "qilin": QilinSource,
    "company": CompanySource,
    "generated": GeneratedSource,
    "world": WorldSource,
}
SEARCHES: dict[str, type[_Part]] = {
    "none": NoSearch,
    "own": OwnSearch,
    "channels": ChannelSearch,
    "twins": TwinSearch,
}

Source = Annotated[
    Ml100kSource
    | FolderSource
    | AmazonSource
    | KuaisarSource
    | QilinSource
    | CompanySource
    | GeneratedSource
    | WorldSource,
    Field(discriminator="kind"),
]
Search = Annotated[
    NoSearch | OwnSearch | ChannelSearch | TwinSearch,
    Field(discriminator="kind"),
]


class Recipe(_Part):
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
