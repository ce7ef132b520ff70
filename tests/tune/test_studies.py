"""What a study's first trials are, what names it, what its trials cost, and which is the best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import BenchmarkError
from benchmark.overrides import merged
from benchmark.systems.effort import Effort
from benchmark.systems.space import overrides_of, value_at
from benchmark.tune.studies import (
    Outcome,
    Study,
    Trial,
    best_of,
    received,
    rounded,
    seconds_spent,
)
from benchmark.tune.trial import clear_up, folder_of_trial

Make = Callable[..., Study]


def trial(number: int, value: float | None, **how: Any) -> Trial:
    return Trial(number, {}, Outcome(value, **how))


def test_the_first_trial_is_the_published_one_and_the_second_the_presets(study: Make) -> None:
    made = study(system="jsr")
    published, preset = made.first
    assert published["training.learning_rate"] == 1e-3 and preset["training.learning_rate"] == 3e-3
    assert published["dropout"] == 0.1 and preset["dropout"] == 0.3
    config = made.configured(published)
    assert value_at(config.model_dump(mode="json"), "embedding_size") == 32  # the preset's
    assert value_at(config.model_dump(mode="json"), "training.learning_rate") == 1e-3


def test_equal_values_are_one_trial(study: Make) -> None:
    assert len(study(system="gru4rec").first) == 1


def test_what_ends_by_patience_has_no_cap_in_any_trial(study: Make) -> None:
    made = study()
    assert made.fixed == {"training.epochs": 1000}
    for values in made.first:
        assert value_at(made.configured(values).model_dump(), "training.epochs") == 1000
    longer = study(configuration=merged(made.job.configuration, {"training": {"epochs": 3000}}))
    assert longer.fixed == {"training.epochs": 3000}


def test_the_length_of_a_schedule_is_the_presets_also_among_published_values(study: Make) -> None:
    made = study(system="tiger")
    assert [values["training.epochs"] for values in made.first] == [10, 10]
    assert [values["training.learning_rate"] for values in made.first] == [1e-3, 3e-3]


def test_given_values_are_not_searched_and_stand_in_the_preset(study: Make) -> None:
    given = {"dropout_prob": 0.2, "hidden_size": 32, "training": {"epochs": 7}}
    made = study(given=given)
    assert "dropout_prob" not in made.space and made.fixed == {}
    changes = made.changes({"training.learning_rate": 0.01})
    assert changes == {**given, "training": {"epochs": 7, "learning_rate": 0.01}}
    everything = overrides_of({key: 1 for key in (*study().space, *study().fixed)})
    with pytest.raises(BenchmarkError, match="nothing of it is left to tune"):
        study(given=everything)


def test_a_study_is_named_by_what_decides_its_trials_and_not_by_its_budget(study: Make) -> None:
    assert study().name == study(trials=3, minutes=1.0).name
    others = [
        study(identity="1" * 64),
        study(given={"dropout_prob": 0.2}),
        study(system="sasrec"),
        study(given={"training": {"epochs": 7}}),
    ]
    assert len({study().name, *(other.name for other in others)}) == 5


def test_what_is_sent_to_another_process_is_the_same_study(study: Make) -> None:
    made = study(system="tem", given={"dropout": 0.2})
    assert received(made.sent()) == made


def test_artifacts_that_trials_share_are_counted_once(study: Make) -> None:
    shared = {"texts": Effort(100.0, 50.0)}
    first = trial(0, 0.1, own=Effort(10.0, 5.0), artifacts=shared)
    second = trial(1, 0.2, own=Effort(20.0, 9.0), artifacts={**shared, "codes": Effort(7.0, 3.0)})
    assert seconds_spent(study(), [first, second]) == 10 + 20 + 100 + 7
    on_device = study(device="cuda")
    assert seconds_spent(on_device, [first, second]) == 5 + 9 + 50 + 3


def test_the_best_is_the_first_of_equal_ones_that_were_trained_to_their_end() -> None:
    trials = [
        trial(0, 0.1),
        trial(1, None, is_pruned=True, curve=(0.9,)),
        trial(2, 0.3),
        trial(3, 0.3),
        trial(4, None, failure="the loss is nan."),
    ]
    best = best_of(trials)
    assert best is not None and best.number == 2
    assert best_of(trials[1:2]) is None


def test_drawn_numbers_are_short() -> None:
    assert rounded(0.00123456) == 0.00123 and rounded(5) == 5 and rounded(True) is True


def test_what_killed_processes_left_of_a_trial_goes_with_it(study: Make) -> None:
    one = study()
    of_trial, of_other = folder_of_trial(one, 3), folder_of_trial(one, 4)
    for folder in (of_trial, of_other):
        folder.mkdir(parents=True)
        for name in (folder.name, f"{folder.name}.json"):
            folder.with_name(f".partial-{'0' * 32}-{name}").write_text("half")
    clear_up(one, 3)
    left = {path.name.removeprefix(f".partial-{'0' * 32}-") for path in of_trial.parent.iterdir()}
    assert left == {of_other.name, f"{of_other.name}.json"}


def test_folders_stand_below_the_results(study: Make, tmp_path: Path) -> None:
    assert study().folder == tmp_path / "tuning" / "tiny"
