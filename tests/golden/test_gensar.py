"""GenSAR against the original's numbers, part by part."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.golden import gensar_backbone, gensar_decoding, gensar_identifiers
from tests.golden.loading import Golden, golden_stems, load_golden

CHECKS: tuple[Callable[[Golden], None], ...] = (
    gensar_identifiers.check_quantiser,
    gensar_identifiers.check_sinkhorn,
    gensar_identifiers.check_optimiser_step,
    gensar_identifiers.check_collisions,
    gensar_backbone.check_loss,
    gensar_decoding.check_beams,
)


@pytest.mark.parametrize("name", golden_stems("gensar.*"))
def test_outputs_equal_the_originals(name: str) -> None:
    golden = load_golden(name)
    for check in CHECKS:
        check(golden)
