"""Verdicts: what is reproduced, above or below, and by how much."""

from __future__ import annotations

import pytest

from benchmark.reproduce.verdicts import Measured, verdict


@pytest.mark.parametrize(
    ("printed", "ours", "kind"),
    [
        ("0.4651", Measured(0.4700, 0.4634, 0.4766), "reproduced"),
        ("0.4651", Measured(0.4600, 0.4534, 0.4666), "reproduced"),
        ("0.4651", Measured(0.4788, 0.4722, 0.4853), "above"),
        ("0.4651", Measured(0.4500, 0.4434, 0.4566), "below"),
        # A printed figure stands for all that is rounded to it: .46505 to .46515 here.
        ("0.4651", Measured(0.4670, 0.46514, 0.4690), "reproduced"),
        ("0.4651", Measured(0.4670, 0.46516, 0.4690), "above"),
        ("0.4651", Measured(0.4630, 0.4610, 0.46506), "reproduced"),
        ("0.4651", Measured(0.4630, 0.4610, 0.46504), "below"),
        # Fewer digits say less: .465 to .475, and .4695 to .4705.
        ("0.47", Measured(0.4720, 0.4710, 0.4730), "reproduced"),
        ("0.470", Measured(0.4720, 0.4710, 0.4730), "above"),
        # Without chance there is rounding alone.
        ("1.0000", Measured(1.0, 1.0, 1.0), "reproduced"),
        ("1.0000", Measured(0.996, 0.996, 0.996), "below"),
        (".0080", Measured(0.00799, 0.00799, 0.00799), "reproduced"),
        (".0080", Measured(0.0081, 0.0081, 0.0081), "above"),
    ],
)
def test_kind(printed: str, ours: Measured, kind: str) -> None:
    assert verdict(printed, ours).kind == kind


def test_the_ends_of_the_rounding_belong_to_it() -> None:
    for low, high in ((0.46515, 0.5), (0.4, 0.46505)):
        assert verdict("0.4651", Measured(0.45, low, high)).kind == "reproduced"


def test_by_how_much() -> None:
    above = verdict("0.4651", Measured(0.4788, 0.4722, 0.4853))
    below = verdict("0.4651", Measured(0.4500, 0.4434, 0.4566))
    assert above.difference == pytest.approx(0.0137)
    assert below.difference == pytest.approx(-0.0151)
    assert above.words == "above by 0.0137"
    assert below.words == "below by 0.0151"
