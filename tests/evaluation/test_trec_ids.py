"""Ids in TREC files are free of white space and read back equal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.evaluation.trec_ids import are_encoded, decode_id, encode_id

NAMES = st.text(st.characters(codec="utf-8") | st.sampled_from("% 20aF\u00a0\u3000"))


@settings(deadline=None, max_examples=500)
@given(NAMES)
def test_every_id_reads_back(name: str) -> None:
    assert decode_id(encode_id(name)) == name
    assert not re.search(r"\s", encode_id(name))


@pytest.mark.parametrize("name", ["d1", "doc_1-2.3", "wiki/N%C3%BC", "100%", "文書", "%"])
def test_ids_without_white_space_or_codes_stay_as_they_are(name: str) -> None:
    assert encode_id(name) == (name if "%C3" not in name else name.replace("%", "%25"))


def test_aidas_ids() -> None:
    assert encode_id("1143a_0 REPORT:0") == "1143a_0%20REPORT:0"
    assert encode_id("a%20b c") == "a%2520b%20c"


def test_other_systems_ids_stay_where_they_are_known_as_they_are() -> None:
    assert are_encoded(["a%20b"], {"a b"})
    assert not are_encoded(["a%20b", "c"], {"a%20b", "a b"})
    assert not are_encoded(["a%20b"], {"c"})
