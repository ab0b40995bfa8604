from __future__ import annotations

from typing import Any

from mtbench.execution.show import identical_updates


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
