"""The readers of everything that comes from outside or from a disk, each with sound examples."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.audit.record import read_audits
from benchmark.check.__main__ import _overrides
from benchmark.data.dataset import Dataset
from benchmark.data.recipe import load_recipe
from benchmark.data.validate import validate
from benchmark.files import check_manifest, read_json
from benchmark.jobs.ranks import write_ranks
from benchmark.jobs.scores import read_scores, write_scores
from benchmark.overrides import parse_assignments
from benchmark.protocol.exchange import export_tasks, read_candidates
from benchmark.protocol.metrics import Ranks
from benchmark.protocol.outside import event_ids, read_run, read_run_among_all
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import Task, build_tasks
from benchmark.report.reading.collect import collect
from benchmark.report.reading.curves import read_curves
from benchmark.report.reading.ranks import EventRanks, read_ranks
from benchmark.report.reading.top import TOP_FILE, read_top, write_top
from benchmark.report.tables.published import read_published
from benchmark.run.suite import load_suite
from benchmark.sealed import read_part, write_part
from benchmark.systems.configuration import load_preset
from benchmark.yaml_files import read_yaml
from tests.data.joint_files import write_kuaisar
from tests.protocol.logs import shop_dataset

Files = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """``read(folder)`` reads what ``sound`` puts there; one of the files is damaged first."""

    name: str
    sound: Callable[[], Files]
    read: Callable[[Path], Any]


def _of(name: str, content: bytes | str) -> Callable[[], Files]:
    data = content.encode() if isinstance(content, str) else content
    return lambda: {name: data}


def _written(write: Callable[[Path], None], name: str) -> Callable[[], Files]:
    @cache
    def sound() -> Files:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder, name))
            return {name: Path(folder, name).read_bytes()}

    return sound


_RANKS = {
    task: Ranks(
        np.arange(30, dtype=np.int32) % 9, np.zeros(30, np.int32), np.ones(30, dtype=np.bool_)
    )
    for task in ("recommendation", "search")
}
_USERS = {task: np.arange(30) for task in _RANKS}


def _write_ranks(path: Path) -> None:
    others = {task: np.full(30, 99) for task in _RANKS}
    write_ranks(
        path,
        {"lists": _RANKS, "all-items": _RANKS},
        {"lists": others, "all-items": others},
        _USERS,
    )


def _write_top(path: Path) -> None:
    found = {
        task: EventRanks(ranks, _USERS[task], np.full(30, 99)) for task, ranks in _RANKS.items()
    }
    write_top(
        path, {"lists": found, "all-items": found}, {"lists": 10, "all-items": 100}, ["search"]
    )


def _write_scores(path: Path) -> None:
    part = path.with_name("part.npz")
    scores = np.linspace(0, 1, 60, dtype=np.float32).reshape(12, 5)
    write_part(part, "a", {"scores": scores})
    write_scores(path, {"search": [part]})


def _parquet(**columns: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table(columns), path, write_page_checksum=True)


def _validated(folder: Path) -> None:
    for sentence in validate(folder).faults:
        assert len(sentence) < 900 + len(str(folder)), sentence[:2000]


def _whole_run() -> Files:
    import tempfile

    from tests.report.conftest import write_run

    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), "alpha", recommendation=0.1, curve=(0.1, 0.2))
        return {path.name: path.read_bytes() for path in run.folder.iterdir()}


_SUITE = """
description: mine
datasets: [ml-100k, generated]
systems: [bm25, {system: tiger, name: a, settings: {training: {epochs: 1}}}]
seeds: [1, 2]
protocols: [paper, clean]
preset: smoke
"""
_PRESET = "description: mine\nsystems:\n  sasrec: {training: {epochs: 2, learning_rate: 1e-3}}\n"
_RECIPE = """
name: a
source: {kind: company, path: log, timestamps: milliseconds}
text: [title, brand]

