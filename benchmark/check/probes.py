"""The probes: one function a promise, its first line the promise as a sentence.

A probe returns what it saw in a few words, and raises if the promise is broken. Near scores are
near by :data:`benchmark.check.subject.OF_THE_RANGE`; equal scores are equal to the bit.
"""

from __future__ import annotations

import json
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from benchmark.check.all_items import (
    batches_do_not_matter_for_all_items,
    ranks_all_items_as_it_ranks_lists,
)
from benchmark.check.reach import arrays_held_by
from benchmark.check.sight import (
    events_of_one_user_tell_nothing_of_each_other,
    is_at_chance_where_all_is_chance,
    never_sees_a_target,
    never_sees_a_test_event,
    never_sees_a_validation_target,
    remembers_no_request,
)
from benchmark.check.space import declares_what_may_be_tuned
from benchmark.check.subject import (
    Subject,
    Violation,
    disturb_global_generators,
    require_equal,
    require_near,
)
from benchmark.check.world import make_world, unusual_requests
from benchmark.data.dataset import BEHAVIOURS, EventLog
from benchmark.errors import SystemFailure
from benchmark.systems.view import Corpus, TrainingView

Probe = Callable[[Subject], str]

ONE_BY_ONE = 7
"""How many requests are scored alone; so few since some systems take long for each call."""

LIST_LENGTHS = (1, 7, 150)

SAFE_FILES = (".safetensors", ".npy", ".npz", ".json", ".parquet", ".txt")


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


# ------------------------------------------------------------------------------ what it scores


def scores_have_the_right_form(subject: Subject) -> str:
    """Its scores are float32, of shape (requests, candidates), and finite or -inf."""
    seen = []
    for task in subject.tasks:
        requests = subject.world.requests(task)
        raw: Any = subject.fitted.score(requests)
        if not isinstance(raw, np.ndarray) or raw.dtype != np.float32:
            kind = getattr(raw, "dtype", type(raw).__name__)
            raise Violation(f"the scores of the {task} task are {kind}, not float32.")
        shape = subject.expected[task].shape  # checked on the way
        seen.append(f"{task} {shape[0]} × {shape[1]}")
    return ", ".join(seen)


def order_of_candidates_does_not_matter(subject: Subject) -> str:
    """Candidates in another order get the same scores."""
    random = np.random.default_rng(1)
    largest = 0.0
    for task in subject.tasks:
        requests, expected = subject.world.requests(task), subject.expected[task]
        columns = np.tile(np.arange(expected.shape[1]), (len(requests), 1))
        for order in (random.permuted(columns, axis=1), columns[:, ::-1]):
            moved = requests.with_candidates(_taken(requests.candidates, order))
            there = _taken(subject.score(moved), np.argsort(order, axis=1))
            change = "with the candidates in another order"
            largest = max(largest, require_near(requests, expected, there, change))
    return _deviation(largest)


def equal_candidates_get_equal_scores(subject: Subject) -> str:
    """A candidate that stands in a list twice gets the same score twice."""
    largest = 0.0
    for task in subject.tasks:
        requests = subject.world.requests(task)
        width = requests.candidates.shape[1]
        twice = np.concatenate([requests.candidates, requests.candidates[:, ::-1]], axis=1)
        scores = subject.score(requests.with_candidates(twice))
        first, second = scores[:, :width], scores[:, : width - 1 : -1]
        change = "where it stands the second time"
        largest = max(largest, require_near(requests, first, second, change))
    return _deviation(largest)


def lists_may_have_any_length(subject: Subject) -> str:
    """Lists of another length than in validation are scored, also of a single candidate."""
    random = np.random.default_rng(2)
    size = subject.world.dataset.number_of_items
    for task in subject.tasks:
        requests = subject.world.requests(task)
        for length in LIST_LENGTHS:
            items = random.integers(1, size + 1, size=(len(requests), length)).astype(np.int32)
            subject.score(requests.with_candidates(items))
    return f"{', '.join(map(str, LIST_LENGTHS))} candidates"


