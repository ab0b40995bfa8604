"""Ray Tune on two nodes: the records of the local executor, bit for bit, whatever dies on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from execution_cases import GRID, Local, outcome, records_in, tiny_matrix, tiny_sweep

from mtbench.execution.executors import LocalExecutor
from mtbench.execution.options import ExecutionOptions, PlanOptions
from mtbench.execution.planned import plan_runs
from mtbench.execution.progress import Reporter
from mtbench.execution.ray.executor import RayExecutor
from mtbench.execution.ray.share import Share
from mtbench.execution.sweep_plan import plan_sweep
from mtbench.execution.sweeping import run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SHARED_WITH_LOCAL = ("raw", "stages/prepare", "stages/bm25")


class Lines(Reporter):
    """Keeps what a terminal would show."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def on_ray(reporter: Reporter | None = None, max_concurrent: int | None = 1) -> RayExecutor:
    """One worker at a time where nothing else is asked for: each has to import torch."""
    options = ExecutionOptions("ray", max_concurrent=max_concurrent)
    return RayExecutor(options, reporter or Reporter(quiet=True))


def seeded_store(local: Local, home: Path) -> Path:
    """A store that has the generated text and its tokens, and no model."""
    for name in SHARED_WITH_LOCAL:
        shutil.copytree(local.store / name, home / "store" / name)
    return home / "store"


def test_records_equal_the_local_ones_and_shared_stages_come_first(
    local: Local, two_nodes: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reporter = Lines()
    store = seeded_store(local, tmp_path)
    sweep = run_sweep(tiny_sweep(*GRID), PlanOptions(store, tmp_path / "results"), on_ray(reporter, None))
    assert [s.status for s in sweep.settings] == ["complete"] * 4
    expected = {r["run_id"]: outcome(r) for s in local.sweep.settings for r in s.records}
    written = records_in(tmp_path / "results")
    assert {k: outcome(r) for k, r in written.items()} == expected
    own = [[s["name"] for s in r["stages"] if not s["reused"]] for r in written.values()]
    assert own == [["train", "encode", "evaluate"]] * 4
    assert "2 CPUs" in reporter.lines[0]
    assert any("shared by 4 runs: train 1 done" in line for line in reporter.lines)
    assert list((store / "ray").iterdir()) == [] and list((store / "leases").iterdir()) == []
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


PLUGIN = '''
from mtbench.optim.contract import MultitaskOptimizer

class Broken(MultitaskOptimizer):
    """Stops at its second step."""

    name = "broken"
    summary = "stops at its second step"

    def start(self, *args, **more):
        raise ZeroDivisionError("the plugin divides by zero")
'''


def test_a_failed_run_is_recorded_and_the_others_go_on(local: Local, two_nodes: None, tmp_path: Path) -> None:
    plugin = tmp_path / "broken_plugin.py"
    plugin.write_text(PLUGIN)
    matrix = tiny_matrix(("broken", "naive"), plugins=(str(plugin),))
    store = seeded_store(local, tmp_path)
    reporter = Lines()
    broken, naive = on_ray(reporter).run(plan_runs(matrix, PlanOptions(store, tmp_path / "results")))
    assert (broken["status"], naive["status"]) == ("failed", "complete")
    assert "divides by zero" in broken["error"]["message"]
    assert any("broken_plugin.py" in line for line in broken["error"]["traceback"])
    assert not any(str(tmp_path / "store") in line for line in broken["error"]["traceback"])
    written = records_in(tmp_path / "results")
    assert written[broken["run_id"]]["status"] == "failed"
    assert written[naive["run_id"]]["status"] == "complete"


def kill_when_it_trains(store: Path, killed: list[int], sign: int) -> threading.Thread:
    """Send ``sign`` to the holder of a training stage's lease once it has a checkpoint."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            for work in (store / "work").glob("warmup-*"):
                lease = store / "leases" / f"{work.name}.json"
                if any((work / "checkpoint").glob("*")) and lease.is_file():
                    pid = int(json.loads(lease.read_text())["pid"])
                    os.kill(pid if sign == signal.SIGKILL else os.getpid(), sign)
                    killed.append(pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


CHECKPOINTS = ("train.warmup_steps=60", "train.checkpoint_every=5")


def test_a_killed_worker_goes_on_from_its_checkpoint(local: Local, two_nodes: None, tmp_path: Path) -> None:
    matrix = tiny_matrix(("naive",), episodes=1, assignments=CHECKPOINTS)
    alone = PlanOptions(seeded_store(local, tmp_path / "a"), tmp_path / "a" / "results")
    undisturbed = LocalExecutor(Reporter(quiet=True)).run(plan_runs(matrix, alone))
    store, killed, reporter = seeded_store(local, tmp_path / "b"), list[int](), Lines()
    watcher = kill_when_it_trains(store, killed, signal.SIGKILL)
    records = on_ray(reporter).run(plan_runs(matrix, PlanOptions(store, tmp_path / "b" / "results")))
    watcher.join()
    assert killed and any("goes on from its last checkpoint" in line for line in reporter.lines)
    assert [outcome(r) for r in records] == [outcome(r) for r in undisturbed]


def test_an_interrupted_driver_says_so_and_the_same_command_goes_on(
    local: Local, two_nodes: None, tmp_path: Path
) -> None:
    matrix = tiny_matrix(("naive",), episodes=1, assignments=CHECKPOINTS)
    store, sent = seeded_store(local, tmp_path), list[int]()
    options = PlanOptions(store, tmp_path / "results")
    watcher = kill_when_it_trains(store, sent, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        on_ray().run(plan_runs(matrix, options))
    watcher.join()
    assert {r["status"] for r in records_in(tmp_path / "results").values()} == {"interrupted"}
    [record] = on_ray().run(plan_runs(matrix, options))
    assert record["status"] == "complete"


def test_a_run_that_the_scheduler_stopped_says_so(local: Local, tmp_path: Path) -> None:
    from mtbench.execution.ray.driver import Driver
    from mtbench.pipeline.assemble import begin
    from mtbench.records.files import write_record

    planned = plan_runs(tiny_matrix(("tsage",)), PlanOptions(local.store, tmp_path / "results", rerun="all"))
    driver = Driver(planned, ExecutionOptions("ray", scheduler="asha"), Share(1, 1, 0), Reporter(quiet=True))
    [unit] = driver.queue.units.values()
    write_record(driver.outbox, begin(unit.job.plan))
    driver.ended(unit, None)
    [record] = driver.records.values()
    assert record["status"] == "interrupted" and record["error"]["type"] == "Stopped"
    shutil.rmtree(driver.outbox)


def test_asha_begins_where_the_settings_begin_to_differ(local: Local, tmp_path: Path) -> None:
    from mtbench.execution.ray.experiment import make_scheduler

    def rungs(start: str) -> list[int]:
        matrix = tiny_matrix(("tsage",), episodes=4, assignments=(f"train.start_episode={start}",))
        scheduler = make_scheduler("asha", plan_runs(matrix, PlanOptions(local.store, tmp_path / "results")))
        return sorted(int(rung) for bracket in scheduler._brackets for rung, _ in bracket._rungs)

    assert rungs("1") == [1, 2, 4]
    assert rungs("3") == [3]
    assert rungs("last") == [4]


def test_finished_jobs_need_no_ray(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    sweep = plan_sweep(tiny_sweep(*GRID), PlanOptions(local.store, local.results))
    assert len(on_ray().run(sweep.planned)) == 4
