"""Probes of what a system may see, now that harness and system have to keep it together.

The harness's part is that nothing which a system is handed holds a test event or the target of a
request, whatever attribute it hangs on; the system's part is that it finds no other way to them.
"""

from __future__ import annotations

import numpy as np

from benchmark.check.reach import first_difference
from benchmark.check.subject import (
    Subject,
    Violation,
    difference_in_words,
    require_equal,
    require_near,
)
from benchmark.check.world import (
    World,
    make_world,
    make_world_of_chance,
    make_world_over_time,
    poisoned,
    with_other_labels,
    with_other_targets,
)
from benchmark.data.dataset import UNKNOWN_USER
from benchmark.protocol.metrics import gains
from benchmark.systems.contract import System

_BEYOND_CHANCE = 1e-4  # so unlikely must be what is seen for it to be no chance


def never_sees_a_test_event(subject: Subject) -> str:
    """Fitted on data with other test events, it gives equal scores."""
    untouched = make_world()  # an earlier fit may have written into the texts of the subject's own
    changed, rows = poisoned(untouched)
    over_time = make_world_over_time()
    for world, other in ((untouched, changed), (over_time, poisoned(over_time)[0])):
        _require_same_view(world, other)
    # A system may keep what it has scored, and other batches round differently: both are fresh.
    before, again = (subject.fit(world.view()) for world in (untouched, changed))
    _require_equal_fits(subject, before, again, "after a fit with other test events")
    return f"equal to the bit with {len(rows)} test events replaced"


def never_sees_a_validation_target(subject: Subject) -> str:
    """Fitted with other validation targets and equal validation figures, it gives equal scores."""
    changed, number = with_other_labels(subject.world)
    for task in subject.world.tasks:
        here, there = (w.view().validation_requests(task) for w in (subject.world, changed))
        _require_same(here, there, f"the validation requests of the {task} task", "their targets")
    before, again = (subject.fit(world.blindfolded_view()) for world in (subject.world, changed))
    _require_equal_fits(subject, before, again, "after a fit with other validation targets")
    return f"equal to the bit with {number} validation targets replaced"


def never_sees_a_target(subject: Subject) -> str:
    """Requests whose targets and later events are other ones get equal scores."""
    for task in subject.tasks:
        requests = subject.world.requests(task)
        other = with_other_targets(subject.world, task, "test")
        _require_same(requests, other, f"the requests of the {task} task", "their targets")
        require_equal(requests, subject.expected[task], subject.score(other), "with other targets")
    return "equal to the bit"


def is_at_chance_where_all_is_chance(subject: Subject) -> str:
    """On data in which nobody can know a target, it puts no more of them first than chance does."""
    from scipy.stats import binom

    world = make_world_of_chance()
    system = subject.fit(world.view())
    seen = []
    for task in subject.tasks:
        requests, lists = world.requests(task), world.tasks[task].test_candidates
        ranks = lists.ranks(subject.score(requests, system))
        first = float(gains(ranks, "HR@1").sum())
        events, candidates = lists.items.shape
        if binom.sf(np.ceil(first - 1e-9) - 1, events, 1 / candidates) < _BEYOND_CHANCE:
            raise Violation(
                f"{first:.0f} of {events} targets of the {task} task stand first, "
                f"{events / candidates:.0f} would by chance: it learns them from somewhere."
            )
        seen.append(f"{task} {first:.1f} of {events}")
    return ", ".join(seen)


def remembers_no_request(subject: Subject) -> str:
    """Asked for its tasks in another order, it gives the same scores."""
    system = subject.fit(subject.world.view())
    largest = 0.0
    for task in reversed(subject.tasks):
        requests, expected = subject.world.requests(task), subject.expected[task]
        change = "when the tasks are asked for in another order"
        largest = max(
            largest, require_near(requests, expected, subject.score(requests, system), change)
        )
    return difference_in_words(largest)


def events_of_one_user_tell_nothing_of_each_other(subject: Subject) -> str:
    """Several test events of a user, perhaps unknown to training, are each scored by itself."""
    world = make_world_over_time()
    system = subject.fit(world.view())
    largest, number, unknown = 0.0, 0, 0
    for task in subject.tasks:
        requests = world.requests(task)
        known = world.tasks[task].known_users[world.users_of(task)]
        if (requests.user[~known] != UNKNOWN_USER).any():
            raise Violation(f"a request of the {task} task names a user unknown to training.")
        together = subject.score(requests, system)
        alone = [subject.score(batch, system) for _, batch in requests.batches(1)]
        change = "when it is scored alone"
        largest = max(largest, require_near(requests, together, np.concatenate(alone), change))
        number, unknown = number + len(requests), unknown + int(np.count_nonzero(~known))
    return f"{number} events, {unknown} of users unknown to training; difference {largest:.1e}"


def _require_equal_fits(subject: Subject, before: System, again: System, change: str) -> None:
    """Both systems score the validation and the test requests of the one world alike."""
    for task in subject.tasks:
        for split in ("valid", "test"):
            requests = subject.world.requests(task, split)
            here, there = subject.score(requests, before), subject.score(requests, again)
            require_equal(requests, here, there, change)


def _require_same_view(world: World, other: World) -> None:
    """The harness's part: nothing of the view, private or not, hangs on a test event."""
    here, there = world.view(), other.view()
    _require_same(here, there, "the training view", "the test events")
    if here.fingerprint != there.fingerprint:
        raise Violation("the fingerprint of the training view changes with the test events.")
    for task in here.tasks:
        for name in ("examples", "validation_requests"):
            one, two = getattr(here, name)(task), getattr(there, name)(task)
            _require_same(one, two, f"{name}({task!r}) of the view", "the test events")


def _require_same(here: object, there: object, what: str, change: str) -> None:
    place = first_difference(here, there)
    if place is not None:
        raise Violation(f"{what} hold what changes with {change}: {place}.")
