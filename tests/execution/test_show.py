from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mtbench.execution.show import analysis_sentences, identical_updates, print_remarks


def record(name: str, digest: str, seed: int = 0, steps: int = 120, start: str = "w") -> dict[str, Any]:
    return {
        "status": "complete",
        "spec": {"seed": seed, "optimizer": {"name": name}},
        "stages": [{"name": "warmup", "fingerprint": start}, {"name": "train", "fingerprint": name}],
        "training": {"episodes": [{"summary": {"steps": steps}, "update_digest": digest}]},
    }


def test_two_methods_with_the_same_updates_are_named() -> None:
    (sentence,) = identical_updates([record("naive", "a"), record("mine", "a"), record("pcgrad", "b")])
    assert "naive and mine took identical updates for 100 steps" in sentence


def test_other_seeds_starts_and_short_runs_are_no_evidence() -> None:
    first = record("naive", "a")
    assert not identical_updates([first, record("mine", "a", seed=1)])
    assert not identical_updates([first, record("mine", "a", start="other")])
    assert not identical_updates([first, record("mine", "a", steps=60)])
    assert not identical_updates([first, record("naive", "a")])
    assert not identical_updates([first, {"status": "failed", "spec": {"seed": 0, "optimizer": {"name": "x"}}}])


def test_a_warning_of_several_runs_is_printed_once() -> None:
    common = {"code": "zero-judged", "message": "three queries score 0", "task": None}
    own = {"code": "below-untrained", "message": "worse than before", "task": None}
    records: list[Any] = [
        {**record(name, name), "run_id": f"{name}-s0", "tasks": {}, "error": None, "warnings": warnings}
        for name, warnings in [("naive", [common, common]), ("mine", [common, own]), ("pcgrad", [])]
    ]
    for entry in records:
        entry["spec"].update(suite="toy", suite_version=1, profile="mini")
    out = io.StringIO()
    print_remarks(records, Console(file=out, width=200))
    said = [line for line in out.getvalue().splitlines() if line.startswith("Warning")]
    assert said[:2] == ["Warning: 2 of 3 runs: three queries score 0", "Warning: mine-s0: worse than before"]


def test_an_analysis_is_told_with_its_share_of_zeros() -> None:
    entropy = {"parameters": 2000, "unused": 820, "not_activated": 100, "task_specific": 15, "distribution": "softmax"}
    analysed: Any = record("tsage", "a", seed=3) | {
        "analysis": {"entropy": entropy, "medians": {"zeros_by_task": {"nq": 900, "fever": 1000}}}
    }
    (sentence,) = analysis_sentences([record("naive", "b"), analysed])  # type: ignore[list-item]
    assert sentence == (
        "tsage, seed 3: of 2,000 parameters 0.8 % are task specific, 5.0 % not activated, 41.0 % unused "
        "(0 for every task; for single tasks 45.0 to 50.0 % are 0)."
    )
    del analysed["analysis"]["entropy"]["distribution"]  # of a version that computed other quantities
    assert analysis_sentences([analysed]) == []
