"""Text to terms, as Lucene's English and CJK analysers do it.

The tokens follow the word boundaries of Unicode Standard Annex 29 as Lucene's StandardTokenizer
reads them: ideographs, hiragana and pictographs are tokens of their own, punctuation and bare
underscores are none. Then come Lucene's filters, in its order: for English the possessive 's, lower
case, 33 stop words and the Porter stem; for Chinese, Japanese and Korean the width of characters,
lower case, overlapping character pairs and a short stop list of their own. Left out are the rules
for Hebrew quotation marks and for Thai, Lao, Khmer and Myanmar script (there a letter is a letter),
and keycap emoji without a digit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from benchmark.retrieval.porter import stem

ENGLISH_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
     "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
     "they", "this", "to", "was", "will", "with"}
)  # fmt: skip
CJK_STOP_WORDS = (ENGLISH_STOP_WORDS - {"an"}) | {"s", "t", "www"}

_LONGEST_TOKEN = 255  # Lucene's tokenizer cuts what is longer
_CACHED_TOKENS = 1 << 17
_POSSESSIVES = ("'s", "'S", "’s", "’S", "\uff07s", "\uff07S")

# The annex speaks of classes of characters; here each class is one letter, so that its rules become
# a regular expression over the text's string of classes.
_LETTER, _HANGUL, _DIGIT, _UNDERSCORE, _EXTEND, _JOINER = "L", "G", "N", "U", "X", "Z"
_KATAKANA, _IDEOGRAPH, _HIRAGANA = "K", "H", "R"
_PICTOGRAPH, _SKIN_TONE, _FLAG_HALF = "P", "S", "F"
_JOINS_LETTERS, _JOINS_DIGITS, _JOINS_BOTH, _OTHER = "l", "d", "b", "-"

_JOINER_CLASSES = {
    **dict.fromkeys(":·\u0387\u05f4\u2027\ufe13\ufe55\uff1a", _JOINS_LETTERS),
    **dict.fromkeys(
        ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b",
        _JOINS_DIGITS,
    ),
    **dict.fromkeys(".'\u2018\u2019\u2024\ufe52\uff07\uff0e", _JOINS_BOTH),
}


def _ranges(text: str) -> tuple[range, ...]:
    """Code point ranges from hexadecimal text such as ``"A9 2194-2199"``."""
    bounds = [[int(number, 16) for number in part.split("-")] for part in text.split()]
    return tuple(range(bound[0], bound[-1] + 1) for bound in bounds)


# Unicode 14, property Extended_Pictographic: the version that Lucene 9 and 10 were generated with.
# Later versions, which the `regex` package follows, dropped several hundred characters.
_PICTOGRAPHS = _ranges(
    "A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA "
    "24C2 25AA-25AB 25B6 25C0 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 "
    "2716 271D 2721 2728 2733-2734 2744 2747 274C 274E 2753-2755 2757 2763-2767 2795-2797 27A1 "
    "27B0 27BF 2934-2935 2B05-2B07 2B1B-2B1C 2B50 2B55 3030 303D 3297 3299 1F000-1F0FF "
    "1F10D-1F10F 1F12F 1F16C-1F171 1F17E-1F17F 1F18E 1F191-1F19A 1F1AD-1F1E5 1F201-1F20F 1F21A "
    "1F22F 1F232-1F23A 1F23C-1F23F 1F249-1F3FA 1F400-1F53D 1F546-1F64F 1F680-1F6FF 1F774-1F77F "
    "1F7D5-1F7FF 1F80C-1F80F 1F848-1F84F 1F85A-1F85F 1F888-1F88F 1F8AE-1F8FF 1F90C-1F93A "
    "1F93C-1F945 1F947-1FAFF 1FC00-1FFFD"
)
# Symbols by their category, yet alphabetic: circled, squared and negative Latin letters.
_LETTER_SYMBOLS = _ranges("24B6-24E9 1F130-1F149 1F150-1F169 1F170-1F189")
_IDEOGRAPH_MARKS = _ranges("3005 3007 3021-3029 3038-303B")
_SKIN_TONES = _ranges("1F3FB-1F3FF")
_FLAG_HALVES = _ranges("1F1E6-1F1FF")
_HALFWIDTH_SOUND_MARKS = _ranges("FF9E-FF9F")
_SQUARE_KATAKANA = _ranges("3300-3357")
_IDEOGRAPH_NAMES = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL", "KANGXI RADICAL")


def _within(code: int, ranges: tuple[range, ...]) -> bool:
    return any(code in part for part in ranges)


def _class_of(code: int) -> str:
    """The class of one code point; Python's Unicode names stand in for the script property."""
    character = chr(code)
    category = unicodedata.category(character)
    name = unicodedata.name(character, "")
    if character in _JOINER_CLASSES:
        return _JOINER_CLASSES[character]
    if code == 0x200D:
        return _JOINER
    if code == 0x200B:  # a format character by category, a blank by the annex
        return _OTHER
    if category in ("Mn", "Mc", "Me", "Cf") or _within(code, _HALFWIDTH_SOUND_MARKS):
        return _EXTEND
    if category == "Pc" or code == 0x202F:
        return _UNDERSCORE
    if category == "Nd":
        return _DIGIT
    if name.startswith(_IDEOGRAPH_NAMES) or _within(code, _IDEOGRAPH_MARKS):
        return _IDEOGRAPH
    if name.startswith("HIRAGANA"):
        return _HIRAGANA
    if ("KATAKANA" in name and category != "Po") or _within(code, _SQUARE_KATAKANA):
        return _KATAKANA
    if category[0] == "L" or category == "Nl" or _within(code, _LETTER_SYMBOLS):
        return _HANGUL if "HANGUL" in name else _LETTER
    if _within(code, _SKIN_TONES):
        return _SKIN_TONE
    if _within(code, _FLAG_HALVES):
        return _FLAG_HALF
    return _PICTOGRAPH if _within(code, _PICTOGRAPHS) else _OTHER


