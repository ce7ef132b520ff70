"""The record of a run: ``run.json``, ``metrics.json``, ``ranks.parquet`` and scores in a folder.

``run.json`` says what ran, on what and how long it took; ``metrics.json`` holds nothing but the
metrics, so that two runs of the same job can be compared byte for byte. ``ranks.parquet`` has one
row an event and task with the number of candidates above the target and tied with it, from which
every metric under every tie rule follows. ``scores.parquet`` (:mod:`benchmark.runs.scores`)
holds the scores of all candidates, for outside evaluators.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files import check_manifest, files_below, is_complete, read_json

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
RANKS_FILE = "ranks.parquet"
SCORES_FILE = "scores.parquet"

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
    list_lengths: dict[str, int] = {}  # task → candidates of each; none in older records
    cold_users: dict[str, float] = {}  # task → share of those whose user has no training event
    notes: dict[str, tuple[str, ...]] = {}  # task → what its lists leave out, in sentences
    remarks: tuple[str, ...] = ()  # sentences that must be shown: where it is not as its source


class SystemPart(_Part):
    """The system and its full configuration. ``stand_ins`` are sentences that must be shown."""

    name: str
    display_name: str
    family: str
    tasks: tuple[TaskName, ...]
    reference: str
    configuration: dict[str, Any]
    stand_ins: tuple[str, ...] = ()


class CostPart(_Part):
    """What the run took. Seconds are wall-clock; memory is the peak of resident memory.

    ``fit_seconds`` counts artifacts that other runs had built as if this run had built them.
    """

    parameters: int = 0
    fit_seconds: float = 0.0
    score_seconds: dict[str, float] = {}  # task → seconds
    events_per_second: dict[str, float] = {}  # task → ranked test events a second
    peak_memory_bytes: int = 0
    resumed: bool = False  # the run was interrupted and went on: fit_seconds is then a part only


class RunRecord(_Part):
    """Everything of ``run.json``."""

    schema_version: int = SCHEMA_VERSION
    identity: str
    code: str = ""  # hash of the sources that the identity holds; older records have none
    status: Literal["finished", "failed"]
    error: str | None = None
    retryable: bool = False  # the machine failed, not the system: the next command tries again
    dataset: DatasetPart
    protocol: ProtocolPart
    system: SystemPart
    preset: str
    seed: int
    cost: CostPart
    identifiers: IdentifierQuality = {}
    environment: dict[str, str]
    finished_at: str  # ISO 8601, UTC


class Run(_Part):
    """A record with its metrics (empty for a failed run) and the folder they came from."""

    record: RunRecord
    metrics: Metrics
    folder: Path


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
    if version != SCHEMA_VERSION:
        raise BenchmarkError(
            f"{folder / RUN_FILE}: has schema version {version}; this suite reads {SCHEMA_VERSION}."
        )
    try:
        record = RunRecord.model_validate(content)
        metrics: Metrics = read_json(folder / METRICS_FILE) if record.status == "finished" else {}
        return Run(record=record, metrics=metrics, folder=folder)
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
        # Python 3.10 does not read the "Z" for UTC.
        finished = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise BenchmarkError(
            f"{run.folder / RUN_FILE}: finished_at: {text!r} is not a time in ISO 8601."
        ) from None
    return finished if finished.tzinfo else finished.replace(tzinfo=timezone.utc)


def find_run_folders(root: Path) -> list[Path]:
    """Every folder below ``root`` that holds a finished or failed run, in a stable order.

    Folders that other processes remove meanwhile are passed over.
    """
    return [path.parent for path in files_below(root, [RUN_FILE]) if is_complete(path.parent)]
