"""What a system says of its identifiers is in its record and in a table of the report."""

from __future__ import annotations

from benchmark.files import read_json
from tests.run.conftest import ProjectCopy

SYSTEM = '''
"""A system with identifiers."""

from baselines.references.popularity import Popularity


class Added(Popularity):
    def identifier_quality(self):
        return {"titles": {"items": 150, "sharing": float("SHARING")}}
'''


def test_figures_are_recorded_and_shown(project: ProjectCopy) -> None:
    project.add_system("titled", SYSTEM.replace("SHARING", "0.25"))
    project.add_system("broken", SYSTEM.replace("SHARING", "nan"))
    done = project.run(
        *("--dataset", "tiny", "--preset", "smoke", "--systems", "random,titled,broken")
    )
    assert done.returncode == 1
    records = {
        record["system"]["name"]: record
        for record in map(read_json, (project.root / "results/runs").rglob("run.json"))
    }
    assert records["random"]["identifiers"] == {}
    assert records["titled"]["identifiers"] == {"titles": {"items": 150.0, "sharing": 0.25}}
    assert records["broken"]["error"] == "sharing of its titles identifiers is nan."
    table = (project.root / "results/tables/tiny-paper-smoke-identifiers.md").read_text(
        encoding="utf-8"
    )
    assert "| Titled | titles | 150 | – | 25.0 |" in table
    shown = project.run(module="benchmark.report")
    assert shown.returncode == 0, shown.stderr
    assert "Item identifiers on tiny" in shown.stdout
