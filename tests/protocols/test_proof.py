"""A run on one task of a suite equals a suite of that task alone: same corpus, encoder and budget, same figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tiny_bert import write_bert
from tiny_suite import SETTINGS, WORDS, write_suite

import mtbench
from mtbench.model.tokenizer import train_tokenizer

TASKS = ("ask", "claim", "slot")
# of a folder's encoder, whose tokenizer knows nothing of the suite
OWN = [item for item in SETTINGS if not item.startswith("encoder.")]


def only(suite: Path, task: str) -> Path:
    """The same folder with ``task`` alone."""
    folder = suite.parent / f"only-{task}"
    folder.mkdir()
    for file in suite.iterdir():
        if file.name != "suite.toml":
            (folder / file.name).symlink_to(file)
    head, *tables = (suite / "suite.toml").read_text().split("[[task]]")
    (kept,) = (table for table in tables if re.search(rf'^name = "{task}"', table, re.MULTILINE))
    (folder / "suite.toml").write_text(f"{head}[[task]]{kept}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("budget", "alone"),
    [("batch", ()), ("steps", ("train.batch_size=4",)), ("queries", ("train.warmup_steps=2", "train.steps=2"))],
)
def test_a_run_on_one_task_equals_a_suite_of_that_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, alone: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    suite = write_suite(tmp_path / "tiny")
    texts = [f"{word} place" for word in WORDS]
    encoder = write_bert(tmp_path / "bert", train_tokenizer(texts, 256))
    options: dict[str, Any] = {"encoder": encoder, "store": tmp_path / "store", "results": tmp_path / "results"}
    items = [*OWN, "train.lr=1e-3", "train.warmup_lr=1e-3", "encoder.dropout=0.1"]
    (part,) = mtbench.run(
        "naive",
        suite,
        set=[*items, f"train.budget={budget}"],
        protocol="per-task",
        tasks=["slot"],
        baselines=(),
        **options,
    )
    (whole,) = mtbench.run("naive", only(suite, "slot"), set=[*items, *alone], baselines=(), **options)
    assert part["status"] == whole["status"] == "complete"
    assert part["tasks"]["slot"] == whole["tasks"]["slot"]
    assert part["selection"]["tasks"]["slot"] == whole["selection"]["tasks"]["slot"]
    assert part["selection"]["average"] == whole["selection"]["average"]
    for ours, theirs in zip(part["history"], whole["history"], strict=True):
        assert ours["tasks"]["slot"] == theirs["tasks"]["slot"]
    for own, other in zip(part["training"]["episodes"], whole["training"]["episodes"], strict=True):
        for key in ("losses", "gradient_norms", "update_digest", "norm_before_clip", "norm_after_clip", "steps"):
            assert own[key] == other[key], key  # type: ignore[literal-required]
        assert own["summary"]["queries"] == other["summary"]["queries"]
    assert part["negatives"]["mine 2"]["slot"] == whole["negatives"]["mine 2"]["slot"]
    assert "average" not in part and whole["average"] == part["tasks"]["slot"]["metrics"]["rprecision_page"]
