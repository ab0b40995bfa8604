"""Every planted fault is found by the check that is there for it, which its twin without the fault passes."""

from __future__ import annotations

import re

import pytest
from faults import FAULTS, Fault

from mtbench.optim.conformance import CHECKS, check
from mtbench.optim.conformance.bench import Subject

TWINS = sorted({(fault.twin.__name__, fault.check): fault for fault in FAULTS}.items())
DECLARATIONS = {"metadata", "shapes", "permutation", "state", "worker"}
"""Checks whose faults stand in files of their own: test_conformance.py."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.check}-{f.wrong.__name__}")
def test_a_fault_is_found_by_its_check(fault: Fault) -> None:
    found = check(fault.check, Subject("planted", fault.wrong))
    assert not found.ok
    assert fault.says in found.sentence


@pytest.mark.parametrize("fault", [fault for _, fault in TWINS], ids=lambda f: f"{f.check}-{f.twin.__name__}")
def test_the_twin_without_the_fault_passes(fault: Fault) -> None:
    found = check(fault.check, Subject("planted", fault.twin))
    assert found.ok, found.sentence


def test_every_check_has_a_fault_that_only_it_must_find() -> None:
    assert {fault.check for fault in FAULTS} == set(CHECKS) - DECLARATIONS


def test_a_failed_check_names_the_step_the_numbers_and_the_cause() -> None:
    slow = next(fault for fault in FAULTS if fault.check == "resume")
    sentence = check("resume", Subject("planted", slow.wrong)).sentence
    assert re.search(r"step \d+, .* coordinate \d+ of the update is -?[\d.e-]+ instead of -?[\d.e-]+; ", sentence)
    assert "`state`" in sentence
