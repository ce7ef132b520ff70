"""KuaiSAR, Qilin and a company's log, on small files in their published schemas."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.data.__main__ import main
from benchmark.data.build import build_dataset
from benchmark.data.dataset import SEARCH, Dataset
from benchmark.data.prepare import prepare
from benchmark.data.recipe import Recipe, load_recipe, parse_recipe
from benchmark.data.sources import read_source
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.systems.catalogue import choose, refuse_without_text
from tests.data.joint_files import (
    ITEMS,
    REC_HEADER,
    SECOND,
    USERS,
    company_rows,
    csv_bytes,
    qilin_rows,
    write_company,
    write_kuaisar,
    write_parts,
    write_qilin,
)

WRITE: dict[str, Callable[[Path], Path]] = {
    "kuaisar": write_kuaisar,
    "qilin": write_qilin,
    "company": write_company,
}


def recipe_for(kind: str, folder: Path, **source: Any) -> Recipe:
    content = {
        "name": "log",
        "source": {"kind": kind, "path": str(folder), "core": 1, **source},
        "search": {"kind": "own"},
        "item_ids": "sorted",
    }
    return parse_recipe(content, "log")


def dataset_of(kind: str, folder: Path, **source: Any) -> Dataset:
    recipe = recipe_for(kind, folder, **source)
    return build_dataset(recipe, read_source(recipe))


def events_of(dataset: Dataset, user: str) -> list[tuple[str, int, str]]:
    """(item, seconds since the start, query) of each event of a user."""
    log = dataset.log
    rows = np.flatnonzero(log.user == dataset.users.index(user))
    return [
        (
            dataset.items.external_id[log.item[row]],
            int(log.timestamp[row]) - SECOND,
            dataset.queries.text[log.query[row]],
        )
        for row in rows
    ]


# KuaiSAR


def test_kuaisar_clicks_and_sessions(tmp_path: Path) -> None:
    dataset = dataset_of("kuaisar", write_kuaisar(tmp_path))
    found = events_of(dataset, "0")
    assert found[:4] == [(str(item), item, "") for item in range(4)]
    # Of the first search the video and the pictures were clicked; users are no items.
    assert sorted(found[4:]) == [("4", 50, "w20 w34 w3"), ("6", 50, "w20 w34 w3")]
    searches = dataset.log.behaviour == SEARCH
    assert len(set(dataset.log.session[searches].tolist())) == USERS
    assert any("6 of 12 searches have no click and were left out" in n for n in dataset.notes)


def test_kuaisar_has_no_readable_text(tmp_path: Path) -> None:
    dataset = dataset_of("kuaisar", write_kuaisar(tmp_path))
    assert not dataset.has_readable_text
    assert dataset.items.text[1] == "w0 w7"
    assert dataset.items.categories[1] == (("food", "noodles"),)
    assert any("no text to read" in note for note in dataset.notes)
    with pytest.raises(SystemFailure) as caught:
        refuse_without_text(choose("bge"), dataset)
    assert "BGE needs readable item texts" in str(caught.value)
    refuse_without_text(choose("sasrec"), dataset)


def test_what_is_said_of_texts_is_kept(tmp_path: Path) -> None:
    recipe = recipe_for("kuaisar", write_kuaisar(tmp_path / "files"))
    prepare(recipe, root=tmp_path / "root")
    assert not prepare(recipe, root=tmp_path / "root").has_readable_text


def test_kuaisar_first_item_of_a_search_without_a_click(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path)
    dataset = dataset_of("kuaisar", folder, first_item_when_no_click=True)
    assert events_of(dataset, "0")[-1] == ("4", 51, "w20 w34 w3")
    assert any("gave their first shown item" in note for note in dataset.notes)


def test_kuaisar_other_types_are_an_option(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path)
    with pytest.raises(BenchmarkError, match="is not in item_features"):
        dataset_of("kuaisar", folder, item_types=["VIDEO", "USER"])
    dataset = dataset_of("kuaisar", folder, item_types=["VIDEO", "USER"], unknown_items="drop")
    assert [item for item, _, query in events_of(dataset, "0") if query] == ["4"]


def test_kuaisar_from_compressed_files(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path)
    expected = dataset_of("kuaisar", folder).fingerprint
    path = folder / "src_inter.csv"
    (folder / "src_inter.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert dataset_of("kuaisar", folder).fingerprint == expected


def test_only_users_who_did_both(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path)
    with (folder / "rec_inter.csv").open("ab") as opened:
        opened.write(
            csv_bytes(REC_HEADER, [[99, 0, 1, 1, "", SECOND * 1000, 1, 0, 0, 0, 0, 0]]).split(
                b"\n", 1
            )[1]
        )
    assert "99" not in dataset_of("kuaisar", folder).users
    assert "99" in dataset_of("kuaisar", folder, only_users_of_both=False).users


# Qilin


def test_qilin_requests_become_events(tmp_path: Path) -> None:
    dataset = dataset_of("qilin", write_qilin(tmp_path))
    found = events_of(dataset, "0")
    assert sorted(found) == sorted(
        [(str(number + place), number, "") for number in (0, 1) for place in (0, 1)]
        + [(str(n + place), n + 5, f"红色 鞋子 {n}") for n in (0, 1) for place in (0, 1)]
        + [(str(place), 50, "") for place in (0, 1)]
        + [(str(place), 55, "红色 鞋子 0") for place in (0, 1)]
    )
    assert dataset.has_readable_text
    assert dataset.items.text[1] == "标题0 内容 0"
    # The sessions of train and test may have the same numbers, and are not the same.
    searches = dataset.log.behaviour == SEARCH
    assert len(set(dataset.log.session[searches].tolist())) == 3 * USERS


def test_qilin_without_its_test_part(tmp_path: Path) -> None:
    tables = qilin_rows()
    for name in ("recommendation_train", "search_train", "notes"):
        write_parts(tmp_path / name, tables[name])
    assert len(events_of(dataset_of("qilin", tmp_path), "0")) == 8


# A company's log


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_company_clicks_and_sessions(kind: str, tmp_path: Path) -> None:
    dataset = dataset_of("company", write_company(tmp_path, kind))
    found = events_of(dataset, "u0")
    assert found[:4] == [(f"i{item}", item, "") for item in range(4)]
    assert sorted(found[4:]) == [("i4", 50, "red shoes"), ("i5", 50, "red shoes")]
    assert dataset.items.categories[1] == (("Shop", "Toys"), ("Sale",))
    assert dataset.items.text[1] == 'Title 0 Long "text", 0 of two lines'
    searches = dataset.log.behaviour == SEARCH
    # Sessions have two clicks each, and their numbers are the user's own.
    assert np.bincount(dataset.log.session[searches])[1:].tolist() == [2] * USERS


def test_both_forms_of_a_company_log_are_the_same(tmp_path: Path) -> None:
    first = dataset_of("company", write_company(tmp_path / "a", "csv"))
    second = dataset_of("company", write_company(tmp_path / "b", "parquet"))
    assert first.fingerprint == second.fingerprint


def test_five_core_of_a_company_log(tmp_path: Path) -> None:
    dataset = dataset_of("company", write_company(tmp_path), core=5)
    counts = np.bincount(dataset.log.item)[1:]
    assert counts.min() >= 5
    assert dataset.number_of_items == 6  # 4 clicked in the feed, 2 in searches


def test_the_recipes_of_the_project() -> None:
    for name, kind in (
        ("kuaisar", "kuaisar"),
        ("kuaisar-small", "kuaisar"),
        ("qilin", "qilin"),
        ("commercial", "company"),
    ):
        recipe = load_recipe(Path("datasets") / f"{name}.yaml")
        assert recipe.source.kind == kind
        assert recipe.source.core == 5


# Faults: each is one sentence, and validate lists them all


def change(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_bytes()
    assert old.encode() in text
    path.write_bytes(text.replace(old.encode(), new.encode("latin-1"), count))


def drop_column(path: Path, name: str) -> None:
    lines = path.read_text().split("\n")
    place = lines[0].split(",").index(name)
    head = lines[0].split(",")
    head[place] = "other"
    path.write_text("\n".join([",".join(head), *lines[1:]]))


def truncate(folder: Path, name: str) -> None:
    path = folder / f"{name}.csv"
    packed = gzip.compress(path.read_bytes())
    (folder / f"{name}.csv.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


FAULTS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "kuaisar: missing file": (
        "kuaisar",
        lambda f: (f / "item_features.csv").unlink(),
        r"item_features\.csv: the file is missing|item_features: the file is missing",
    ),
    "kuaisar: missing column": (
        "kuaisar",
        lambda f: drop_column(f / "rec_inter.csv", "click"),
        r"rec_inter\.csv: column click: the column is missing; there are user_id,",
    ),
    "kuaisar: truncated gzip": (
        "kuaisar",
        lambda f: truncate(f, "src_inter"),
        r"src_inter\.csv\.gz: cannot be read after row",
    ),
    "kuaisar: no list of words": (
        "kuaisar",
        lambda f: change(f / "src_inter.csv", '"[20, 34, 3]"', "[20; 34]"),
        r"src_inter\.csv: row 1, column keyword: '\[20; 34\]' is no list of word numbers",
    ),
    "kuaisar: duplicate item": (
        "kuaisar",
        lambda f: change(f / "item_features.csv", '\n7,"[7', '\n6,"[7'),
        r"item_features\.csv: row 8, column item_id: 6 stands twice",
    ),
    "kuaisar: negative time": (
        "kuaisar",
        lambda f: change(f / "rec_inter.csv", f"{SECOND}000.0", "-5"),
        r"rec_inter\.csv: row 1, column timestamp: -5 is negative",
    ),
    "kuaisar: unknown item": (
        "kuaisar",
        lambda f: change(f / "rec_inter.csv", "\n0,1,", "\n0,777,"),
        r"rec_inter\.csv: row 2, column item_id: 777 is not in item_features",
    ),
    "qilin: missing folder": (
        "qilin",
        lambda f: [path.unlink() for path in (f / "notes").iterdir()],
        r"notes\.parquet: the file is missing; fetch Qilin from",
    ),
    "qilin: missing field": (
        "qilin",
        lambda f: write_parts(
            f / "search_test",
            [
                {
                    "user_idx": 1,
                    "search_idx": 1,
                    "query": "q",
                    "search_result_details_with_idx": [{"note_idx": 1, "click": 1}],
                }
            ],
            parts=1,
        ),
        r"search_test: column search_timestamp: the column is missing",
    ),
    "qilin: unknown note": (
        "qilin",
        lambda f: write_parts(
            f / "notes", [{"note_idx": n, "note_title": "t"} for n in range(1, 9)], parts=2
        ),
        r"recommendation_train: row 1, column note_idx: 0 is not in notes \(1 such ids in all\)",
    ),
    "qilin: duplicate note": (
        "qilin",
        lambda f: write_parts(
            f / "notes", [{"note_idx": n % 8, "note_title": "t"} for n in range(10)], parts=2
        ),
        r"notes: row \d+, column note_idx: \d stands twice",
    ),
    "qilin: no records": (
        "qilin",
        lambda f: write_parts(
            f / "recommendation_train",
            [{"user_idx": 1, "session_idx": 1, "rec_result_details_with_idx": [7]}],
            parts=2,
        ),
        r"column rec_result_details_with_idx: must hold lists of records, not list<",
    ),
    "qilin: damaged file": (
        "qilin",
        lambda f: (f / "notes" / "00000.parquet").write_bytes(b"PAR1 nothing"),
        r"notes: is not a readable Parquet file",
    ),
    "company: empty query": (
        "company",
        lambda f: change(f / "searches.csv", "red shoes", ""),
        r"searches\.csv: row 1, column query: the query is empty",
    ),
    "company: empty id": (
        "company",
        lambda f: change(f / "recommendations.csv", "\nu0,", "\n,"),
        r"recommendations\.csv: row 1, column user_id: the id is empty",
    ),
    "company: not UTF-8": (
        "company",
        lambda f: change(f / "items.csv", "Title 3", "Tit\xe9 3"),
        r"items\.csv: row 4, column title: is not UTF-8 text",
    ),
    "company: milliseconds": (
        "company",
        lambda f: change(f / "searches.csv", f"{SECOND + 50}", f"{SECOND + 50}000"),
        r"searches\.csv: row 1, column timestamp: \d+ lies after the year 2099; seconds, not milli",
    ),
    "company: no number": (
        "company",
        lambda f: change(f / "recommendations.csv", f"{SECOND + 1}", "yesterday"),
        r"recommendations\.csv: row 2, column timestamp: 'yesterday' is neither a number nor",
    ),
    "company: no flag": (
        "company",
        lambda f: change(f / "recommendations.csv", f"{SECOND + 1},1", f"{SECOND + 1},7"),
        r"recommendations\.csv: row 2, column clicked: 7 is neither 0 nor 1",
    ),
    "company: too many cells": (
        "company",
        lambda f: change(f / "recommendations.csv", f"{SECOND + 1},1", f"{SECOND + 1},1,1"),
        r"recommendations\.csv: row 2: has 5 columns instead of 4",
    ),
    "company: duplicate item": (
        "company",
        lambda f: change(f / "items.csv", "\ni7,", "\ni1,"),
        r"items\.csv: row 8, column item_id: 'i1' stands twice",
    ),
    "company: empty file": (
        "company",
        lambda f: (f / "searches.csv").write_bytes(b""),
        r"searches\.csv: ",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_sentence_and_is_listed(name: str, tmp_path: Path) -> None:
    kind, damage, sentence = FAULTS[name]
    folder = WRITE[kind](tmp_path / "files")
    damage(folder)
    with pytest.raises(BenchmarkError) as caught:
        dataset_of(kind, folder)
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert any(re.search(sentence, fault) for fault in validate(folder).faults)


@pytest.mark.parametrize("kind", WRITE)
def test_files_without_a_fault(kind: str, tmp_path: Path) -> None:
    found = validate(WRITE[kind](tmp_path))
    assert found.faults == ()
    has_searches_without_clicks = kind != "qilin"
    noted = any("searches have no click" in remark for remark in found.remarks)
    assert noted == has_searches_without_clicks


def test_validate_lists_all_faults_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_company(tmp_path)
    for fault in ("empty query", "empty id", "not UTF-8", "no number", "duplicate item"):
        FAULTS[f"company: {fault}"][1](folder)
    assert main(["validate", str(folder)]) == 2
    printed = capsys.readouterr().out
    for fault in ("empty query", "empty id", "not UTF-8", "no number", "duplicate item"):
        assert re.search(FAULTS[f"company: {fault}"][2], printed), fault


def test_of_many_alike_faults_some_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    folder = write_company(tmp_path)
    change(folder / "recommendations.csv", "\nu", "\n,u", count=40)
    change(folder / "searches.csv", "red shoes", "", count=40)
    faults = validate(folder).faults
    assert sum("the query is empty" in fault for fault in faults) == 21
    assert any("20 more (the query is empty)" in fault for fault in faults)


def test_validate_knows_the_other_formats(tmp_path: Path) -> None:
    tidy = tmp_path / "tidy"
    tidy.mkdir()
    pq.write_table(
        pa.table({"user_id": ["a", "a"], "item_id": ["X", "Q"], "timestamp": [1, -1]}),
        tidy / "interactions.parquet",
    )
    pq.write_table(pa.table({"item_id": ["X"], "title": ["Xi"]}), tidy / "items.parquet")
    faults = " ".join(validate(tidy).faults)
    assert "row 2, column timestamp: -1 is negative" in faults
    assert "row 2, column item_id: 'Q' is not in items.parquet" in faults
    amazon = tmp_path / "amazon"
    amazon.mkdir()
    (amazon / "reviews_Shop_5.json.gz").write_bytes(gzip.compress(b'{"a": 1}\nnonsense\n'))
    faults = " ".join(validate(amazon).faults)
    assert "reviews_Shop_5.json.gz: row 2: is neither JSON nor a Python literal" in faults
    assert "meta_Shop.json.gz: the file is missing" in faults
    with pytest.raises(BenchmarkError, match="holds none of the tables"):
        validate(tmp_path)
    with pytest.raises(BenchmarkError, match="is not a folder"):
        validate(tmp_path / "absent")


def test_rows_of_the_company_files_are_what_these_tests_think() -> None:
    assert len(company_rows()["items"]) == ITEMS
