"""Errors come back whole from another process."""

from __future__ import annotations

import pickle

import pytest

from mtbench import errors

KINDS = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.MtbenchError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind: type[errors.MtbenchError]) -> None:
    if kind is errors.UnknownNameError:
        error: errors.MtbenchError = errors.UnknownNameError("optimizer", "tsge", ["tsage", "cgd"], "mtbench ls")
    elif kind is errors.DataError:
        error = errors.DataError("broken", path="x.json", line=3, remedy="Mend it.")
    else:
        error = kind("what went wrong")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.exit_code) == (kind, str(error), kind.exit_code)


def test_values_in_messages_are_short_and_never_fail() -> None:
    assert errors.shown("x") == "'x'"
    assert errors.shown("x" * 1000).endswith("... (1,002 characters)") and len(errors.shown("x" * 1000)) < 120
    assert errors.shown(10**5000) == "a number with thousands of digits"
