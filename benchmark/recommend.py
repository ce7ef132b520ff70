"""``python -m benchmark.recommend RUN``: what a trained run recommends, or finds for a query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from benchmark.cli import console, guarded
from benchmark.errors import BenchmarkError
from benchmark.serve.arguments import model_of, parser_of
from benchmark.serve.model import Ask, Hit, Seen


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (2 bad input)."""
    parser = parser_of("recommend", "The best items for a history, a user, or a query text.")
    add = parser.add_argument
    add("--history", help="ids of items that somebody clicked, oldest first, separated by commas")
    add("--user", help="an id of the data set, whose own history is taken unless one is given")
    add("--query", help="a query text, known or new: search instead of recommending")
    add("--k", type=int, default=10, help="how many items (default: 10)")
    add(
        "--seen",
        choices=get_args(Seen),
        help="what becomes of the history's items (default: kept in searches alone)",
    )
    add("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args(argv)

    def recommend() -> int:
        history = None
        if arguments.history is not None:
            history = [part.strip() for part in arguments.history.split(",") if part.strip()]
        is_search = arguments.query is not None
        if history is None and arguments.user is None:
            if not is_search:
                raise BenchmarkError("--history or --user: one of the two is needed.")
            history = []
        task = "search" if is_search else "recommendation"
        default: Seen = "kept" if is_search else "left out"
        seen: Seen = arguments.seen or default
        asked = Ask(history, arguments.user, arguments.query, seen)
        model = model_of(arguments)
        hits = model.answer(task, [asked], arguments.k)[0]
        if arguments.json:
            print(json.dumps({"system": model.name, "items": [asdict(hit) for hit in hits]}))
        else:
            _print(hits)
        return 0

    return guarded(recommend)


def _print(hits: Sequence[Hit]) -> None:
    from rich.table import Table

    table = Table("rank", "item", "title", "score", box=None)
    for rank, hit in enumerate(hits, start=1):
        table.add_row(str(rank), hit.item, hit.title, f"{hit.score:.4f}")
    console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
