"""What CONTRIBUTING.md says of adding a baseline, done to the letter."""

from __future__ import annotations

import re

from tests.run.conftest import PROJECT, ProjectCopy


def test_the_documented_baseline_runs_is_checked_and_has_a_row(project: ProjectCopy) -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    file, row = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[:2]
    code = [line for line in file.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(code) <= 30
    (project.root / "baselines/sequential/transitions.py").write_text(file, encoding="utf-8")
    project.add_row(row)

    checked = project.run("transitions", module="benchmark.check")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    ran = project.run(
        *("--dataset", "tiny", "--preset", "smoke", "--systems", "random,popularity,transitions")
    )
    assert ran.returncode == 0, ran.stderr
    assert "Transitions" in ran.stdout
    tables = "".join(
        p.read_text(encoding="utf-8") for p in (project.root / "results/tables").glob("*")
    )
    assert "Transitions" in tables
