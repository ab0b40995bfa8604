"""Ids in TREC files, whose columns end at white space: percent-encoded where they hold some, and read back.

A white-space character becomes ``%`` and two hexadecimal digits for each of its UTF-8 bytes, as in addresses (a blank
is ``%20``); a ``%`` that would read as such a code becomes ``%25``. All other ids stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from urllib.parse import quote, unquote

_UNSAFE = re.compile(r"\s|%(?=[0-9A-Fa-f]{2})")


def encode_id(name: str) -> str:
    """``name`` without white space."""
    return _UNSAFE.sub(lambda found: quote(found[0], safe=""), name)


def decode_id(name: str) -> str:
    """The name that :func:`encode_id` made ``name`` of."""
    return unquote(name) if "%" in name else name


def are_encoded(names: Iterable[str], known: Container[str]) -> bool:
    """Whether a file's ids have to be decoded: some id is not ``known`` as it stands, but is when decoded.

    Other systems' files may hold ids with ``%`` of their own, which stay as they are.
    """
    return any("%" in name and name not in known and decode_id(name) in known for name in names)