search: {kind: own}
seed: 3
"""
_TABLES = {
    "items": "item_id,title,categories\n1,A b,X > Y\n2,C d,Z\n3,E,\n",
    "recommendations": "user_id,item_id,timestamp\n1,1,1500000000\n1,2,1500000100\n2,3,15000002\n",
    "searches": "user_id,session_id,query,timestamp,item_id\n1,s,word,1500000300,2\n",
}


def _tables(form: str) -> Callable[[], Files]:
    def as_lines(text: str) -> str:
        header, *rows = [line.split(",") for line in text.splitlines()]
        records = (dict(zip(header, row, strict=True)) for row in rows)
        return "".join(json.dumps(record) + "\n" for record in records)

    def sound() -> Files:
        if form == "csv":
            return {f"{name}.csv": text.encode() for name, text in _TABLES.items()}
        return {f"{name}.jsonl": as_lines(text).encode() for name, text in _TABLES.items()}

    return sound


_AMAZON = {
    "reviews_Mine_5.json": "".join(
        json.dumps(
            {"reviewerID": f"U{n % 3}", "asin": f"B{n % 4}", "overall": 5.0, "unixReviewTime": n}
        )
        + "\n"
        for n in range(1_300_000_000, 1_300_000_009)
    ),
    "meta_Mine.json": "".join(
        repr({"asin": f"B{n}", "title": f"T {n}", "categories": [["A", "B"]]}) + "\n"
        for n in range(4)
    ),
}


@cache
def _shop() -> tuple[Dataset, dict[str, Task]]:
    dataset = shop_dataset(4, users=6, items=40)
    return dataset, build_tasks(dataset, _SHOP_SETTINGS)


_SHOP_SETTINGS = PRESETS["paper"].model_copy(update={"negatives": 4})


def _a_run() -> Files:
    _, tasks = _shop()
    events, items = event_ids(tasks["search"]), range(1, 6)
    lines = [f"{event} Q0 item-{item} {item} {1 / item} a" for event in events for item in items]
    return {"a.trec": "\n".join(lines).encode()}


def _read_outside_run(folder: Path) -> None:
    dataset, tasks = _shop()
    task, path = tasks["search"], folder / "a.trec"
    read_run(path, dataset, task)
    read_run_among_all(path, dataset, task, task.barred(dataset, _SHOP_SETTINGS))


@cache
def _outside_lists() -> Files:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "lists")
        export_tasks(place, *_shop(), "paper", _SHOP_SETTINGS)
        names = ("meta.json", "search.candidates.trec", "search.parquet")
        return {name: (place / name).read_bytes() for name in names}


@cache
def _kuaisar() -> Files:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = write_kuaisar(Path(folder))
        return {path.name: path.read_bytes() for path in place.iterdir()}


def _zipped(files: Callable[[], Files]) -> Callable[[], Files]:
    return lambda: {f"{n}.gz": gzip.compress(content, mtime=0) for n, content in files().items()}


def _amazon() -> Files:
    return {name: text.encode() for name, text in _AMAZON.items()}


READERS = (
    Reader(
        "JSON",
        _of("a.json", '{"a": [1, 2.5, null, "x\\u00e9"], "b": {"c": true}}'),
        lambda folder: read_json(folder / "a.json"),
    ),
    Reader("YAML", _of("a.yaml", _SUITE), lambda folder: read_yaml(folder / "a.yaml")),
    Reader("suite", _of("a.yaml", _SUITE), lambda folder: load_suite(str(folder / "a.yaml"))),
    Reader("preset", _of("a.yaml", _PRESET), lambda folder: load_preset(str(folder / "a.yaml"))),
    Reader("recipe", _of("a.yaml", _RECIPE), lambda folder: load_recipe(folder / "a.yaml")),
    Reader(
        "--set",
        _of("a", "sasrec.training.epochs=3"),
        lambda folder: parse_assignments([(folder / "a").read_text(errors="surrogateescape")]),
    ),
    Reader(
        "check --set",
        _of("a", "training.epochs=3"),
        lambda folder: _overrides([(folder / "a").read_text(errors="surrogateescape")]),
    ),
    Reader("run", _whole_run, collect),
    Reader("manifest", _whole_run, check_manifest),
    Reader(
        "curves",
        _of("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n'),
        read_curves,
    ),
    Reader(
        "ranks",
        _written(_write_ranks, "ranks.parquet"),
        lambda folder: read_ranks(folder / "ranks.parquet", 100),
    ),
    Reader(
        "scores",
        _written(_write_scores, "scores.parquet"),
        lambda folder: read_scores(folder / "scores.parquet", "search"),
    ),
    Reader(
        "top",
        _written(_write_top, TOP_FILE),
        lambda folder: read_top(folder / TOP_FILE),
    ),
    Reader(
        "part",
        _written(lambda path: write_part(path, "a", {"x": np.arange(9)}), "a.npz"),
        lambda folder: read_part(folder / "a.npz", "a"),
    ),
    Reader(
        "published",
        _of("a.csv", "# t\nsystem,task,metric,value\nSASRec,search,HR@1,0.1\n"),
        read_published,
    ),
    Reader("audits", _of("a.json", '{"schema_version": 1, "dataset": "x"}'), read_audits),
    Reader("company CSV", _tables("csv"), _validated),
    Reader("company JSON lines", _tables("jsonl"), _validated),
    Reader(
        "company Parquet",
        lambda: {
            **_tables("csv")(),
            "items.csv": b"",
            **_written(_parquet(item_id=["1", "2", "3"], title=["A", "B", "C"]), "items.parquet")(),
        },
        _validated,
    ),
    Reader("company JSON lines, zipped", _zipped(_tables("jsonl")), _validated),
    Reader("Amazon", _amazon, _validated),
    Reader("Amazon, zipped", _zipped(_amazon), _validated),
    Reader("KuaiSAR", _kuaisar, _validated),
    Reader("TREC run", _a_run, _read_outside_run),
    Reader("lists", _outside_lists, lambda folder: read_candidates(folder, *_shop())),
)
