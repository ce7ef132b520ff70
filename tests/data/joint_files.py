"""Small invented files in the published schemas of KuaiSAR, Qilin and a company's log."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

USERS, ITEMS, SECOND = 6, 8, 1_684_771_200  # 2023-05-22


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


# KuaiSAR

REC_HEADER = [
    "user_id",
    "item_id",
    "playing_time",
    "duration_ms",
    "time",
    "timestamp",
    "click",
    "forward",
    "like",
    "follow",
    "search",
    "search_item_related",
]
SRC_HEADER = [
    "user_id",
    "search_session_id",
    "search_session_time",
    "search_session_timestamp",
    "keyword",
    "search_source",
    "item_id",
    "click_cnt",
    "item_type",
]
LEVELS = ("first", "second", "third", "fourth")
ITEM_HEADER = [
    "item_id",
    "caption",
    "author_id",
    "item_type",
    "upload_time",
    "upload_type",
    *(f"{level}_level_category_{what}" for level in LEVELS for what in ("id", "name", "name_en")),
]


def write_kuaisar(folder: Path) -> Path:
    """Each user clicks items 0 to 3 of the feed, and searches twice; one search has no click."""
    folder.mkdir(parents=True, exist_ok=True)
    recommended, shown = [], []
    for user in range(USERS):
        for item in range(ITEMS):
            milliseconds = float((SECOND + user * 100 + item) * 1000)
            click = int(item < 4)
            recommended.append(
                [user, item, 1.5, 9.0, "2023-05-22", milliseconds, click, 0, 0, 0, 0, 0]
            )
        for session in range(2):
            milliseconds = (SECOND + user * 100 + 50 + session) * 1000
            for place, (kind, clicks) in enumerate(
                [("VIDEO", 1 - session), ("USER", 1), ("IMAGE_ATLAS", 2 - 2 * session)]
            ):
                item = 10**15 + place if kind == "USER" else 4 + place
                number = user * 10 + session
                when = "2023-05-22"
                query = ["[20, 34, 3]", "USER_INPUT"]
                shown.append([user, number, when, milliseconds, *query, item, clicks, kind])
    items = []
    for item in range(ITEMS):
        levels = [1, "空", "food", 2, "空", "noodles", 0, "空", "empty", 0, "空", "empty"]
        items.append([item, f"[{item}, 7]", 0, "NORMAL", "1970-01-01", "x", *levels])
    (folder / "rec_inter.csv").write_bytes(csv_bytes(REC_HEADER, recommended))
    (folder / "src_inter.csv").write_bytes(csv_bytes(SRC_HEADER, shown))
    (folder / "item_features.csv").write_bytes(csv_bytes(ITEM_HEADER, items))
    return folder


# Qilin


def write_parts(folder: Path, rows: Sequence[dict[str, Any]], parts: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        table = pa.Table.from_pylist(list(rows[part::parts]))
        pq.write_table(table, folder / f"{part:05d}.parquet")


def qilin_rows() -> dict[str, list[dict[str, Any]]]:
    """Each user has two feeds and two searches in training, one of each in the test part."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for part, count in (("train", 2), ("test", 1)):
        feeds, searches = [], []
        for user in range(USERS):
            for number in range(count):
                time = SECOND + user * 100 + number + (50 if part == "test" else 0)
                details = [
                    {
                        "note_idx": (number + place) % ITEMS,
                        "click": int(place < 2),
                        "position": place,
                    }
                    for place in range(4)
                ]
                feeds.append(
                    {
                        "user_idx": user,
                        "request_idx": number,
                        "session_idx": number,
                        "rec_result_details_with_idx": [
                            {**one, "request_timestamp": time} for one in details
                        ],
                    }
                )
                searches.append(
                    {
                        "user_idx": user,
                        "search_idx": user * 10 + number,
                        "session_idx": number,
                        "query": f"红色 鞋子 {number}",
                        "query_from_type": 1,
                        "search_result_details_with_idx": [
                            {**one, "search_timestamp": (time + 5) * 1000.0} for one in details
                        ],
                    }
                )
        tables[f"recommendation_{part}"] = feeds
        tables[f"search_{part}"] = searches
    tables["notes"] = [
        {"note_idx": note, "note_title": f"标题{note}", "note_content": f"内容 {note}", "image": 1}
        for note in range(ITEMS)
    ]
    return tables


def write_qilin(folder: Path) -> Path:
    for name, rows in qilin_rows().items():
        write_parts(folder / name, rows, parts=2)
    return folder


# A company's log

COMPANY: dict[str, tuple[str, ...]] = {
    "items": ("item_id", "title", "description", "brand", "categories"),
    "recommendations": ("user_id", "item_id", "timestamp", "clicked"),
    "searches": ("user_id", "session_id", "query", "timestamp", "item_id", "clicked"),
}


def company_rows() -> dict[str, list[list[Any]]]:
    """Each user clicks four items, and searches twice: two clicks, then none."""
    items = [
        [f"i{n}", f"Title {n}", f'Long "text", {n}\nof two lines', "Acme", "Shop > Toys | Sale"]
        for n in range(ITEMS)
    ]
    recommendations, searches = [], []
    for user in range(USERS):
        for item in range(ITEMS):
            recommendations.append(
                [f"u{user}", f"i{item}", SECOND + user * 100 + item, int(item < 4)]
            )
        for session in range(2):
            for item in range(4, 8):
                time = SECOND + user * 100 + 50 + session
                clicked = int(session == 0 and item < 6)
                searches.append([f"u{user}", f"s{session}", "red shoes", time, f"i{item}", clicked])
    return {"items": items, "recommendations": recommendations, "searches": searches}


def write_company(folder: Path, kind: str = "csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in company_rows().items():
        if kind == "csv":
            (folder / f"{name}.csv").write_bytes(csv_bytes(COMPANY[name], rows))
            continue
        columns = dict(zip(COMPANY[name], map(list, zip(*rows, strict=True)), strict=True))
        if name == "items":
            columns["categories"] = [[["Shop", "Toys"], ["Sale"]]] * len(rows)
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder
