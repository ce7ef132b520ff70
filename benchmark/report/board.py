"""The speed board as files: ``speed.json``, ``speed.md`` and the scaling curves, ``speed.png``.

The Markdown and the picture are made of what the JSON holds, and nothing else.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.files import write_json, write_text
from benchmark.jobs.machine import processor
from benchmark.report.plots.canvas import new_figure
from benchmark.report.plots.style import PAGE_WIDTH, report_style, save_figure
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup, to_markdown
from benchmark.speed.contest import Curve, Line, Peer, curves_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JSON_FILE, PAGE_FILE, PLOT_FILE = "speed.json", "speed.md", "speed.png"
CLOCK = (
    "Seconds are those of the processor, in one thread; the ways of a line took turns in one run, "
    "and the figure of a way is the least of its rounds."
)
_COLUMNS = 3
_PANEL_HEIGHT = 3.0
"""Inches, with the legend."""


@dataclass(frozen=True)
class Measured:
    """All of one run: on which machine, by which libraries, and which peers were not there.

    ``missing`` has peers and why each could not be imported.
    """

    machine: Mapping[str, str]
    lines: tuple[Line, ...]
    missing: tuple[tuple[Peer, str], ...] = ()

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Those of the tasks that were done at three sizes or more."""
        return tuple(curves_of(self.lines))


def machine() -> dict[str, str]:
    """Names and versions that a figure depends on."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "transformers")},
    }


def as_text(line: Line) -> str:
    """A line of the board for a terminal."""
    ours, peer = line.ours, line.best_peer
    parts = [f"{line.task.topic} | {_title(line)}"]
    parts += [f"{one.name} {_rate(one.least, line)}" for one in (ours, peer) if one is not None]
    return " | ".join([*parts, DASH if line.ratio is None else f"{line.ratio:.2f} x"])


def write_board(folder: Path, measured: Measured) -> None:
    """Write the three files; the picture only where there is a curve."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JSON_FILE, as_json(measured))
    figure = curves_figure(measured.curves)
    if figure is not None:
        save_figure(figure, folder / PLOT_FILE)
    write_text(folder / PAGE_FILE, as_markdown(measured, PLOT_FILE if figure else None))


def as_json(measured: Measured) -> dict[str, Any]:
    """Every figure, with what it was measured on."""
    return {
        "machine": dict(measured.machine),
        "clock": CLOCK,
        "missing": [
            {"topic": peer.topic, "peer": peer.name, "why": why, "remedy": peer.remedy}
            for peer, why in measured.missing
        ],
        "lines": [
            asdict(line.task)
            | {
                "ratio": line.ratio,
                "reaches_goal": line.reaches_goal,
                "ways": [
                    {
                        "name": way.name,
                        "is_ours": way.is_ours,
                        "seconds_per_unit": {"least": way.least, "median": way.median},
                        "rounds": way.rounds,
                        "note": way.note,
                    }
                    for way in line.ways
                ],
            }
            for line in measured.lines
        ],
        "curves": [asdict(curve) for curve in measured.curves],
    }


def missing_sentence(missing: Sequence[tuple[Peer, str]]) -> str:
    """Which peers were not there, in one sentence."""
    if not missing:
        return "Every peer could be imported."
    parts = [f"{peer.name} for {peer.topic} ({why}; {peer.remedy})" for peer, why in missing]
    return f"Not compared, since they could not be imported: {'; '.join(parts)}."


def as_markdown(measured: Measured, picture: str | None = None) -> str:
    """The page: the board, where it misses its goals and why, the growth, every way."""
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    parts = [
        "# Speed board",
        f"What the suite does beside the fastest that others have, measured by "
        f"`python -m benchmark.speed --out results/speed`. Machine: {machine}. {CLOCK} A ratio "
        f"above 1 says how many times faster the suite is than the fastest of the others.",
        missing_sentence(measured.missing),
        to_markdown(_board(measured.lines)).strip(),
    ]
    limits = [line for line in measured.lines if line.task.limit]
    if limits:
        parts.append("## Limits")
        parts.append(
            "\n".join(f"- {_title(line)}{_said_ratio(line)}: {line.task.limit}" for line in limits)
        )
    if measured.curves:
        parts += [
            "## Growth",
            "Seconds grow with the size to the power of the exponent, fitted to all sizes by least "
            "squares of the logarithms.",
            to_markdown(_growth(measured.curves)).strip(),
        ]
        if picture is not None:
            parts.append(f"![Seconds of the processor by size]({picture})")
    parts += ["## Every way", to_markdown(_every_way(measured.lines)).strip()]
    return "\n\n".join(parts) + "\n"


