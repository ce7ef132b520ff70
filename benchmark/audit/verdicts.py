"""What an audit ends with: a verdict on everything that a protocol may give away.

Three questions are asked. Is there something that must not be there at all, such as a test event
where training can see it? Do targets differ from negatives, or one rule from another, by what the
user had touched? And does a rule that learns nothing stand above chance on the lists? For the last,
chance is HR@k of k in the length of a list, and a finding is a lower bound above ``FACTOR`` times
that, so that a protocol is not blamed for the draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmark.audit import advice, simple
from benchmark.audit.diagnostics import has_twin_in, has_wrong_prefix
from benchmark.audit.intervals import Measured, measured
from benchmark.audit.record import Verdict
from benchmark.audit.searches import (
    LISTED,
    NEGATIVES,
    SEEN,
    SPLIT,
    TARGETS,
    clicks_of_one_search,
    touched_items,
)
from benchmark.audit.simple import Reached, reached
from benchmark.audit.training import untrained_users, validation_sees_tests
from benchmark.data.dataset import Dataset
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.view import TrainingView

FACTOR = 1.2
"""A rule that learns nothing may stand so many times above chance."""

_BEHAVIOUR_WORDS = {"recommendation": "purchases", "search": "searches"}


@dataclass
class Judgement:
    """Figures with intervals, by diagnostic and name, and the verdicts."""

    figures: dict[str, dict[str, Measured]] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)


def judge(dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings) -> Judgement:
    """Everything that the tasks allow, in the order of the numbers."""
    view = TrainingView(dataset, tasks, settings)
    found = Judgement()
    _visible_targets(found, dataset, tasks, settings)
    _wrong_histories(found, dataset, tasks, settings)
    if "recommendation" in tasks:
        _unpopular_first(found, dataset, tasks["recommendation"], settings, view)
    copied = {
        name: reached("copied history", simple.Copier().score, dataset, task)
        for name, task in tasks.items()
    }
    _copied_histories(found, copied, settings)
    if "search" in tasks:
        _own_clicks(found, dataset, tasks["search"], settings, view)
        _lists_of_search(found, dataset, tasks["search"], settings, view, copied["search"])
        _counts_and_ages(found, dataset, tasks["search"], view)
    found.figures["D18"] = validation_sees_tests(dataset, tasks, view)
    has = "have a test event in the history that training gets"
    found.verdicts += _absent(
        "D18",
        [
            _MustBeNone(share, f"{name} validation requests", has)
            for name, share in found.figures["D18"].items()
        ],
        "Take the preset paper or clean; select no system by what it knows of the test.",
    )
    found.figures["D19"] = untrained_users(dataset, tasks, view)
    found.verdicts.sort(key=lambda verdict: int(verdict.number[1:]))
    return found


def share_of(found: Measured) -> str:
    """A share with its interval and its base, as it stands in a sentence."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%}) of {found.events:,}"


@dataclass(frozen=True)
class _MustBeNone:
    """A share that must be 0. ``who`` "search test events", ``has`` "have …"."""

    share: Measured
    who: str
    has: str


def _absent(number: str, shares: Sequence[_MustBeNone], advice: str) -> list[Verdict]:
    """A finding for each share that is not 0; one verdict that nothing was found otherwise."""
    findings = [
        _verdict(number, f"{share_of(one.share)} {one.who} {one.has}; none should.", one.share)
        for one in shares
        if one.share.value > 0
    ]
    if findings:
        return [verdict.model_copy(update={"advice": advice}) for verdict in findings]
    looked = "; ".join(f"none of {one.share.events:,} {one.who} {one.has}" for one in shares)
    return [Verdict(number=number, is_finding=False, what=f"{looked}.")]


def _verdict(number: str, what: str, value: Measured, advice: str = "") -> Verdict:
    """A finding with its figure."""
    return Verdict(
        number=number,
        is_finding=True,
        what=what,
        advice=advice,
        value=value.value,
        low=value.low,
        high=value.high,
    )


