"""Small files that would unfold to gigabytes: refused in a sentence, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RECIPE = "name: mine\nsource: {{kind: folder, path: {path}}}\n"
ROWS = 1_500
LONG = "x" * 1_000_000
MEGABYTES = 1_000
"""What a validation may take at most; the texts alone are 1,500 MB."""

VALIDATE = """
import resource, sys
from benchmark.data.__main__ import main
code = main(["validate", *sys.argv[1:]])
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
print("PEAK", int(peak.split()[1]) // 1024)
sys.exit(code)
"""


def validated(*arguments: str | Path) -> tuple[int, str, int]:
    """The exit code, what was said, and the peak of memory in MB."""
    ran = subprocess.run(
        [sys.executable, "-c", VALIDATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    assert ran.returncode >= 0, ran.stderr  # or a signal has ended it
    said, _, peak = ran.stdout.rpartition("PEAK ")
    return ran.returncode, said, int(peak)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = {"user_id": np.repeat(np.arange(60), 25), "item_id": np.arange(ROWS)}
    clicks = pd.DataFrame({**events, "timestamp": np.arange(ROWS) + 1_500_000_000})
    clicks.to_csv(tmp_path / "recommendations.csv", index=False)
    clicks.assign(session_id=1, query="word").to_csv(tmp_path / "searches.csv", index=False)
    return tmp_path


def write_items(folder: Path, form: str) -> None:
    if form == "parquet":
        titles = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), [LONG])
        table = pa.table({"item_id": np.arange(ROWS), "title": titles})
        pq.write_table(table, folder / "items.parquet", compression="zstd", store_schema=False)
        assert (folder / "items.parquet").stat().st_size < 2_000_000
        return
    header = "item_id,title\n" if form == "csv" else ""
    line = f"7,{LONG}\n" if form == "csv" else json.dumps({"item_id": 7, "title": LONG}) + "\n"
    # Members of a gzip file are read as one stream.
    packed = gzip.compress(header.encode()) + gzip.compress(line.encode()) * ROWS
    (folder / f"items.{form}.gz").write_bytes(packed)
    assert len(packed) < 8_000_000


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_title_of_a_megabyte_many_times(form: str, folder: Path) -> None:
    write_items(folder, form)
    code, said, peak = validated(folder)
    assert code == 2
    assert "column title" in said and "longer than 100,000 characters" in said
    assert max(map(len, said.splitlines())) < 600
    assert peak < MEGABYTES


def test_one_line_of_three_gigabytes(folder: Path) -> None:
    block = gzip.compress(LONG.encode())
    start = gzip.compress(b'{"item_id": 1, "title": "')
    (folder / "items.jsonl.gz").write_bytes(start + block * 3_000 + gzip.compress(b'"}\n'))
    code, said, peak = validated(folder)
    assert code == 2 and "is longer than 16 MB" in said
    assert peak < MEGABYTES


def test_one_row_with_a_list_of_millions(folder: Path) -> None:
    number = 40_000_000
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(number, np.int8)), ["a"])
    lists = pa.ListArray.from_arrays([0, number, *([number] * (ROWS - 1))], names)
    table = pa.table({"item_id": np.arange(ROWS), "title": ["b"] * ROWS, "categories": lists})
    pq.write_table(table, folder / "items.parquet", compression="zstd", store_schema=False)
    assert (folder / "items.parquet").stat().st_size < 2_000_000
    code, said, peak = validated(folder)
    assert code == 2
    assert "items.parquet: holds lists of 40,00" in said and "more than 1,000 a row" in said
    assert peak < MEGABYTES


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_lists_of_long_texts(form: str, folder: Path) -> None:
    rows, fine, long = 3_000, ["a" * 25_000] * 4, ["a" * 25_000] * 3 + ["a" * 25_001]
    if form == "parquet":
        code = np.zeros(2 * rows * 4, np.int32)
        code[4 * rows - 1] = 1
        levels = pa.DictionaryArray.from_arrays(code[: 4 * rows], [fine[0], long[-1]])
        lists = pa.ListArray.from_arrays(np.arange(0, 4 * rows + 1, 4, dtype=np.int32), levels)
        table = pa.table({"item_id": np.arange(rows), "title": ["b"] * rows, "categories": lists})
        pq.write_table(table, folder / "items.parquet", compression="zstd", store_schema=False)
        assert (folder / "items.parquet").stat().st_size < 1_000_000
        rows -= 1
    else:
        records = [{"item_id": n, "title": "b", "categories": fine} for n in range(20)]
        records.append({"item_id": 20, "title": "b", "categories": [long]})
        (folder / "items.jsonl").write_text("\n".join(map(json.dumps, records)))
        rows = 20
    code_of_exit, said, peak = validated(folder)
    assert code_of_exit == 2
    place = f"row {rows + 1:,}, column categories: is longer than 100,000 characters."
    assert [line.partition(": ")[2] for line in said.splitlines() if "longer" in line] == [place]
    assert peak < MEGABYTES


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_of_more_rows_than_the_recipe_allows(form: str, folder: Path) -> None:
    items = pd.DataFrame({"item_id": np.arange(ROWS), "title": "b"})
    if form == "csv":
        items.to_csv(folder / "items.csv", index=False)
    elif form == "jsonl":
        items.to_json(folder / "items.jsonl", orient="records", lines=True)
    else:
        items.to_parquet(folder / "items.parquet")
    recipe = folder / "mine.yaml"
    for most, expected in ((ROWS - 1, 2), (ROWS, 0)):
        recipe.write_text(
            f"name: mine\nsource: {{kind: company, path: ., core: 1, maximum_rows: {most}}}\n"
            "search: {kind: own}\n"
        )
        code, said, _ = validated(folder, "--recipe", recipe)
        assert code == expected, said
        refused = f"has 1,500 rows, more than source.maximum_rows ({most:,}) allows"
        assert said.count(refused) == (3 if expected else 0), said
