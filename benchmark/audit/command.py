"""``python -m benchmark.data audit``: print and save what protocols give away on a data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from benchmark.audit.audit import audit
from benchmark.audit.draws import draws_table, over_draws
from benchmark.audit.rankers import FEWER_EVENTS, MOST_SCORES
from benchmark.audit.record import AUDIT_FOLDER, TITLES, Audit, save_audit
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.overrides import protocol_changes
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import PRESETS, configure_protocol

EXIT_FINDING = 1

_ON_LISTS = ("HR@1", "HR@10", "NDCG@10")
_AMONG_ALL = ("HR@10", "NDCG@10")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, beside those of every command about a data set."""
    parser.add_argument(
        "--protocol",
        default=",".join(PRESETS),
        help=f"protocols separated by commas (default: {','.join(PRESETS)})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="protocol.KEY=VALUE",
        help="change one setting of every protocol; may be repeated",
    )
    parser.add_argument(
        "--catalogue-events",
        type=int,
        metavar="NUMBER",
        help="test events of each task to rank against the whole catalogue (default: all, or "
        f"{FEWER_EVENTS} where all would be more than {MOST_SCORES:,} scores)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=0,
        metavar="NUMBER",
        help="draw the candidate lists with so many seeds and show how far the figures of rankers "
        "without learning deviate over the draw of negatives (at least 2; default: not)",
    )
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="run folders whose systems join the rankers"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=AUDIT_FOLDER,
        help=f"where it is saved (default: {AUDIT_FOLDER})",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if any protocol asked for has a finding: something is given away",
    )


def run(dataset: Dataset, options: argparse.Namespace) -> int:
    """Audit the data set under every protocol asked for; returns the exit code."""
    if options.catalogue_events is not None and options.catalogue_events < 1:
        raise BenchmarkError(f"--catalogue-events {options.catalogue_events}: must be at least 1.")
    if options.draws < 0 or options.draws == 1:
        raise BenchmarkError(f"--draws {options.draws}: must be 0, or at least 2.")
    changes = protocol_changes(options.set)
    names = [name.strip() for name in options.protocol.split(",") if name.strip()]
    chosen = [configure_protocol(name, changes) for name in names]
    audits = []
    for name, settings in chosen:
        tasks = load_tasks(dataset, settings, options.root)
        audits.append(
            audit(
                dataset,
                tasks,
                name,
                settings,
                catalogue_events=options.catalogue_events,
                runs=options.runs,
            )
        )
    paths = [save_audit(options.out, found) for found in audits]
    console = Console()
    console.print(diagnostics_table(audits))
    for name, settings in chosen if options.draws else ():
        results = over_draws(dataset, settings, options.root, range(1, options.draws + 1))
        console.print(draws_table(results, name, options.draws))
    for task in audits[0].rankers if audits else ():
        console.print(rankers_table(audits, task))
    for found in audits:
        print_verdicts(found, console)
    console.print("Bounds are one-sided 95 % ones at either end; users are the unit.", style="dim")
    for path in paths:
        console.print(f"saved: {path}", markup=False, highlight=False, soft_wrap=True)
    has_findings = any(found.findings for found in audits)
    return EXIT_FINDING if options.strict and has_findings else 0


def print_verdicts(found: Audit, console: Console) -> None:
    """One line a verdict, whatever the width of the terminal; findings are marked."""
    number = len(found.findings)
    title = f"{found.dataset}, {found.protocol}: {number or 'no'} finding{'s' * (number != 1)}"
    console.print(f"\n[bold]{escape(title)}[/bold]", highlight=False, soft_wrap=True)
    for verdict in found.verdicts:
        line = f"{'!' if verdict.is_finding else ' '} {verdict.sentence}"
        style = "yellow" if verdict.is_finding else "dim"
        console.print(escape(line), highlight=False, soft_wrap=True, style=style)


def diagnostics_table(audits: Sequence[Audit]) -> Table:
    """One row a figure, one column a protocol."""
    table = Table(
        "",
        Column("what", overflow="fold"),
        *(Column(escape(found.protocol), justify="right") for found in audits),
        title=escape(audits[0].dataset) if audits else None,
    )
    for number, title in TITLES.items():
        of_number = [found.diagnostics.get(number, {}) for found in audits]
        names = list(dict.fromkeys(name for figures in of_number for name in figures))
        if not names:
            continue
        table.add_section()
        table.add_row(number, f"[bold]{escape(title)}[/bold]")
        for name in names:
            cells = (f"{figures[name]:,.3f}" if name in figures else "–" for figures in of_number)
            table.add_row("", escape(name), *cells)
    return table


def rankers_table(audits: Sequence[Audit], task: str) -> Table:
    """Every ranker under every protocol, on the lists and among all items.

    The saved audit has every metric; these fit into a terminal with no name cut.
    """
    learns = any(result.learns for found in audits for result in found.rankers[task])
    table = Table(
        Column("ranker", overflow="fold"),
        Column("protocol", no_wrap=True),
        *(Column(metric, justify="right") for metric in _ON_LISTS),
        *(Column(f"all items\n{metric}", justify="right") for metric in _AMONG_ALL),
        title=f"{task}: what is reached{'' if learns else ' without learning'}",
    )
    names = dict.fromkeys(r.display_name for found in audits for r in found.rankers[task])
    for name in names:
        for found in audits:
            for result in found.rankers[task]:
                if result.display_name == name:
                    lists = (f"{result.lists[metric]:.3f}" for metric in _ON_LISTS)
                    among_all = (f"{result.catalogue[metric]:.3f}" for metric in _AMONG_ALL)
                    table.add_row(escape(name), escape(found.protocol), *lists, *among_all)
        if len(audits) > 1:
            table.add_section()
    return table
