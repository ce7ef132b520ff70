"""The record of a run: ``run.json``, ``metrics.json``, ``ranks.parquet`` and scores in a folder.

``run.json`` says what ran, on what and how long it took; ``metrics.json`` holds nothing but the
metrics, of both views, so that two runs of the same job can be compared byte for byte.
``ranks.parquet`` has one row an event, task and view with the number of items above the target and
tied with it, from which every metric under every tie rule follows; where relevance is graded
``judged.parquet`` has the same for each item with a gain. ``scores.parquet`` and
``best.parquet`` (:mod:`benchmark.jobs.scores`) hold the scores of all candidates and the best of
all items, for outside evaluators. Runs of schema 1 have the view of the lists only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files import check_manifest, files_below, is_complete, read_json
from benchmark.protocol.metrics import VIEWS, View
from benchmark.systems.configuration import Tuning

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, SCHEMA_VERSION)
RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
OUTSIDE_PRESET = "outside"
"""The preset of runs that were handed in, which have none of ours."""
SYSTEM_FOLDER = "system"
"""Of a run, with what the fitted system saved."""
RANKS_FILE = "ranks.parquet"
JUDGED_FILE = "judged.parquet"
"""Of a run with graded relevance: the ranks of all items with a gain."""
SCORES_FILE = "scores.parquet"
BEST_FILE = "best.parquet"

TaskName = Literal["recommendation", "search"]
Metrics = dict[str, dict[str, float]]
"""Task name → metric name ("HR@1" … "NDCG@10") → mean over the test events."""

IdentifierQuality = dict[str, dict[str, float]]
"""Kind of item identifier → figure → value; empty for a system without identifiers."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetPart(_Part):
    """What the run was made on; counts are those of the prepared data set."""

    name: str
    fingerprint: str
    users: int
    items: int
    queries: int
    recommendation_events: int
    search_events: int


class ProtocolPart(_Part):
    """The preset's name, or "custom", and every setting in force."""

    name: str
    settings: dict[str, Any]
    candidates: dict[str, str]  # task → fingerprint of the candidate lists
    test_events: dict[str, int]  # task → number of ranked test events
    list_lengths: dict[str, int] = {}  # task → candidates of the longest; none in older records
    shortest_lists: dict[str, int] = {}  # task → candidates of the shortest, if they differ
    graded: tuple[str, ...] = ()  # tasks of graded relevance
    outside_lists: tuple[str, ...] = ()  # tasks whose lists the protocol did not make
    cold_users: dict[str, float] = {}  # task → share of those whose user has no training event
    all_items: dict[str, float] = {}  # task → mean number of items that a target is ranked among
    notes: dict[str, tuple[str, ...]] = {}  # task → what its lists leave out, in sentences
    remarks: tuple[str, ...] = ()  # sentences that must be shown: where it is not as its source


class SystemPart(_Part):
    """The system and its full configuration. ``stand_ins`` are sentences that must be shown.

    ``ranking_of_all_items`` says how it ranks the whole catalogue if it leaves items out, and
    ``left_out`` the share of each task's targets that it did.
    """

    name: str
    display_name: str
    family: str
    tasks: tuple[TaskName, ...]
    reference: str
    configuration: dict[str, Any]
    stand_ins: tuple[str, ...] = ()
    ranking_of_all_items: str = ""
    left_out: dict[str, float] = {}


class SettingsPart(_Part):
    """How the system's settings were chosen.

    ``published``: they are its defaults; ``preset``: as the preset has them; ``tuned``: by a study,
    of which ``tuning`` tells. ``is_changed`` says that an option or a suite's row changed some.
    """

    chosen: Literal["published", "preset", "tuned"]
    is_changed: bool = False
    tuning: Tuning | None = None


class CostPart(_Part):
    """What the run took. Seconds are wall-clock; memory is the peak of resident memory.

    ``fit_seconds`` counts artifacts that other runs had built as if this run had built them.
    """

    parameters: int = 0
    fit_seconds: float = 0.0
    score_seconds: dict[str, float] = {}  # task → seconds, for the lists
    all_items_seconds: dict[str, float] = {}  # task → seconds, for all items
    events_per_second: dict[str, float] = {}  # task → ranked test events a second
    peak_memory_bytes: int = 0
    resumed: bool = False  # the run was interrupted and went on: fit_seconds is then a part only


