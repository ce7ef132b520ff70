"""``python -m benchmark.data list | prepare | describe``: recipes and the data sets they give."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from benchmark.cli import guarded
from benchmark.data.dataset import Dataset
from benchmark.data.prepare import PREPARED_ROOT, load
from benchmark.data.recipe import RECIPE_FOLDER, load_recipe, recipe_names
from benchmark.errors import BenchmarkError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, meaning in (
        ("list", "show the recipes"),
        ("prepare", "build a data set, unless it is there already"),
        ("describe", "show what a data set holds (and build it first, if need be)"),
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    console = Console()
    if options.command == "list":
        console.print(_list_table(options.recipes))
        return 0
    dataset = load(options.recipe, root=options.root, folder=options.recipes)
    if options.command == "describe":
        console.print(_description(dataset))
        for note in dataset.notes:
            console.print(f"- {escape(note)}")
    else:
        console.print(
            f"{dataset.name}: {dataset.number_of_users:,} users, {dataset.number_of_items:,} "
            f"items, {len(dataset.log):,} events, fingerprint {dataset.fingerprint[:16]}"
        )
    return 0


def _list_table(folder: Path) -> Table:
    table = Table("recipe", "what it is")
    for name in recipe_names(folder):
        try:
            meaning = load_recipe(name, folder).description
        except BenchmarkError as error:  # one broken recipe must not hide the others
            meaning = f"cannot be read: {error}"
        table.add_row(escape(name), escape(meaning))
    return table


def _description(dataset: Dataset) -> Table:
    from benchmark.data.describe import statistics

    numbers = statistics(dataset)
    table = Table("what", Column("value", overflow="fold"), title=escape(dataset.name))
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
