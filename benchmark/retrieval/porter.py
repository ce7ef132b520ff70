"""The Porter stemmer, as Lucene's English analyser applies it.

Written from M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980. Two rules
follow the author's later changes, which Lucene has and PyStemmer's "porter" lacks: "bli" becomes
"ble" ("abli" became "able") and "logi" becomes "log". As in Lucene, words of one or two characters
stay as they are, and what is not a vowel (digits and underscores too) counts as a consonant.
"""

from __future__ import annotations

from functools import lru_cache

_CACHED_WORDS = 1 << 17

# In every table the longest suffix that fits is the one that counts, even when its condition then
# fails. A suffix stands before every shorter one that it ends in, so the first fit is the longest.
_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("ousli", "ous"), ("eli", "e"),
    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
    ("logi", "log"),
)  # fmt: skip
_STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
    ("ness", ""),
)  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


@lru_cache(maxsize=_CACHED_WORDS)
def stem(word: str) -> str:
    """The stem of one lower-case word.

    >>> stem("cameras"), stem("technology"), stem("possibly"), stem("tv")
    ('camera', 'technolog', 'possibl', 'tv')
    """
    if len(word) < 3:
        return word
    word = _step_1(word)
    word = _replace_suffix(word, _STEP_2)
    word = _replace_suffix(word, _STEP_3)
    return _step_5(_step_4(word))


def _shape(word: str) -> str:
    """One "c" (consonant) or "v" (vowel) per character; "y" is a vowel after a consonant.

    The shape of a prefix is the prefix of the shape; its count of "vc" is the paper's measure m.
    """
    shape = ""
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if is_vowel else "c"
    return shape


def _measure(stem_part: str) -> int:
    return _shape(stem_part).count("vc")


def _ends_short(word: str) -> bool:
    """The paper's *o: consonant, vowel, consonant at the end, the last not w, x or y."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _ends_double_consonant(word: str) -> bool:
    return word[-1:] == word[-2:-1] and _shape(word).endswith("c")


def _step_1(word: str) -> str:
    """Plurals, -ed and -ing, and a final y."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]

    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and "v" in _shape(word[: -len(suffix)]):
                word = _restore_ending(word[: -len(suffix)])
                break

    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    return word


def _restore_ending(word: str) -> str:
    """The word before -ed or -ing: "conflat" to "conflate", "hopp" to "hop", "fil" to "file"."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _ends_double_consonant(word):
        return word if word[-1] in "lsz" else word[:-1]
    if _measure(word) == 1 and _ends_short(word):
        return word + "e"
    return word


def _replace_suffix(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for suffix, replacement in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + replacement if _measure(rest) > 0 else word
    return word


def _step_4(word: str) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            if suffix == "ion" and not rest.endswith(("s", "t")):
                return word
            return rest if _measure(rest) > 1 else word
    return word


def _step_5(word: str) -> str:
    """A final e, and one of a final double l."""
    measure = _measure(word)
    if word.endswith("e") and (measure > 1 or (measure == 1 and not _ends_short(word[:-1]))):
        word = word[:-1]
    if word.endswith("ll") and measure > 1:
        word = word[:-1]
    return word
