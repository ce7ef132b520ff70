"""The notebook of ``examples/`` runs from its first cell to its last in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "own-system.ipynb"


def test_the_notebook_runs(tmp_path: Path) -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in content["cells"])  # figures would age
    script = tmp_path / "notebook.py"
    script.write_text("\n".join([*cells, "assert len(shown) == 3"]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own-system.png").stat().st_size > 0
    assert (tmp_path / "results" / "runs" / "generated").is_dir()


def test_the_notebooks_system_has_at_most_ten_lines() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    (own,) = [cell for cell in content["cells"] if "class Followers" in cell["source"]]
    lines = [line for line in own["source"].splitlines() if line.strip()]
    assert len(lines) <= 10
