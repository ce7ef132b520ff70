"""The page of published figures: ``README.md`` and ``figures.csv`` beside the file of lines.

Everything on it is computed from the lines and the records, so writing it again changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from benchmark.errors import BenchmarkError
from benchmark.files import write_text
from benchmark.protocol.metrics import View
from benchmark.report.reading.text import counted, markdown
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup, to_csv, to_markdown
from benchmark.reproduce.lines import Line, Lines
from benchmark.reproduce.measured import PRESET, PROTOCOL, Found, found_of, recorded_runs
from benchmark.reproduce.verdicts import Kind, Measured, Verdict, verdict

PAGE = "README.md"
FIGURES = "figures.csv"
NOT_RUN = "not run yet"
COMMAND = "python -m benchmark.reproduce"
_AMONG: Mapping[View, str] = {"lists": "candidate lists", "all-items": "all items"}
_INTRODUCTION = f"""# Published figures, and ours

What others published on data that can be had, and what this suite gets by the original's own
settings. `lines.yaml` says of each line where the figure is from, on which data and by which
settings; settings were taken from the original's published commands and never from a look at how
near a figure came. One command runs one line, goes on after a kill, keeps a record in `runs/`, and
writes this page anew:

```
{COMMAND} LINE      # or all; --list names the lines, --fresh runs a recorded line again
python -m benchmark.data prepare amazon-beauty-sequences --source FOLDER   # files at hand
```

