"""What a column of a table is: its name, the kind of its values, and what each cell must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "id",
    "seconds",
    "milliseconds",
    "instant",
    "flag",
    "count",
    "number",
    "whole",
    "text",
    "raw",
    "words",
    "paths",
]
"""``instant`` is seconds or milliseconds, told apart by size; ``raw`` a text or list of texts as it
stands; ``words`` are lists of word numbers; ``paths`` are category hierarchies."""

NUMBERS = ("seconds", "milliseconds", "instant", "flag", "count", "number", "whole")


@dataclass(frozen=True)
class Column:
    """A column that is read. An absent optional column is empty, or ``default`` in each row.

    ``filled`` says that each row must have a value; ids and numbers other than ``number`` must.
    ``paths`` may be texts such as ``A > B | C`` where ``text_form`` is set. Instants without a zone
    are in ``zone``, where one is stated; numbers before ``earliest`` (seconds) are refused, and
    ``remedy`` says how numbers of another unit can be declared.
    """

    name: str
    kind: Kind
    required: bool = True
    default: int = 0
    filled: bool = False
    text_form: bool = False
    zone: str = ""
    earliest: int = 0
    remedy: str = ""

    @property
    def rule(self) -> str:
        """What a cell must hold, for messages."""
        if self.kind == "paths" and self.text_form:
            return "must be lists of hierarchies, each a list of texts, or texts such as A > B | C"
        return _RULES[self.kind]


_INSTANT = "or texts such as 2024-05-31T18:00:00Z, or timestamps"
_RULES: dict[Kind, str] = {
    "id": "must be text or whole numbers",
    "seconds": f"must be seconds since 1970 (UTC), {_INSTANT}",
    "milliseconds": f"must be milliseconds since 1970 (UTC), {_INSTANT}",
    "instant": f"must be seconds or milliseconds since 1970 (UTC), {_INSTANT}",
    "flag": "must be 0 or 1",
    "count": "must be numbers that are not negative",
    "number": "must be numbers",
    "whole": "must be whole numbers",
    "text": "must be text",
    "raw": "must be text or lists of texts",
    "words": "must be lists of word numbers such as [20, 34, 3]",
    "paths": "must be lists of hierarchies, each a list of texts",
}
