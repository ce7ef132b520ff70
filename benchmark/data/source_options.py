"""The options of each source of a data set: what a recipe may say under ``source``.

A new source is one class here and one module in :mod:`benchmark.data.sources`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from benchmark.data.zones import zone_of
from benchmark.errors import quoted


class RecipePart(BaseModel):
    """A mapping of a recipe: other keys than its own are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceOptions(RecipePart):
    """What all sources share."""

    core: StrictInt = Field(default=1, ge=1, le=1000)
    """Users and items with fewer events are dropped, again and again until none is left to drop."""

    readable_text: ClassVar[bool] = True
    """Whether people and language models can read the item texts."""


class _TablesSource(SourceOptions):
    """What the sources with files of tables share."""

    maximum_rows: StrictInt = Field(default=50_000_000, ge=1)
    """A table with more rows is refused: Parquet before it is read, text where the row stands."""


class Ml100kSource(SourceOptions):
    """MovieLens 100k as it lies in the installed recbole package."""

    kind: Literal["ml-100k"]
    minimum_rating: StrictInt = Field(default=4, ge=1, le=5)
    core: StrictInt = Field(default=5, ge=1, le=1000)


class MovielensSource(_TablesSource):
    """Another MovieLens, from its files: see :mod:`benchmark.data.sources.movielens`."""

    kind: Literal["movielens"]
    path: StrictStr = ""
    """The unpacked folder, relative to the recipe's file; or it is given with --source."""

    minimum_rating: float = Field(default=4, ge=0.5, le=5, strict=True)
    core: StrictInt = Field(default=5, ge=1, le=1000)


class FolderSource(_TablesSource):
    """A folder with ``interactions.parquet``, ``items.parquet`` and maybe ``searches.parquet``."""

    kind: Literal["folder"]
    path: StrictStr = Field(min_length=1)
    """Relative to the recipe's file."""

    allow_items_without_text: StrictBool = False


class FileFacts(RecipePart):
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


class Amazon2023Source(_TablesSource):
    """A category of the Amazon reviews of 2023: see :mod:`benchmark.data.sources.amazon2023`."""

    kind: Literal["amazon-2023"]
    category: StrictStr = Field(pattern=r"^[A-Za-z0-9_]+$")
    """As in the names of the published files, such as Video_Games or All_Beauty."""

    path: StrictStr = ""
    """The folder of the files, relative to the recipe's file; or it is given with --source."""


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


class JdsearchSource(_TablesSource):
    """JDsearch's published files: see :mod:`benchmark.data.sources.jdsearch`."""

    kind: Literal["jdsearch"]
    core: StrictInt = Field(default=5, ge=1, le=1000)
    path: StrictStr = ""
    """The unpacked folder, relative to the recipe's file; or it is given with --source."""

    interactions: tuple[Literal["CLICK", "CART", "FLW", "ORD"], ...] = Field(
        default=("CLICK", "CART", "FLW", "ORD"), min_length=1
    )
    """Which of clicks, products put in the cart, followed and ordered are events."""

    readable_text: ClassVar[bool] = False


class YambdaSource(_TablesSource):
    """Yambda's flat tables: see :mod:`benchmark.data.sources.yambda`."""

    kind: Literal["yambda"]
    core: StrictInt = Field(default=5, ge=1, le=1000)
    path: StrictStr = ""
    """The folder of one size, such as flat/50m; or it is given with --source."""

    events: Literal["likes", "listens"] = "likes"
    minimum_played: StrictInt = Field(default=50, ge=0, le=100)
    """Of listens: the share of the track in percent that counts as heard."""

    organic_only: StrictBool = False
    """Leave out the events that the service's own recommender brought about."""

    readable_text: ClassVar[bool] = False


class RecifSource(_TablesSource):
    """RecIF-Bench's published tables: see :mod:`benchmark.data.sources.recif`."""

    kind: Literal["recif"]
    core: StrictInt = Field(default=5, ge=1, le=1000)
    path: StrictStr = ""
    """The folder of the tables, relative to the recipe's file; or it is given with --source."""

    domain: Literal["video", "ad", "goods"] = "video"
    action: Literal["longview", "like", "follow", "forward", "shown"] = "longview"
    """Of videos: what makes an event of one that was shown; ads and goods were clicked anyway."""


class EsciSource(_TablesSource):
    """The Shopping Queries Data Set (ESCI): see :mod:`benchmark.data.sources.esci`."""

    kind: Literal["esci"]
    path: StrictStr = ""
    """The folder of the tables, relative to the recipe's file; or it is given with --source."""

    locale: Literal["us", "es", "jp"] = "us"
    version: Literal["small", "large"] = "small"
    """The smaller version has the queries that are hard to rank: that of the ranking task."""

    validation_share: float = Field(default=0.1, gt=0, lt=1, strict=True)
    """Of the published training queries, chosen by a hash."""


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


class GeneratedSource(SourceOptions):
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


class WorldSource(SourceOptions):
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


SOURCES: dict[str, type[SourceOptions]] = {
    "ml-100k": Ml100kSource,
    "movielens": MovielensSource,
    "folder": FolderSource,
    "amazon": AmazonSource,
    "amazon-2023": Amazon2023Source,
    "kuaisar": KuaisarSource,
    "qilin": QilinSource,
    "jdsearch": JdsearchSource,
    "yambda": YambdaSource,
    "recif": RecifSource,
    "esci": EsciSource,
    "company": CompanySource,
    "generated": GeneratedSource,
    "world": WorldSource,
}

Source = Annotated[
    Ml100kSource
    | MovielensSource
    | FolderSource
    | AmazonSource
    | Amazon2023Source
    | KuaisarSource
    | QilinSource
    | JdsearchSource
    | YambdaSource
    | RecifSource
    | EsciSource
    | CompanySource
    | GeneratedSource
    | WorldSource,
    Field(discriminator="kind"),
]
