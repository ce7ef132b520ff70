"""The catalogue of systems: rows that name a system, say what it is, and where its class stands.

Rows come from the project's own index page and from other installed packages (entry-point group
``gensar_benchmark.systems``). Listing them imports no system, hence no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from benchmark.errors import (
    BenchmarkError,
    SystemFailure,
    SystemUnavailable,
    quoted,
    shortened,
    text_of,
    unknown_value,
)

if TYPE_CHECKING:
    from benchmark.data.dataset import Dataset

INDEX_PACKAGE = "baselines"
"""The package whose ``catalog`` module is the index page (``ENTRIES`` and ``FAMILIES``)."""

ENTRY_POINT_GROUP = "gensar_benchmark.systems"

OUTSIDE_FAMILY = "outside"
"""The family of systems that have no row here, whose scores were handed in."""

TaskName = Literal["recommendation", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SystemEntry:
    """One row of the catalogue.

    ``target`` is ``module:Class``. ``reference`` is a BibTeX key of ``baselines/references.bib``.
    ``variants``, if given, makes the row a group: ``name:variant`` sets the configuration field
    ``variant_field``; ``refused_variants`` says why others cannot be had. ``in_suite`` is false for
    rows that the suite ``all`` leaves out. ``upstream`` names the rows whose fitted systems this
    one builds on (see :mod:`benchmark.systems.upstream`). ``needs_text`` says that the system makes
    no sense where the words of the texts are anonymous numbers (see :func:`refuse_without_text`).
    Rows of one ``heading`` are variants of one system: tables show them under it, by their
    ``label``. ``probe_of_lists`` marks a ranker without learning whose figures say whether matched
    candidate lists give the target away: tables of such lists print them in the caption.
    ``is_ceiling`` marks one that knows what an invented log was made by: a table of its own says
    what share of its figures the others reach. ``packages`` names those that installing the project
    does not bring: the name to import → the command that gets it. ``needs`` is what a job takes of
    a worker of a Dask cluster, laid over a CPU for each of its threads and a GPU on ``--device
    cuda``: ``{"CPU": 1}`` of a system that computes in one thread all the same, or numbers of
    resources that workers were started with, such as ``{"MEMORY": 64}``.
    """

    name: str
    display_name: str
    family: str
    tasks: tuple[TaskName, ...]
    target: str
    reference: str = ""
    original: str = ""  # URL of the original implementation
    licence: str = ""  # licence of the original
    status: str = ""  # one honest sentence: what is the original, what stands in
    in_suite: bool = True
    variants: tuple[str, ...] = ()
    refused_variants: Mapping[str, str] = field(default_factory=dict)
    variant_field: str = ""
    upstream: tuple[str, ...] = ()
    needs_text: bool = False
    heading: str = ""
    label: str = ""
    probe_of_lists: bool = False
    is_ceiling: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, int] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module of the system's class."""
        return self.target.partition(":")[0]

    def load(self) -> Any:
        """Import and return the system's class.

        Raises:
            SystemUnavailable: a package is not installed, the module cannot be loaded, or the class
                is missing or no system.
        """
        for package, command in self.packages.items():
            if find_spec(package) is None:
                raise SystemUnavailable(
                    f"system {self.name!r}: needs the package {package}, which is not installed; "
                    f"get it with `{command}`."
                )
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(import_module(module), attribute)
            attrgetter("Config.model_validate")(found)  # what is no system has none
        except (Exception, SystemExit) as error:  # a module may raise anything while it is loaded
            reason = shortened(f"{type(error).__name__}: {text_of(error)}")
            raise SystemUnavailable(
                f"system {self.name!r}: {self.target} cannot be imported ({reason})."
            ) from error
        return found


@dataclass(frozen=True)
class SystemChoice:
    """A catalogue row with the variant that a name like ``group:Variant`` asks for.

    ``settings`` belong to a row of a suite, called ``system@row``; they win over a preset's.
    """

    name: str
    display_name: str
    entry: SystemEntry
    overrides: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base_name(self) -> str:
        """The name without a suite's row."""
        return base_name(self.name)


def base_name(name: str) -> str:
    """``system@row`` → ``system``."""
    return name.partition("@")[0] or name


def with_settings(
    choice: SystemChoice, row: str, label: str, settings: Mapping[str, Any]
) -> SystemChoice:
    """``choice`` as a suite's row of its own, called ``system@row`` and shown as ``label``."""
    return replace(
        choice, name=f"{choice.name}@{row}", display_name=label or row, settings=settings
    )


