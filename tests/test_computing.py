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
from mtbench.computing import caller_as_it_was, computing, flushes_denormals

SCRIPT = """
import json, logging, random, sys
import numpy, torch
import mtbench
from process_state import changes, process_state

suite, folder, settings, caller = json.loads(sys.argv[1])
torch.set_num_threads(2)
torch.manual_seed(7); numpy.random.seed(8); random.seed(9)
logging.getLogger().setLevel(logging.ERROR)
if caller == "odd":
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
    numpy.seterr(all="raise")

before = process_state()
places = {"store": folder + "/store", "results": folder + "/results", "baselines": ()}
(record,) = mtbench.run("naive", suite, set=settings, **places)
print(json.dumps({"changes": changes(before, process_state()), "record": record}))
"""
ROOT = Path(__file__).resolve().parents[1]


def start(folder: Path, words: list[str], omp_threads: str | None) -> str:
    """What a fresh Python prints that is started in ``folder``; ``omp_threads``: OMP_NUM_THREADS, None for unset."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    if omp_threads is not None:
        environment["OMP_NUM_THREADS"] = omp_threads
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def call(folder: Path, suite: Path, *more: str, caller: str = "plain", omp_threads: str | None = None) -> Any:
    """What a script saw that calls the public API and has no ``if __name__``: its record, and what has changed."""
    folder.mkdir(parents=True)
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    given = json.dumps([str(suite), str(folder), [*SETTINGS, *more], caller])
    return json.loads(start(folder, ["script.py", given], omp_threads))


def command(folder: Path, suite: Path, *options: str, omp_threads: str | None = None) -> Any:
    """The record of the same run by the command line."""
    words = ["-m", "mtbench", "run", "-o", "naive", "-s", str(suite), "--store", "store", "--results", "results"]
    words += [word for item in SETTINGS for word in ("--set", item)]
    said = json.loads(start(folder, [*words, "--json", *options], omp_threads))
    return next(r for r in said["runs"] if r["spec"]["optimizer"]["name"] == "naive")


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """What must be equal to the last bit."""
    digests = [episode["update_digest"] for episode in record["training"]["episodes"]]
    kept = {key: record[key] for key in ("run_id", "status", "tasks", "average", "selection", "history")}
    return {**kept, "digests": digests, "threads": record["environment"]["threads"]}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite") / "tiny")


@pytest.fixture(scope="module")
def plain(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A call from a script of two threads, OMP_NUM_THREADS unset."""
    return call(tmp_path_factory.mktemp("plain") / "api", suite)


def test_a_script_that_calls_run_is_as_it_was(plain: Any) -> None:
    assert plain["changes"] == {}
    assert plain["record"]["status"] == "complete" and plain["record"]["environment"]["threads"] == 1


@pytest.mark.parametrize("omp_threads", ["2"])
def test_omp_num_threads_changes_nothing(plain: Any, suite: Path, tmp_path: Path, omp_threads: str) -> None:
    other = call(tmp_path / "api", suite, omp_threads=omp_threads)
    assert other["changes"] == {} and figures(other["record"]) == figures(plain["record"])


def test_what_the_caller_has_set_for_itself_changes_no_figure(plain: Any, suite: Path, tmp_path: Path) -> None:
    odd = call(tmp_path / "api", suite, caller="odd")
    assert odd["changes"] == {} and figures(odd["record"]) == figures(plain["record"])


@pytest.mark.slow
@pytest.mark.parametrize("omp_threads", [None, "1"])
def test_the_command_line_computes_what_the_api_does(
    plain: Any, suite: Path, tmp_path: Path, omp_threads: str | None
) -> None:
    assert figures(command(tmp_path, suite, omp_threads=omp_threads)) == figures(plain["record"])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("omp_threads", ["2"])
def test_ray_computes_what_the_api_does(plain: Any, suite: Path, tmp_path: Path, omp_threads: str | None) -> None:
    record = command(tmp_path, suite, "--executor", "ray", "--max-concurrent", "1", omp_threads=omp_threads)
    assert figures(record) == figures(plain["record"])


def test_a_script_is_as_it_was_after_a_failed_run(suite: Path, tmp_path: Path) -> None:
    failed = call(tmp_path / "api", suite, "train.lr=1e30", "train.warmup_lr=1e30")
    assert failed["record"]["status"] == "failed" and failed["changes"] == {}


def test_an_interruption_puts_everything_back(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from process_state import changes, process_state

    def interrupted(*_: object) -> None:
        assert flushes_denormals() and torch.get_num_threads() == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("mtbench.pipeline.stages.bm25.compute", interrupted)
    torch.set_num_threads(2)
    try:
        before = process_state()
        with pytest.raises(KeyboardInterrupt):
            mtbench.run("naive", suite, set=SETTINGS, store=tmp_path / "store", results=tmp_path / "results")
        assert changes(before, process_state()) == {}
    finally:
        torch.set_num_threads(1)


def test_all_threads_of_torch_flush_inside_and_none_after() -> None:
    """Those that were there before, and those that begin inside."""
    import torch
    from process_state import denormals_by_part

    from mtbench.config import Config

    config = Config.model_validate({"encoder": {"path": "/a/folder"}})
    try:
        for before in (1, 2):
            torch.set_num_threads(before)
            assert all(denormals_by_part())
            torch.set_num_threads(2)
            with computing(config):
                assert torch.get_num_threads() == 2 and not any(denormals_by_part())
            assert all(denormals_by_part())
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


def test_checking_an_optimizer_moves_no_generator() -> None:
    import torch
    from process_state import changes, process_state

    from mtbench.optim.conformance import check_optimizer

    torch.manual_seed(5)
    before = process_state()
    assert all(check.ok for check in check_optimizer("naive", worker=False))
    assert changes(before, process_state()) == {}


def test_on_a_gpu_kernels_are_deterministic_inside_and_as_they_were_after(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from process_state import changes, process_state

    from mtbench.config import Config

    monkeypatch.setattr("mtbench.computing.device", lambda: torch.device("cuda"))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.backends.cudnn.benchmark = True
    try:
        before = process_state()
        with computing(Config()):
            assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert changes(before, process_state()) == {}
    finally:
        torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize("before", ["huggingface_hub", "huggingface_hub.constants", "transformers", "sys"])
def test_progress_bars_come_back_whichever_library_was_there_before(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)  # what the user forbids stays forbidden
    script = f"""
import {before}
from mtbench.computing import caller_as_it_was
with caller_as_it_was():
    import huggingface_hub.utils, transformers.utils.logging
    huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
print(transformers.utils.logging.is_progress_bar_enabled(), huggingface_hub.utils.are_progress_bars_disabled())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout == "True False\n", run.stderr
