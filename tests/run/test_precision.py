"""A precision below single: what it changes of the ranks is measured, recorded and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.files import read_json
from benchmark.jobs.precision import _changes
from benchmark.jobs.record import RankChanges
from benchmark.protocol.metrics import Ranks
from benchmark.report.tables.remarks import precision_sentences
from tests.report.conftest import write_run
from tests.run.conftest import ProjectCopy

SYSTEM = '''
"""A system that ranks a fifth of the requests the other way round unless precision is single."""

import numpy as np

from baselines.references.popularity import Popularity


class Added(Popularity):
    def score(self, requests):
        scores = super().score(requests) + np.arange(requests.candidates.shape[1]) * 1e-6
        if self.context.precision != "fp32":
            scores[requests.user % 5 == 0] *= -1
        return scores
'''


def test_changed_ranks_are_recorded_and_told(project: ProjectCopy) -> None:
    project.add_system("rounded", SYSTEM)
    tiny = ("--dataset", "tiny", "--preset", "smoke", "--device", "cpu")
    done = project.run(*tiny, "--systems", "popularity,rounded", "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    records = {
        record["system"]["name"]: record
        for record in map(read_json, (project.root / "results/runs").rglob("run.json"))
    }
    events = records["rounded"]["protocol"]["test_events"]["recommendation"]
    same = records["popularity"]["rank_changes"]["recommendation"]
    assert same == {"events": events, "changed": 0.0, "one_sided": 0.0, "mean_places": 0.0}
    found = records["rounded"]["rank_changes"]["recommendation"]
    assert found["events"] == events and 0.1 < found["changed"] < 0.3
    assert found["mean_places"] > 1
    assert records["rounded"]["environment"]["precision"] == "bf16"
    table = (project.root / "results/tables/tiny-paper-smoke-recommendation.md").read_text(
        encoding="utf-8"
    )
    told = f"Computed in bf16: of {events} ranks in lists, {found['changed']:.1%} differ"
    assert told in table and "0.0% differ" in table


def test_targets_that_one_precision_drops_are_counted_apart(tmp_path: Path) -> None:
    """Of ten targets two fall out of the beam, and of the others two move by four places."""
    above = np.zeros(10, dtype=np.int32)
    moved = np.array([4, 4, 0, 0, 0, 0, 0, 0, 99, 99], dtype=np.int32)
    all_there, alone = np.ones(10, dtype=bool), np.arange(10) < 8
    found = _changes(Ranks(moved, above, alone), np.arange(10), Ranks(above, above, all_there))
    assert found == RankChanges(events=10, changed=0.4, one_sided=0.2, mean_places=1.0)
    run = write_run(tmp_path, recommendation=0.4)
    record = run.record.model_copy(
        update={"rank_changes": {"recommendation": found}, "environment": {"precision": "bf16"}}
    )
    (told,) = precision_sentences("recommendation", [run.model_copy(update={"record": record})])
    assert told == (
        "Computed in bf16: of 10 ranks in lists, 40.0% differ from those in single precision; "
        "20.0% have one in one of both alone, and the others by 1.00 places in the mean."
    )


def test_single_precision_has_nothing_to_compare(project: ProjectCopy) -> None:
    done = project.run("--dataset", "tiny", "--preset", "smoke", "--systems", "popularity")
    assert done.returncode == 0, done.stderr
    (record,) = map(read_json, (project.root / "results/runs").rglob("run.json"))
    assert record["rank_changes"] == {} and record["environment"]["precision"] == "fp32"


def test_a_cpu_has_no_tf32_and_other_precisions_are_unknown(project: ProjectCopy) -> None:
    refused = project.run("--dataset", "tiny", "--device", "cpu", "--precision", "tf32")
    assert refused.returncode == 2
    assert "--precision tf32: is for CUDA devices; on a CPU it must be fp32 or bf16." in (
        refused.stderr
    )
    unknown = project.run("--dataset", "tiny", "--precision", "fp8")
    assert unknown.returncode == 2 and "fp32, tf32, bf16" in unknown.stderr.replace("'", "")
