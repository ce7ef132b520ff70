"""Text from run records made safe for where it is shown: LaTeX, Markdown, CSV, a file's name.

Names of systems and data sets and the sentences of errors come from outside, so none of them may
break a table, run as a spreadsheet formula or leave the report's folder. LaTeX output is pure
ASCII: pdflatex stops at characters that its fonts lack, and which ones depends on the document.
"""

from __future__ import annotations

import re
import unicodedata

from benchmark.errors import counted as counted

_LONGEST_WORD = 24
_LONGEST_PART = 32  # of a word without signs

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    # A row that begins with one of these three would be read as an argument of the row end "\\".
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "--",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\ldots{}",
    "\u2020": r"$\dagger$",
    "\u2021": r"$\ddagger$",
    "\u2192": r"$\to$",
    "\u2248": r"$\approx$",
    "\u2264": r"$\leq$",
    "\u2265": r"$\geq$",
    "\u2212": "$-$",
    "\u00b1": r"$\pm$",
    "\u00b5": r"$\mu$",
    "\u00b7": r"$\cdot$",
    "\u00d7": r"$\times$",
    "\u00df": r"\ss{}",
    "\u00e6": r"\ae{}",
    "\u00c6": r"\AE{}",
    "\u00f8": r"\o{}",
    "\u00d8": r"\O{}",
    "\u0142": r"\l{}",
    "\u0141": r"\L{}",
    "\u0153": r"\oe{}",
    "\u0131": r"\i{}",
}
_LATEX_ACCENT = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_GREEK = re.compile(r"GREEK SMALL LETTER (\w+)")
_GREEK_WITHOUT_COMMAND = {"OMICRON"}


def clean(text: str) -> str:
    """``text`` as one line without control or invisible characters."""
    spaced = " ".join(text.split())
    # Category C: control codes (a terminal obeys them), direction marks, surrogates, unassigned.
    return "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))


def shortened(text: str, longest: int) -> str:
    """``text`` as one line of at most ``longest`` characters."""
    cleaned = clean(text)
    return cleaned if len(cleaned) <= longest else cleaned[: longest - 1].rstrip() + "…"


def _latex_character(character: str) -> str:
    if character in _LATEX_SPECIAL:
        return _LATEX_SPECIAL[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _LATEX_ACCENT:
        return f"\\{_LATEX_ACCENT[parts[1]]}{{{parts[0]}}}"
    greek = _GREEK.fullmatch(unicodedata.name(character, ""))
    if greek and greek[1] not in _GREEK_WITHOUT_COMMAND:
        return f"$\\{greek[1].lower().replace('lamda', 'lambda')}$"
    plain = unicodedata.normalize("NFKD", character)
    if plain.isascii():
        return "".join(_latex_character(part) for part in plain)
    return f"{{[}}U+{ord(character):04X}{{]}}"


def latex(text: str) -> str:
    r"""``text`` as ASCII LaTeX that prints it; a character without a command prints as [U+XXXX].

    >>> print(latex("A_1 & 50% – naïve"))
    A\_1 \& 50\% -- na\"{i}ve
    """
    composed = unicodedata.normalize("NFC", clean(text))
    # Two hyphens in a row would print as one dash; clean text holds no "\0".
    apart = re.sub("-(?=-)", "-\0", composed)
    return "".join(_latex_character(character) for character in apart).replace("\0", "{}")


def latex_breakable(text: str) -> str:
    """As :func:`latex`, and long words (paths) may be broken, so that no line runs out."""
    words = clean(text).split(" ")
    return " ".join(r"\allowbreak{}".join(map(latex, breakable_parts(word))) for word in words)


def breakable_parts(word: str) -> list[str]:
    """A long word in parts between which a line may end: after a sign, and never inside a name.

    What has no sign for long is a hash or a token of a path, which has no syllables either.

    >>> breakable_parts("benchmark/report/build.py:main_table"), breakable_parts("recommendation")
    (['benchmark/', 'report/', 'build.', 'py:', 'main_', 'table'], ['recommendation'])
    """
    if len(word) <= _LONGEST_WORD:
        return [word]
    parts = re.findall(r"[^/_.:,=&?@-]*[/_.:,=&?@-]+|[^/_.:,=&?@-]+", word)
    return [
        part[first : first + _LONGEST_PART]
        for part in parts
        for first in range(0, len(part), _LONGEST_PART)
    ]


def markdown(text: str) -> str:
    r"""``text`` for a cell of a GitHub table: neither markup nor HTML nor a cell's end.

    >>> print(markdown("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    html = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~#!])", r"\\\1", html)


def csv_cell(text: str) -> str:
    """``text`` for a cell of a CSV file; what a spreadsheet would run as a formula is quoted.

    >>> csv_cell("=1+1")
    "'=1+1"
    """
    cleaned = clean(text)
    first = unicodedata.normalize("NFKC", cleaned[:1])
    return f"'{cleaned}" if first.startswith(("=", "+", "-", "@")) else cleaned


def file_name(*parts: str) -> str:
    """A file's stem of ``parts`` joined by hyphens, of letters, digits, ".", "_" and "-" only.

    >>> file_name("ml-100k", "../x y")
    'ml-100k-_x_y'
    """
    safe = (re.sub(r"[^A-Za-z0-9._-]+", "_", part).lstrip(".")[:60] or "_" for part in parts)
    return "-".join(safe)
