"""What an export says of itself: every file and column, and how a run is handed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark.protocol.settings import PRESETS

_HEAD = """# Export of {dataset}, protocol {protocol}

Format {version}. Made by `python -m benchmark.protocol export`; `meta.json` names the data set, the
protocol, every setting and their fingerprints, and `manifest.json` has the SHA-256 of each file. A
reader of the format refuses another version. Within a version, files and columns keep their names
and meaning; new ones may be added.

Tests: {tests}.

An event's id, such as `{example}`, counts the events of a task and split. Its last eight digits
are those of the task's fingerprint in `meta.json`: they say which data, protocol and settings the
id belongs to, so keep it as it is. Items and users have the ids of the data set; times are seconds
since 1970; `""` is the query of an event that is no search, and 0 its session.

## What a system may read

`items.parquet`: `item`, `title`, `text`. `text` is what every system of the suite reads; whoever
reads more of an item than that does not compare. `items.jsonl` has the same texts as `id` and
`contents`, for indexers. `queries.parquet`: `query`, the distinct texts.

`training.parquet`: the training log, user by user, oldest first. No held-out event is in it.

| column | what it is |
|---|---|
| `user`, `item`, `timestamp` | who, what and when |
| `task` | `recommendation` (a purchase, a rating) or `search` (a click on a search's result) |
| `query`, `session` | the text of the search, and the number of the user's search it belongs to |
| `event` | the id of the row where the suite's systems learn it as a target, else `""` |

`<task>.valid.parquet` and `<task>.parquet`: the events of validation and of the test, a row an
event. Settings are chosen by validation only.

| column | what it is |
|---|---|
| `event`, `user`, `query`, `timestamp` | what is asked, by whom and when |
| `history_items` | all that the event may see, oldest first; nothing is cut |
| `history_tasks`, `history_queries`, `history_timestamps`, `history_sessions` | of each of these |
| `candidates` | the list that is ranked, in random order |

Histories are what the suite's systems see when they are asked. Those of the test may hold events
after the training log, those of validation no test event. They are there to be read when an event
is scored: **do not train on them**, nor on other events' histories.

The same in TREC's forms: `<task>.candidates.trec` and `<task>.valid.candidates.trec` (event, `Q0`,
item, place, score, tag), `search.topics.tsv`, `search.valid.topics.tsv` and
`search.train.topics.tsv` (event, tab, query), `<task>.train.qrels` (event, 0, item, 1). Blanks and
per cent signs of item ids are written there as `%20` and `%25`.

## What no system may read

`<task>.targets.parquet` and `<task>.valid.targets.parquet`: `event`, `target`, and
`target_column`, its place in `candidates` from 0. `<task>.qrels` and `<task>.valid.qrels`: the same
for evaluators. `<task>.excluded.parquet`: `event` and `excluded`, the items that the target is not
ranked against among all items. For recommendation these are items that the user touches at any
time, later ones too, so they tell of the future as much as the targets do.

## Handing in a run

A TREC run of the test events: lines of event, `Q0`, item, rank, score, tag. It is ranked by the
score alone; equal scores are tied. Every event needs a line. A score may be `-inf` (nothing found)
and never `nan`. Two views, two files for each task, which may be packed as `.trec.gz`:

- `<task>.trec`: the scores of `candidates`. A candidate without a line counts as not found.
- `<task>-all-items.trec`: the best of all items. Score every item of `items.parquet`; leave out
  those of `<task>.excluded.parquet` when the file is written and only then; keep at least as many
  as the largest cut-off ({depth}). Items without a line stand, tied, after all that have one,
  and the table says how often that is the target.

```
python -m benchmark.protocol evaluate {dataset} --protocol {protocol_option} \\
    --run FOLDER --name my-system --label "My system" --family outside
```
ranks what lies in FOLDER, writes a run record below `results/runs`, and with it the system has its
row in every table of `python -m benchmark.report`. `python -m benchmark.submissions make` turns the
record into a submission to the leaderboard.
"""


def readme_of(meta: Mapping[str, Any]) -> str:
    """The README of an export with this ``meta.json``."""
    tasks = meta["tasks"]
    tests = "; ".join(
        f"{of_task['events']:,} of {name}, lists of up to {of_task['candidates']:,} candidates"
        for name, of_task in tasks.items()
    )
    name, of_task = next(iter(tasks.items()))
    return _HEAD.format(
        dataset=meta["dataset"],
        protocol=meta["protocol"],
        version=meta["version"],
        tests=tests,
        example=f"{name}-test-000000-{of_task['fingerprint'][:8]}",
        depth=meta["settings"]["all_items_cutoffs"][-1],
        protocol_option=_as_options(meta),
    )


def _as_options(meta: Mapping[str, Any]) -> str:
    """The protocol as options of a command, with what was changed of a preset."""
    preset = meta["protocol"].rpartition(":")[2]
    own = PRESETS[preset].model_dump(mode="json") if preset in PRESETS else {}
    changed = {key: value for key, value in meta["settings"].items() if own.get(key) != value}
    options = [f"--set 'protocol.{key}={_written(value)}'" for key, value in changed.items()]
    return " ".join([preset, *options])


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
