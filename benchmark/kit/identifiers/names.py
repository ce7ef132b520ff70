"""Identifiers as text: a token of its own for each code that occurs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmark.kit.identifiers.value import Identifiers

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""The stems of the codes of each level, where nothing else tells them apart."""


def identifier_texts(identifiers: Identifiers, stems: Sequence[str] = LETTERS) -> list[str]:
    """(items + 1,) such as ``<a_7><b_0><c_255><d_31>``; that of item 0 is empty.

    Args:
        stems: of each level; what stands before the code.
    """
    return [
        "".join(f"<{stem}_{code}>" for stem, code in zip(stems, row, strict=False) if code >= 0)
        for row in identifiers.codes.tolist()
    ]


def code_tokens(texts: Iterable[str]) -> list[str]:
    """The code tokens that occur in identifiers, sorted as strings."""
    return sorted({token for text in texts for token in re.findall(r"<\w+>", text)})
