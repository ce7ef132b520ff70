"""ESCI in its published form, with invented judgements."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset, Judgements
from benchmark.data.prepare import prepare, stored_with
from benchmark.data.sources import esci, read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.conftest import write_parquet
from tests.data.published import built, events_of, recipe_of, validated_by

Row = tuple[int, str, str, str]  # query_id, product, label, split
EXAMPLES: list[Row] = [
    *(
        (query, f"B{query}{label}{place}", label, "train")
        for query in range(20)
        for place, label in enumerate("EESCI")
    ),
    (100, "B1E0", "E", "test"),
    (100, "B2E0", "E", "test"),
    (100, "B3S2", "S", "test"),
    (100, "B77", "I", "test"),
    (101, "B4I4", "I", "test"),
]


def write(folder: Path, examples: list[Row], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    # One of another locale, and one of the larger version alone.
    every = [*examples, (500, "B1E0", "E", "test"), (501, "B1E0", "E", "test")]
    columns = {
        "example_id": list(range(len(every))),
        "query": [f" shoes  no {query}" for query, *_ in every],
        "query_id": [query for query, *_ in every],
        "product_id": [product for _, product, _, _ in every],
        "product_locale": ["us"] * len(examples) + ["es", "us"],
        "esci_label": [label for _, _, label, _ in every],
        "small_version": [1] * len(examples) + [1, 0],
        "large_version": [1] * len(every),
        "split": [split for *_, split in every],
    }
    write_parquet(folder / "shopping_queries_dataset_examples.parquet", {**columns, **changes})
    products = sorted({row[1] for row in every})
    locales = ["us"] * len(products) + ["es"]
    products += ["B1E0"]
    texts = {
        "product_title": [f"Shoe {product}" for product in products],
        "product_description": [None] * (len(products) - 1) + ["zapato"],
        "product_bullet_point": ["soft\nred"] * len(products),
        "product_brand": ["Acme"] * len(products),
        "product_color": [None] * (len(products) - 1) + ["rojo"],
    }
    ids = {"product_id": products, "product_locale": locales}
    write_parquet(folder / "shopping_queries_dataset_products.parquet", {**ids, **texts})
    return folder


def judged(dataset: Dataset, query: str) -> dict[str, int]:
    """Product → gain of what was judged for a query."""
    found = dataset.judgements
    assert isinstance(found, Judgements)
    number = np.array([dataset.queries.text.index(query)])
    _, rows = found.of_queries(number)
    products = [dataset.items.external_id[item] for item in found.item[rows].tolist()]
    return dict(zip(products, found.gain[rows].tolist(), strict=True))


def test_events_and_judgements(tmp_path: Path) -> None:
    text = ("title", "description")
    folder = write(tmp_path / "esci", EXAMPLES)
    dataset = built(recipe_of("esci", folder, "own", text=text, validation_share=0.5))
    events = events_of(dataset)
    of_test = [event for event in events if event[3] == esci.TEST]
    assert [(event[0], event[2]) for event in of_test] == [("100", "shoes no 100")]
    assert of_test[0][1] in ("B1E0", "B2E0")
    assert judged(dataset, "shoes no 100") == {"B1E0": 100, "B2E0": 100, "B3S2": 10, "B77": 0}
    # Each exact match of a training query is a click, but one alone of a query for validation.
    clicks = {time: Counter(user for user, *_, own in events if own == time) for time in (0, 1)}
    assert set(clicks[0].values()) == {2} and set(clicks[1].values()) == {1}
    assert set(clicks[0]) | set(clicks[1]) == {str(query) for query in range(20)}
    assert dataset.cuts == (1, 2)
    assert any("1 query without an exact match was left out" in note for note in dataset.notes)
    # What was judged is in the catalogue, with or without an event.
    assert {"B77", "B4I4", "B3C3"} <= set(dataset.items.external_id)
    row = dataset.items.external_id.index("B77")
    assert dataset.items.text[row] == "Shoe B77 soft red"


def test_locale_and_version(tmp_path: Path) -> None:
    folder = write(tmp_path / "esci", EXAMPLES)
    large = built(recipe_of("esci", folder, "own", version="large"))
    assert "501" in large.users and "500" not in large.users
    spanish = built(recipe_of("esci", folder, "own", locale="es"))
    assert spanish.users == ("", "500")
    assert spanish.items.description[1:] == ("soft red zapato",)


def test_judgements_are_kept_with_the_prepared_data(tmp_path: Path) -> None:
    recipe = recipe_of("esci", write(tmp_path / "esci", EXAMPLES), "own")
    made = prepare(recipe, root=tmp_path / "prepared")
    kept = stored_with(made.fingerprint, tmp_path / "prepared")
    assert kept is not None and kept.judgements is not None and made.judgements is not None
    assert kept.cuts == made.cuts == (1, 2)
    for name in ("query", "item", "gain"):
        assert (getattr(kept.judgements, name) == getattr(made.judgements, name)).all()
    other = [(*row[:2], "S" if row[1] == "B77" else row[2], row[3]) for row in EXAMPLES]
    changed = built(recipe_of("esci", write(tmp_path / "other", other), "own"))
    assert changed.fingerprint != made.fingerprint


def test_validate_reads_a_folder_by_the_shipped_recipe(tmp_path: Path) -> None:
    folder = write(tmp_path / "esci", EXAMPLES)
    assert validated_by("esci-us", folder).faults == ()
    found = validate(folder)
    assert (found.kind, found.faults) == ("ESCI", ())


def test_what_is_wrong_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "esci", [(1, "B1", "E", "train"), (1, "B2", "Q", "dev")])
    faults = "\n".join(validate(folder).faults)
    assert "row 2, column esci_label: 'Q' is none of exact, substitute" in faults
    assert "row 2, column split: 'dev' is none of train, test" in faults
    with pytest.raises(BenchmarkError, match="row 2, column esci_label: 'Q' is none of"):
        read_source(recipe_of("esci", folder, "own"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"product_id": ["B1", "B1", "B2", "B1E0", "B1E0"]},
            "column esci_label: 'S' for query_id 1 and product_id 'B1', of which row 1 says 'E'",
        ),
        (
            {"query": ["red  shoes", "shoes", "red shoes", "x", "y"]},
            "column query: 'shoes' for query_id 1, of which row 1 says 'red shoes'",
        ),
        (
            {"split": ["train", "test", "train", "test", "test"]},
            "column split: 'test' for query_id 1, of which row 1 says 'train'",
        ),
    ],
)
def test_rows_that_contradict_one_another_are_both_named(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    rows = [(1, "B1", "E", "train"), (1, "B2", "S", "train"), (1, "B3", "E", "train")]
    read_source(recipe_of("esci", write(tmp_path / "right", rows), "own"))
    folder = write(tmp_path / "esci", rows, **changes)
    with pytest.raises(BenchmarkError, match=f"row 2, {complaint}; only one is allowed"):
        read_source(recipe_of("esci", folder, "own"))


def test_what_was_left_out_is_said_with_the_keys_that_decide(tmp_path: Path) -> None:
    folder = write(tmp_path / "esci", EXAMPLES)
    with pytest.raises(BenchmarkError) as caught:
        read_source(recipe_of("esci", folder, "own", locale="jp"))
    assert str(caught.value) == (
        f"{folder / 'shopping_queries_dataset_examples.parquet'}: holds no judgements for "
        "source.locale: jp and source.version: small, which decide what is read; "
        "there are judgements for es (large), es (small), us (large), us (small)."
    )
    write(folder, [(1, "B1", "S", "train")])
    complaint = "holds no exact match for source.locale: us and source.version: small"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("esci", folder, "own"))


def test_missing_tables_are_told_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"_examples\.parquet: .*amazon-science/esci-data"):
        source_files(recipe_of("esci", tmp_path, "own"))
