"""A synthetic world of any size: searches and recommendations with a structure that is known.

Items belong to topics, and within a topic their popularity falls as in Zipf's law. A user has two
topics of taste. With probability ``taste`` an event is in one of them, else with probability
``season`` in the topic of the week, else in any topic. A search names the topic of its item and one
of the item's two attributes; with probability ``query_noise`` each word is any other of its kind.
Everything is a hash of (seed, user, step), so users can be made in blocks of any size, one after
the other, with the same result: ten million events need no more memory than their columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import NO_QUERY, NO_SESSION, RawItems, RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import WorldSource
from benchmark.hashing import row_hash, row_uniform

USERS_AT_ONCE = 20_000
ATTRIBUTES = 16
"""Attribute words of the whole world; an item has two of them."""

_FIRST_DAY = 1_577_836_800  # 2020-01-01
_DAY = 86_400
_WEEK = 7 * _DAY
_YEAR = 364 * _DAY
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprtvz" for vowel in "aou"]

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """The events of consecutive users, each user's in the order of time; arrays (events,).

    ``query`` is ``topic * ATTRIBUTES + attribute``, or ``NO_QUERY``.
    """

    user: Numbers
    item: Numbers
    timestamp: Numbers
    query: Numbers


def files(recipe: Recipe) -> tuple[Path, ...]:
    """None: the options determine everything."""
    return ()


def read(recipe: Recipe) -> RawLog:
    """The whole world in memory."""
    options = cast(WorldSource, recipe.source)
    blocks = list(stream(options))
    user, item, timestamp, query = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("user", "item", "timestamp", "query")
    )
    events = np.arange(len(user))
    return RawLog(
        users=[f"u{number:08d}" for number in range(options.users)],
        items=catalogue(options),
        user=user,
        item=item,
        timestamp=timestamp,
        rating=np.full(len(user), np.nan, dtype=np.float32),
        position=events,
        query=query,
        session=np.where(query != NO_QUERY, events, NO_SESSION),
        query_text=[
            f"{_word('topic', topic)} {_word('attribute', attribute)}"
            for topic in range(options.topics)
            for attribute in range(ATTRIBUTES)
        ],
        notes=("This log is invented; its figures say nothing about real users.",),
    )


def stream(options: WorldSource, users_at_once: int = USERS_AT_ONCE) -> Iterator[Block]:
    """The world in blocks of users; the events do not depend on the size of the blocks."""
    for first in range(0, options.users, users_at_once):
        users = np.arange(first, min(first + users_at_once, options.users))
        yield _block(options, users)


def topics_of_taste(options: WorldSource, users: Numbers) -> Numbers:
    """The two topics of each user, (users, 2)."""
    hashes = row_hash(options.seed, "taste", users[:, None], np.arange(2))
    return (hashes % np.uint64(options.topics)).astype(np.int64)


def topic_of_week(options: WorldSource, timestamp: Numbers) -> Numbers:
    """The topic in season at each time; it comes back every year."""
    week = timestamp % _YEAR // _WEEK
    return (row_hash(options.seed, "season", week) % np.uint64(options.topics)).astype(np.int64)


def attributes_of(options: WorldSource, items: Numbers) -> Numbers:
    """The two different attributes of each item, (items, 2)."""
    hashes = row_hash(options.seed, "attribute", items[:, None], np.arange(2))
    first = (hashes[:, 0] % np.uint64(ATTRIBUTES)).astype(np.int64)
    step = 1 + (hashes[:, 1] % np.uint64(ATTRIBUTES - 1)).astype(np.int64)
    return np.stack([first, (first + step) % ATTRIBUTES], axis=1)


def _block(options: WorldSource, users: Numbers) -> Block:
    share = row_uniform(options.seed, "length", users)
    lengths = np.maximum(3, np.rint(options.events_per_user * (0.5 + share))).astype(np.int64)
    user = np.repeat(users, lengths)
    first = np.cumsum(lengths) - lengths  # the row of each user's first event
    step = np.arange(len(user)) - np.repeat(first, lengths)

    def chance(purpose: str) -> NDArray[np.float64]:
        return row_uniform(options.seed, purpose, user, step)

    def any_of(purpose: str, number: int) -> Numbers:
        return (chance(purpose) * number).astype(np.int64)

    start = (row_uniform(options.seed, "start", users) * 2 * _YEAR).astype(np.int64)
    pause = 600 + (-np.log1p(-chance("pause")) * 3 * _DAY).astype(np.int64)
    within = np.cumsum(pause)
    before = np.repeat(within[first] - pause[first], lengths)
    timestamp = _FIRST_DAY + np.repeat(start, lengths) + within - before

    favourite = topics_of_taste(options, users)[user - users[0], any_of("which taste", 2)]
    in_season = chance("in season") < options.season
    topic = np.where(in_season, topic_of_week(options, timestamp), any_of("topic", options.topics))
    topic = np.where(chance("follows taste") < options.taste, favourite, topic)
    item = topic + options.topics * _rank_in_topic(options, topic, chance("item"))

    named = attributes_of(options, item)[np.arange(len(item)), any_of("which attribute", 2)]
    noisy_topic = chance("topic noise") < options.query_noise
    noisy_word = chance("attribute noise") < options.query_noise
    asked_topic = np.where(noisy_topic, any_of("other topic", options.topics), topic)
    asked_word = np.where(noisy_word, any_of("other attribute", ATTRIBUTES), named)
    is_search = chance("search") < options.search_share
    query = np.where(is_search, asked_topic * ATTRIBUTES + asked_word, NO_QUERY)

    # Nobody touches an item twice: the first time counts.
    order = np.lexsort((step, item, user))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (user[order][1:] != user[order][:-1]) | (item[order][1:] != item[order][:-1])
    kept = np.sort(order[new])
    return Block(user[kept], item[kept], timestamp[kept], query[kept])


def _rank_in_topic(options: WorldSource, topic: Numbers, chance: NDArray[np.float64]) -> Numbers:
    """Ranks from 0, with a probability that falls like 1 / (rank + 1), among a topic's items."""
    of_topic = (options.items - topic + options.topics - 1) // options.topics
    ranks = np.exp(chance * np.log(of_topic + 1)).astype(np.int64) - 1
    return np.clip(ranks, 0, of_topic - 1)


def catalogue(options: WorldSource) -> RawItems:
    """The items: topic, two attributes and a name of their own as the title."""
    items = np.arange(options.items)
    topics = [_word("topic", number) for number in range(options.topics)]
    words = [_word("attribute", number) for number in range(ATTRIBUTES)]
    pairs = attributes_of(options, items).tolist()
    of_item = [topics[number] for number in (items % options.topics).tolist()]
    return RawItems(
        external_id=[f"i{number:08d}" for number in items.tolist()],
        title=[
            f"{topic} {words[first]} {words[second]} {_word('name', number)}"
            for number, (topic, (first, second)) in enumerate(zip(of_item, pairs, strict=True))
        ],
        description=[""] * options.items,
        brand=[""] * options.items,
        categories=[((topic,),) for topic in of_item],
        attributes=[(topic,) for topic in of_item],
        decade=[""] * options.items,
    )


def _word(kind: str, number: int) -> str:
    """An invented word that no stemmer cuts; each number of a kind has its own."""
    word = {"topic": "ha", "attribute": "wa", "name": "sa"}[kind]
    for _ in range(4):
        number, place = divmod(number, len(_SYLLABLES))
        word += _SYLLABLES[place]
    return word
