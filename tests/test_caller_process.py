"""``mtbench.run`` leaves the process that calls it as it was, and computes the same whatever it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.pipeline.computing import caller_as_it_was, computing, flushes_denormals

SCRIPT = """
import json, locale, logging, os, random, signal, sys, warnings
import numpy, torch, transformers
import mtbench

suite, folder, settings, outcome, threads = json.loads(sys.argv[1])
torch.set_num_threads(threads)
torch.manual_seed(7); numpy.random.seed(8); random.seed(9)
logging.getLogger().setLevel(logging.ERROR)

def state():
    return {
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "denormals": [float(torch.tensor(1e-40) * 1), float((torch.full((1 << 21,), 1e-40) * 1).max()),
                      float(numpy.float32(1e-40) * numpy.float32(1))],
        "deterministic": [torch.are_deterministic_algorithms_enabled(),
                          torch.is_deterministic_algorithms_warn_only_enabled()],
        "precision": torch.get_float32_matmul_precision(), "grad": torch.is_grad_enabled(),
        "random": [torch.get_rng_state().tolist(), str(numpy.random.get_state()), str(random.getstate())],
        "environment": dict(os.environ), "signals": [str(signal.getsignal(s)) for s in (2, 15, 1)],
        "warnings": str(warnings.filters),
        "levels": {n: logging.getLogger(n).level for n in ("", "transformers", "ray", "huggingface_hub")},
        "bars": transformers.utils.logging.is_progress_bar_enabled(),
        "places": [os.getcwd(), sys.path, locale.setlocale(locale.LC_ALL)],
        "group": torch.distributed.is_initialized(),
    }

before = state()
settings = dict(item.split("=", 1) for item in settings)
if outcome == "failed":
    settings["train.lr"] = settings["train.warmup_lr"] = "1e30"
records = mtbench.run("naive", suite, set=settings, store=folder + "/store", results=folder + "/results", baselines=())
after = state()
print(json.dumps({"changed": [k for k in before if before[k] != after[k]], "records": records}))
"""


def called(folder: Path, suite: Path, outcome: str, threads: int) -> dict[str, Any]:
    """What the script says that stands in no ``if __name__`` and calls the public API once."""
    given = json.dumps([str(suite), str(folder), list(SETTINGS), outcome, threads])
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    file = folder / "script.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SCRIPT, encoding="utf-8")
    place = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(file), given],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": place},
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def digests(record: dict[str, Any]) -> list[str]:
    return [episode["update_digest"] for episode in record["training"]["episodes"]]


def test_the_process_is_as_it_was_and_threads_change_no_figure(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "suite")
    one, two = (called(tmp_path / str(n), suite, "complete", n) for n in (1, 2))
    assert one["changed"] == two["changed"] == []
    assert digests(one["records"][0]) == digests(two["records"][0])
    assert one["records"][0]["tasks"] == two["records"][0]["tasks"]


def test_the_command_line_computes_what_the_api_does(tmp_path: Path) -> None:
    from mtbench.cli.main import main

    suite = write_suite(tmp_path / "suite")
    api = called(tmp_path / "api", suite, "complete", 2)["records"][0]
    words = ["run", "-o", "naive", "-s", str(suite), "--store", str(tmp_path / "s"), "--results", str(tmp_path / "r")]
    assert main([*words, *(word for item in SETTINGS for word in ("--set", item))]) == 0
    (file,) = (tmp_path / "r" / "runs").glob("*/*/naive/*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert digests(record) == digests(api) and record["run_id"] == api["run_id"]


def test_the_process_is_as_it_was_after_a_failed_run(tmp_path: Path) -> None:
    said = called(tmp_path / "failed", write_suite(tmp_path / "suite"), "failed", 2)
    assert said["records"][0]["status"] == "failed"
    assert said["changed"] == []


def test_an_interruption_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def interrupted(*_: object) -> None:
        assert flushes_denormals() and torch.get_num_threads() == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("mtbench.pipeline.stages.bm25.compute", interrupted)
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        with pytest.raises(KeyboardInterrupt):
            mtbench.run("naive", str(write_suite(tmp_path / "suite")), set=list(SETTINGS), store=tmp_path / "store",
                        results=tmp_path / "results")  # fmt: skip
        assert torch.get_num_threads() == 2 and not flushes_denormals()
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(1)


def test_plugins_of_a_call_are_forgotten_at_its_end(tmp_path: Path) -> None:
    from mtbench.errors import UnknownNameError

    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from mtbench import LossWeighting\n\n\nclass Mine(LossWeighting):\n    name = 'mine'\n    summary = 'mine'\n\n"
        "    def weights_before(self):\n        return [1 / self.num_tasks] * self.num_tasks\n",
        encoding="utf-8",
    )
    suite = str(write_suite(tmp_path / "suite"))
    places: dict[str, Any] = {"store": tmp_path / "store", "results": tmp_path / "results", "baselines": ()}
    assert mtbench.run("mine", suite, set=list(SETTINGS), plugins=[plugin], **places)[0]["status"] == "complete"
    assert "MTBENCH_PLUGINS" not in os.environ
    with pytest.raises(UnknownNameError):
        mtbench.get_optimizer("mine")


def test_what_is_changed_inside_is_put_back() -> None:
    import random
    import warnings

    import numpy as np
    import torch

    from mtbench.config import Config

    state = random.getstate()
    with caller_as_it_was(), computing(Config()):
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True)
        warnings.simplefilter("ignore")
        os.environ["MTBENCH_TEST_ONLY"] = "1"
        random.random(), np.random.random(), torch.rand(1)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()
    assert "MTBENCH_TEST_ONLY" not in os.environ
    assert random.getstate() == state
    with pytest.raises(UserWarning):
        warnings.warn("filters are as they were: a warning is an error in tests", stacklevel=1)
