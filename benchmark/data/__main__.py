"""``python -m benchmark.data``: recipes, the data sets they give, and the files they need."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from benchmark.cli import console, guarded
from benchmark.data.dataset import Dataset
from benchmark.data.prepare import PREPARED_ROOT, load
from benchmark.data.recipe import RECIPE_FOLDER, Recipe, load_recipe, recipe_names
from benchmark.errors import EXIT_BAD_INPUT, BenchmarkError, counted, shortened

_SUMMARY_MODEL = "Qwen/Qwen2.5-7B-Instruct"  # what the paper names

# The audit needs protocols and systems, which stand above this package: it is looked up by name.
_AUDIT = "benchmark.audit.command"


def _parser(audit: Any = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, meaning in (
        ("list", "show the recipes"),
        ("prepare", "build a data set, unless it is there already"),
        ("describe", "show what a data set holds (and build it first, if need be)"),
        ("audit", "show what the protocols give away on a data set, and save it"),
        ("compare-bm25", "compare the hits of two BM25 engines on a data set's texts and queries"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument(
            "--recipes", type=Path, default=RECIPE_FOLDER, help="the folder of the recipes"
        )
        if name != "list":
            command.add_argument("recipe", help="a recipe's name, or the path of its file")
            command.add_argument(
                "--root", type=Path, default=PREPARED_ROOT, help="where prepared data sets lie"
            )
            command.add_argument(
                "--source",
                type=Path,
                metavar="FOLDER",
                help="the folder of the source's files; it is remembered for later commands",
            )
        if name == "audit" and audit is not None:
            audit.add_arguments(command)
        if name == "compare-bm25":
            _add_comparison(command)
    _add_folder_commands(commands)
    return parser


def _add_comparison(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engines", default="sparse,pyserini", help="two, by name")
    command.add_argument("--analyser", default="english", help="english or cjk")
    command.add_argument("--hits", type=int, default=109, help="a query (default: 109)")


def _add_folder_commands(commands: Any) -> None:
    """The commands about a folder of source files."""
    meaning = "list every fault of a folder of source files, with file, row and column"
    command = commands.add_parser("validate", help=meaning, description=meaning)
    command.add_argument("folder", type=Path)
    command.add_argument(
        "--recipe", help="read it by this recipe (name or path), with its search log and options"
    )
    command.add_argument(
        "--recipes", type=Path, default=RECIPE_FOLDER, help="the folder of the recipes"
    )
    meaning = "make item texts of a company's log short with an instruction model"
    command = commands.add_parser("summarise", help=meaning, description=meaning)
    command.add_argument("folder", type=Path, help="the folder with the table of items")
    command.add_argument(
        "--model",
        default=_SUMMARY_MODEL,
        help="a causal language model, by name or folder (default: %(default)s)",
    )
    command.add_argument("--words", type=int, default=50, help="at most so many (default: 50)")
    command.add_argument("--batch-size", type=int, default=8, help="items at once (default: 8)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    audit = import_module(_AUDIT) if given[:1] == ["audit"] else None
    options = _parser(audit).parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    out = console()
    if options.command == "list":
        out.print(_list_table(options.recipes))
        return 0
    if options.command == "validate":
        recipe = load_recipe(options.recipe, options.recipes) if options.recipe else None
        return _validate(options.folder, recipe)
    if options.command == "summarise":
        from benchmark.data.summarise import summarise

        made, kept = summarise(
            options.folder, options.model, words=options.words, batch_size=options.batch_size
        )
        print(f"{options.folder}: {made:,} items summarised, {kept:,} were already.")
        return 0
    dataset = load(options.recipe, root=options.root, folder=options.recipes, source=options.source)
    if options.command == "audit":
        return int(import_module(_AUDIT).run(dataset, options))
    if options.command == "compare-bm25":
        return _compare(dataset, options)
    if options.command == "describe":
        out.print(_description(dataset))
        for note in dataset.notes:
            out.print(f"- {note}")
    else:
        out.print(
            f"{dataset.name}: {counted(dataset.number_of_users, 'user')}, "
            f"{counted(dataset.number_of_items, 'item')}, {counted(len(dataset.log), 'event')}, "
            f"fingerprint {dataset.fingerprint[:16]}"
        )
    return 0


def _compare(dataset: Dataset, options: argparse.Namespace) -> int:
    from benchmark.retrieval.compare import compare_engines

    names = tuple(name.strip() for name in options.engines.split(","))
    if len(names) != 2:
        raise BenchmarkError(
            f"--engines {shortened(options.engines)}: must be two names with a comma."
        )
    found = compare_engines(
        (names[0], names[1]),
        dataset.items.text,
        dataset.queries.text[1:],
        options.hits,
        options.analyser,
    )
    print(f"{dataset.name}: {found.queries:,} queries, {options.hits} hits each")
    print(f"  the same hits in the same order: {found.same_order:,}")
    print(f"  the same hits in any order:      {found.same_set:,}")
    print(f"  largest difference of scores:    {found.largest_difference:.2g}")
    for name, seconds in zip(names, found.seconds, strict=True):
        print(f"  {name}: {seconds:.2f} s")
    return 0


def _validate(folder: Path, recipe: Recipe | None) -> int:
    from benchmark.data.validate import validate

    found = validate(folder, recipe)
    for sentence in (*found.faults, *found.remarks):
        print(sentence)
    print(f"{folder}: {found.kind}, {len(found.faults) or 'no'} faults listed.")
    return EXIT_BAD_INPUT if found.faults else 0


def _list_table(folder: Path) -> Table:
    table = Table("recipe", "what it is")
    for name in recipe_names(folder):
        try:
            meaning = load_recipe(name, folder).description
        except BenchmarkError as error:  # one broken recipe must not hide the others
            meaning = f"cannot be read: {error}"
        table.add_row(name, meaning)
    return table


def _description(dataset: Dataset) -> Table:
    from benchmark.data.describe import statistics

    numbers = statistics(dataset)
    table = Table("what", Column("value", overflow="fold"), title=dataset.name)
    for what, value in (
        ("users", f"{numbers.users:,}"),
        ("items", f"{numbers.items:,}"),
        ("queries", f"{numbers.queries:,}"),
        ("events", f"{numbers.events:,}"),
        ("recommendation events", f"{numbers.recommendation_events:,}"),
        ("search events", f"{numbers.search_events:,}"),
        (
            "events per user, median and 95th percentile",
            f"{numbers.events_per_user_median:g}, {numbers.events_per_user_p95:g}",
        ),
        ("distinct (query, item)", f"{numbers.distinct_query_item_pairs:,}"),
        ("words per item text", f"{numbers.words_per_item_text:.1f}"),
        ("words per query", f"{numbers.words_per_query:.1f}"),
        ("dates", f"{numbers.first_day} to {numbers.last_day}"),
        ("consecutive recommendation events at one instant", f"{numbers.tied_share:.1%}"),
        ("fingerprint", numbers.fingerprint),
    ):
        table.add_row(what, value)
    return table


if __name__ == "__main__":
    sys.exit(main())