def _visible_targets(
    found: Judgement, dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> None:
    """D1 to D3: targets that stand in the history more often than negatives do."""
    told = advice.on_visible_targets(settings)
    for number, own, behaviour in (
        ("D1", "search", "recommendation"),
        ("D2", "recommendation", "recommendation"),
        ("D3", "recommendation", "search"),
    ):
        if own not in tasks:
            continue
        task = tasks[own]
        users = dataset.log.user[task.test.position]
        visible = simple.in_history(task.requests(dataset, "test"), behaviour)
        columns = task.test_candidates.target_column.astype(np.int64)[:, None]
        target = np.take_along_axis(visible, columns, axis=1)[:, 0]
        others = measured((visible.sum(axis=1) - target) / (visible.shape[1] - 1), users)
        share = measured(target, users)
        found.figures[number] = {"test": share}
        words = (
            f"the target stands among the visible {_BEHAVIOUR_WORDS[behaviour]} in "
            f"{share_of(share)} {own} test events, a negative in {others.value:.1%}."
        )
        verdict = _verdict(number, words, share, told)
        if share.value == 0 or share.low <= FACTOR * others.value:
            verdict = verdict.model_copy(update={"is_finding": False, "advice": ""})
        found.verdicts.append(verdict)


def _wrong_histories(
    found: Judgement, dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> None:
    """D4 and D5: counters of another row, and twins of test events among the training targets."""
    log = dataset.log
    if "recommendation" in tasks:
        test = tasks["recommendation"].test
        users = log.user[test.position]
        wrong = measured(has_wrong_prefix(log, test, settings), users)
        found.figures["D4"] = {"test": wrong}
        found.verdicts += _absent(
            "D4",
            [_MustBeNone(wrong, "recommendation test events", "have another row's history")],
            advice.take(settings, "counters", "by-key", advice.UNEXPECTED),
        )
    if len(tasks) < 2:
        return
    found.figures["D5"], shares = {}, []
    for own, other in (("search", "recommendation"), ("recommendation", "search")):
        users = log.user[tasks[own].test.position]
        share = measured(has_twin_in(log, tasks[own].test, tasks[other].train.position), users)
        found.figures["D5"][f"{own} test in {other} train"] = share
        has = f"have a twin (same user, item and time) among the training targets of {other}"
        shares.append(_MustBeNone(share, f"{own} test events", has))
    told = advice.take(settings, "twins", "removed", advice.UNEXPECTED)
    found.verdicts += _absent("D5", shares, told)


def _unpopular_first(
    found: Judgement,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    view: TrainingView,
) -> None:
    """D8: lists of popular negatives, in which the least popular item is the target."""
    rule = simple.least_popular_first(view.log, task.name, dataset.number_of_items)
    result = reached("least popular first", rule, dataset, task)
    told = advice.on_unpopular_targets(settings)
    found.verdicts += _above_chance("D8", [(result, told)])


def _copied_histories(
    found: Judgement, copied: dict[str, Reached], settings: ProtocolSettings
) -> None:
    """D9: the items of the history first."""
    found.figures["D9"] = {
        f"{name} HR@{k}": rate for name, one in copied.items() for k, rate in one.rates.items()
    }
    results = [(one, advice.on_copies(name, settings)) for name, one in copied.items()]
    found.verdicts += _above_chance("D9", results)


def _own_clicks(
    found: Judgement,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    view: TrainingView,
) -> None:
    """D15 and D16: other clicks of the search, and items that the user had touched."""
    found.figures["D15"] = clicks = clicks_of_one_search(dataset, task)
    events, another = "search test events", "have another click of their search"
    found.verdicts += _absent(
        "D15",
        [
            _MustBeNone(clicks[SEEN], events, f"{another} in the history"),
            _MustBeNone(clicks[LISTED], events, f"{another} among the negatives"),
            _MustBeNone(clicks[SPLIT], "users", "have one search in validation and test"),
        ],
        advice.take(settings, "searches", "whole", advice.UNEXPECTED),
    )
    rule = simple.query_item_prior(view.log, len(dataset.queries), dataset.number_of_items)
    counted = reached("clicks counted by query", rule, dataset, task)
    last = reached("the same, touched last", simple.seen_last(rule), dataset, task)
    gain = last.ahead_of(counted, 1)
    found.figures["D16"] = {
        **touched_items(dataset, task),
        "HR@1 of clicks counted by query": counted.rates[1],
        "HR@1 of the same, touched items last": last.rates[1],
        "what touched items last gains": gain,
    }
    shares = found.figures["D16"]
    words = (
        f"the user had touched {shares[NEGATIVES].value:.1%} of the negatives and "
        f"{shares[TARGETS].value:.1%} of the targets; putting these last changes the HR@1 of "
        f"clicks counted by query by {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})."
    )
    verdict = _verdict("D16", words, gain, advice.on_touched_items(settings))
    if gain.low <= 0:
        verdict = verdict.model_copy(update={"is_finding": False, "advice": ""})
    found.verdicts.append(verdict)


def _lists_of_search(
    found: Judgement,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    view: TrainingView,
    copied: Reached,
) -> None:
    """D17: BM25's order, its reverse and the targets' usual place in it, and pairs of training.

    ``copied`` is shown beside these; D9 judges it.
    """
    bm25 = simple.bm25(dataset, settings)
    is_graded = task.test_candidates.gains is not None
    told = advice.on_hits(settings, dataset.number_of_items)
    told = advice.ON_JUDGED if is_graded else told
    rules = [
        ("BM25", bm25),
        ("lowest BM25 first", lambda requests: -bm25(requests)),
        ("usual place in BM25's order", simple.usual_place(bm25, dataset, task)),
        ("pair of training", simple.known_pair(view.log, dataset.number_of_items)),
    ]
    results = [(reached(name, rule, dataset, task), told) for name, rule in rules]
    found.figures["D17"] = {
        f"{one.rule} HR@{k}": rate
        for one in (*(one for one, _ in results), copied)
        for k, rate in one.rates.items()
    }
    found.verdicts += _above_chance("D17", results)


def _counts_and_ages(found: Judgement, dataset: Dataset, task: Task, view: TrainingView) -> None:
    """D20: what the training log alone says of the candidates, whatever the query and the user."""
    size = dataset.number_of_items
    rare, popular = advice.ON_RARE_TARGETS, advice.ON_POPULAR_TARGETS
    rules = (
        ("least popular first", simple.least_popular_first(view.log, task.name, size), rare),
        ("most popular first", simple.most_popular_first(view.log, task.name, size), popular),
        ("newest first", simple.newest_first(view.log, size), rare),
    )
    results = [(reached(name, rule, dataset, task), told) for name, rule, told in rules]
    found.figures["D20"] = {
        f"{one.rule} HR@{k}": rate for one, _ in results for k, rate in one.rates.items()
    }
    found.verdicts += _above_chance("D20", results)


def _above_chance(number: str, results: Sequence[tuple[Reached, str]]) -> list[Verdict]:
    """A finding for each rule that stands above chance; one that nothing was found otherwise."""
    findings = []
    for one, told in results:
        cutoffs = one.above(FACTOR)
        if not cutoffs:
            continue
        ratios = {k: one.rates[k].times(1 / one.chance[k]) for k in cutoffs}
        shown = ", ".join(
            f"HR@{k} {one.rates[k].value:.3f} = {of.value:.1f} times chance "
            f"({of.low:.1f} to {of.high:.1f})"
            for k, of in ratios.items()
        )
        words = f"{one.rule}, a rule without learning, reaches on the {one.task} lists {shown}."
        highest = max(ratios.values(), key=lambda ratio: ratio.low)
        findings.append(_verdict(number, words, highest, told))
    return findings or [_not_above(number, [one for one, _ in results])]


def _not_above(number: str, results: Sequence[Reached]) -> Verdict:
    """How far the rules were followed in vain."""
    names = ", ".join(dict.fromkeys(one.rule for one in results))
    highest = max(one.rates[k].low / one.chance[k] for one in results for k in one.telling(FACTOR))
    asked = sorted({k for one in results for k in one.telling(FACTOR)})
    cutoffs = ", ".join(str(k) for k in asked)
    events = ", ".join(
        f"{rates.events:,} of {task}"
        for task, rates in {one.task: one.rates[1] for one in results}.items()
    )
    return Verdict(
        number=number,
        is_finding=False,
        what=f"{names} at HR@{cutoffs} on all test events ({events}); the highest lower bound is "
        f"{highest:.2f} times chance, {FACTOR} would be a finding{_silent(results)}.",
    )


def _silent(results: Sequence[Reached]) -> str:
    """At which cutoffs nothing can be found: the lists are hardly longer, or shorter."""
    parts = []
    for task, one in {one.task: one for one in results}.items():
        silent = ", ".join(str(k) for k in one.rates if k not in one.telling(FACTOR))
        if silent:
            parts.append(
                f"; HR@{silent} of {task} says nothing, since lists of {one.length} candidates are "
                "too short for it"
            )
    return "".join(parts)
