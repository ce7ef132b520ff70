"""The presets and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.errors import BenchmarkError, sentence_of_validation
from benchmark.overrides import protocol_changes
from benchmark.protocol.settings import (
    DEFAULT_PRESET,
    PRESETS,
    ProtocolSettings,
    configure_protocol,
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


@pytest.mark.parametrize(
    ("preset", "change", "sentence"),
    [
        (
            "released",
            {"search_exclude": "touched"},
            "sampler=released does not follow search_exclude=touched; allowed beside it is "
            "search_exclude=none",
        ),
        (
            "released",
            {"search_negatives": "bm25-matched"},
            "sampler=released does not follow search_negatives=bm25-matched; allowed beside it is "
            "search_negatives=bm25-top",
        ),
        (
            "released",
            {"search_negatives": "bm25-filtered"},
            "sampler=released does not follow search_negatives=bm25-filtered; allowed beside it is "
            "search_negatives=bm25-top",
        ),
        (
            "released",
            {"searches": "whole"},
            "sampler=released does not follow searches=whole; allowed beside it is "
            "searches=single-clicks",
        ),
        (
            "released",
            {"recommendation_negatives": "uniform"},
            "sampler=released does not follow recommendation_negatives=uniform; allowed beside it "
            "is recommendation_negatives=popularity",
        ),
        (
            "released",
            {"recommendation_exclude": "all-interactions"},
            "sampler=released does not follow recommendation_exclude=all-interactions; allowed "
            "beside it is recommendation_exclude=earlier-interactions",
        ),
        (
            "released",
            {"search_ties": "per-event"},
            "sampler=released does not follow search_ties=per-event; allowed beside it is "
            "search_ties=document-id",
        ),
        (
            "released",
            {"sampler": "vectorised"},
            "collision=string does not follow sampler=vectorised; allowed beside it is "
            "sampler=released",
        ),
        (
            "released",
            {"split": "global-time"},
            "split=global-time does not follow training_rows=all-remaining; allowed beside it is "
            "training_rows=before-first-held-out",
        ),
        (
            "clean",
            {"search_depth": 50},
            "search_negatives=bm25-matched does not follow search_depth=50; allowed beside it is "
            "search_depth=null",
        ),
        (
            "clean",
            {"search_ties": "document-id"},
            "search_negatives=bm25-matched does not follow search_ties=document-id; allowed beside "
            "it is search_ties=per-event",
        ),
        (
            "paper",
            {"counters": "by-position"},
            "counters=by-position does not follow history_cut=merged-time; allowed beside it is "
            "history_cut=released",
        ),
        (
            "paper",
            {"history_cut": "released"},
            "history_cut=released does not follow searches=whole; allowed beside it is "
            "searches=single-clicks",
        ),
    ],
)
def test_a_setting_that_another_would_ignore_is_refused(
    preset: str, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BenchmarkError) as caught:
        configure_protocol(preset, change)
    assert str(caught.value) == f"protocol {preset!r}: {sentence}."


def test_the_remarks_say_what_is_not_followed() -> None:
    assert not PRESETS["paper"].remarks
    selection, collision = PRESETS["released"].remarks
    assert selection.startswith("Model selection sees no test event")
    assert collision.startswith("Candidates that share an identifier count as tied")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        PRESETS["paper"].negatives = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "meant"), [("3,20", (3, 20)), (" 3, 20 ", (3, 20)), (200, (200,)), ([1, 5], (1, 5))]
)
def test_cutoffs_may_be_written_with_commas(given: object, meant: tuple[int, ...]) -> None:
    for key in ("cutoffs", "all_items_cutoffs"):
        assert getattr(configure_protocol("paper", {key: given})[1], key) == meant


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "5,1",
        "5,5",
        "0",
        [],
        [0],
        [1.5],
        True,
        None,
        {"a": 1},
        "1,,5",
        -3,
        [True, 2],
        [5.0],
    ],
)
def test_what_is_no_list_of_cutoffs_gives_one_sentence(given: object) -> None:
    for key in ("cutoffs", "all_items_cutoffs"):
        with pytest.raises(BenchmarkError, match=f"{key}: .*whole numbers from 1.*1,5,10"):
            configure_protocol("paper", {key: given})


@pytest.mark.parametrize("value", ["true", "'99'", "99.0", "'true'"])
def test_a_whole_number_is_nothing_else(value: str) -> None:
    changes = protocol_changes([f"protocol.negatives={value}"])
    with pytest.raises(BenchmarkError, match=r"negatives: input should be a valid integer.*, not "):
        configure_protocol("paper", changes)
    assert configure_protocol("paper", {"negatives": 7})[1].negatives == 7
