"""Kills at random moments lose nothing: the final records equal those of an undisturbed sweep.

    python benchmarks/kill_test.py [--kills 20] [--seed 0]

A sweep of two tau by two beta on a tiny profile runs on two Ray nodes (two raylets on this machine) while SIGKILL goes
to a worker, to the driver, or to the second raylet, as drawn. A killed driver is started again with the same command, a
killed raylet is replaced. When a sweep is done it is compared with the undisturbed one, and the next begins in a store
that has nothing but the tokenised text, until there were enough kills. The last line is one JSON object: what was
killed during which stage, and whether all records were equal.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = (
    "train.warmup_steps=20",
    "train.steps=10",
    "train.episodes=2",
    "train.batch_size=16",
    "train.checkpoint_every=3",
    "encoder.hidden=16",
    "encoder.feed_forward=16",
    "data.passage_max_length=24",
)
TARGETS = ("worker", "worker", "worker at a rename", "driver", "raylet")
CODE = "import sys; from mtbench.cli.main import main; sys.exit(main(sys.argv[1:]))"


def command(home: Path, *more: str) -> list[str]:
    """The sweep's command line over the store and results below ``home``."""
    words = [sys.executable, "-c", CODE, "sweep", "--optimizer", "tsage", "--suite", "kilt", "--limit", "20"]
    for setting in SETTINGS:
        words += ["--set", setting]
    words += ["--grid", "tau=1,2", "--grid", "beta=0,0.9", "--store", str(home / "store"), "--resume"]
    return [*words, "--results", str(home / "results"), *more]


def outcomes(home: Path) -> dict[str, Any]:
    """Run id -> what the run found out, without times, machines and attempts."""
    found = {}
    for file in sorted((home / "results").glob("runs/*/*/*/*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        kept = {k: record.get(k) for k in ("status", "spec", "tasks", "average", "selection", "history")}
        kept["digests"] = [e["update_digest"] for e in record.get("training", {}).get("episodes", [])]
        found[record["run_id"]] = kept
    return found


class Nodes:
    """Two raylets on this machine; the second can be killed and replaced."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        memory = 100 * 2**20
        self._node = {"num_cpus": 1, "object_store_memory": memory}
        self.cluster = Cluster(initialize_head=True, head_node_args={**self._node, "include_dashboard": False})
        self.second = self.cluster.add_node(**self._node)
        self.address = self.cluster.address

    def kill_second(self) -> None:
        """SIGKILL to the second raylet; a new node joins."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.cluster.add_node(**self._node)


class Killer:
    """One sweep after the other, with kills in between."""

    def __init__(self, nodes: Nodes, kills: int, seed: int) -> None:
        self.nodes, self.left, self.draw = nodes, kills, random.Random(seed)
        self.log: list[tuple[str, str]] = []
        self.restarts = 0

    def sweep(self, home: Path) -> None:
        """Carry one sweep to its end."""
        while True:
            with (home / "driver.log").open("ab") as log:
                driver = subprocess.Popen(
                    command(home, "--address", self.nodes.address), stdout=log, stderr=log, start_new_session=True
                )
            self._disturb(driver, home / "store")
            if driver.wait() == 0:
                return
            self.restarts += 1

    def _disturb(self, driver: subprocess.Popen[bytes], store: Path) -> None:
        while driver.poll() is None and self.left:
            began = time.time()
            while not _renewed(store, began):  # a started driver needs seconds before there is anything to kill
                if driver.poll() is not None:
                    return
                time.sleep(0.02)
            target = self.draw.choice(TARGETS)
            time.sleep(self.draw.uniform(0.1, 6.0))
            leases, patience = list[Path](), time.monotonic() + 20
            while target == "worker at a rename" and not leases and time.monotonic() < patience:
                leases = _whole(store)
            if not leases:  # no rename came by: any worker
                target = target.split()[0]
                leases = list((store / "leases").glob("*.json"))
            if driver.poll() is not None:
                return
            self._kill(target, driver, leases)

    def _kill(self, target: str, driver: subprocess.Popen[bytes], leases: list[Path]) -> None:
        stages = "+".join(sorted({lease.name.split("-")[0] for lease in leases})) or "between stages"
        if target == "driver":
            os.kill(driver.pid, signal.SIGKILL)
        elif target == "raylet":
            self.nodes.kill_second()
        elif not self._kill_holder(leases):
            return
        self.left -= 1
        self.log.append((target, stages))
        print(f"killed {target} during {stages}", file=sys.stderr, flush=True)

    def _kill_holder(self, leases: list[Path]) -> bool:
        for lease in leases:
            with contextlib.suppress(OSError, ValueError, KeyError):
                os.kill(int(json.loads(lease.read_text(encoding="utf-8"))["pid"]), signal.SIGKILL)
                return True
        return False


def _renewed(store: Path, since: float) -> bool:
    """Whether somebody computes: a lease was renewed after ``since`` (the dead leave theirs behind)."""
    for lease in (store / "leases").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            if lease.stat().st_mtime > since:
                return True
    return False


def _whole(store: Path) -> list[Path]:
    """Leases of stages whose manifest is being written or stands, and whose folder is about to be renamed."""
    found = [*(store / "work").glob("*/.manifest.json.*"), *(store / "work").glob("*/manifest.json")]
    return [store / "leases" / f"{manifest.parent.name}.json" for manifest in found]


def main() -> int:
    """0 if all records were equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"})
    began, equal, rounds = time.monotonic(), True, 0
    with tempfile.TemporaryDirectory(prefix="kill-test-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "calm").mkdir()
        subprocess.run(command(home / "calm", "--executor", "local"), check=True, capture_output=True)
        expected = outcomes(home / "calm")
        nodes = Nodes()
        killer = Killer(nodes, chosen.kills, chosen.seed)
        while killer.left:
            rounds += 1
            place = home / f"round-{rounds}"
            for stage in ("raw", "stages/prepare"):  # the one stage without a checkpoint would take most kills
                shutil.copytree(home / "calm" / "store" / stage, place / "store" / stage)
            killer.sweep(place)
            if outcomes(place) != expected:
                equal = False
                print(f"round {rounds}: records differ", file=sys.stderr)
        nodes.cluster.shutdown()
    counts = collections.Counter(f"{target} during {stages}" for target, stages in killer.log)
    result = {
        "kills": len(killer.log),
        "by_target": dict(collections.Counter(target for target, _ in killer.log)),
        "when": dict(sorted(counts.items())),
        "sweeps": rounds,
        "driver_restarts": killer.restarts,
        "runs_compared": rounds * len(expected),
        "all_equal": equal,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(result))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
