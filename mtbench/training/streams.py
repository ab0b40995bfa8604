"""Random streams: each draw is a pure function of what it belongs to.

Data order, choice of positives, dropout and a method's own randomness never share a generator. A shared one would let
one method change another's data (it once let PCGrad change the data order of its own comparison).
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*parts: object) -> np.random.Generator:
    """A generator that depends on ``parts`` alone (strings and integers), in any process and on any machine."""
    return np.random.default_rng(stream_seed(*parts))


def stream_seed(*parts: object) -> int:
    """A 63-bit seed that depends on ``parts`` alone."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
