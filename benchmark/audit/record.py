"""What an audit found, and its file ``<dataset>-<protocol>.json``.

Apart from the audit itself, so that who only shows audits (the report) loads no data and no ranker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files import finished_in, read_json, write_json

SCHEMA_VERSION = 1
AUDIT_FOLDER = Path("results/audit")

TITLES: dict[str, str] = {
    "D1": "Search targets visible among the purchases",
    "D2": "Recommendation targets visible among the purchases",
    "D3": "Recommendation targets visible among the searches",
    "D4": "Purchases with a wrong prefix",
    "D5": "Held-out events with a twin in the other task",
    "D6": "The search target in BM25's list",
    "D7": "Relevant negatives and relevant items of a query",
    "D8": "Popularity under each sampling law (recommendation)",
    "D9": "Items of the history first",
    "D10": "Identifier collisions",
    "D11": "Negatives that are no BM25 hits",
    "D12": "What training has seen",
    "D13": "Agreement of the lists with the whole catalogue",
    "D14": "Targets that a beam pruned",
    "D15": "Searches with several clicks",
    "D16": "Items of the search lists that the user had touched",
    "D17": "BM25 and pairs of training against chance (search)",
    "D18": "Test events in the histories of validation",
    "D19": "Test events of users that training never saw",
    "D20": "Popularity and age against chance (search)",
}
"""What each diagnostic is about, in order."""

CLEAN = ("D1", "D2", "D3", "D4")
"""The diagnostics that are 0 where no event sees its target or the wrong history."""


class RankerResult(BaseModel):
    """What one ranker reached in a task; ``catalogue`` is of the sample of events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    display_name: str
    learns: bool
    lists: dict[str, float]
    catalogue: dict[str, float]


class Verdict(BaseModel):
    """What one diagnostic says: something is given away, or nothing was found.

    ``what`` says how much, against what, or how it was looked for; ``advice`` what to do. ``value``
    is the share or the ratio to chance with its one-sided 95 % bounds, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: str
    is_finding: bool
    what: str
    advice: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        text = self.what if self.is_finding else f"nothing found: {self.what}"
        return f"{self.number}: {text} {self.advice}".rstrip()


class Audit(BaseModel):
    """Everything that the audit of one data set under one protocol found.

    ``intervals`` holds, as ``diagnostics`` does by number and name, the one-sided 95 % bounds of
    those figures that are shares or means of test events. Older audits have none, and no verdicts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    dataset: str
    fingerprint: str
    protocol: str
    settings: dict[str, Any]
    test_events: dict[str, int]
    catalogue_events: dict[str, int]
    diagnostics: dict[str, dict[str, float]]
    rankers: dict[str, list[RankerResult]]
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    verdicts: tuple[Verdict, ...] = ()

    @property
    def findings(self) -> tuple[Verdict, ...]:
        """The verdicts that something is given away."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_finding)

    @property
    def leaks(self) -> dict[str, float]:
        """The largest share of each of D1 to D4."""
        return {name: max(self.diagnostics.get(name, {"": 0.0}).values()) for name in CLEAN}

    def best_for_nothing(self, task: str, metric: str = "HR@1") -> float:
        """The best figure of a ranker that learns nothing, on the lists."""
        return max((r.lists[metric] for r in self.rankers[task] if not r.learns), default=0.0)


def audit_file(folder: Path, dataset: str, protocol: str) -> Path:
    """Where an audit is saved."""
    return folder / f"{dataset}-{protocol.replace(':', '-')}.json"


def save_audit(folder: Path, found: Audit) -> Path:
    """Write an audit; returns its file."""
    path = audit_file(folder, found.dataset, found.protocol)
    write_json(path, found.model_dump(mode="json"))
    return path


def read_audits(folder: Path) -> tuple[list[Audit], list[str]]:
    """The audits below ``folder``, and a sentence for each file that is none."""
    audits, sentences = [], []
    for path in finished_in(folder, "*.json"):
        try:
            audits.append(Audit.model_validate(read_json(path)))
        except (BenchmarkError, ValidationError):
            sentences.append(f"{path}: is not an audit of this version and is left out.")
    return audits, sentences
