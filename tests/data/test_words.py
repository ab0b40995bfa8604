"""Words of all scripts against Unicode's own segmentation, and English words as they always were."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.data.words import _SUSPECT, _special, plain_words, words

SPACED = {
    "hindi": "बारिश में चाँद, पेड़ और चिड़िया! क्षत्रिय की मिट्टी",
    "bengali": "ক্ষুদ্র বাংলা ভাষার কবিতা। বৃষ্টি পড়ে",
    "tamil": "தமிழ் மொழி மிகவும் பழமையானது",
    "telugu": "తెలుగు భాష చాలా అందమైనది",
    "arabic": "كِتَابٌ جَدِيدٌ على الطاولة",
    "hebrew": "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "french": unicodedata.normalize("NFD", "Déjà vu à l intérieur du café"),
    "vietnamese": unicodedata.normalize("NFD", "Tiếng Việt được viết bằng chữ Quốc ngữ"),
    "korean": unicodedata.normalize("NFD", "한국어 문장을 나눕니다"),
    "russian": unicodedata.normalize("NFD", "мой ёжик й"),
}
"""Scripts that part words by blanks; no apostrophes, at which UAX #29 keeps words together and mtbench does not."""


def by_unicode(text: str) -> list[str]:
    """Words by UAX #29 as the library regex finds them."""
    found = regex.findall(r"\b[\w].*?\b", unicodedata.normalize("NFC", text.lower()), regex.WORD | regex.VERSION1)
    return [word for word in found if len(word) > 1]


@pytest.mark.parametrize("language", SPACED)
def test_words_between_blanks_are_those_of_unicode(language: str) -> None:
    assert words(SPACED[language]) == by_unicode(SPACED[language])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_texts_have_the_same_words(form: str) -> None:
    for text in SPACED.values():
        assert words(unicodedata.normalize(form, text)) == words(unicodedata.normalize("NFC", text))


def test_scripts_without_blanks_become_pairs_of_letters() -> None:
    assert words("我爱北京。 水 abc123") == ["我爱", "爱北", "北京", "水", "abc123"]
    assert words("東京は2020年") == ["東京", "京は", "2020", "年"]
    assert words("カード ｶｰﾄﾞ") == ["カー", "ード", "カー", "ード"]  # of either width
    assert words("二〇二六年々") == ["二〇", "〇二", "二六", "六年", "年々"]
    assert words("ไทย") == ["ไท", "ทย"]
    assert words("สวัส") == ["สวั", "วัส"]  # a vowel sign stays with its letter


def test_joiners_and_the_dotted_capital_part_no_word() -> None:
    assert words("می\u200cخواهم") == ["میخواهم"]
    assert words("क\u094d\u200dष") == words("क\u094dष")
    assert words("İstanbul") == ["istanbul"]


ENGLISH = st.text(st.characters(max_codepoint=0x24F) | st.sampled_from("—–’“”…€™ ")) | st.text("abc' -1_é’—")


@settings(max_examples=300, deadline=None)
@given(ENGLISH)
def test_latin_texts_have_the_words_they_always_had(text: str) -> None:
    if "İ" not in text:
        assert words(text) == plain_words(text) == re.findall(r"(?u)\b\w\w+\b", text.lower())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["river", "don't", "café", "x", "42"]), max_size=6))
def test_foreign_words_leave_those_around_them_alone(around: list[str]) -> None:
    text = " ".join(around)
    assert words(f"{text} चाँद 北京 {text}") == [*plain_words(text), "चाँद", "北京", *plain_words(text)]


def test_the_quick_look_misses_no_character_that_matters() -> None:
    special = _special()
    everything = (chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)
    assert not [c for c in everything if special.search(c) and not _SUSPECT.search(c)]


def test_single_characters_count_where_they_are_asked_for() -> None:
    assert words("a चाँद b", shortest=1) == ["a", "चाँद", "b"]
    assert words("a b", shortest=1) == ["a", "b"]
