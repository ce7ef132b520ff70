"""Candidate lists, histories and splits at the size of Amazon Electronics, and ten million events.

The released notebooks work row by row: one Lucene call a search event (their own output says 125
events a second), one loop of ``random.choice`` a recommendation event, one walk over all merged
rows. The last two are timed here on a part of the events, by loops written like theirs.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Mapping

import numpy as np

from benchmark.data.build import build_dataset
from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, EventLog, Items, Queries
from benchmark.data.recipe import Recipe, parse_recipe
from benchmark.data.sources import read_source
from benchmark.hashing import row_hash
from benchmark.protocol.best_hits import SCORE_STEP
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import SearchEvents, bm25_negatives, search_engine
from benchmark.protocol.negatives import HashedLaw, hashed_negatives
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.splits import split_task
from benchmark.protocol.task import build_tasks
from benchmark.speed.measure import Measurement, best_of

NOTEBOOK_RATE = 125
"""Search events a second of the released notebook, by its progress bar."""

ITEMS = 63_000


def data() -> list[Measurement]:
    """All of them, the small ones first."""
    return [
        *search_lists(),
        *recommendation_lists(),
        *histories_and_splits(),
        *ten_million_events(),
        *lists_of_worlds(),
    ]


def search_lists(events: int = 190_000, queries: int = 1_000) -> list[Measurement]:
    """Lists of 99 BM25 hits for each search event, against one Lucene call an event."""
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, 20_001)
    share /= share.sum()

    def texts(number: int, shortest: int, longest: int) -> list[str]:
        lengths = draw.integers(shortest, longest + 1, size=number)
        words = draw.choice(len(share), size=int(lengths.sum()), p=share)
        parts = np.split(words, np.cumsum(lengths)[:-1])
        return [" ".join(f"w{word}" for word in part) for part in parts]

    blank = [""] * (ITEMS + 1)
    asked = draw.integers(1, queries + 1, size=events)
    log = EventLog.from_columns(
        user=np.arange(1, events + 1),
        item=draw.integers(1, ITEMS + 1, size=events),
        query=asked,
        behaviour=np.full(events, SEARCH),
        timestamp=np.arange(events),
        session=np.arange(1, events + 1),
        number_of_users=events,
    )
    dataset = Dataset(
        name="speed",
        items=Items(
            external_id=[str(number) for number in range(ITEMS + 1)],
            title=blank,
            description=blank,
            brand=blank,
            categories=[()] * (ITEMS + 1),
            text=["", *texts(ITEMS, 10, 30)],
        ),
        queries=Queries(["", *texts(queries, 3, 7)]),
        users=[str(number) for number in range(events + 1)],
        log=log,
    )
    settings = ProtocolSettings(search_ties="document-id", search_depth=109)
    engine = search_engine(dataset, settings)
    started = time.perf_counter()
    bm25_negatives(dataset, SearchEvents.of(dataset, np.arange(events), settings), settings, engine)
    seconds = time.perf_counter() - started
    what = f"{events:,} search lists, {ITEMS:,} items, {queries:,} queries"
    return [
        Measurement(
            what, "one Lucene call an event (released notebook's own figure)", 1, NOTEBOOK_RATE
        ),
        Measurement(what, "each distinct query once (ours)", seconds, events),
    ]


def _merged_log(users: int, mean: int) -> EventLog:
    """Purchases on few days, most of them with a search twin, as on Amazon."""
    draw = np.random.default_rng(1)
    lengths = draw.poisson(mean, size=users) + 3
    buyer = np.repeat(np.arange(1, users + 1), lengths)
    day = draw.integers(0, 1_000, size=len(buyer)) * 86_400
    popular = (ITEMS ** draw.random(len(buyer))).astype(np.int64)
    twin = draw.random(len(buyer)) < 0.75
    user = np.concatenate([buyer, buyer[twin]])
    behaviour = np.repeat([RECOMMENDATION, SEARCH], [len(buyer), int(twin.sum())])
    time_ = np.concatenate([day, day[twin]])
    item = np.concatenate([popular, popular[twin]])
    order = np.lexsort((item, behaviour, time_, user))
    sessions = np.cumsum(behaviour[order]) * behaviour[order]
    return EventLog.from_columns(
        user=user[order],
        item=item[order],
        query=behaviour[order],
        behaviour=behaviour[order],
        timestamp=time_[order],
        session=sessions,
        number_of_users=users,
    )


def recommendation_lists(events: int = 168_000, sample: int = 2_000) -> list[Measurement]:
    """Lists of 99 popular negatives without the user's earlier items, against the released loop."""
    log = _merged_log(events, mean=10)
    rows = log.offsets[2:] - 1  # the last event of each user
    user, target = log.user[rows], log.item[rows]
    earlier = rows - log.offsets[user]
    item_keys = row_hash(0, "item", np.arange(ITEMS + 1))

    def ours() -> None:
        barred = Exclusions.of_prefixes(log, user, earlier, ITEMS)
        keys = row_hash(0, "event", np.arange(len(log)))
        law = HashedLaw.of_events(0, item_keys, keys, log.item)
        hashed_negatives(law, keys[rows], np.arange(len(rows)), target, barred, 99)

    def released() -> None:
        generator, pool = random.Random(0), log.item.tolist()
        for row in rows[:sample].tolist():
            start = int(log.offsets[log.user[row]])
            taken = {int(log.item[row]), *log.item[start:row].tolist()}
            chosen: list[int] = []
            while len(chosen) < 99:
                item = generator.choice(pool)
                if item not in taken:
                    chosen.append(item)
                    taken.add(item)

    what = f"{events:,} recommendation lists of 99 popular negatives"
    return [
        Measurement(what, f"row by row, {sample:,} of them", best_of(released, 1), sample),
        Measurement(what, "vectorised (ours)", best_of(ours, 1), events),
    ]