def batch_size_does_not_matter(subject: Subject) -> str:
    """Requests scored one by one, in sevens and all at once get the same scores."""
    largest = 0.0
    for task in subject.tasks:
        for size, number in ((1, ONE_BY_ONE), (7, 3 * ONE_BY_ONE)):
            requests = subject.world.requests(task).select(slice(0, number))
            parts = [subject.score(batch) for _, batch in requests.batches(size)]
            expected = subject.expected[task][:number]
            change = f"in batches of {size}"
            difference = require_near(requests, expected, np.concatenate(parts), change)
            largest = max(largest, difference)
    return _deviation(largest)


def order_of_requests_does_not_matter(subject: Subject) -> str:
    """Requests in another order, or only some of them, get the same scores."""
    largest = 0.0
    for task in subject.tasks:
        requests, expected = subject.world.requests(task), subject.expected[task]
        shuffled = np.random.default_rng(3).permutation(len(requests))
        for rows, change in (
            (shuffled, "with the requests in another order"),
            (np.arange(1, len(requests), 3), "with a third of the requests"),
        ):
            chosen = requests.select(rows)
            difference = require_near(chosen, expected[rows], subject.score(chosen), change)
            largest = max(largest, difference)
    return _deviation(largest)


def unusual_events_get_finite_scores(subject: Subject) -> str:
    """Empty and one-event histories, unknown users and words and empty queries are scored."""
    seen: dict[str, None] = {}
    for task in subject.tasks:
        for name, requests in unusual_requests(subject.world, task).items():
            try:
                subject.score(requests)
            except Exception as error:
                kind = "" if isinstance(error, SystemFailure) else f"{type(error).__name__}: "
                raise Violation(f"{name}: {kind}{error}") from error
            seen[name.removeprefix("a ").removeprefix("an ")] = None
    return ", ".join(seen)


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


# ---------------------------------------------------------------------------------- what it saves


def saved_and_loaded_it_gives_same_scores(subject: Subject) -> str:
    """Saved, moved and loaded by a fresh system, it gives equal scores."""
    folder = subject.new_folder("saved")
    subject.fitted.save(folder)
    elsewhere = folder.rename(folder.with_name(f"{folder.name}-moved"))
    loaded = subject.new_system(subject.fitted.context.artifacts)
    disturb_global_generators(0)
    loaded.load(elsewhere, Corpus.of(subject.world.dataset))
    for task in subject.tasks:
        requests = subject.world.requests(task)
        there = subject.score(requests, loaded)
        require_equal(requests, subject.expected[task], there, "after save and load")
    return "equal to the bit"


def saved_files_hold_no_code(subject: Subject) -> str:
    """What it saves are plain data files without pickle."""
    folder = subject.new_folder("files")
    subject.fitted.save(folder)
    found = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    for path in found:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or path.suffix not in SAFE_FILES:
            raise Violation(f"{name} is none of {', '.join(SAFE_FILES)}.")
        try:
            _read_as_named(path)
        except Exception as error:
            raise Violation(f"{name} is no plain {path.suffix[1:]} file ({error}).") from error
    return ", ".join(path.relative_to(folder).as_posix() for path in found) or "no files"


def _read_as_named(path: Path) -> None:
    """Read the file the way its suffix says, without unpickling anything.

    Raises:
        Exception: it is something else.
    """
    head = path.read_bytes()[:4]
    if path.suffix in (".json", ".txt"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
        elif "\x00" in text or (text.startswith("(") and text.rstrip(" ").endswith(".")):
            raise ValueError("it looks like a pickle of protocol 0")
    elif path.suffix == ".npy":
        np.load(path, allow_pickle=False)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            strange = [name for name in archive.namelist() if not name.endswith(".npy")]
        if strange:
            raise ValueError(f"it holds {strange[0]}")
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                _ = stored[name]
    elif path.suffix == ".parquet" and head != b"PAR1":
        raise ValueError("its first bytes are not those of Parquet")
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="np") as stored:
            list(stored.keys())


# -------------------------------------------------------------------------------------- helpers


def _taken(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(values, order, axis=1)


def _deviation(largest: float) -> str:
    return f"largest difference {largest:.1e}" if largest else "equal to the bit"


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
