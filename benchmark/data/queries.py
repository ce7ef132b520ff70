"""Queries for logs that have none: from category hierarchies (twins) or from attributes (channels).

The first rule is the one of the public Amazon product-search data (Ai et al., SIGIR 2017; read in
github.com/QingyaoAi/Explainable-Product-Search-with-a-Dynamic-Relation-Embedding-Model, c998d97,
utils/AmazonDataset), without its Krovetz stemming; it knows the letters a to z alone, ours those of
all scripts, and where it would leave one bare letter of a word with digits, ours leaves the word.
The second is our own, made for catalogues such
as MovieLens where one genre is too coarse a query and the full set of genres nearly names the item.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import NO_QUERY, Paths, RawItems
from benchmark.data.recipe import ChannelSearch
from benchmark.hashing import HashArray, row_hash, row_uniform

# The 418 stop words of INQUERY.
_STOP_WORDS = """
a about above according across after afterwards again against albeit all almost alone along
already also although always am among amongst an and another any anybody anyhow anyone anything
anyway anywhere apart are around as at av be became because become becomes becoming been before
beforehand behind being below beside besides between beyond both but by can cannot canst certain
cf choose contrariwise cos could cu day do does doesn't doing dost doth double down dual during
each either else elsewhere enough et etc even ever every everybody everyone everything
everywhere except excepted excepting exception exclude excluding exclusive far farther farthest
few ff first for formerly forth forward from front further furthermore furthest get go had
halves hardly has hast hath have he hence henceforth her here hereabouts hereafter hereby herein
hereto hereupon hers herself him himself hindmost his hither hitherto how however howsoever i ie
if in inasmuch inc include included including indeed indoors inside insomuch instead into inward
inwards is it its itself just kind kg km last latter latterly less lest let like little ltd many
may maybe me meantime meanwhile might moreover most mostly more mr mrs ms much must my myself
namely need neither never nevertheless next no nobody none nonetheless noone nope nor not
nothing notwithstanding now nowadays nowhere of off often ok on once one only onto or other
others otherwise ought our ours ourselves out outside over own per perhaps plenty provide quite
rather really round said sake same sang save saw see seeing seem seemed seeming seems seen
seldom selves sent several shalt she should shown sideways since slept slew slung slunk smote so
some somebody somehow someone something sometime sometimes somewhat somewhere spake spat spoke
spoken sprang sprung stave staves still such supposing than that the thee their them themselves
then thence thenceforth there thereabout thereabouts thereafter thereby therefore therein
thereof thereon thereto thereupon these they this those thou though thrice through throughout
thru thus thy thyself till to together too toward towards ugh unable under underneath unless
unlike until up upon upward upwards us use used using very via vs want was we week well were
what whatever whatsoever when whence whenever whensoever where whereabouts whereafter whereas
whereat whereby wherefore wherefrom wherein whereinto whereof whereon wheresoever whereto
whereunto whereupon wherever wherewith whether whew which whichever whichsoever while whilst
whither who whoa whoever whole whom whomever whomsoever whose whosoever why will wilt with
within without worse worst would wow ye yet year yippee you your yours yourself yourselves
"""
INQUERY_STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class ChosenQueries:
    """For each event the row of its query in ``text``, or ``NO_QUERY``; ``query`` is (events,)."""

    text: Sequence[str]
    query: NDArray[np.int64]


def query_of_path(path: Sequence[str]) -> str:
    """The query of one category hierarchy; "" where it has a single level or no word is left.

    >>> query_of_path(["Camera & Photo", "Digital Camera Lenses"])
    'photo digital camera lenses'
    >>> query_of_path(["Möbel", "Küche & Bad"]), query_of_path(["MP3 Players", "4K TVs"])
    ('möbel küche bad', 'mp players 4k tvs')
    """
    if len(path) < 2:
        return ""
    words = (_query_word(word) for word in unicodedata.normalize("NFC", " ".join(path)).split())
    kept = [word for word in words if word and word not in INQUERY_STOP_WORDS]
    last_first = dict.fromkeys(reversed(kept))  # of a word that stands twice, the last one stays
    return " ".join(reversed(last_first))


def _query_word(word: str) -> str:
    """The letters of a word in lower case, and its digits where it has but one letter beside them.

    Marks that belong to letters, such as the vowel signs of Hindi, count as letters.
    """
    letters = "".join(sign for sign in word if unicodedata.category(sign)[0] in "LM").lower()
    if len(letters) != 1 or letters in INQUERY_STOP_WORDS:
        return letters
    return "".join(sign for sign in word if sign.isalnum()).lower()


def queries_of_item(paths: Paths) -> tuple[str, ...]:
    """The distinct queries of an item, in the order of its category hierarchies."""
    return tuple(dict.fromkeys(query for path in paths if (query := query_of_path(path))))


def choose_category_queries(
    items: RawItems, item: NDArray[np.int64], choice: NDArray[np.float64]
) -> ChosenQueries:
    """For each event one of its item's queries; ``choice`` (events,) in [0, 1) picks which."""
    of_item = [queries_of_item(paths) for paths in items.categories]
    text = sorted({query for queries in of_item for query in queries})
    row_of = {query: row for row, query in enumerate(text)}
    flat = np.array([row_of[query] for queries in of_item for query in queries], dtype=np.int64)
    counts = np.array([len(queries) for queries in of_item], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    has_query = counts[item] > 0
    query = np.full(len(item), NO_QUERY, dtype=np.int64)
    picked = (choice * counts[item]).astype(np.int64)
    query[has_query] = flat[(starts[item] + picked)[has_query]]
    return ChosenQueries(text, query)


# A query of attributes while it is chosen: the attributes, and the decade or "".
_Form = tuple[tuple[str, ...], str]


def _matching_items(items: RawItems) -> Counter[_Form]:
    """For each form that may occur, how many items of the catalogue match all of it."""
    matching: Counter[_Form] = Counter()
    for attributes, decade in zip(items.attributes, items.decade, strict=True):
        singles = [(attribute,) for attribute in attributes]
        for chosen in (*singles, *combinations(attributes, 2)):
            matching[chosen, ""] += 1
            if decade:
                matching[chosen, decade] += 1
    return matching


def _back_off(kind: str, drawn: tuple[str, ...], pair: tuple[str, ...], decade: str) -> list[_Form]:
    """The form asked for and what it backs off to; ``pair`` is ``drawn`` in the item's order."""
    one = drawn[:1]
    forms: list[_Form] = [(pair, decade), (pair, ""), (one, decade), (one, "")]
    first = {"two with decade": 0, "two": 1, "one with decade": 2}[kind]
    return forms[first:]


def choose_attribute_queries(
    items: RawItems,
    item: NDArray[np.int64],
    user_key: HashArray,
    item_key: HashArray,
    options: ChannelSearch,
    seed: int,
) -> ChosenQueries:
    """For each event (events,) a query of one or two attributes of its item, maybe with the decade.

    Which form and which attributes is decided by a hash of (seed, user, item). A query that fewer
    than ``minimum_items`` items match backs off to a wider one.
    """
    if not len(item):
        return ChosenQueries((), np.empty(0, dtype=np.int64))
    matching = _matching_items(items)
    share = row_uniform(seed, "form", user_key, item_key)
    with_one, with_two = options.one_with_decade, options.one_with_decade + options.two
    kinds = np.where(
        share < with_one, "one with decade", np.where(share < with_two, "two", "two with decade")
    )
    widest = max(map(len, items.attributes))
    # (events, attributes): the item's attributes are drawn in the order of these numbers.
    draw = row_hash(seed, "attribute", user_key[:, None], item_key[:, None], np.arange(widest))
    texts: list[str] = []
    for event, (row, kind) in enumerate(zip(item.tolist(), kinds.tolist(), strict=True)):
        attributes = items.attributes[row]
        if not attributes:
            texts.append("")
            continue
        order = np.argsort(draw[event, : len(attributes)]).tolist()
        drawn = tuple(attributes[place] for place in order[:2])
        pair = tuple(attributes[place] for place in sorted(order[:2]))
        wide_enough = (
            form
            for form in _back_off(kind, drawn, pair, items.decade[row])
            if matching[form] >= options.minimum_items
        )
        # In a small catalogue no form may be wide enough: then the item's most common attribute.
        widest_form: _Form = max(
            (((attribute,), "") for attribute in attributes), key=matching.__getitem__
        )
        chosen, decade = next(wide_enough, widest_form)
        texts.append(" ".join((*chosen, decade)).strip().lower())
    distinct = sorted({text for text in texts if text})
    row_of = {text: row for row, text in enumerate(distinct)}
    query = np.array([row_of.get(text, NO_QUERY) for text in texts], dtype=np.int64)
    return ChosenQueries(distinct, query)
