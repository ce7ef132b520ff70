"""``python -m benchmark.data validate <folder>``: every fault of a folder of source files.

There are no rules here: the folder is read as the loaders read it, by a recipe or, without one, by
the most lenient recipe of its kind, and the data set is built. All that a loader would refuse is
listed, not the first fault alone; what it would note is a remark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.build import build_dataset
from benchmark.data.recipe import Recipe, parse_recipe
from benchmark.data.sources import (
    amazon,
    amazon2023,
    company,
    esci,
    folder,
    jdsearch,
    kuaisar,
    movielens,
    qilin,
    recif,
    yambda,
)
from benchmark.data.tables.faults import Faults
from benchmark.errors import BenchmarkError

_LOADERS = {
    "amazon": amazon.load,
    "amazon-2023": amazon2023.load,
    "company": company.load,
    "esci": esci.load,
    "folder": folder.load,
    "jdsearch": jdsearch.load,
    "kuaisar": kuaisar.load,
    "movielens": movielens.load,
    "qilin": qilin.load,
    "recif": recif.load,
    "yambda": yambda.load,
}


@dataclass(frozen=True)
class Validation:
    """What a folder is, what is wrong with it (sentences), and what is worth knowing."""

    kind: str
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def validate(place: Path, recipe: Recipe | None = None) -> Validation:
    """Read every table of the folder ``place``, by the recipe if there is one.

    Raises:
        BenchmarkError: it is no folder, holds no files of a known kind, or the recipe reads none.
    """
    if not place.is_dir():
        raise BenchmarkError(f"{place}: is not a folder (a recipe is given with --recipe).")
    if recipe is not None and recipe.source.kind not in _LOADERS:
        raise BenchmarkError(f"{recipe.name}: a source of kind {recipe.source.kind} has no folder.")
    kind, recipes = _recipes_of(place) if recipe is None else (recipe.name, [recipe])
    faults, remarks = Faults(), dict[str, None]()
    for one in recipes:
        given = one.model_copy(update={"given_folder": place, "is_downloaded": False})
        remarks.update(dict.fromkeys(_read(given, faults)))
    return Validation(kind, tuple(dict.fromkeys(faults.sentences())), tuple(remarks))


def _read(recipe: Recipe, faults: Faults) -> tuple[str, ...]:
    """Load and build; every fault is noted, and the data set's notes are returned."""
    own = Faults()
    log = _LOADERS[recipe.source.kind](recipe, own)
    faults.take_over(own)
    if log is None:
        return ()
    try:
        return build_dataset(recipe, log).notes
    except BenchmarkError as error:
        reason = str(error).removeprefix(f"{recipe.name}: ")
        faults.add_sentence(f"{recipe.source_folder}: {reason}")
        return log.notes


def _recipes_of(place: Path) -> tuple[str, list[Recipe]]:
    """What the folder is, as told by its files, and the recipes that read all of them."""
    for kind, (is_it, recipes) in _KINDS.items():
        if is_it(place):
            return kind, recipes(place)
    raise BenchmarkError(
        f"{place}: holds none of the tables that a data set begins with: "
        "recommendations and searches (a company's log), interactions (the tidy format), rec_inter "
        "(KuaiSAR), recommendation_train (Qilin), reviews_<category>_5.json.gz (Amazon), "
        "meta_<category>.jsonl (Amazon 2023), ratings (MovieLens), release_data (JDsearch), "
        "likes or listens (Yambda), onerec_bench_release (RecIF-Bench) or "
        "shopping_queries_dataset_examples (ESCI)."
    )


def _recipe(kind: str, search: str, **source: Any) -> Recipe:
    content = {
        "name": kind,
        "source": {"kind": kind, "path": ".", "core": 1, **source},
        "search": {"kind": search},
    }
    return parse_recipe(content, "validate")


def _joint(kind: str) -> Callable[[Path], list[Recipe]]:
    return lambda place: [_recipe(kind, "own", only_users_of_both=False)]


def _amazon2023(place: Path) -> list[Recipe]:
    """One recipe a category; with the queries of Amazon-C4 beside them, those are read too."""
    search = "own" if amazon2023.QUERIES.places(place) else "none"
    categories = amazon2023.categories_in(place)
    return [_recipe("amazon-2023", search, category=category) for category in categories]


def _movielens(place: Path) -> list[Recipe]:
    return [_recipe("movielens", "none", minimum_rating=0.5)]


def _jdsearch(place: Path) -> list[Recipe]:
    return [_recipe("jdsearch", "own")]


def _yambda(place: Path) -> list[Recipe]:
    """One recipe a table, with everything that it holds."""
    found = [name for name, schema in yambda.TABLES.items() if schema.places(place)]
    return [_recipe("yambda", "none", events=name, minimum_played=0) for name in found]


def _recif(place: Path) -> list[Recipe]:
    """One recipe a domain; the searches are of videos and ads, and are read with the videos."""
    return [
        _recipe("recif", search, domain=domain, action="shown")
        for domain, search in (("video", "own"), ("ad", "none"), ("goods", "none"))
    ]


def _esci(place: Path) -> list[Recipe]:
    """One recipe a locale that has judgements, with all of them."""
    return [_recipe("esci", "own", locale=one, version="large") for one in esci.locales_in(place)]


def _tidy(place: Path) -> list[Recipe]:
    return [_recipe("folder", "own" if folder.SEARCHES.places(place) else "none")]


def _amazon(place: Path) -> list[Recipe]:
    """One recipe a category; with queries or relevance files beside them, those are read too."""
    names = (path.name.removesuffix(".gz") for path in _reviews(place))
    categories = (name.removeprefix("reviews_").removesuffix("_5.json") for name in names)
    return [
        _recipe("amazon", "own" if _has_queries(place, category) else "none", category=category)
        for category in dict.fromkeys(categories)
    ]


def _has_queries(place: Path, category: str) -> bool:
    names = (amazon.QUERY_FILE, *amazon.RELEVANCE_FILES)
    return any(amazon.at_hand(place, name, category) for name in names)


def _reviews(place: Path) -> list[Path]:
    return [*sorted(place.glob("reviews_*_5.json")), *sorted(place.glob("reviews_*_5.json.gz"))]


def _any_of(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds a table of one of these names, in whatever format."""
    return lambda place: any(
        path.name.partition(".")[0] in names for path in place.iterdir() if path.name[:1] != "."
    )


_KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], list[Recipe]]]] = {
    "KuaiSAR": (_any_of("rec_inter", "src_inter"), _joint("kuaisar")),
    "Qilin": (qilin.present, _joint("qilin")),
    "a company's log": (_any_of("recommendations"), _joint("company")),
    "the tidy format": (_any_of("interactions"), _tidy),
    "Amazon": (_reviews, _amazon),
    "Amazon 2023": (amazon2023.categories_in, _amazon2023),
    "MovieLens": (_any_of("ratings"), _movielens),
    "Yambda": (_any_of("likes", "listens"), _yambda),
    "RecIF-Bench": (_any_of("onerec_bench_release"), _recif),
    "ESCI": (esci.EXAMPLES.places, _esci),
    "JDsearch": (_any_of("release_data"), _jdsearch),
    "a company's log without recommendations": (_any_of("searches"), _joint("company")),
}
