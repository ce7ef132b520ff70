"""A small invented log with planted signals: for tests, the conformance check and as a fallback.

Recommendation: items stand on one long seeded cycle through all topics; with probability
``strength`` a user's next item is the successor of the last one, else any item. Search: a query
names a topic, each topic holds one item a taste, and with probability ``strength`` the clicked item
is the one of the user's own taste. Titles are made of the words for taste, topic and department,
queries of the words for department and topic, so systems that read text have something to find,
and nobody can be right more often than the rule is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.build import build_dataset
from benchmark.data.dataset import Dataset
from benchmark.data.raw import NO_QUERY, NO_SESSION, RawItems, RawLog
from benchmark.data.recipe import OwnSearch, Recipe, parse_recipe
from benchmark.data.source_options import GeneratedSource
from benchmark.hashing import row_hash, row_uniform

TASTES = 4
TOPICS_PER_DEPARTMENT = 8

_FIRST_DAY = 1_577_836_800  # 2020-01-01
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprtvz" for vowel in "aou"]


def files(recipe: Recipe) -> tuple[Path, ...]:
    """None: the options determine everything."""
    return ()


def read(recipe: Recipe) -> RawLog:
    """The log of the recipe's options."""
    return generate(cast(GeneratedSource, recipe.source))


def make_dataset(users: int = 120, items: int = 240, seed: int = 2024, **options: Any) -> Dataset:
    """A generated data set in memory; ``options`` are further keys of the ``generated`` source.

    Raises:
        BenchmarkError: an option is unknown or out of its range.
    """
    source = {"kind": "generated", "users": users, "items": items, "seed": seed, **options}
    has_search = options.get("search_share", 1) > 0
    recipe = parse_recipe({"name": "generated", "source": source}, "make_dataset")
    if has_search:
        recipe = recipe.model_copy(update={"search": OwnSearch(kind="own")})
    return build_dataset(recipe, generate(cast(GeneratedSource, recipe.source)))


@dataclass(frozen=True)
class _World:
    """The planted structure: ``item = topic * TASTES + taste``, ``successor`` (items,)."""

    options: GeneratedSource
    successor: NDArray[np.int64]

    @property
    def topics(self) -> int:
        """Complete topics; the items behind the last one belong to no query."""
        return self.options.items // TASTES


def generate(options: GeneratedSource) -> RawLog:
    """The raw log of the planted world; it depends on the options alone."""
    world = _World(options, _successors(options))
    users = options.users + options.short_users
    events = [event for user in range(users) for event in _events_of(world, user)]
    user, item, timestamp, query = np.array(events, dtype=np.int64).T
    is_search = query != NO_QUERY
    return RawLog(
        users=[f"u{number:06d}" for number in range(users)],
        items=_catalogue(world),
        user=user,
        item=item,
        timestamp=timestamp,
        rating=np.full(len(events), np.nan, dtype=np.float32),
        position=np.arange(len(events)),
        query=query,
        session=np.where(is_search, np.arange(len(events)), NO_SESSION),
        query_text=[_query(topic) for topic in range(world.topics)],
        notes=("This log is invented; its figures say nothing about real users.",),
    )


@dataclass(frozen=True)
class PlantedRule:
    """What a planted world goes by, for whoever measures how much of it was found.

    Item ``i`` has ``titles[i]``, taste ``i % TASTES`` and topic ``i // TASTES``; ``successor``
    (items,) is the next item on the cycle; topic ``t`` is asked for by ``queries[t]``, and items
    behind the last topic by none.
    """

    titles: tuple[str, ...]
    queries: tuple[str, ...]
    successor: NDArray[np.int64]


def planted_rule(options: GeneratedSource) -> PlantedRule:
    """The rule of a log that :func:`generate` makes of ``options``."""
    world = _World(options, _successors(options))
    queries = tuple(_query(topic) for topic in range(world.topics))
    return PlantedRule(tuple(_catalogue(world).title), queries, world.successor)


