"""The probes: one function a promise, its first line the promise as a sentence.

A probe returns what it saw in a few words, and raises if the promise is broken. Near scores are
near by :data:`benchmark.check.subject.OF_THE_RANGE`; equal scores are equal to the bit. Here are
those of what a system says of itself and of what its fitting hangs on; the others stand beside
them, by what they look at.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from benchmark.check.all_items import (
    batches_do_not_matter_for_all_items,
    ranks_all_items_as_it_ranks_lists,
)
from benchmark.check.reach import arrays_held_by
from benchmark.check.saved import saved_and_loaded_it_gives_same_scores, saved_files_hold_no_code
from benchmark.check.scores import (
    batch_size_does_not_matter,
    equal_candidates_get_equal_scores,
    lists_may_have_any_length,
    order_of_candidates_does_not_matter,
    order_of_requests_does_not_matter,
    scores_have_the_right_form,
    unusual_events_get_finite_scores,
)
from benchmark.check.sight import (
    events_of_one_user_tell_nothing_of_each_other,
    is_at_chance_where_all_is_chance,
    never_sees_a_target,
    never_sees_a_test_event,
    never_sees_a_validation_target,
    remembers_no_request,
)
from benchmark.check.space import declares_what_may_be_tuned
from benchmark.check.subject import Subject, Violation, require_equal
from benchmark.check.world import make_world
from benchmark.data.dataset import BEHAVIOURS, EventLog
from benchmark.errors import SystemFailure
from benchmark.systems.view import TrainingView

Probe = Callable[[Subject], str]


@dataclass(frozen=True)
class Outcome:
    """What came of one probe: ``seen`` in words, ``trace`` the traceback of an exception."""

    probe: str
    promise: str
    passed: bool
    seen: str
    trace: str = ""


def run_probe(probe: Probe, subject: Subject) -> Outcome:
    """Run one probe; an exception inside it is a failure that names the exception."""
    promise = (probe.__doc__ or "").partition("\n")[0]
    try:
        with warnings.catch_warnings():
            # Some arrays are read-only on purpose, which torch warns of.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return Outcome(probe.__name__, promise, True, probe(subject))
    except (Exception, SystemExit) as error:  # a system may fail in any way
        is_sentence = isinstance(error, (Violation, SystemFailure))
        seen = str(error) if is_sentence else f"{type(error).__name__}: {error}"
        return Outcome(probe.__name__, promise, False, seen, traceback.format_exc())


# ------------------------------------------------------------------------------ what it says


def configuration_is_strict(subject: Subject) -> str:
    """Its configuration has defaults for all fields, survives JSON and refuses unknown keys."""
    config_class: type[BaseModel] = subject.system_class.Config
    try:
        defaults = config_class(**subject.required)
    except ValidationError as error:
        missing = ", ".join(str(part["loc"][0]) for part in error.errors())
        raise Violation(f"it cannot be made without arguments: {missing}.") from None
    for config in (defaults, subject.config):
        again = config_class.model_validate_json(config.model_dump_json())
        # By value, since a default may be of a subclass of the field's type.
        if _values(again) != _values(config):
            raise Violation("it is another one after a round trip through JSON.")
    for place, model in _nested(defaults):
        try:
            type(model)(**{**dict(model), "no_such_key": 1})
        except ValidationError:
            continue
        raise Violation(f"{place or 'it'} takes the key 'no_such_key' in silence.")
    return f"{len(config_class.model_fields)} fields"


def _values(model: BaseModel) -> dict[str, Any]:
    return {
        name: _values(value) if isinstance(value, BaseModel) else value for name, value in model
    }


def _nested(model: BaseModel, place: str = "") -> Iterator[tuple[str, BaseModel]]:
    yield place, model
    for name, value in model:
        if isinstance(value, BaseModel):
            yield from _nested(value, f"{place}.{name}".lstrip("."))


def fits(subject: Subject) -> str:
    """It can be fitted on a small data set."""
    log = subject.world.view().log
    _ = subject.fitted
    return f"{len(log)} training events of {log.number_of_users} users"


def describes_itself(subject: Subject) -> str:
    """It counts its parameters and names its stand-ins."""
    number: Any = subject.fitted.number_of_parameters()
    if type(number) is not int or number < 0:
        raise Violation(f"number_of_parameters() is {number!r}, not an int of at least 0.")
    sentences: Any = subject.fitted.stand_ins()
    if not isinstance(sentences, tuple) or not all(isinstance(one, str) for one in sentences):
        raise Violation(f"stand_ins() is {sentences!r}, not a tuple of strings.")
    return f"{number:,} parameters, {len(sentences)} stand-ins"


# ------------------------------------------------------------------------- what it depends on


def same_seed_gives_same_scores(subject: Subject) -> str:
    """A second fit with the same seed, in fresh folders, gives equal scores."""
    _ = subject.expected
    again = subject.fit(subject.world.view())
    for task in subject.tasks:
        requests = subject.world.requests(task)
        there = subject.score(requests, again)
        require_equal(requests, subject.expected[task], there, "after a second fit")
    return "equal to the bit"


def leaves_its_inputs_alone(subject: Subject) -> str:
    """Training log, texts and candidates are after fitting and scoring what they were before."""
    world = make_world()
    view = world.view()
    _freeze(view.log)
    before = _content(view)
    system = subject.fit(view)
    if not _same(before, _content(view)):
        raise Violation("fit changed the training log or the texts.")
    for task in subject.tasks:
        requests = world.requests(task)
        for array in arrays_held_by(requests):
            array.setflags(write=False)
        candidates, whole = requests.candidates.copy(), requests.fingerprint
        subject.score(requests, system)
        if not np.array_equal(requests.candidates, candidates):
            raise Violation(f"score changed the candidates of the {task} task.")
        if requests.fingerprint != whole:
            raise Violation(f"score changed the histories of the {task} task.")
    return "read-only arrays were enough"


def works_or_says_why_without_a_task(subject: Subject) -> str:
    """Fitted without any event of one task, it works or fails with one clear sentence."""
    seen = []
    for missing in subject.tasks:
        left = next(task for task in BEHAVIOURS if task != missing)
        world = make_world(only=left)
        try:
            system = subject.fit(world.view())
        except SystemFailure as error:
            sentence = str(error)
            if not sentence.strip() or "\n" in sentence:
                raise Violation(f"its failure is no sentence: {sentence!r}.") from error
            seen.append(f"without {missing}: {sentence}")
            continue
        if left in subject.tasks:
            subject.score(world.requests(left), system)
        seen.append(f"works without {missing}")
    return "; ".join(seen)


def _columns(log: EventLog) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(log, field.name).copy() for field in fields(log)}


def _content(view: TrainingView) -> dict[str, Any]:
    items = view.corpus.items
    texts = {field.name: tuple(getattr(items, field.name)) for field in fields(items)}
    return {**_columns(view.log), **texts, "queries": tuple(view.corpus.queries.text)}


def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return all(
        np.array_equal(value, after[name])
        if isinstance(value, np.ndarray)
        else value == after[name]
        for name, value in before.items()
    )


def _freeze(log: EventLog) -> None:
    """Make every array of the log and of its indices read-only."""
    for part in (log, log.recommendation, log.search):
        for field in fields(part):
            getattr(part, field.name).setflags(write=False)


PROBES: tuple[Probe, ...] = (
    configuration_is_strict,
    fits,
    describes_itself,
    scores_have_the_right_form,
    order_of_candidates_does_not_matter,
    equal_candidates_get_equal_scores,
    lists_may_have_any_length,
    batch_size_does_not_matter,
    order_of_requests_does_not_matter,
    unusual_events_get_finite_scores,
    ranks_all_items_as_it_ranks_lists,
    batches_do_not_matter_for_all_items,
    same_seed_gives_same_scores,
    never_sees_a_test_event,
    never_sees_a_validation_target,
    never_sees_a_target,
    is_at_chance_where_all_is_chance,
    remembers_no_request,
    events_of_one_user_tell_nothing_of_each_other,
    leaves_its_inputs_alone,
    works_or_says_why_without_a_task,
    saved_and_loaded_it_gives_same_scores,
    saved_files_hold_no_code,
    declares_what_may_be_tuned,
)
"""In the order in which they are run."""
