"""Texts to words in every script, for BM25 and for what compares queries.

Words are runs of two or more letters, digits and underscores. In texts with other characters that belong to words,
they follow Unicode's word segmentation (UAX #29):

- Combining marks (vowel signs of Devanagari or Bengali, decomposed accents) belong to the letter before them,
  zero-width joiners to the word they stand in. Words are compared composed (NFC), joiners and the width of Chinese,
  Japanese and Korean forms aside.
- Chinese and Japanese do not part words by blanks, nor do Thai, Lao, Khmer and Burmese, for which UAX #29 asks for a
  dictionary. Runs of these letters become overlapping pairs, as in Lucene's ``CJKAnalyzer`` (a single letter is
  itself). Nie et al., "On the Use of Words and N-grams for Chinese Information Retrieval", IRAL 2000, compare such
  pairs with a dictionary's words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import regex

_PLAIN = {1: re.compile(r"\w+"), 2: re.compile(r"\w\w+")}
_SUSPECT = re.compile("[\u0300-\u036f\u0483-\u0489\u0591-\u1dff\u200c\u200d\u20d0-\u20ff\u2cef-\U0010ffff]")
"""Blocks that may hold one of :func:`_special`; quick to search, and none of an English text's usual signs."""
_WIDE = re.compile("[\uff01-\uffee]+")
_JOINERS = str.maketrans("", "", "\u200c\u200d")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u3005-\u3007\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


def plain_words(text: str) -> list[str]:
    """Lower-case runs of two or more letters, digits and underscores."""
    return _PLAIN[2].findall(text.lower())


def words(text: str, shortest: Literal[1, 2] = 2) -> list[str]:
    """The words of ``text`` in lower case and in order, of ``shortest`` or more characters (see above)."""
    text = text.lower()
    if text.isascii() or not _SUSPECT.search(text) or not _special().search(text):
        return _PLAIN[shortest].findall(text)
    return list(_segmented(text, shortest))


def _segmented(text: str, shortest: int) -> Iterator[str]:
    text = _WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    # the lower case of the Turkish capital dotted I is two characters, of which the second says nothing more
    text = unicodedata.normalize("NFC", text).replace("i\u0307", "i")
    for found in _pieces().finditer(text):
        if found["run"] is None:
            word = found["word"].translate(_JOINERS)
            if len(word) >= shortest:
                yield word
            continue
        letters = [letter.translate(_JOINERS) for letter in _letters().findall(found["run"])]
        yield from map("".join, pairwise(letters)) if len(letters) > 1 else letters


@cache
def _special() -> regex.Pattern[str]:
    """Characters that change how a text falls into words: marks, joiners, jamo, widths, scripts without blanks."""
    return _compiled(rf"[\p{{M}}\u200c\u200d\u1100-\u11ff\uff01-\uffee[[\p{{L}}\p{{Nl}}]&&[{_UNSPACED}]]]")


@cache
def _pieces() -> regex.Pattern[str]:
    marks = r"[\p{M}\u200c\u200d]"
    unspaced = rf"[[\p{{L}}\p{{Nl}}]&&[{_UNSPACED}]]"
    spaced = rf"[[\p{{L}}\p{{N}}_]--{unspaced}]"
    return _compiled(rf"(?P<run>(?:{unspaced}{marks}*)+)|(?P<word>{spaced}(?:{spaced}|{marks})*)")


@cache
def _letters() -> regex.Pattern[str]:
    return _compiled(r"[\p{L}\p{Nl}][\p{M}\u200c\u200d]*")


def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex

    return regex.compile(pattern, regex.VERSION1)