class RankChanges(_Part):
    """What the run's precision changed of the ranks in lists, against single precision."""

    events: int  # that were ranked in both
    changed: float  # share of them whose rank is another, those below among them
    one_sided: float = 0.0  # share whose target has a rank in one precision alone
    mean_places: float  # by how many places the others' targets moved in the mean


class OutsidePart(_Part):
    """Where the scores of a system are from that did not run here: files of others.

    ``files`` has the SHA-256 of each, by task and view (``search``, ``search-all-items``).
    ``left_out_of_lists`` is the share of each task's targets that they do not score in lists.
    """

    files: dict[str, str]
    contributor: str = ""
    url: str = ""
    hardware: str = ""
    left_out_of_lists: dict[str, float] = {}


class RunRecord(_Part):
    """Everything of ``run.json``."""

    schema_version: int = SCHEMA_VERSION
    identity: str
    code: str = ""  # hash of the sources that the identity holds; older records have none
    identity_but_code: str = ""  # the identity if there were no code; older records have none
    status: Literal["finished", "failed"]
    error: str | None = None
    retryable: bool = False  # the machine failed, not the system: the next command tries again
    dataset: DatasetPart
    protocol: ProtocolPart
    system: SystemPart
    preset: str
    settings: SettingsPart | None = None  # none in older records
    seed: int
    cost: CostPart
    identifiers: IdentifierQuality = {}
    rank_changes: dict[str, RankChanges] = {}  # task → changes; none in single precision
    outside: OutsidePart | None = None  # none where the system ran here, and in older records
    environment: dict[str, str]
    finished_at: str  # ISO 8601, UTC


class Run(_Part):
    """A record with its metrics (empty for a failed run) and the folder they came from.

    ``metrics`` are those of the candidate lists, ``all_items`` those among all items.
    """

    record: RunRecord
    metrics: Metrics
    folder: Path
    all_items: Metrics = {}

    def metrics_of(self, view: View) -> Metrics:
        """The metrics of a view."""
        return self.metrics if view == "lists" else self.all_items

    def metrics_of_views(self) -> dict[View, Metrics]:
        """What ``metrics.json`` holds."""
        return {view: self.metrics_of(view) for view in VIEWS}


class _Views(BaseModel):
    """``metrics.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lists: Metrics
    all_items: Metrics = Field(alias="all-items")


def read_run(folder: Path) -> Run:
    """Read and verify one run folder.

    Raises:
        BenchmarkError: the folder is incomplete, changed, or of another schema version.
    """
    if not is_complete(folder):
        raise BenchmarkError(f"{folder}: is not a finished run (it has no manifest).")
    check_manifest(folder)
    content = read_json(folder / RUN_FILE)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise BenchmarkError(
            f"{folder / RUN_FILE}: has schema version {version}; this suite reads {known}."
        )
    try:
        record = RunRecord.model_validate(content)
        if record.status != "finished":
            return Run(record=record, metrics={}, folder=folder)
        stored = read_json(folder / METRICS_FILE)
        if version == 1:
            return Run(record=record, metrics=stored, folder=folder)
        views = _Views.model_validate(stored)
        return Run(record=record, metrics=views.lists, all_items=views.all_items, folder=folder)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(f"{folder / RUN_FILE}: {key}: {first['msg']}.") from None


def finished_at(run: Run) -> datetime:
    """When ``run`` ended.

    Raises:
        BenchmarkError: the record holds no time.
    """
    text = run.record.finished_at
    try:
        finished = datetime.fromisoformat(text)
    except ValueError:
        raise BenchmarkError(
            f"{run.folder / RUN_FILE}: finished_at: {text!r} is not a time in ISO 8601."
        ) from None
    return finished if finished.tzinfo else finished.replace(tzinfo=UTC)


def find_run_folders(root: Path) -> list[Path]:
    """Every folder below ``root`` that holds a finished or failed run, in a stable order.

    Folders that other processes remove meanwhile are passed over.
    """
    return [path.parent for path in files_below(root, [RUN_FILE]) if is_complete(path.parent)]
