"""The leaderboard: systems that others ran, handed in by pull request with the ranks they are from.

Each stands in a folder of its own below ``results/submissions``: ``submission.yaml`` says what it
is and claims its figures, ``ranks.parquet`` (as a run folder has it) or TREC files are what these
follow from. The tables show them apart from runs that were made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmark.errors import BenchmarkError, sentence_of_validation
from benchmark.files import is_partial
from benchmark.jobs.outside import files_in
from benchmark.jobs.record import RANKS_FILE, Metrics, TaskName
from benchmark.overrides import as_given
from benchmark.protocol.metrics import View, every_metric, mean_metrics
from benchmark.protocol.settings import ProtocolSettings, configure_protocol
from benchmark.report.reading.ranks import read_ranks
from benchmark.systems.catalogue import OUTSIDE_FAMILY, family_order
from benchmark.yaml_files import read_yaml

SUBMISSIONS_FOLDER = Path("results/submissions")
MANIFEST_FILE = "submission.yaml"
FORMAT_VERSION = 1
TOLERANCE = 1e-6
"""Between a claimed figure and the one that the ranks give."""
_LONGEST = 300
_DIGEST = r"^[0-9a-f]{64}$"
_Text = Field(min_length=1, max_length=_LONGEST)


class Manifest(BaseModel):
    """``submission.yaml``; every key is required but those with a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    """The version of this form: 1."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$")
    """That of the folder."""

    system: str = _Text
    """How tables call the system."""

    family: str = OUTSIDE_FAMILY
    """A family of the catalogue, or ``outside``."""

    date: date
    """Of the run, as 2026-11-30."""

    contributor: str = _Text
    """Who answers for it."""

    code: str = Field(default="", max_length=_LONGEST, pattern=r"^(https?://\S+)?$")
    """Where the code is; this or ``commit`` is needed."""

    commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    """The state of the code that ran."""

    hardware: str = _Text
    """What it ran on, in a few words."""

    licence: str = Field(min_length=1, max_length=60)
    """Of the ranks, as SPDX names it: they are published with this repository."""

    dataset: str = _Text
    """The name of the recipe."""

    dataset_fingerprint: str = Field(pattern=_DIGEST)
    """Of the prepared data."""

    protocol: str
    """The preset: paper, released or clean."""

    settings: dict[str, Any] = {}
    """What was changed of it, as ``negatives: 50``."""

    settings_fingerprint: str = Field(pattern=_DIGEST)
    """Of every setting in force."""

    lists: dict[TaskName, str]
    """Task → fingerprint of the candidate lists."""

    seed: int = 0
    """Of the run."""

    figures: dict[View, dict[TaskName, dict[str, float]]]
    """View → task → every metric at the protocol's cut-offs → mean over the test events."""

    @field_validator("date", mode="before")
    @classmethod
    def _a_day(cls, given: Any) -> Any:
        is_day = type(given) is date
        if not is_day and not (isinstance(given, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", given)):
            raise ValueError("must be a day such as 2026-11-30")
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Manifest:
        if self.format != FORMAT_VERSION:
            raise ValueError(f"format must be {FORMAT_VERSION}, the only one there is")
        if not self.code and not self.commit:
            raise ValueError("code or commit: one of the two is needed")
        families = (*family_order(), OUTSIDE_FAMILY)
        if self.family not in families:
            raise ValueError(f"family must be one of {', '.join(dict.fromkeys(families))}")
        tasks = {task for of_view in self.figures.values() for task in of_view}
        if not tasks:
            raise ValueError("figures must have some")
        if set(self.lists) != tasks:
            raise ValueError(f"lists must have the tasks of figures, {' and '.join(sorted(tasks))}")
        return self

    def protocol_in_force(self) -> tuple[str, ProtocolSettings]:
        """The protocol's name and settings.

        Raises:
            BenchmarkError: the preset or a setting is unknown, or the fingerprint is another's.
        """
        name, settings = configure_protocol(self.protocol, self.settings)
        if settings.fingerprint != self.settings_fingerprint:
            raise BenchmarkError(
                f"settings_fingerprint: is not that of protocol {name} with these settings, which "
                f"is {settings.fingerprint}; this suite may know other settings than the one that "
                "made the run."
            )
        return name, settings


@dataclass(frozen=True)
class Submission:
    """A folder whose manifest is sound. ``protocol`` is the protocol's name, changes told."""

    folder: Path
    manifest: Manifest
    protocol: str
    settings: ProtocolSettings

    @property
    def ranks_file(self) -> Path | None:
        """The ranks, if they are there."""
        path = self.folder / RANKS_FILE
        return path if path.is_file() else None

    @property
    def trec_files(self) -> dict[tuple[str, View], Path]:
        """The TREC files by task and view.

        Raises:
            BenchmarkError: one is called otherwise.
        """
        names = [path.name for path in self.folder.iterdir()]
        return files_in(self.folder) if any(".trec" in name for name in names) else {}


def find_submissions(root: Path) -> list[Path]:
    """The folders of all submissions, in a stable order."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_partial(path))


def read_submission(folder: Path) -> Submission:
    """A submission whose manifest is sound; its figures are not looked at.

    Raises:
        BenchmarkError: the manifest is missing or wrong, or there is nothing beside it that figures
            could follow from.
    """
    path = folder / MANIFEST_FILE
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: must be a mapping of keys to values.")
    try:
        manifest = as_given(Manifest, content)
        name, settings = manifest.protocol_in_force()
    except ValidationError as error:
        raise sentence_of_validation(error, str(path)) from None
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from None
    if manifest.name != folder.resolve().name:
        raise BenchmarkError(
            f"{path}: name: must be the folder's own name {folder.resolve().name!r}, not "
            f"{manifest.name!r}."
        )
    submission = Submission(folder, manifest, name, settings)
    if submission.ranks_file is None and not submission.trec_files:
        raise BenchmarkError(f"{folder}: holds neither {RANKS_FILE} nor TREC files.")
    return submission


def figures_of_ranks(submission: Submission) -> dict[View, Metrics]:
    """Every metric that the ranks give, view → task → metric → mean.

    Raises:
        BenchmarkError: they are no ranks, or a target stands below more items than there are.
    """
    path = submission.folder / RANKS_FILE
    found: dict[View, Metrics] = {}
    for view, tasks in read_ranks(path).items():
        names = every_metric(submission.settings.cutoffs_of(view))
        for task, of_task in tasks.items():
            ranks, others = of_task.ranks, of_task.others
            if others is None or of_task.users is None:
                raise BenchmarkError(f"{path}: has no column others or user.")
            if (ranks.above + ranks.tied > others).any():
                raise BenchmarkError(
                    f"{path}: a rank of {task} ({view}) is below more items than there are."
                )
            means = mean_metrics(ranks.placed(view), submission.settings.ties, names)
            found.setdefault(view, {})[task] = means
    return found


def refuse_other_figures(submission: Submission, found: Mapping[View, Metrics], by: str) -> None:
    """Compare what a submission claims with what was computed anew.

    Args:
        submission: whose figures are compared.
        found: view → task → metric → mean.
        by: what they were computed from, for a complaint.

    Raises:
        BenchmarkError: a figure deviates by more than :data:`TOLERANCE`, lacks, or is one too many.
    """
    path = submission.folder / MANIFEST_FILE
    claimed = _flat(submission.manifest.figures)
    computed = _flat(found)
    for key in [*computed, *claimed]:
        where = f"{path}: figures.{'.'.join(key)}"
        if key not in claimed:
            raise BenchmarkError(f"{where}: is missing; {by} gives {computed[key]:.6f}.")
        if key not in computed:
            raise BenchmarkError(f"{where}: does not follow from {by}.")
        deviation = abs(claimed[key] - computed[key])
        if not deviation <= TOLERANCE:
            raise BenchmarkError(
                f"{where}: claims {claimed[key]!r}, but {by} gives {computed[key]!r}; at most "
                f"{TOLERANCE:g} of deviation is allowed."
            )


def _flat(figures: Mapping[Any, Mapping[Any, Mapping[str, float]]]) -> dict[tuple[str, ...], float]:
    return {
        (view, task, metric): value
        for view, tasks in figures.items()
        for task, metrics in tasks.items()
        for metric, value in metrics.items()
    }


def read_submissions(root: Path) -> tuple[tuple[Submission, ...], tuple[str, ...]]:
    """Every submission whose figures its ranks give, and a sentence for each other folder.

    Those with TREC files alone need the data to be looked at: ``benchmark.submissions check`` does.
    """
    found, sentences = [], []
    for folder in find_submissions(root):
        try:
            submission = read_submission(folder)
            if submission.ranks_file is not None:
                refuse_other_figures(submission, figures_of_ranks(submission), RANKS_FILE)
        except BenchmarkError as error:
            sentences.append(f"{error} It is not shown.")
        else:
            found.append(submission)
    return tuple(found), tuple(sentences)
