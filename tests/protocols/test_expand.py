"""Protocols as a user names them, and the runs that they are on a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import MtbenchError, UsageError
from mtbench.protocols.expand import Part, ProtocolChoice
from mtbench.protocols.labels import row_label, run_label
from mtbench.records.record import ProtocolSpec
from mtbench.suite import Corpus, Suite, Task

SUITE = Suite(
    "toy",
    1,
    "recall@20",
    (Corpus("main", "corpus.jsonl"),),
    (
        *(Task(name, "main", "q.jsonl", "train.tsv", "dev.tsv") for name in "abc"),
        Task("unseen", "main", "q.jsonl", "", "dev.tsv"),
    ),
    Path(),
)


def trains(parts: list[Part]) -> list[dict[str, Any]]:
    return [dict(part.train) for part in parts]


def test_multitask_is_one_part_without_settings() -> None:
    assert ProtocolChoice().is_default and ProtocolChoice().parts(SUITE) == [Part()]


def test_a_run_for_each_task_that_can_be_trained() -> None:
    parts = ProtocolChoice(["per-task"]).parts(SUITE)
    assert trains(parts) == [{"tasks": t, "start": "encoder"} for t in "abc"] and all(p.alone for p in parts)
    parts = ProtocolChoice(["leave-one-out"], tasks=["c", "a"]).parts(SUITE)
    assert trains(parts) == [{"tasks": f"-{t}", "start": "encoder"} for t in "ac"]
    assert not any(part.alone for part in parts)


def test_few_shot_has_every_start_and_number_and_task() -> None:
    choice = ProtocolChoice(["few-shot"], tasks=["b"], examples=[16, 128], starts=["leave-one-out", "encoder"])
    assert trains(choice.parts(SUITE)) == [
        {"tasks": "b", "examples": count, "start": start}
        for start in ("leave-one-out", "encoder")
        for count in (16, 128)
    ]
    assert [part.alone for part in choice.parts(SUITE)] == [False, False, True, True]
    (usual,) = ProtocolChoice(["few-shot"], tasks=["b"], examples=[16]).parts(SUITE, "warmup")
    assert dict(usual.train)["start"] == "leave-one-out"  # the shared warm-up has seen more than 16


def test_starts_go_to_the_protocols_that_have_them() -> None:
    choice = ProtocolChoice(["per-task", "few-shot"], tasks=["a"], examples=[4], starts=["warmup", "encoder"])
    found = [(part.protocol, dict(part.train)["start"]) for part in choice.parts(SUITE)]
    assert found == [("per-task", "warmup"), ("per-task", "encoder"), ("few-shot", "encoder")]
    (given,) = ProtocolChoice(["per-task"], tasks=["a"]).parts(SUITE, "warmup")
    assert dict(given.train)["start"] == "warmup"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"names": ["pertask"]}, "per-task"),
        ({"names": []}, "ls protocols"),
        ({"tasks": ["a"]}, "name a protocol"),
        ({"names": ["few-shot"]}, "needs --examples"),
        ({"names": ["per-task"], "examples": [3]}, "belongs to --protocol few-shot"),
        ({"names": ["few-shot"], "examples": [0]}, "above 0"),
        ({"names": ["leave-one-out"], "starts": ["warmup"]}, "can start from the encoder alone"),
        ({"names": ["per-task"], "starts": ["leave-one-out"]}, "encoder, warmup"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], told: str) -> None:
    with pytest.raises(MtbenchError, match=told):
        ProtocolChoice(**options)


def test_tasks_are_the_suites() -> None:
    for name in ("d", "unseen"):
        with pytest.raises(UsageError, match="There are a, b, c"):
            ProtocolChoice(["per-task"], tasks=[name]).parts(SUITE)


def test_nothing_is_left_of_one_task() -> None:
    import dataclasses

    single = dataclasses.replace(SUITE, tasks=SUITE.tasks[:1])
    for choice in (ProtocolChoice(["leave-one-out"]), ProtocolChoice(["few-shot"], examples=[3])):
        with pytest.raises(UsageError, match="there is no other"):
            choice.parts(single)


def spec(name: str, **changes: Any) -> ProtocolSpec:
    usual: Any = {"name": name, "task": "a", "tasks": ["a"], "examples": None, "start": "encoder", "budget": "steps"}
    return usual | changes


@pytest.mark.parametrize(
    ("protocol", "label"),
    [
        (spec("per-task"), "per-task"),
        (spec("per-task", budget="batch"), "per-task (batch)"),
        (spec("per-task", budget="queries", start="warmup"), "per-task (queries), from warm-up"),
        (spec("leave-one-out", tasks=["b", "c"]), "tsage (tau=4), leave-one-out"),
        (spec("few-shot", examples=128, start="leave-one-out"), "tsage (tau=4), leave-one-out + 128"),
        (spec("few-shot", examples=128), "encoder + 128"),
        (spec("subset", task=None, tasks=["a", "b"]), "tsage (tau=4), trained on a, b"),
        (spec("per-task", start="tsage-s0-0123456789ab"), "per-task, from tsage-s0-0123456789ab"),
    ],
)
def test_rows_have_the_names_of_the_papers(protocol: ProtocolSpec, label: str) -> None:
    assert row_label(protocol, "tsage (tau=4)") == label
    task = ": a" if protocol["task"] else ""
    assert run_label(protocol, "tsage (tau=4)") == label + task
    assert run_label(None, "naive") == "naive"