class _CharacterClasses(dict[int, str]):
    """A table for ``str.translate`` that fills itself with the characters it meets."""

    def __missing__(self, code: int) -> str:
        self[code] = _class_of(code)
        return self[code]


_CLASSES = _CharacterClasses()


def _word_pattern(
    letter: str, digit: str, underscore: str, letter_joiner: str, digit_joiner: str, extend: str
) -> tuple[str, str]:
    """A run of letters and digits with their joiners, and the frame of underscores around runs.

    The frame is a template with the place ``{run}``. ``extend`` is what may follow any character
    without ending the token. No part after the first run is obligatory, so nothing backtracks.
    """

    def joined(single: str, joiner: str) -> str:
        run = f"(?:{single}{extend})+"
        return f"{run}(?:{joiner}{extend}{run})*"

    run = f"(?:{joined(letter, letter_joiner)}|{joined(digit, digit_joiner)})+"
    line = f"(?:{underscore}{extend})"
    frame = f"(?<!{underscore}){line}*{{run}}(?:{line}+{{run}})*{line}*"
    return run, frame


def _ascii_tokens() -> re.Pattern[str]:
    run, frame = _word_pattern("[A-Za-z]", "[0-9]", "_", "[.:']", "[.,;']", "")
    return re.compile(frame.format(run=run))


def _class_tokens() -> re.Pattern[str]:
    extend = "[XZ]*"
    run, frame = _word_pattern("[LG]", "N", "U", "[lb]", "[db]", extend)
    words = frame.format(run=f"(?:{run}|(?:K{extend})+)")
    pictograph = f"(?:PX*S?{extend}|S{extend})"
    return re.compile(
        f"{words}|[HR]{extend}|{pictograph}(?:(?<=Z){pictograph})*|(?:F{extend}){{2}}"
    )


_ASCII_TOKENS = _ascii_tokens()
_CLASS_TOKENS = _class_tokens()
_CJK_CLASSES = re.compile("[HRKGXZ]+")