def _board(lines: Sequence[Line]) -> Grid:
    rows: dict[str, list[tuple[Entry, ...]]] = {}
    for line in lines:
        ours, peer = line.ours, line.best_peer
        rows.setdefault(line.task.topic, []).append(
            (
                Entry(_title(line)),
                Entry(DASH if peer is None else peer.name),
                Entry(DASH if peer is None else _rate(peer.least, line)),
                Entry(DASH if ours is None else _rate(ours.least, line)),
                Entry(DASH if line.ratio is None else f"{line.ratio:.2f}"),
                Entry(f"{line.task.goal:g}"),
            )
        )
    return Grid(
        "speed",
        "Rates by the second of the processor.",
        ("Task", "Fastest of others", "Its rate", "Ours", "Ratio", "Goal"),
        tuple(GridGroup(topic, tuple(found)) for topic, found in rows.items()),
        left=(1,),
    )


def _every_way(lines: Sequence[Line]) -> Grid:
    rows: dict[str, list[tuple[Entry, ...]]] = {}
    for line in lines:
        found = rows.setdefault(_title(line), [])
        for way in line.ways:
            found.append(
                (
                    Entry(way.name),
                    Entry(_rate(way.least, line)),
                    Entry(_rate(way.median, line)),
                    Entry(str(way.rounds)),
                    Entry(way.note),
                )
            )
    return Grid(
        "ways",
        "Rates by the least and by the median of the rounds.",
        ("Way", "Rate", "Median", "Rounds", "Note"),
        tuple(GridGroup(title, tuple(found)) for title, found in rows.items()),
        left=(4,),
    )


def _growth(curves: Sequence[Curve]) -> Grid:
    rows: dict[str, list[tuple[Entry, ...]]] = {}
    for curve in curves:
        rows.setdefault(f"{curve.topic}: {curve.what}", []).append(
            (
                Entry(curve.way),
                Entry(f"{curve.sizes[0]:,} to {curve.sizes[-1]:,} {curve.axis}"),
                Entry(f"{curve.exponent:.2f}"),
            )
        )
    return Grid(
        "growth",
        "Exponents of growth.",
        ("Way", "Sizes", "Exponent"),
        tuple(GridGroup(title, tuple(found)) for title, found in rows.items()),
        left=(1,),
    )


def _title(line: Line) -> str:
    task = line.task
    size = "" if task.size is None else f", {task.size:,} {task.axis}"
    return f"{task.what}{size}"


def _said_ratio(line: Line) -> str:
    return "" if line.ratio is None else f" ({line.ratio:.2f} of {line.task.goal:g})"


def _rate(seconds_per_unit: float, line: Line) -> str:
    rate = 1 / seconds_per_unit
    return f"{rate:,.0f} {line.task.unit}/s" if rate >= 100 else f"{rate:.3g} {line.task.unit}/s"


def curves_figure(curves: Sequence[Curve]) -> Figure | None:
    """A panel a task, both axes logarithmic; None where there is no curve."""
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(f"{curve.topic}: {curve.what}", []).append(curve)
    if not panels:
        return None
    rows = -(-len(panels) // _COLUMNS)
    with report_style():
        figure = new_figure(PAGE_WIDTH * 1.6, _PANEL_HEIGHT * 1.2 * rows)
        for place, (title, found) in enumerate(panels.items(), 1):
            _panel(figure.add_subplot(rows, _COLUMNS, place), title, found)
        figure.tight_layout()
    return figure


def _panel(axes: Axes, title: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(
            curve.sizes,
            curve.seconds,
            label=f"{curve.way}: {curve.exponent:.2f}",
            linewidth=2.0 if curve.is_ours else 0.8,
            linestyle="-" if curve.is_ours else "--",
            markersize=3.5,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({size for curve in curves for size in curve.sizes})
    axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes], size=6)
    axes.xaxis.minorticks_off()
    axes.set_title(title, size=7)
    axes.set_xlabel(curves[0].axis, size=7)
    axes.set_ylabel("seconds", size=7)
    # Below the axes: within them it would lie over a curve wherever many rise from left to right.
    axes.legend(fontsize=5.5, loc="upper left", bbox_to_anchor=(0.0, -0.24), borderaxespad=0.0)
