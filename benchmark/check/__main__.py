"""``python -m benchmark.check <system> …``: does it keep the contract?

Exit code 0: every probe passed; 1: one failed; 2: bad input, such as an unknown system.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_FAILED_SYSTEM, BenchmarkError, shortened

if TYPE_CHECKING:
    from benchmark.check.probes import Outcome
    from benchmark.systems.catalogue import SystemChoice
    from benchmark.systems.contract import SystemConfig


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.check",
        description="Check that systems keep the contract: fit and score each of them on a tiny "
        "generated data set and try to break its promises one by one.",
    )
    add = parser.add_argument
    add("systems", nargs="+", metavar="system", help="a name of the catalogue, or group:Variant")
    add("--preset", default="smoke", help="a preset by name, or a YAML file (default: smoke)")
    add(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="FIELD=VALUE",
        help="override a configuration field of every system named; may be repeated",
    )
    add("--verbose", action="store_true", help="show the tracebacks of exceptions")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _check_all(arguments))


def check(
    choice: SystemChoice,
    config: SystemConfig,
    upstream: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Outcome]:
    """The outcomes of the probes on one system, as they come in; a failed fit is the last one."""
    from benchmark.check.probes import PROBES, fits, run_probe
    from benchmark.check.subject import Subject

    with tempfile.TemporaryDirectory(prefix="check-") as root:
        subject = Subject(
            choice.name,
            choice.entry.tasks,
            choice.entry.load(),
            config,
            Path(root),
            required=choice.overrides,
            upstream=upstream,
        )
        for probe in PROBES:
            outcome = run_probe(probe, subject)
            yield outcome
            if probe is fits and not outcome.passed:
                return  # there is nothing that the others could ask


def _check_all(arguments: argparse.Namespace) -> int:
    from benchmark.systems.catalogue import choose
    from benchmark.systems.configuration import configure, load_preset

    choices = [choose(name) for name in dict.fromkeys(arguments.systems)]
    preset = load_preset(arguments.preset)
    changes = _overrides(arguments.assignments)
    # All of them before the first one is run: a mistake in the last name should not cost minutes.
    configs = [configure(one, preset.overrides_for(one.name), changes) for one in choices]
    out = console()
    failed = False
    for choice, config in zip(choices, configs, strict=True):
        out.print(Text(f"{choice.name}: {choice.display_name}", style="bold"))
        outcomes = []
        for outcome in check(choice, config, preset.upstream_of(choice.entry)):
            _show(out, outcome, arguments.verbose)
            outcomes.append(outcome)
        summary, passed = _summary(outcomes)
        failed |= not passed
        out.print(Text(f"{choice.name}: {summary}", style="green" if passed else "red"))
    return EXIT_FAILED_SYSTEM if failed else 0


def _overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """``["training.epochs=3"]`` → ``{"training": {"epochs": 3}}``.

    Raises:
        BenchmarkError: one is not of the form field=value.
    """
    from benchmark.overrides import merged
    from benchmark.yaml_files import parse_yaml

    overrides: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            raise BenchmarkError(f"--set {shortened(text)}: must look like field=value.")
        nested: Any = parse_yaml(value, f"--set {shortened(text)}")
        for part in reversed(path.split(".")):
            nested = {part: nested}
        overrides = merged(overrides, nested)
    return overrides


def _summary(outcomes: Sequence[Outcome]) -> tuple[str, bool]:
    """The last line of a system, and whether it passed."""
    from benchmark.check.probes import PROBES

    broken = sum(not outcome.passed for outcome in outcomes)
    if not broken:
        return f"all {len(outcomes)} probes passed.", True
    left = len(PROBES) - len(outcomes)
    not_run = f"; the other {left} need a fitted system and were not run" if left else ""
    return f"{broken} of {len(outcomes)} probes failed{not_run}.", False


def _show(console: Console, outcome: Outcome, verbose: bool) -> None:
    line = Table.grid(padding=(0, 1))
    line.add_row(
        Text("pass", "green") if outcome.passed else Text("FAIL", "bold red"),
        Text.assemble(outcome.promise, " ", (f"[{outcome.seen}]", "dim"))
        if outcome.passed
        else Text(f"{outcome.promise}\n{outcome.seen}"),
    )
    console.print(line)
    if verbose and outcome.trace:
        console.print(Text(outcome.trace.rstrip(), style="dim"))


if __name__ == "__main__":
    raise SystemExit(main())