def tokenise(text: str) -> list[str]:
    """The tokens of a text, unchanged.

    >>> tokenise("USB-C 3.5mm, don't pay $12,345.67 __ AT&T 1:2 hdmi_cable")
    ['USB', 'C', '3.5mm', "don't", 'pay', '12,345.67', 'AT', 'T', '1', '2', 'hdmi_cable']
    """
    if text.isascii():
        tokens: list[str] = _ASCII_TOKENS.findall(text)
    else:
        tokens = [text[match.start() : match.end()] for match in _matches(text)]
    if max(map(len, tokens), default=0) > _LONGEST_TOKEN:
        tokens = [piece for token in tokens for piece in _pieces(token)]
    return tokens


def _matches(text: str) -> Iterator[re.Match[str]]:
    """The tokens of any text, as matches in its string of classes (one per character)."""
    return _CLASS_TOKENS.finditer(text.translate(_CLASSES))


def _pieces(token: str) -> list[str]:
    return [token[at : at + _LONGEST_TOKEN] for at in range(0, len(token), _LONGEST_TOKEN)]


def _lower(token: str) -> str:
    """Lower case character by character, one for one, which is how Java differs from Python."""
    if token.isascii():
        return token.lower()
    return "".join(character.lower()[0] for character in token)


@lru_cache(maxsize=_CACHED_TOKENS)
def _english_term(token: str) -> str:
    """The term of one token; empty for a stop word."""
    if token.endswith(_POSSESSIVES):
        token = token[:-2]
    term = _lower(token)
    return "" if term in ENGLISH_STOP_WORDS else stem(term)


@dataclass(frozen=True)
class Analyser:
    """Text to terms, in two steps: its tokens, then the term of each; an empty one is dropped."""

    tokens: Callable[[str], list[str]]
    term: Callable[[str], str]

    def __call__(self, text: str) -> list[str]:
        """The terms of a text."""
        return [term for token in self.tokens(text) if (term := self.term(token))]


_ENGLISH = Analyser(tokenise, _english_term)


def analyse_english(text: str) -> list[str]:
    """The terms of an English text (Lucene's EnglishAnalyzer).

    >>> analyse_english("The camera's lenses & the batteries")
    ['camera', 'lens', 'batteri']
    """
    return _ENGLISH(text)


_WIDTH_VARIANTS = re.compile("[\uff01-\uff5e\uff65-\uff9f]+")


def _fold_width(token: str) -> str:
    """Full-width Latin and half-width katakana in their usual width; all else stays."""
    return _WIDTH_VARIANTS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), token)


def analyse_cjk_bigrams(text: str) -> list[str]:
    """The terms of a Chinese, Japanese or Korean text (Lucene's CJKAnalyzer).

    Neighbouring ideographs, kana and hangul give every pair of neighbours; a lone one is a term.

    >>> analyse_cjk_bigrams("无线耳机 for ＵＳＢ 和")
    ['无线', '线耳', '耳机', 'usb', '和']
    """
    terms: list[str] = []
    neighbours = ""
    end = -1
    for match in _matches(text):
        is_cjk = _CJK_CLASSES.fullmatch(match[0]) is not None
        if neighbours and not (is_cjk and match.start() == end):
            terms += _pairs(neighbours)
            neighbours = ""
        token = _lower(_fold_width(text[match.start() : match.end()]))
        end = match.end()
        if is_cjk:
            neighbours += token
        else:
            terms += _pieces(token)
    if neighbours:
        terms += _pairs(neighbours)
    return [term for term in terms if term not in CJK_STOP_WORDS]


def _pairs(characters: str) -> list[str]:
    if len(characters) == 1:
        return [characters]
    return [characters[at : at + 2] for at in range(len(characters) - 1)]


ANALYSERS = {
    "english": _ENGLISH,
    "cjk": Analyser(analyse_cjk_bigrams, str),
}
