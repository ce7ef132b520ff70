"""Tests that train: their seed, and figures that are noted before they are judged.

A figure of one seed on one processor says little: another instruction set rounds otherwise, and by
the last epoch that is as good as another seed. ``tests/test_margins.py`` therefore runs all tests
marked ``training`` with ten seeds on several instruction sets, and prints what it finds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

SEED = int(os.environ.get("TRAINING_SEED", "0"))
"""The seed of the systems that training tests make."""


def expect(figure: float, *, above: float | None = None, below: float | None = None) -> None:
    """Assert that ``figure`` lies strictly between the bounds that are given.

    Where the environment's TRAINING_FIGURES names a file, a line with figure and bounds is appended
    first.
    """
    assert above is not None or below is not None, "an expectation needs a bound"
    if place := os.environ.get("TRAINING_FIGURES"):
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        line = {"test": test, "figure": float(figure), "above": above, "below": below}
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    assert above is None or figure > above
    assert below is None or figure < below