def _successors(options: GeneratedSource) -> NDArray[np.int64]:
    """For each item the next one on the cycle, which visits each topic once a round."""
    item = np.arange(options.items)
    topic, taste = item // TASTES, item % TASTES
    shift = (row_hash(options.seed, "shift", topic) % np.uint64(TASTES)).astype(np.int64)
    cycle = np.lexsort((row_hash(options.seed, "cycle", topic), (taste + shift) % TASTES))
    successor = np.empty(options.items, dtype=np.int64)
    successor[cycle] = np.roll(cycle, -1)
    return successor


def _events_of(world: _World, user: int) -> Iterator[tuple[int, int, int, int]]:
    """The (user, item, timestamp, query) of one user, in the order of time; no item twice."""
    options = world.options
    is_short = user >= options.users
    length = 1 + (user - options.users) % 2 if is_short else _length(options, user)
    length = min(length, options.items)
    steps = np.arange(length)
    is_search = row_uniform(options.seed, "search", user, steps) < options.search_share
    follows = row_uniform(options.seed, "follow", user, steps) < options.strength
    pause = 600 + (row_hash(options.seed, "pause", user, steps) % np.uint64(86_400)).astype(int)
    start = _FIRST_DAY + int(row_hash(options.seed, "start", user)) % (300 * 86_400)
    time = start + np.cumsum(pause)
    # The user's own order of the items: chance takes the first that is left.
    by_chance = np.argsort(row_hash(options.seed, "chance", user, np.arange(options.items)))
    topics = np.argsort(row_hash(options.seed, "topic", user, np.arange(world.topics)))
    taste = int(row_hash(options.seed, "taste", user)) % TASTES
    seen: set[int] = set()
    last = -1
    for step in range(length):
        query = NO_QUERY
        item = -1
        if is_search[step]:
            query, item = _click(topics, seen, taste, bool(follows[step]))
        if query == NO_QUERY:
            expected = int(world.successor[last]) if last >= 0 else -1
            wanted = expected if follows[step] and expected not in seen else -1
            item = wanted if wanted >= 0 else next(i for i in by_chance.tolist() if i not in seen)
            last = item
        seen.add(item)
        yield user, item, int(time[step]), query


def _length(options: GeneratedSource, user: int) -> int:
    """Between half and one and a half times ``events_per_user``, at least three."""
    share = float(row_uniform(options.seed, "length", user))
    return max(3, round(options.events_per_user * (0.5 + share)))


def _click(topics: NDArray[np.int64], seen: set[int], taste: int, follows: bool) -> tuple[int, int]:
    """The first topic of the user's order whose item is still unseen, and that item."""
    for topic in topics.tolist():
        own = topic * TASTES + taste
        others = [topic * TASTES + (taste + shift) % TASTES for shift in range(1, TASTES)]
        for item in [own] if follows else others:
            if item not in seen:
                return topic, item
    return NO_QUERY, -1


def _catalogue(world: _World) -> RawItems:
    items = range(world.options.items)
    taste = [_word("taste", item % TASTES) for item in items]
    topic = [_word("topic", item // TASTES) for item in items]
    department = [_word("department", item // TASTES // TOPICS_PER_DEPARTMENT) for item in items]
    return RawItems(
        external_id=[f"i{item:06d}" for item in items],
        title=[" ".join(words) for words in zip(taste, topic, department, strict=True)],
        description=[""] * len(items),
        brand=taste,
        categories=[(path,) for path in zip(department, topic, strict=True)],
        attributes=[(word,) for word in topic],
        decade=[""] * len(items),
    )


def _query(topic: int) -> str:
    return f"{_word('department', topic // TOPICS_PER_DEPARTMENT)} {_word('topic', topic)}"


def _word(kind: str, number: int) -> str:
    """An invented word that ends in a, o or u, which no stemmer cuts; each number has its own."""
    prefix = {"taste": "sa", "topic": "ha", "department": "wa"}[kind]
    word = ""
    for _ in range(3):
        number, place = divmod(number, len(_SYLLABLES))
        word += _SYLLABLES[place]
    return prefix + word
