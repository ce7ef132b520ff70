"""Tables about what surrounds the figures: the data sets, and what each system cost."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.jobs.record import Run
from benchmark.report.reading.collect import REFERENCE_FAMILY, RunGroup
from benchmark.report.reading.text import clean, file_name, shortened
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup, number
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.rows import place_in_catalogue, place_of_family
from benchmark.systems.catalogue import base_name, family_title

_LONGEST_NAME = 60


def datasets_grid(groups: Sequence[RunGroup]) -> Grid:
    """The size of every data set that runs were made on, and its test events by protocol."""
    rows = []
    seen = set()
    for group in groups:
        record = group.runs[0].record
        events = {
            task: max(run.record.protocol.test_events.get(task, 0) for run in group.runs)
            for task in ("recommendation", "search")
        }
        key = (record.dataset.fingerprint, record.protocol.name, *events.values())
        if key in seen:
            continue
        seen.add(key)
        dataset = record.dataset
        named = f"{dataset.name} ({group.variant})" if group.variant else dataset.name
        counts = (
            dataset.users,
            dataset.items,
            dataset.queries,
            dataset.recommendation_events,
            dataset.search_events,
        )
        per_user = (dataset.recommendation_events + dataset.search_events) / max(dataset.users, 1)
        rows.append(
            (
                Entry(shortened(named, _LONGEST_NAME)),
                *(number(count, f"{count:,}") for count in counts),
                number(per_user, f"{per_user:.1f}"),
                Entry(clean(record.protocol.name)),
                *(number(count, f"{count:,}") for count in events.values()),
            )
        )
    return Grid(
        stem="datasets",
        caption="Data sets as prepared, and the test events of each protocol.",
        head=(
            "Data set",
            "Users",
            "Items",
            "Queries",
            "Rec. events",
            "Search events",
            "Events/user",
            "Protocol",
            "Rec. tests",
            "Search tests",
        ),
        groups=(GridGroup("", tuple(rows)),),
        left=(7,),
    )


def efficiency_grid(group: RunGroup) -> Grid | None:
    """Parameters, time, speed and memory of each finished system; None if there is none.

    Of systems that did not run here nothing is known.
    """
    own = [run for run in group.runs if run.record.outside is None]
    by_system: defaultdict[str, list[Run]] = defaultdict(list)
    for run in own:
        name = run.record.system.name
        if run.record.status == "finished" and name == base_name(name):
            by_system[name].append(run)
    if not by_system:
        return None
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    interrupted = False
    names = name_entries(
        (name, shortened(of_one[-1].record.system.display_name, _LONGEST_NAME), "")
        for name, of_one in by_system.items()
    )
    for name in sorted(by_system, key=place_in_catalogue):
        row, was_interrupted = _efficiency_row(by_system[name], names[name])
        by_family[by_system[name][0].record.system.family].append(row)
        interrupted = interrupted or was_interrupted
    notes = []
    if interrupted:
        notes.append(
            Footnote("1", "Interrupted and resumed: the time is that of the last part only.")
        )
    environments = {
        (run.record.environment.get("processor", ""), run.record.environment.get("threads", ""))
        for run in own
    }
    machine = ""
    if len(environments) == 1:
        processor, threads = environments.pop()
        machine = f" Processor: {processor}, {threads} thread(s)." if processor else ""
    elif len(environments) > 1:
        machine = " The runs were made on different machines or numbers of threads."
    key = group.key
    return Grid(
        stem=file_name(group.key.stem(group.variant), "efficiency"),
        caption=clean(
            f"Cost of each system on {key.dataset}, protocol {key.protocol}, preset {key.preset}; "
            "mean over the seeds. Training includes what a system builds from others; lists and "
            "all items are the seconds that ranking the test events of both tasks took in either "
            "view; events/s are those ranked in lists a second of wall-clock time; memory is the "
            "process's peak."
            f"{machine}"
        ),
        head=(
            "System",
            "Parameters",
            "Training (s)",
            "Lists (s)",
            "All items (s)",
            "Rec. events/s",
            "Search events/s",
            "MiB",
        ),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]), family == REFERENCE_FAMILY)
            for family in sorted(by_family, key=place_of_family)
        ),
        footnotes=tuple(notes),
    )


def _efficiency_row(runs: Sequence[Run], name: Entry) -> tuple[tuple[Entry, ...], bool]:
    costs = [run.record.cost for run in runs]
    resumed = any(cost.resumed for cost in costs)
    parameters = statistics.fmean(cost.parameters for cost in costs)
    seconds = statistics.fmean(cost.fit_seconds for cost in costs)
    memory = statistics.fmean(cost.peak_memory_bytes for cost in costs) / 2**20
    ranking = [
        _mean_sum([cost.score_seconds for cost in costs]),
        _mean_sum([cost.all_items_seconds for cost in costs]),
    ]
    rates = []
    for task in ("recommendation", "search"):
        of_task = [c.events_per_second[task] for c in costs if task in c.events_per_second]
        mean = statistics.fmean(of_task) if of_task else None
        rates.append(Entry(DASH) if mean is None else number(mean, f"{mean:,.0f}"))
    return (
        replace(name, raised="1" if resumed else ""),
        number(parameters, f"{parameters:,.0f}"),
        number(seconds, f"{seconds:,.1f}"),
        *(number(took, "" if took is None else f"{took:,.2f}") for took in ranking),
        *rates,
        number(memory, f"{memory:,.0f}"),
    ), resumed


def _mean_sum(of_runs: Sequence[Mapping[str, float]]) -> float | None:
    """The mean over runs of the sum over tasks; None where no run has any."""
    sums = [sum(of_tasks.values()) for of_tasks in of_runs if of_tasks]
    return statistics.fmean(sums) if sums else None