@lru_cache(maxsize=1)
def entries() -> dict[str, SystemEntry]:
    """All rows by name: the index page first, then other packages.

    A package of others that cannot be loaded, or whose rows are none, is named and left out.

    Raises:
        BenchmarkError: a row of the index page is none, or two of its rows have one name.
    """
    rows = _with_rows({}, import_module(f"{INDEX_PACKAGE}.catalog").ENTRIES, INDEX_PACKAGE)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = _loaded(point)
            found = loaded if isinstance(loaded, (list, tuple)) else [loaded]
            rows = _with_rows(rows, found, f"package {_package_of(point)}")
        except BenchmarkError as error:
            logger.warning("%s It is left out.", error)
    return rows


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # what others wrote may raise anything
        reason = shortened(f"{type(error).__name__}: {error}")
        raise BenchmarkError(
            f"package {_package_of(point)}: its systems ({point.value}) cannot be loaded "
            f"({reason})."
        ) from None


def _with_rows(
    rows: Mapping[str, SystemEntry], more: Iterable[Any], where: str
) -> dict[str, SystemEntry]:
    """``rows`` and ``more``, all of them or none.

    Raises:
        BenchmarkError: one is no row of a catalogue, or has the name of another.
    """
    known = dict(rows)
    for row in more:
        if not isinstance(row, SystemEntry):
            raise BenchmarkError(f"{where}: {quoted(row)} is no SystemEntry.")
        if row.name in known:
            raise BenchmarkError(f"{where}: another system is called {row.name!r} too.")
        for task in row.tasks if isinstance(row.tasks, tuple) else (row.tasks,):
            if task not in get_args(TaskName):
                raise unknown_value(
                    "task", str(task), get_args(TaskName), f"{where}: system {row.name!r}"
                )
        if not row.tasks:
            raise BenchmarkError(f"{where}: system {row.name!r} has no task.")
        known[row.name] = row
    return known


def choose(name: str) -> SystemChoice:
    """The row for ``name``, which may be ``group:Variant``; a suite's ``@row`` is left off.

    Raises:
        BenchmarkError: unknown or refused.
    """
    rows = entries()
    name = base_name(name)
    base, colon, variant = name.partition(":")
    if base not in rows:
        listed = [f"{row.name}:<variant>" if row.variants else row.name for row in rows.values()]
        raise unknown_value("system", name, listed)
    row = rows[base]
    if not row.variants:
        if colon:
            raise BenchmarkError(f"system {base!r} has no variants, so {quoted(name)} is unknown.")
        return SystemChoice(name, row.display_name, row, {})
    if variant in row.refused_variants:
        raise BenchmarkError(f"system {name!r} is refused: {row.refused_variants[variant]}")
    if variant not in row.variants:
        raise unknown_value("variant", variant, row.variants, where=f"system {base!r}")
    return SystemChoice(name, f"{variant} ({row.display_name})", row, {row.variant_field: variant})


def refuse_without_text(choice: SystemChoice, dataset: Dataset) -> None:
    """Stop a system that reads texts where there are none to read.

    Raises:
        SystemFailure: the system needs text, and the words of the data set are anonymous numbers.
    """
    if choice.entry.needs_text and not dataset.has_readable_text:
        raise SystemFailure(
            f"{choice.display_name} needs readable item texts, but the words of {dataset.name} are "
            "anonymous numbers; run it on other data, or leave it out with --systems."
        )


def family_order() -> tuple[str, ...]:
    """The keys of the families, in the order of the tables."""
    return tuple(import_module(f"{INDEX_PACKAGE}.catalog").FAMILIES)


def family_title(key: str) -> str:
    """How a family is called in the tables; an unknown key is its own title."""
    titles: Mapping[str, str] = import_module(f"{INDEX_PACKAGE}.catalog").FAMILIES
    return titles.get(key, "From outside" if key == OUTSIDE_FAMILY else key)


def index_file(name: str) -> Path:
    """The path of a file of the index package, whether it is there or not."""
    return Path(str(files(INDEX_PACKAGE))) / name


def named_files(kind: str) -> dict[str, Path]:
    """The YAML files of the index package's folder ``kind`` ("presets", "suites"), by stem.

    Those in folders below are called ``folder/stem``.
    """
    folder = index_file(kind)
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*.yaml")))
    return {path.with_suffix("").as_posix(): folder / path for path in found}
