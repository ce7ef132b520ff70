"""JDsearch in its published form, with invented users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.data.sources import jdsearch, read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.published import built, events_of, recipe_of, validated_by

X = "\x18"
ANN = [
    f"12{X}32",  # the last query
    "456_457_789",
    "3.0_0.0_1.0",
    f"323{X}328_-1_323{X}328_323{X}328_12",
    "889_256_345_889_457",
    "ORD_CLICK_CART_CLICK_FLW",
    "0_12_4_5_1_20",
]
BOB = ["12", "456_1", "0.0_0.0", "-1", "256", "CLICK", "0_7"]
PRODUCTS = [
    ["456", f"5{X}6", "1", "77", "1", "9", "2", f"8{X}9", "3", "7", "4", "6", "5"],
    ["889", "5", "1", "", "1", "9", "2", "8", "3", "", "4", "", "5"],
    ["999", "of nobody", "1", "77", "1", "9", "2", "8", "3", "7", "4", "6", "5"],
]


def write(
    folder: Path,
    users: Sequence[Sequence[str]] = (ANN, BOB),
    header: bool = False,
    products: Sequence[Sequence[str]] = PRODUCTS,
) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [*([jdsearch.FIELDS] if header else []), *users]
    for name, lines in (("release_data", rows), ("product_data", products)):
        text = "".join("\t".join(fields) + "\n" for fields in lines)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("header", [False, True])
def test_interactions_with_and_without_a_query(header: bool, tmp_path: Path) -> None:
    recipe = recipe_of("jdsearch", write(tmp_path / "jd", header=header), "own")
    dataset = built(recipe)
    assert sorted(events_of(dataset), key=lambda event: (event[0], event[3], event[1])) == [
        ("1", "889", "w323 w328", 0),
        ("1", "256", "", 12),
        ("1", "345", "w323 w328", 16),
        ("1", "889", "w323 w328", 21),
        ("1", "457", "w12", 22),
        ("1", "456", "w12 w32", 42),
        ("1", "789", "w12 w32", 42),
        ("2", "256", "", 0),
    ]
    session = dict(zip(dataset.log.timestamp.tolist(), dataset.log.session.tolist(), strict=True))
    # One query before and behind an interaction without one is two searches.
    assert session[16] == session[21] != session[0]
    assert len({session[time] for time in (0, 16, 22, 42)}) == 4
    assert not dataset.has_readable_text


def test_words_brands_and_levels(tmp_path: Path) -> None:
    items = built(recipe_of("jdsearch", write(tmp_path / "jd"), "own")).items
    row = items.external_id.index("456")
    assert (items.text[row], items.brand[row]) == ("w5 w6", "w77")
    assert items.categories[row] == (("w9", "w8 w9", "w7", "w6"),)
    row = items.external_id.index("889")
    assert (items.brand[row], items.categories[row]) == ("", (("w9", "w8"),))
    assert "999" not in items.external_id
    assert items.text[items.external_id.index("256")] == ""


def test_only_some_interactions(tmp_path: Path) -> None:
    folder = write(tmp_path / "jd")
    dataset = built(recipe_of("jdsearch", folder, "own", interactions=["ORD"]))
    assert [event[1:] for event in events_of(dataset)] == [
        ("889", "w323 w328", 0),
        ("456", "w12 w32", 42),
    ]


def test_interactions_that_are_all_left_out_are_said_with_the_key(tmp_path: Path) -> None:
    folder = write(tmp_path / "jd", [BOB])
    complaint = "release_data.txt: no interaction is one of source.interactions: ORD, FLW; all"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("jdsearch", folder, "own", interactions=["ORD", "FLW"]))


def test_validate_reads_a_folder_by_the_shipped_recipe(tmp_path: Path) -> None:
    folder = write(tmp_path / "jd", [[*ANN[:3], f"{X}1_" * 8 + "-1", *BUSY]] * 6)
    assert validated_by("jdsearch", folder).faults == ()
    found = validate(folder)
    assert (found.kind, found.faults) == ("JDsearch", ())


BUSY = ["456_" * 4 + "889_" * 4 + "889", "CLICK_" * 8 + "ORD", "1_" * 9 + "1"]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        (None, "", "row 2: has 6 fields instead of 7"),
        (6, "0_7_8", "row 2, column history_time_list: holds 3 values instead of 2"),
        (2, "0.0_9.0", "row 2, column candidate_label_list: '9.0' is not 0, 1, 2 or 3"),
        (5, "BUY", "row 2, column history_type_list: 'BUY' is none of CLICK, CART, FLW, ORD"),
        (6, "0_-7", "row 2, column history_time_list: '-7' is not a whole number of seconds"),
        (4, "", "row 2, column history_qry_list: holds 1 values instead of 0"),
        (4, "nan", "row 2, column history_wid_list: 'nan' is no id"),
        (4, "  ", "row 2, column history_wid_list: the id is empty"),
        (4, "-1", "row 2, column history_wid_list: -1 is no id"),
        (1, "456_1.5", "row 2, column candidate_wid_list: 1.5 is no id"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(
    field: int | None, value: str, complaint: str, tmp_path: Path
) -> None:
    broken = BOB[:-1] if field is None else [*BOB[:field], value, *BOB[field + 1 :]]
    folder = write(tmp_path / "jd", [ANN, broken])
    assert complaint in "\n".join(validate(folder).faults)
    with pytest.raises(BenchmarkError, match="row 2"):
        read_source(recipe_of("jdsearch", folder, "own"))


def test_ids_of_lists_and_of_products_are_read_by_one_rule(tmp_path: Path) -> None:
    bob = ["12", "456.0_1", "1_0", "-1", " 889.0", "CLICK", "0_7"]
    products = [["889.00", *PRODUCTS[1][1:]], [" 456", *PRODUCTS[0][1:]]]
    dataset = built(recipe_of("jdsearch", write(tmp_path / "jd", [bob], False, products), "own"))
    texts = dict(zip(dataset.items.external_id, dataset.items.text, strict=True))
    assert texts == {"": "", "889": "w5", "456": "w5 w6"}


FIELDS = jdsearch.PRODUCTS.separated.fields if jdsearch.PRODUCTS.separated else ()


@pytest.mark.parametrize("header", [FIELDS[::-1], ("sku", *("other",) * (len(FIELDS) - 1))])
def test_another_header_is_no_product(header: Sequence[str], tmp_path: Path) -> None:
    folder = write(tmp_path / "jd", products=[header, *PRODUCTS])
    complaint = f"product_data.txt: row 1: the header names the columns {header[0]}, "
    with pytest.raises(BenchmarkError, match=f"{complaint}.* allowed is wid, name, brand_id, "):
        read_source(recipe_of("jdsearch", folder, "own"))
    write(folder, products=[FIELDS, *PRODUCTS])
    assert "w5 w6" in built(recipe_of("jdsearch", folder, "own")).items.text


def test_another_header_is_no_user(tmp_path: Path) -> None:
    folder = write(tmp_path / "jd", [jdsearch.FIELDS[::-1], ANN, BOB])
    with pytest.raises(BenchmarkError, match=r"row 1: the header names .* allowed is query, cand"):
        read_source(recipe_of("jdsearch", folder, "own"))


def test_products_of_another_log_are_refused_and_no_products_are_not(tmp_path: Path) -> None:
    folder = write(tmp_path / "jd", products=PRODUCTS[2:])
    with pytest.raises(BenchmarkError, match="column wid: holds none of the 6 products of release"):
        read_source(recipe_of("jdsearch", folder, "own"))
    write(folder, products=[])
    assert set(built(recipe_of("jdsearch", folder, "own")).items.text) == {""}


def test_missing_files_are_told_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"release_data\.txt: the file is missing .*rucliujn"):
        source_files(recipe_of("jdsearch", tmp_path, "own"))
