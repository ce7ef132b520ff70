"""TIGER against numbers of its re-implementations, part by part; there is no official code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.golden import tiger_generator, tiger_identifiers
from tests.golden.loading import Golden, golden_stems, load_golden

CHECKS: tuple[Callable[[Golden], None], ...] = (
    tiger_identifiers.check_quantiser,
    tiger_identifiers.check_collision_code,
    tiger_generator.check_loss,
    tiger_generator.check_learning_rate,
    tiger_generator.check_candidates,
)


@pytest.mark.parametrize("name", golden_stems("tiger.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    for check in CHECKS:
        check(golden)
