"""``validate`` runs the loaders: it lists a fault wherever one refuses, and else none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.data.__main__ import main
from benchmark.data.build import build_dataset
from benchmark.data.dataset import SEARCH, Dataset
from benchmark.data.recipe import Recipe, load_recipe, parse_recipe
from benchmark.data.sources import read_source
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.joint_files import write_company, write_kuaisar, write_qilin

FIRST = 1_370_000_000
USERS, ITEMS, DAY = 4, 6, 86_400

Tables = dict[str, pd.DataFrame]


def tables() -> Tables:
    """Items, recommendations and searches of a small company."""
    pairs = [(user, item, user * ITEMS + item) for user in range(USERS) for item in range(ITEMS)]
    return {
        "items": pd.DataFrame(
            {
                "item_id": [f"i{item}" for item in range(ITEMS)],
                "title": [f"thing {item}" for item in range(ITEMS)],
            }
        ),
        "recommendations": pd.DataFrame(
            {
                "user_id": [f"u{user}" for user, _, _ in pairs],
                "item_id": [f"i{item}" for _, item, _ in pairs],
                "timestamp": [FIRST + DAY * step for _, _, step in pairs],
            }
        ),
        "searches": pd.DataFrame(
            {
                "user_id": [f"u{user}" for user, _, _ in pairs],
                "session_id": [f"s{item}" for _, item, _ in pairs],
                "query": [f"thing {item}" for _, item, _ in pairs],
                "item_id": [f"i{item}" for _, item, _ in pairs],
                "timestamp": [FIRST + DAY * step + 5 for _, _, step in pairs],
            }
        ),
    }


def write(folder: Path, name: str, table: pd.DataFrame, suffix: str) -> None:
    path = folder / f"{name}{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
        return
    text = (
        table.to_csv(index=False)
        if ".csv" in suffix
        else "".join(f"{json.dumps(row)}\n" for row in table.to_dict("records"))
    )
    content = text.encode("utf-8")
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)


def company(folder: Path, found: Tables, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        write(folder, name, table, suffix)
    return folder


def tidy(folder: Path, found: Tables) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "items", found["items"], ".parquet")
    write(folder, "interactions", found["recommendations"], ".parquet")
    searches = found["searches"].rename(columns={"session_id": "session"})
    write(folder, "searches", searches, ".parquet")
    return folder


def amazon(folder: Path, reviews: list[Any], metadata: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("reviews_Shop_5.json.gz", reviews), ("meta_Shop.json.gz", metadata)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / name).write_bytes(gzip.compress("".join(f"{one}\n" for one in lines).encode()))
    return folder


def reviews() -> list[dict[str, Any]]:
    return [
        {
            "reviewerID": f"U{user}",
            "asin": f"B{item}",
            "overall": 5.0,
            "unixReviewTime": FIRST + DAY * item,
        }
        for user in range(USERS)
        for item in range(ITEMS)
    ]


def metadata() -> list[dict[str, Any]]:
    return [
        {"asin": f"B{item}", "title": f"Thing {item}", "categories": [["Shop", "Toys"]]}
        for item in range(ITEMS)
    ]


def recipe_for(kind: str, folder: Path, search: str = "own", **source: Any) -> Recipe:
    options = {"kind": kind, "path": str(folder), "core": 1, **source}
    if kind == "amazon":
        options.setdefault("category", "Shop")
    if kind in ("company", "kuaisar", "qilin"):
        options.setdefault("only_users_of_both", False)
    return parse_recipe({"name": "t", "source": options, "search": {"kind": search}}, "t")


def load(recipe: Recipe) -> Dataset:
    return build_dataset(recipe, read_source(recipe))


def outcome(recipe: Recipe) -> Dataset | str:
    """The data set, or the sentence of the refusal; nothing else may be raised."""
    try:
        return load(recipe)
    except BenchmarkError as error:
        assert "\n" not in str(error)
        return str(error)


def agree(recipe: Recipe) -> Dataset | str:
    """What the loader does, after ``validate`` was found to say the same."""
    found = outcome(recipe)
    folder = recipe.source_folder
    for faults in (validate(folder).faults, validate(folder, recipe).faults):
        assert bool(faults) == isinstance(found, str), (found, faults)
        # The loader's sentence is the first of the list.
        assert not faults or faults[0].rpartition(": ")[2] == str(found).rpartition(": ")[2]
    return found


Change = Callable[[Tables], Any]


def column(table: str, name: str, values: Any) -> Change:
    def change(found: Tables) -> None:
        own = found[table]
        found[table] = own.assign(**{name: values(own) if callable(values) else values})

    return change


def without(table: str, name: str) -> Change:
    def change(found: Tables) -> None:
        found[table] = found[table].drop(columns=name)

    return change


def twice(table: str) -> Change:
    def change(found: Tables) -> None:
        found[table] = pd.concat([found[table]] * 2)

    return change


ROWS = USERS * ITEMS
CHANGES: dict[str, tuple[Change, bool]] = {  # and whether it can be used
    "nothing": (lambda found: None, True),
    "no titles": (column("items", "title", ""), False),  # a company's items may lack a text
    "flat categories": (column("items", "categories", [["A", "B"]] * ITEMS), True),
    "nested categories": (column("items", "categories", [[["A", "B"]]] * ITEMS), True),
    "numbers as categories": (column("items", "categories", list(range(ITEMS))), False),
    "an item twice": (twice("items"), False),
    "no item ids": (without("items", "item_id"), False),
    "no times": (without("recommendations", "timestamp"), False),
    "half seconds": (column("recommendations", "timestamp", FIRST + 0.5), False),
    "milliseconds": (column("searches", "timestamp", FIRST * 1000), False),
    "a gap in the times": (
        column("searches", "timestamp", [np.nan] + [float(FIRST)] * (ROWS - 1)),
        False,
    ),
    "noon": (column("searches", "timestamp", "noon"), False),
    "times with a zone": (column("searches", "timestamp", "2013-05-31T18:00:00+02:00"), True),
    "times without a zone": (column("searches", "timestamp", "2013-05-31T18:00:00"), False),
    "empty queries": (column("searches", "query", " "), False),
    "fractional users": (column("recommendations", "user_id", np.arange(ROWS) + 0.25), False),
    "whole floats as users": (column("recommendations", "user_id", np.arange(ROWS) + 0.0), True),
    "infinite users": (column("recommendations", "user_id", np.inf), False),
    "users missing": (column("recommendations", "user_id", [np.nan] + [1.0] * (ROWS - 1)), False),
    "unknown items": (column("recommendations", "item_id", "other"), False),
    "repeats": (twice("recommendations"), True),
    "repeated clicks": (twice("searches"), True),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("form", ["tidy", ".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz"])
def test_a_loader_refuses_what_validate_lists(name: str, form: str, tmp_path: Path) -> None:
    change, is_good = CHANGES[name]
    found = tables()
    change(found)
    if form == "tidy":
        recipe = recipe_for("folder", tidy(tmp_path / "files", found))
    else:
        recipe = recipe_for("company", company(tmp_path / "files", found, form))
        is_good |= name == "no titles"
        is_good |= ".csv" in form and name == "numbers as categories"  # CSV knows texts only
    result = agree(recipe)
    assert isinstance(result, Dataset) == is_good, result
    if name.startswith("repeat") and isinstance(result, Dataset):
        assert len(result.log) == 2 * ROWS
        assert any("stand twice and count once" in note for note in result.notes)


def test_a_company_log_is_the_same_in_each_format(tmp_path: Path) -> None:
    prints = set()
    for suffix in (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz"):
        prints.add(
            load(recipe_for("company", company(tmp_path / suffix, tables(), suffix))).fingerprint
        )
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for (name, table), suffix in zip(
        tables().items(), (".jsonl", ".csv.gz", ".parquet"), strict=True
    ):
        write(mixed, name, table, suffix)
    prints.add(load(recipe_for("company", mixed)).fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_timestamps_of_a_company_log_as_they_are_declared(suffix: str, tmp_path: Path) -> None:
    expected = load(recipe_for("company", company(tmp_path / "seconds", tables(), suffix)))
    both = ("recommendations", "searches")

    def written(name: str, values: Callable[[pd.Series], Any], **source: Any) -> Dataset | str:
        found = tables()
        for table in both:
            found[table] = found[table].assign(timestamp=values(found[table].timestamp))
        return agree_on(recipe_for("company", company(tmp_path / name, found, suffix), **source))

    def agree_on(recipe: Recipe) -> Dataset | str:
        found = outcome(recipe)
        assert bool(validate(recipe.source_folder, recipe).faults) == isinstance(found, str)
        return found

    def iso(shift: int, zone: str) -> Callable[[pd.Series], Any]:
        return lambda times: (
            pd.to_datetime(times + shift, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S") + zone
        )

    good = [
        written("ms", lambda times: times * 1000 + 17, timestamps="milliseconds"),
        written("utc", iso(0, "Z")),
        written("offset", iso(7200, "+02:00")),
        written("stated", iso(7200, ""), time_zone="Europe/Berlin"),  # summer of 2013
        written("stated offset", iso(-12_600, ""), time_zone="-03:30"),
    ]
    for found in good:
        assert isinstance(found, Dataset), found
        assert found.fingerprint == expected.fingerprint
    for name, values, source, sentence in (
        ("undeclared", lambda times: times * 1000, {}, "or source.timestamps: milliseconds"),
        ("wrongly declared", lambda times: times, {"timestamps": "milliseconds"}, "too small"),
        ("no zone", iso(0, ""), {}, "has no zone, such as Z"),
    ):
        refused = written(name, values, **source)
        assert isinstance(refused, str)
        assert sentence in refused
        faults = validate(tmp_path / name, recipe_for("company", tmp_path / name, **source)).faults
        assert len(faults) == 2  # one sentence for each of the two tables, whatever their length
        for fault in faults:
            assert f"but none of the {ROWS} rows fits; row 1: " in fault


# Files as a whole


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl"])
def test_a_file_that_is_not_utf8_is_one_sentence(
    encoding: str, suffix: str, tmp_path: Path
) -> None:
    found = tables()
    found["items"] = found["items"].assign(title="Küche", brand="Möbel")
    folder = company(tmp_path / "files", found, suffix)
    path = folder / f"items{suffix}"
    own = found["items"]
    text = (
        own.to_json(orient="records", lines=True, force_ascii=False)
        if suffix == ".jsonl"
        else own.to_csv(index=False)
    )
    changed = text.encode(encoding)
    path.write_bytes(gzip.compress(changed) if suffix.endswith(".gz") else changed)
    refused = agree(recipe_for("company", folder))
    assert "is not UTF-8 text; save the file as UTF-8" in str(refused)
    faults = [fault for fault in validate(folder).faults if str(path) in fault]
    assert len(faults) == 1


@pytest.mark.parametrize("quoting", [0, 1])
def test_a_byte_order_mark_is_passed_over(quoting: int, tmp_path: Path) -> None:
    folder = company(tmp_path / "files", tables(), ".csv")
    expected = load(recipe_for("company", folder)).fingerprint
    for name, table in tables().items():
        text = table.to_csv(index=False, quoting=quoting)
        (folder / f"{name}.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(recipe_for("company", folder)).fingerprint == expected
    marked = ["\ufeff" + json.dumps(reviews()[0]), *reviews()[1:]]
    first = load(recipe_for("amazon", amazon(tmp_path / "a", reviews(), metadata()), "none"))
    second = load(recipe_for("amazon", amazon(tmp_path / "b", marked, metadata()), "none"))
    assert first.fingerprint == second.fingerprint


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    folder = company(tmp_path / "files", tables(), ".csv")
    path = folder / "items.csv"
    path.write_text("item_id,title,title\n" + "".join(f"i{n},a,b\n" for n in range(ITEMS)))
    assert "column title: two columns have this name" in str(agree(recipe_for("company", folder)))
    path.write_text("item_id,title,x,x\n" + "".join(f"i{n},a,b,c\n" for n in range(ITEMS)))
    assert isinstance(agree(recipe_for("company", folder)), Dataset)  # it is none of ours
    lines = ['{"item_id": "i0", "title": "a", "title": "b"}\n']
    path.unlink()
    (folder / "items.jsonl").write_text("".join(lines))
    assert "row 1: the key 'title' stands twice" in str(agree(recipe_for("company", folder)))


def test_a_table_in_two_formats_is_refused(tmp_path: Path) -> None:
    folder = company(tmp_path / "files", tables(), ".csv")
    write(folder, "items", tables()["items"], ".parquet")
    refused = agree(recipe_for("company", folder))
    assert "there are items.parquet and items.csv; keep one of them" in str(refused)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "items.jsonl",
            json.dumps([{"item_id": f"i{n}", "title": "a"} for n in range(60)], indent=1),
            "must hold one JSON object a line, but none of the 242 rows fits; row 1: is no JSON ",
        ),
        (
            "items.csv",
            "item_id,title\n" + "i1,a,,\n" * 60,
            "must have the columns of its header in each row, but none of the 60 rows fits; row 1: "
            "has 4 columns instead of 2",
        ),
    ],
)
def test_a_file_of_another_form_is_one_sentence(
    name: str, content: str, sentence: str, tmp_path: Path
) -> None:
    folder = company(tmp_path / "files", tables(), ".parquet")
    (folder / "items.parquet").unlink()
    (folder / name).write_text(content)
    assert sentence in str(agree(recipe_for("company", folder)))
    assert len(validate(folder).faults) == 1


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_quote_that_is_never_closed_hides_no_rows(suffix: str, tmp_path: Path) -> None:
    found = tables()
    # The query is the last column: what is swallowed would still make a row of its own.
    found["searches"] = found["searches"][
        ["user_id", "session_id", "item_id", "timestamp", "query"]
    ]
    folder = company(tmp_path / "files", found, suffix)
    path = folder / f"searches{suffix}"
    text = found["searches"].to_csv(index=False).replace("thing 2", '"thing 2', 1)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    refused = str(agree(recipe_for("company", folder)))
    assert "a quotation mark is opened in row 3 and never closed" in refused


def test_quotes_and_lines_within_cells_are_text(tmp_path: Path) -> None:
    found = tables()
    folder = company(tmp_path / "files", found, ".csv")
    path = folder / "items.csv"
    text = "item_id,title\n" + "".join(f'i{n},"a ""b"" {n}\nand c"\n' for n in range(5))
    path.write_text(text + 'i5,5" lamp')  # and no line break at the end
    dataset = agree(recipe_for("company", folder))
    assert isinstance(dataset, Dataset)
    assert sorted(dataset.items.title)[1:3] == ['5" lamp', 'a "b" 0 and c']


def test_numbers_with_and_without_decimals_are_one_user(tmp_path: Path) -> None:
    found = tables()
    for name, kind in (("recommendations", int), ("searches", float)):
        numbers = found[name].user_id.str[1:].astype(kind)
        found[name] = found[name].assign(user_id=numbers)
    for suffix in (".csv", ".parquet", ".jsonl"):
        dataset = load(recipe_for("company", company(tmp_path / suffix, found, suffix)))
        assert dataset.users == ("", "0", "1", "2", "3")


def test_every_table_is_named_and_none_of_the_others_is_hidden(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder, "recommendations", tables()["recommendations"].drop(columns="user_id"), ".csv")
    faults = " ".join(validate(folder).faults)
    for part in ("items.parquet: the file is missing", "searches.parquet: the file is missing"):
        assert part in faults
    assert "recommendations.csv: column user_id: the column is missing" in faults


@pytest.mark.parametrize("kind", ["kuaisar", "qilin", "company"])
def test_published_logs_without_a_fault(kind: str, tmp_path: Path) -> None:
    writers = {"kuaisar": write_kuaisar, "qilin": write_qilin, "company": write_company}
    assert isinstance(agree(recipe_for(kind, writers[kind](tmp_path))), Dataset)


def test_repeats_in_qilin_and_kuaisar_count_once(tmp_path: Path) -> None:
    kuaisar = write_kuaisar(tmp_path / "kuaisar")
    expected = load(recipe_for("kuaisar", kuaisar))
    for name in ("rec_inter.csv", "src_inter.csv"):
        head, *lines = (kuaisar / name).read_text().splitlines(keepends=True)
        (kuaisar / name).write_text("".join([head, *lines, *lines]))
    found = agree(recipe_for("kuaisar", kuaisar))
    assert isinstance(found, Dataset)
    assert found.fingerprint == expected.fingerprint
    assert sum("stand twice and count once" in note for note in found.notes) == 2
    qilin = write_qilin(tmp_path / "qilin")
    expected = load(recipe_for("qilin", qilin))
    for name in ("recommendation_train", "search_train"):
        for part in list((qilin / name).glob("*.parquet")):
            (qilin / name / f"again-{part.name}").write_bytes(part.read_bytes())
    found = agree(recipe_for("qilin", qilin))
    assert isinstance(found, Dataset)
    assert found.fingerprint == expected.fingerprint


# Amazon


def test_repeated_reviews_count_once_and_have_one_search(tmp_path: Path) -> None:
    again = [{**row, "overall": 1.0} for row in reviews()]
    plain = amazon(tmp_path / "a", reviews(), metadata())
    twice_over = amazon(tmp_path / "b", again + reviews() + reviews(), metadata())
    for search in ("none", "twins"):
        first, second = (load(recipe_for("amazon", one, search)) for one in (plain, twice_over))
        assert first.fingerprint == second.fingerprint
    for folder in (plain, twice_over):
        (folder / "query_text.txt").write_text("thing\n\ntoys\n")
        (folder / "train.qrels").write_text("U0_0 0 B1 1\n")
        (folder / "test.qrels").write_text("U1_2 0 B2 1\n")
    first, second = (load(recipe_for("amazon", one)) for one in (plain, twice_over))
    assert first.fingerprint == second.fingerprint
    assert np.count_nonzero(second.log.behaviour == SEARCH) == 2
    assert second.queries.text == ("", "thing", "toys")  # a blank line has a number too
    (plain / "test.qrels").write_text("U1_1 0 B2 1\nU1_9 0 B2 1\nU1 0 B2\n")
    faults = validate(plain).faults
    assert "row 1: names query line 1, but that line is blank" in faults[0]
    assert "row 2: names query line 9, but there are only 3 queries" in faults[1]
    assert "row 3: is not of the form" in faults[2]


def test_queries_in_the_folder_of_their_own(tmp_path: Path) -> None:
    folder = amazon(tmp_path, reviews(), metadata())
    packed = folder / "reviews_Shop_5.json.gz"
    (folder / "reviews_Shop_5.json").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    packed.mkdir()
    (packed / "query_text.txt").write_text("thing\n")
    (packed / "train.qrels").write_text("U0_0 0 B1 1\n")
    assert "test.qrels.gz: the file is missing" in " ".join(validate(folder).faults)
    (packed / "test.qrels").write_text("U1_0 0 B2 1\n")
    found = agree(recipe_for("amazon", folder))
    assert isinstance(found, Dataset)
    assert found.has_search


def test_every_wrong_line_is_listed(tmp_path: Path) -> None:
    rows: list[Any] = reviews()
    rows[1], rows[3] = "nonsense", "[1]"
    rows[5] = {**rows[5], "overall": None}
    rows[7] = {key: value for key, value in rows[7].items() if key != "asin"}
    faults = " ".join(validate(amazon(tmp_path, rows, metadata())).faults)
    for sentence in (
        "row 2: is neither JSON nor a Python literal",
        "row 4: is no object of keys and values but a list",
        "row 6, column overall: the value is missing",
        "row 8, column asin: the key is missing",
    ):
        assert sentence in faults


def test_a_catalogue_of_which_nothing_is_left(tmp_path: Path) -> None:
    bare = [{"asin": row["asin"]} for row in metadata()]
    found = agree(recipe_for("amazon", amazon(tmp_path, reviews(), bare), "none"))
    assert "the source holds no events" in str(found)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["\ud83d", "\ufeff", "nan", "1e400", "2024-05-31", "2024-05-31T18:00:00Z"]),
    st.lists(st.none() | st.text(max_size=3) | st.integers(), max_size=3),
    st.lists(st.lists(st.none() | st.text(max_size=3), max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
FUZZ = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(st.data())
def test_odd_values_in_amazon_lines_never_give_a_traceback(tmp_path: Path, data: Any) -> None:
    first, second = reviews(), metadata()
    for rows in (first, second):
        for key in data.draw(st.sets(st.sampled_from(sorted(rows[0])), max_size=2)):
            for row in data.draw(st.sets(st.integers(0, 3), min_size=1, max_size=3)):
                rows[row][key] = data.draw(ODD)
    found = agree(recipe_for("amazon", amazon(tmp_path, first, second), "none"))
    if isinstance(found, Dataset):
        assert not {"None", "nan"} & {
            level for one in found.items.categories for p in one for level in p
        }


@FUZZ
@given(st.data())
def test_odd_values_in_json_lines_never_give_a_traceback(tmp_path: Path, data: Any) -> None:
    folder = company(tmp_path / "files", tables(), ".jsonl")
    for name in tables():
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        keys = [*sorted(rows[0]), "clicked", "categories"]
        for key in data.draw(st.sets(st.sampled_from(keys), max_size=2)):
            for row in data.draw(st.sets(st.integers(0, 3), min_size=1, max_size=3)):
                rows[row][key] = data.draw(ODD)
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    agree(recipe_for("company", folder))


@FUZZ
@given(st.data())
def test_odd_bytes_in_csv_never_give_a_traceback(tmp_path: Path, data: Any) -> None:
    folder = company(tmp_path / "files", tables(), ".csv")
    path = folder / f"{data.draw(st.sampled_from(sorted(tables())))}.csv"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path.write_bytes(bytes(content))
    agree(recipe_for("company", folder))


TYPED: list[tuple[Any, Any]] = [
    (pa.float64(), 1.5),
    (pa.float32(), 1.0),
    (pa.float16(), np.float16(2.0)),
    (pa.int8(), 1),
    (pa.uint64(), 2**64 - 1),
    (pa.bool_(), True),
    (pa.large_string(), "7"),
    (pa.string(), None),
    (pa.null(), None),
    (pa.date32(), date(2024, 5, 31)),
    (pa.date64(), date(1950, 5, 31)),
    (pa.timestamp("ns"), datetime(2024, 5, 31)),
    (pa.timestamp("ms", "Asia/Tokyo"), datetime(2024, 5, 31)),
    (pa.time32("s"), time(5)),
    (pa.duration("s"), timedelta(5)),
    (pa.binary(), b"7"),
    (pa.binary(), b"\xff"),
    (pa.large_binary(), b"7"),
    (pa.binary(2), b"77"),
    (pa.decimal128(20, 2), Decimal("1.50")),
    (pa.decimal128(20, 2), Decimal("1.00")),
    (pa.decimal256(50, 0), Decimal(10**40)),
    (pa.list_(pa.string()), ["a"]),
    (pa.large_list(pa.int64()), [1]),
    (pa.list_(pa.list_(pa.float64())), [[1.5, None]]),
    (pa.struct([("a", pa.int64())]), {"a": 1}),
    (pa.map_(pa.string(), pa.string()), [("a", "b")]),
    (pa.dictionary(pa.int8(), pa.string()), "a"),
]


@pytest.mark.parametrize("number", range(len(TYPED)))
def test_odd_types_in_parquet_never_give_a_traceback(number: int, tmp_path: Path) -> None:
    kind, value = TYPED[number]
    found = tables()
    found["items"]["categories"] = "A"
    for name in ("items", "interactions", "searches"):
        for own in pq.read_schema(tidy(tmp_path / "files", found) / f"{name}.parquet").names:
            for form, others in (("folder", tidy), ("company", company)):
                folder = tmp_path / f"{form} {name} {own}"
                others(folder, found, *(".parquet",) * (form == "company"))
                there = name if form == "folder" else name.replace("interact", "recommendat")
                path = folder / f"{there}.parquet"
                table = pq.read_table(path)
                if own not in table.column_names:
                    continue
                cells = pa.array([value] * table.num_rows, kind)
                place = table.column_names.index(own)
                pq.write_table(table.set_column(place, own, cells), path)
                agree(recipe_for(form, folder))


# By a recipe, from the command line


def test_validate_by_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tables()
    column("recommendations", "item_id", lambda own: ["other", *own.item_id[1:]])(found)
    folder = company(tmp_path / "files", found, ".csv")
    recipe = tmp_path / "shop.yaml"
    text = f"name: shop\nsource: {{kind: company, path: {folder}, core: 1"
    recipe.write_text(f"{text}}}\nsearch: {{kind: own}}\n")
    assert main(["validate", str(folder)]) == 2
    assert main(["validate", str(folder), "--recipe", str(recipe)]) == 2
    assert "'other' is not in items" in capsys.readouterr().out
    recipe.write_text(f"{text}, unknown_items: drop}}\nsearch: {{kind: own}}\n")
    assert main(["validate", str(folder), "--recipe", str(recipe)]) == 0
    assert "1 rows name unknown items" in capsys.readouterr().out
    assert main(["validate", str(folder), "--recipe", "generated"]) == 2
    assert "a source of kind generated has no folder" in capsys.readouterr().err
    assert load_recipe(recipe).name == "shop"
