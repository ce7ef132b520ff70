"""The presets and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.errors import BenchmarkError, sentence_of_validation
from benchmark.protocol.settings import (
    DEFAULT_PRESET,
    PRESETS,
    ProtocolSettings,
    protocol_preset,
)


def test_the_default_is_the_appendix_as_written() -> None:
    assert DEFAULT_PRESET == "paper"
    assert protocol_preset("paper") == ProtocolSettings()


def test_the_presets_differ_as_the_specification_says() -> None:
    paper, released, clean = (protocol_preset(name) for name in ("paper", "released", "clean"))
    names = ProtocolSettings.model_fields

    def changed(other: ProtocolSettings) -> dict[str, Any]:
        return {
            name: getattr(other, name)
            for name in names
            if getattr(other, name) != getattr(paper, name)
        }

    assert changed(released) == {
        "target_rows": "both-histories",
        "history_cut": "released",
        "counters": "by-position",
        "training_rows": "all-remaining",
        "recommendation_negatives": "popularity",
        "recommendation_exclude": "earlier-interactions",
        "search_depth": 109,
        "search_ties": "document-id",
        "sampler": "released",
        "searches": "single-clicks",
        "collision": "string",
    }
    assert changed(clean) == {
        "history_cut": "strict-time",
        "twins": "removed",
        "search_negatives": "bm25-matched",
        "search_exclude": "touched",
    }


def test_an_unknown_preset_gives_one_sentence_with_a_hint() -> None:
    with pytest.raises(BenchmarkError) as caught:
        protocol_preset("papper")
    assert str(caught.value) == (
        "unknown protocol 'papper' (did you mean 'paper'?); allowed are clean, paper, released."
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"negative": 5}, "here: negative: there is no such key."),
        ({"negatives": 0}, "here: negatives: input should be greater than or equal to 1, not 0."),
        ({"seed": -1}, "here: seed: input should be greater than or equal to 0, not -1."),
        ({"split": "random"}, "here: split: input should be 'leave-one-out' or 'global-time'"),
    ],
)
def test_wrong_settings_give_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProtocolSettings.model_validate(given)
    assert str(sentence_of_validation(caught.value, "here")).startswith(sentence)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        PRESETS["paper"].negatives = 5  # type: ignore[misc]