**Verdict.** The interval is the 95 % one of our mean: test users are resampled, and with several
seeds what the mean of the runs may be off is added. A published figure is *reproduced* if a value
that is rounded to it lies within; else ours is *above* or *below* by the difference of the two. The
interval is ours alone. What the other's figure may be off, for its own seed and its own draw of
negatives, is unknown, so a figure just outside is no proof of a fault, and one within is no proof
of equality. Passes are those trained, and the one whose weights were kept. Minutes are wall-clock
on the processor that the record names, with other work beside it: upper bounds.
"""


def write_page(content: Lines, folder: Path) -> tuple[list[Path], list[str]]:
    """Write the page and the figures; returns the files, and what the reader must be told."""
    found, sentences = _found(content, folder)
    figures = figures_grid(content, found)
    parts = [
        _INTRODUCTION,
        f"## The lines\n\n{to_markdown(overview_grid(content, found))}",
        f"## The figures\n\n{to_markdown(figures)}",
        f"## What each line is\n\n{''.join(_details(content, found))}",
        f"## Without a line\n\n{_left_out(content)}",
    ]
    paths = [folder / PAGE, folder / FIGURES]
    write_text(paths[0], "\n".join(part.rstrip() + "\n" for part in parts))
    write_text(paths[1], to_csv(figures))
    return paths, sentences


def states(content: Lines, folder: Path) -> dict[str, str]:
    """Line → what is there of it, in words.

    Raises:
        BenchmarkError: a record is damaged.
    """
    return {name: _state(name, line, folder) for name, line in content.lines.items()}


def _state(name: str, line: Line, folder: Path) -> str:
    if line.run is None:
        return "run" if found_of(name, line, folder).figures else NOT_RUN
    there, _ = recorded_runs(name, line, line.run, folder)
    recorded = {run.record.seed for run in there}
    missing = [str(seed) for seed in line.seeds if seed not in recorded]
    if not recorded:
        return NOT_RUN
    return f"run, but not with seed {', '.join(missing)}" if missing else "run"


def _found(content: Lines, folder: Path) -> tuple[dict[str, Found], list[str]]:
    """What is there of each line; a damaged record is told of and shown as missing."""
    found, sentences = {}, []
    for name, line in content.lines.items():
        try:
            found[name] = found_of(name, line, folder)
        except BenchmarkError as error:
            sentences.append(f"{error} It is not shown.")
            found[name] = Found({})
        sentences += found[name].stale
    return found, sentences


def judged(line: Line, found: Found) -> Iterator[Verdict]:
    """The verdicts on the published figures of a line; none if it was not run."""
    for row in line.published:
        ours = found.figures.get(row.view, {})
        for metric, printed in row.figures.items():
            if metric in ours:
                yield verdict(printed, ours[metric])


def overview_grid(content: Lines, found: Mapping[str, Found]) -> Grid:
    """A row a line: what was run, and how many of its figures are reproduced."""
    rows = []
    for name, line in content.lines.items():
        of_line = found[name]
        passes = ", ".join(f"{trained} ({kept})" for trained, kept in of_line.passes)
        rows.append(
            (
                Entry(name),
                Entry(line.dataset),
                Entry(", ".join(map(str, of_line.seeds)) or DASH),
                Entry(passes or DASH),
                Entry(f"{of_line.minutes:.1f}" if of_line.figures else DASH),
                Entry(_summary(line, of_line)),
            )
        )
    return Grid(
        stem="reproduction-lines",
        caption="Each line: data, seeds, passes trained (and the one that was kept), minutes of "
        "all its runs together, and how many of its published figures are reproduced.",
        head=("Line", "Data", "Seeds", "Passes", "Minutes", "Figures"),
        groups=(GridGroup("", tuple(rows)),),
        left=(1, 2, 3, 5),
    )


def _summary(line: Line, found: Found) -> str:
    if not found.figures:
        return f"{NOT_RUN}: {line.estimate}" if line.estimate else NOT_RUN
    kinds = Counter(one.kind for one in judged(line, found))
    if not kinds:
        return "no published figure to compare with"
    told = [f"{kinds[kind]} {kind}" for kind in get_args(Kind) if kinds[kind]]
    return f"of {counted(kinds.total(), 'figure')}: {', '.join(told)}"


def figures_grid(content: Lines, found: Mapping[str, Found]) -> Grid:
    """A row a published figure, grouped by line and source."""
    groups = []
    for name, line in content.lines.items():
        for row in line.published:
            ours = found[name].figures.get(row.view, {})
            checked = "" if row.is_checked else " (second hand, not checked in the source)"
            title = f"{name}, among {_AMONG[row.view]}: {row.source}{checked}"
            rows = tuple(
                _figure(metric, printed, ours.get(metric))
                for metric, printed in row.figures.items()
            )
            groups.append(GridGroup(title, rows))
        for shown in line.unmatched:
            ours = found[name].figures.get(shown.view, {})
            title = f"{name}, among {_AMONG[shown.view]}: {shown.why}"
            rows = tuple(_figure(m, None, ours.get(m)) for m in shown.metrics)
            groups.append(GridGroup(title, rows))
    return Grid(
        stem="reproduction-figures",
        caption="Each published figure as it is printed there, ours with its 95 % interval, and "
        "the verdict.",
        head=("Metric", "Published", "Ours", "Interval", "Verdict"),
        groups=tuple(groups),
        left=(4,),
    )


def _figure(metric: str, printed: str | None, ours: Measured | None) -> tuple[Entry, ...]:
    published = Entry(DASH) if printed is None else Entry(printed, value=float(printed))
    if ours is None:
        return (Entry(metric), published, Entry(DASH), Entry(DASH), Entry(NOT_RUN))
    words = "no published figure" if printed is None else verdict(printed, ours).words
    return (
        Entry(metric),
        published,
        Entry(f"{ours.mean:.4f}", value=ours.mean, ends=(ours.low, ours.high)),
        Entry(f"[{ours.low:.4f}, {ours.high:.4f}]"),
        Entry(words),
    )


def _details(content: Lines, found: Mapping[str, Found]) -> Iterator[str]:
    for name, line in content.lines.items():
        yield f"### {name}\n\n{markdown(line.title)}. Data: {_data(line)}.\n\n"
        yield from (f"- {item}\n" for item in _items(name, line, found[name]))
        yield "\n"


def _data(line: Line) -> str:
    counts = line.counts
    size = ", ".join(
        counted(number, noun)
        for number, noun in (
            (counts.users, "user"),
            (counts.items, "item"),
            (counts.events, "event"),
        )
    )
    return f"{markdown(line.dataset)} ({size})"


def _items(name: str, line: Line, found: Found) -> Iterator[str]:
    for row in line.published:
        place = f": <{row.url}>" if row.url else ""
        yield f"Published: {markdown(row.source)}{place}"
    if line.original:
        yield f"The original's settings: {markdown(line.original)}"
    if line.run is not None:
        yield f"Ours: `{COMMAND} {name}`"
        yield (
            f"Our settings: system `{line.run.system}`, preset `{PRESET}`"
            f"{_changes(line.run.settings)}; protocol `{PROTOCOL}`{_changes(line.run.protocol)}"
        )
        if line.run.passes is not None:
            yield f"Passes expected: {line.run.passes}"
    if line.compare is not None:
        first, second = line.compare.engines
        yield f"Ours: `{COMMAND} {name}`"
        yield f"Engines: `{first}` and `{second}`, {counted(line.compare.hits, 'hit')} a query"
    if line.estimate and not found.figures:
        yield f"Time: {markdown(line.estimate)}"
    yield from (f"Differs: {markdown(sentence)}" for sentence in line.differences)
    yield from (f"Unknown: {markdown(sentence)}" for sentence in line.unknown)
    if found.processor:
        yield f"Processor: {markdown(found.processor)}"


def _changes(changes: Mapping[str, Any]) -> str:
    return f" with `{json.dumps(changes)}`" if changes else ""


def _left_out(content: Lines) -> str:
    lines = [f"- {markdown(one.what)}: {markdown(one.why)}" for one in content.left_out]
    return "\n".join(lines) if lines else "Nothing."