def histories_and_splits(users: int = 192_000, sample: int = 60_000) -> list[Measurement]:
    """Counters, filters and splits of three million merged events, against a walk over rows."""
    log = _merged_log(users, mean=6)
    settings = ProtocolSettings(
        target_rows="both-histories",
        history_cut="released",
        counters="by-position",
        searches="single-clicks",
    )

    def ours() -> None:
        fresh = log.keep(np.ones(len(log), dtype=bool))  # without the indexes kept from before
        for behaviour in (RECOMMENDATION, SEARCH):
            split_task(fresh, behaviour, settings)

    def released() -> None:
        bought: dict[int, list[int]] = {}
        searched: dict[int, list[int]] = {}
        counters = []
        columns = zip(
            log.user[:sample].tolist(),
            log.item[:sample].tolist(),
            log.behaviour[:sample].tolist(),
            strict=True,
        )
        for user, item, behaviour in columns:
            purchases, sessions = bought.setdefault(user, []), searched.setdefault(user, [])
            seen = len(purchases)
            if behaviour == SEARCH and purchases and purchases[-1] == item:
                seen -= 1
            counters.append((seen, len(sessions)))
            (sessions if behaviour == SEARCH else purchases).append(item)

    what = f"histories and splits of {len(log):,} merged events"
    return [
        Measurement(what, f"row by row, {sample:,} of them", best_of(released, 1), sample),
        Measurement(what, "vectorised (ours)", best_of(ours, 1), len(log)),
    ]


def _world(users: int, items: int, topics: int) -> Recipe:
    source = {"kind": "world", "users": users, "items": items, "topics": topics}
    content = {"name": "world", "source": source, "search": {"kind": "own"}, "text": ["title"]}
    return parse_recipe(content, "speed")


def ten_million_events() -> list[Measurement]:
    """A world of two and a half, five and ten million events: seconds and the peak of memory."""
    measured = []
    for users in (125_000, 250_000, 500_000):
        recipe = _world(users, 100_000, 500)
        started = time.perf_counter()
        dataset = build_dataset(recipe, read_source(recipe))
        for behaviour in (RECOMMENDATION, SEARCH):
            split_task(dataset.log, behaviour, ProtocolSettings())
        seconds = time.perf_counter() - started
        events = len(dataset.log)
        del dataset
        way = f"{events:,} events, peak memory so far {_peak_gigabytes():.2f} GB"
        measured.append(Measurement("a world made, ordered and split", way, seconds, events))
    return measured


def lists_of_worlds(
    thousands_of_users: Mapping[str, tuple[int, ...]] = {"paper": (55, 166), "clean": (18, 55)},
) -> list[Measurement]:
    """All lists of worlds of one and three sizes, in CPU seconds; the ratio is that of the rates.

    Items, topics and queries grow with the users, so the rate falls by what grows faster than the
    events do: 0.77 x from one size to the next is 1.3 times the work an event.

    Args:
        thousands_of_users: of the worlds, by the name of the protocol; 19 events a user.
    """
    measured = []
    for preset, sizes in thousands_of_users.items():
        for size in sizes:
            recipe = _world(1_000 * size, 2_000 * size, 18 * size)
            dataset = build_dataset(recipe, read_source(recipe))
            # What a process does once does not count: the engine's code is compiled or loaded.
            engine = search_engine(dataset, PRESETS[preset])
            engine.best_with_ties(dataset.queries.text[1:3], 1, SCORE_STEP)
            engine.score_all(dataset.queries.text[1:3])
            started = time.process_time()
            build_tasks(dataset, PRESETS[preset])
            seconds = time.process_time() - started
            events, items, queries = len(dataset.log), len(dataset.items), len(dataset.queries)
            del dataset
            way = (
                f"{events:,} events, {items:,} items, {queries:,} queries, peak memory so far "
                f"{_peak_gigabytes():.2f} GB"
            )
            measured.append(Measurement(f"lists of {preset}, CPU time", way, seconds, events))
    return measured


def _peak_gigabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
