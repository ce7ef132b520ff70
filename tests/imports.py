"""What an import brings along, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def imported_by(code: str, names: set[str], *arguments: str) -> list[str]:
    """Which of the modules ``names`` are there after ``code``, and all else that it printed."""
    printing = f"print(*({names} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{printing}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()
