"""Rows of a suite with settings of their own, and systems that build on others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmark.files import read_json

SUITE = """
datasets: [tiny]
preset: smoke
systems:
  - popularity
  - {system: bm25, name: low-b, label: "BM25, b = 0.1", settings: {b: 0.1}}
"""

READER = '''
"""Reads what the system before it learned."""

from benchmark.systems.contract import System, SystemConfig
from benchmark.systems.upstream import upstream


class Added(System):
    def fit(self, view):
        self.counts = upstream(self.context, view, "popularity").counts

    def score(self, requests):
        return self.counts[0][requests.candidates].astype("float32")

    def save(self, folder):
        import numpy as np

        np.save(folder / "counts.npy", self.counts)

    def load(self, folder, corpus):
        import numpy as np

        self.counts = np.load(folder / "counts.npy")
'''


def records(root: Path) -> dict[str, dict]:
    found = [read_json(path) for path in (root / "results" / "runs").rglob("run.json")]
    return {record["system"]["name"]: record for record in found}


def test_a_row_has_its_own_settings_name_and_table(project) -> None:
    (project.root / "rows.yaml").write_text(SUITE, encoding="utf-8")
    done = project.run("--suite", "rows.yaml", "--set", "bm25.k1=1.2")
    assert done.returncode == 0, done.stderr
    row = records(project.root)["bm25@low-b"]["system"]
    assert (row["display_name"], row["configuration"]["b"]) == ("BM25, b = 0.1", 0.1)
    assert row["configuration"]["k1"] == 1.2
    assert "Ablations of BM25" in done.stdout
    tables = {path.name for path in (project.root / "results" / "tables").glob("*.md")}
    assert "tiny-paper-smoke-search-ablations-bm25.md" in tables


def test_a_run_tells_cold_users_and_where_its_protocol_leaves_the_source(project) -> None:
    common = ("--dataset", "tiny", "--preset", "smoke", "--systems", "popularity")
    done = project.run(*common, "--protocol", "released")
    assert done.returncode == 0, done.stderr
    released = records(project.root)["popularity"]["protocol"]
    assert released["cold_users"] == {"recommendation": 0.0, "search": 0.0}
    selection, collision = released["remarks"]
    assert selection.startswith("Model selection sees no test event")
    assert "equality of the identifier" in collision
    for remark in (selection, collision):
        assert remark in " ".join(done.stdout.split())
    shutil.rmtree(project.root / "results")
    done = project.run(*common, "--set", "protocol.split=global-time")
    assert done.returncode == 0, done.stderr
    by_time = records(project.root)["popularity"]["protocol"]
    assert set(by_time["cold_users"]) == {"recommendation", "search"}
    assert min(by_time["cold_users"].values()) > 0.3
    assert by_time["remarks"] == []


def test_a_row_with_a_bad_setting_is_one_sentence(project) -> None:
    (project.root / "rows.yaml").write_text(SUITE.replace("b: 0.1", "c: 0.1"), encoding="utf-8")
    done = project.run("--suite", "rows.yaml")
    assert done.returncode == 2
    assert "bm25@low-b" in done.stderr and "Traceback" not in done.stderr


def test_a_system_that_builds_on_another_changes_with_it(project) -> None:
    project.add_system("reader", READER)
    catalog = project.root / "baselines" / "catalog.py"
    text = catalog.read_text(encoding="utf-8")
    place = text.rindex('target="baselines.extra_reader:Added"')
    catalog.write_text(text[:place] + 'upstream=("popularity",), ' + text[place:], encoding="utf-8")
    arguments = ("--dataset", "tiny", "--preset", "smoke", "--systems", "popularity,reader")
    done = project.run(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    metrics = [
        json.loads(path.read_text(encoding="utf-8"))["lists"]["recommendation"]
        for path in (project.root / "results" / "runs").rglob("metrics.json")
    ]
    assert metrics[0] == metrics[1]
    artifacts = list((project.root / "results" / "artifacts").glob("fitted-system-*/cost.json"))
    assert len(artifacts) == 1
    module = project.root / "baselines" / "references" / "popularity.py"
    module.write_text(module.read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
    again = project.run(*arguments, "--dry-run")
    assert "reader" in again.stdout
    assert "finished" not in again.stdout.replace("0 finished", ""), again.stdout
