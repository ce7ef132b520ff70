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

from benchmark.audit import simple
from benchmark.audit.diagnostics import has_twin_in, has_wrong_prefix
from benchmark.audit.intervals import Measured, measured
from benchmark.audit.record import Verdict
from benchmark.audit.searches import clicks_of_one_search, touched_items
from benchmark.audit.simple import Reached, reached
from benchmark.audit.training import tests_in_validation_histories, untrained_users
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
    _lists_of_recommendation(found, dataset, tasks, settings, view)
    if "search" in tasks:
        _own_clicks(found, dataset, tasks["search"], settings, view)
        _lists_of_search(found, dataset, tasks["search"], settings, view)
    found.figures["D18"] = tests_in_validation_histories(dataset, tasks, view)
    found.verdicts += _absent(
        "D18",
        found.figures["D18"],
        "of the validation requests that training gets, a test event stands in the history of",
        "Take a preset whose histories end before the user's first test event.",
    )
    found.figures["D19"] = untrained_users(dataset, tasks, view)
    found.verdicts.sort(key=lambda verdict: int(verdict.number[1:]))
    return found


def share_of(found: Measured) -> str:
    """A share with its interval and its base, as it stands in a sentence."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%}, {found.events:,} events)"


def _absent(
    number: str, figures: dict[str, Measured], what: str, advice: str = ""
) -> list[Verdict]:
    """A finding for each figure that is not 0; one verdict that nothing was found otherwise."""
    findings = [
        Verdict(
            number=number,
            is_finding=True,
            what=f"{what} {name}: {share_of(share)}, where none should be.",
            advice=advice,
            value=share.value,
            low=share.low,
            high=share.high,
        )
        for name, share in figures.items()
        if share.value > 0
    ]
    events = max((share.events for share in figures.values()), default=0)
    looked = f"{what} {' or '.join(figures)}: none of {events:,}."
    return findings or [Verdict(number=number, is_finding=False, what=looked)]


def _visible_targets(
    found: Judgement, dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> None:
    """D1 to D3: targets that stand in the history more often than negatives do."""
    advice = (
        "Take protocol.history_cut=strict-time (presets paper and clean hide the event's twin)."
        if settings.history_cut == "released"
        else "Users come back to items, and negatives are items that they do not come back to: read "
        "every figure beside the row that copies the history."
    )
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
            f"the target stands among the visible {_BEHAVIOUR_WORDS[behaviour]} of {share_of(share)} "
            f"of {own}, a negative in {others.value:.1%}."
        )
        is_finding = share.value > 0 and share.low > FACTOR * others.value
        found.verdicts.append(
            Verdict(
                number=number,
                is_finding=is_finding,
                what=words,
                advice=advice if is_finding else "",
                value=share.value,
                low=share.low,
                high=share.high,
            )
        )


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
            {"test events": wrong},
            "another row's history is given to",
            "Take protocol.counters=by-key (presets paper and clean).",
        )
    if len(tasks) < 2:
        return
    shares = {}
    for own, other in (("search", "recommendation"), ("recommendation", "search")):
        users = log.user[tasks[own].test.position]
        twin = has_twin_in(log, tasks[own].test, tasks[other].train.position)
        shares[f"{own} test in {other} train"] = measured(twin, users)
    found.figures["D5"] = shares
    found.verdicts += _absent(
        "D5",
        shares,
        "the same user, item and time is a training target of the other task,",
        "Take protocol.twins=removed (preset clean).",
    )


def _lists_of_recommendation(
    found: Judgement,
    dataset: Dataset,
    tasks: dict[str, Task],
    settings: ProtocolSettings,
    view: TrainingView,
) -> None:
    """D8 and D9: unpopular items first, and the items of the history first."""
    if "recommendation" in tasks:
        rule = simple.least_popular_first(view.log, "recommendation", dataset.number_of_items)
        reverse = reached("least popular first", rule, dataset, tasks["recommendation"])
        advice = "Take protocol.recommendation_negatives=uniform (presets paper and clean)."
        found.verdicts += _above_chance("D8", [(reverse, advice)])
    copied = [
        (
            reached("history copy", simple.Copier().score, dataset, task),
            _advice_on_copies(name, settings),
        )
        for name, task in tasks.items()
    ]
    found.figures["D9"] = {
        f"{one.task} HR@{k}": rate for one, _ in copied for k, rate in one.rates.items()
    }
    found.verdicts += _above_chance("D9", copied)


def _own_clicks(
    found: Judgement, dataset: Dataset, task: Task, settings: ProtocolSettings, view: TrainingView
) -> None:
    """D15 and D16: other clicks of the search, and items that the user had touched."""
    found.figures["D15"] = clicks_of_one_search(dataset, task)
    must_be_none = dict(list(found.figures["D15"].items())[1:])
    found.verdicts += _absent(
        "D15",
        must_be_none,
        "of searches with several clicks:",
        "Take the preset paper or clean, where a search lies in one split and its own other clicks "
        "are neither history nor negatives of it.",
    )
    prior = simple.query_item_prior(view.log, len(dataset.queries), dataset.number_of_items)
    last = simple.seen_last(prior)
    gain = simple.gained(last, prior, dataset, task)
    found.figures["D16"] = {
        **touched_items(dataset, task),
        "HR@1 of the query-item prior": reached("", prior, dataset, task).rates[1],
        "HR@1 of the same, seen items last": reached("", last, dataset, task).rates[1],
        "what seen items last gains": gain,
    }
    shares = found.figures["D16"]
    touched = (
        f"the user had touched {shares['negatives that the user touched before'].value:.1%} of the "
        f"negatives and {shares['targets that the user touched before'].value:.1%} of the targets"
    )
    found.verdicts.append(
        Verdict(
            number="D16",
            is_finding=gain.low > 0,
            what=f"{touched}; putting what was seen last changes the HR@1 of the query-item prior "
            f"by {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}).",
            advice="Take protocol.search_exclude=touched (preset clean)." if gain.low > 0 else "",
            value=gain.value,
            low=gain.low,
            high=gain.high,
        )
    )


def _lists_of_search(
    found: Judgement, dataset: Dataset, task: Task, settings: ProtocolSettings, view: TrainingView
) -> None:
    """D17: BM25 both ways, known pairs and the copied history."""
    forward = simple.bm25(dataset, settings)
    fewer = (
        f"The catalogue ({dataset.number_of_items:,} items) is too small to match lists of "
        f"{settings.negatives + 1} by rank: lower protocol.negatives, or read search figures only "
        "beside this row."
    )
    matched = "Take protocol.search_negatives=bm25-matched (preset clean)."
    pairs = "Take protocol.search_matched_by=known-pairs with bm25-matched (preset clean)."
    is_matched = settings.search_negatives == "bm25-matched"
    advice_on_bm25 = fewer if is_matched else matched
    is_by_pairs = is_matched and settings.search_matched_by == "known-pairs"
    known = simple.known_pair(view.log, dataset.number_of_items)
    rules = [
        ("BM25", forward, advice_on_bm25),
        ("BM25 reversed", lambda requests: -forward(requests), advice_on_bm25),
        ("known pair", known, fewer if is_by_pairs else pairs),
        ("history copy", simple.Copier().score, _advice_on_copies("search", settings)),
    ]
    results = [(reached(name, rule, dataset, task), advice) for name, rule, advice in rules]
    found.figures["D17"] = {
        f"{one.rule} HR@{k}": rate for one, _ in results for k, rate in one.rates.items()
    }
    found.verdicts += _above_chance("D17", results)


def _advice_on_copies(task: str, settings: ProtocolSettings) -> str:
    if settings.history_cut == "released":
        return "Take protocol.history_cut=strict-time (presets paper and clean hide such targets)."
    if task == "search":
        return "Take protocol.search_exclude=touched (preset clean)."
    return "Users come back to items: read every figure beside the row that copies the history."


def _above_chance(number: str, results: Sequence[tuple[Reached, str]]) -> list[Verdict]:
    """A finding for each rule that stands above chance; one that nothing was found otherwise."""
    findings = []
    for one, advice in results:
        cutoffs = one.above(FACTOR)
        if not cutoffs:
            continue
        ratios = {
            k: tuple(
                end / one.chance[k]
                for end in (one.rates[k].value, one.rates[k].low, one.rates[k].high)
            )
            for k in cutoffs
        }
        shown = ", ".join(
            f"HR@{k} {one.rates[k].value:.3f}, {value:.1f} times chance ({low:.1f} to {high:.1f})"
            for k, (value, low, high) in ratios.items()
        )
        value, low, high = max(ratios.values(), key=lambda ratio: ratio[1])
        findings.append(
            Verdict(
                number=number,
                is_finding=True,
                what=f"{one.rule}, which learns nothing, ranks {one.task} lists: {shown}.",
                advice=advice,
                value=value,
                low=low,
                high=high,
            )
        )
    return findings or [_not_above(number, [one for one, _ in results])]


def _not_above(number: str, results: Sequence[Reached]) -> Verdict:
    """How far the rules were followed in vain."""
    names = " and ".join(dict.fromkeys(one.rule for one in results))
    highest = max(one.rates[k].low / one.chance[k] for one in results for k in one.rates)
    events = ", ".join(
        f"{rates.events:,} of {task}"
        for task, rates in {one.task: one.rates[1] for one in results}.items()
    )
    return Verdict(
        number=number,
        is_finding=False,
        what=f"{names} at HR@1, 5, 10 on all test events ({events}); the highest lower bound is "
        f"{highest:.2f} times chance, {FACTOR} would be a finding.",
    )
