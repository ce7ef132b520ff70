"""The list of faults to plant fits the code; planting them all takes long (make test-planted)."""

from __future__ import annotations

import ast
import shlex
import shutil
from pathlib import Path

import pytest

from tests.planted.run import ROOT, Fault, faults


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_each_fault_can_be_planted_and_is_python(fault: Fault, tmp_path: Path) -> None:
    (tmp_path / fault.file).parent.mkdir(parents=True)
    shutil.copy(ROOT / fault.file, tmp_path / fault.file)
    fault.plant(tmp_path)
    changed = (tmp_path / fault.file).read_text(encoding="utf-8")
    before = (ROOT / fault.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(before))
    assert all((ROOT / name).exists() for name in shlex.split(fault.tests) if "/" in name)


def test_there_are_forty_over_all_packages() -> None:
    files = [fault.file for fault in faults()]
    assert len(files) >= 40
    packages = {Path(file).parts[:2] for file in files if len(Path(file).parts) > 2}
    assert {name for _, name in packages} >= {
        "audit", "data", "jobs", "kit", "protocol", "report", "retrieval", "run", "systems",
        "references",
    }  # fmt: skip
    assert any(file.startswith("gensar/") for file in files)
    assert len({fault.name for fault in faults()}) == len(files)
