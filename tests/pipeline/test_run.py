"""Whole runs on the tiny suite."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pipeline.conftest import Bench
from tiny_suite import SETTINGS
from watching import files_named

from mtbench import run
from mtbench.errors import ConfigError, DataError, UnknownNameError, UsageError
from mtbench.report.settings import rerun_command


def metrics(record: dict[str, Any]) -> dict[str, Any]:
    """What must be equal to the last bit between two ways of making one record."""
    kept = {k: record[k] for k in ("run_id", "status", "spec", "tasks", "average", "selection", "history")}
    curves = [{k: e[k] for k in ("losses", "weights", "norm_before_clip")} for e in record["training"]["episodes"]]
    return {**kept, "curves": curves, "scores": record["per_query"]["sha256"]}


def test_a_run_writes_the_record_of_the_contract(bench: Bench) -> None:
    (record,) = bench.run("tsage")
    spec = record["spec"]
    path = bench.results / "runs" / "tiny@1" / "mini" / "tsage" / f"{record['run_id']}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == record
    assert record["status"] == "complete" and record["error"] is None and record["schema"] == 1
    assert (spec["optimizer"]["name"], spec["suite"], spec["profile"], spec["seed"]) == ("tsage", "tiny", "mini", 0)
    assert spec["optimizer"]["params"]["tau"] == 2.0
    assert set(record["tasks"]) == {"ask", "claim", "slot"}
    values = [t["metrics"]["rprecision_page"] for t in record["tasks"].values()]
    assert record["average"] == pytest.approx(sum(values) / 3, abs=1e-15)
    assert [s["name"] for s in record["stages"]][:4] == ["prepare", "bm25", "warmup", "encode"]
    assert {s["reused"] for s in record["stages"]} == {False}
    assert len(record["history"]) == 3 and record["selection"]["average"] >= 0
    text = json.dumps(record)
    assert str(bench.folder) not in text and str(Path.home()) not in text
    cost = record["cost"]
    rows = 3 * cost["num_parameters"] * 4
    assert rows <= cost["optimizer_state_bytes"] < rows + 1024
    assert cost["step_ms"] > 0 and cost["peak_memory_bytes"] > 0


def test_per_query_scores_stand_in_the_store_and_average_to_the_record(bench: Bench) -> None:
    import pandas as pd

    (record,) = bench.run("naive")
    where = record["per_query"]
    table = pd.read_parquet(bench.store / "stages" / "evaluate" / where["fingerprint"] / where["file"])
    for task, rows in table.groupby("task"):
        expected = record["tasks"][task]
        assert len(rows) == expected["num_queries"]
        assert rows["rprecision_page"].mean() == pytest.approx(expected["metrics"]["rprecision_page"], abs=1e-12)


def test_methods_share_every_stage_before_the_last_episode(bench: Bench) -> None:
    naive, tsage = bench.run(["naive", "tsage"])
    reused = [s["name"] for s in tsage["stages"] if s["reused"]]
    assert reused == ["prepare", "bm25", "warmup", "encode", "evaluate", "mine", "train", "encode", "evaluate", "mine"]
    assert naive["history"][:2] == tsage["history"][:2]


def test_acting_from_the_warmup_shares_only_the_data(bench: Bench) -> None:
    _, tsage = bench.run(["naive", "tsage"], "train.start_episode=warmup", "burn_in=0")
    assert [s["name"] for s in tsage["stages"] if s["reused"]] == ["prepare", "bm25"]
    assert tsage["training"]["episodes"][0]["optimizer"] == "tsage"


def test_a_finished_run_is_not_computed_again_and_rerun_all_gives_the_same(bench: Bench) -> None:
    (first,) = bench.run("naive")
    (second,) = bench.run("naive")
    assert second == first
    (third,) = bench.run("naive", rerun="all")
    assert metrics(third) == metrics(first) and {s["reused"] for s in third["stages"]} == {True}


def test_a_record_from_elsewhere_does_not_stand_in_for_a_run(bench: Bench, tmp_path: Path) -> None:
    (first,) = bench.run("naive")
    bench.store = tmp_path / "another store"
    (second,) = bench.run("naive")
    assert {s["reused"] for s in second["stages"]} == {False}
    assert metrics(second) == metrics(first)


def test_seeds_differ_and_are_reproducible(bench: Bench, tmp_path: Path) -> None:
    first, second = bench.run("naive", seeds=[0, 1])
    assert first["training"]["episodes"][0]["losses"] != second["training"]["episodes"][0]["losses"]
    bench.store, bench.results = tmp_path / "other", tmp_path / "other_results"
    (again,) = bench.run("naive", seeds=[1])
    assert metrics(again) == metrics(second)


def test_every_optimizer_sees_the_same_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtbench.training import reading

    seen: dict[str, list[bytes]] = {}
    original = reading.build_batch

    def recording(*given: Any) -> Any:
        batch = original(*given)
        seen.setdefault(current[0], []).append(batch.query_rows.tobytes() + batch.passage_rows.tobytes())
        return batch

    monkeypatch.setattr(reading, "build_batch", recording)
    current = [""]
    for name in ("naive", "pcgrad", "gradvac", "tsage"):  # two of them draw random numbers
        current[0] = name
        bench.run(name, "train.start_episode=warmup", "train.episodes=0", until="warmup", results=bench.folder / name)
    assert len(seen["naive"]) == 6 * 3
    assert seen["pcgrad"] == seen["naive"] and seen["gradvac"] == seen["naive"] and seen["tsage"] == seen["naive"]


def test_limit_is_marked(bench: Bench) -> None:
    (record,) = bench.run("naive", limit=12)
    assert record["spec"]["limit"] == 12
    assert all(t["num_queries"] <= 12 for t in record["tasks"].values())


def test_until_stops_there_and_the_next_call_goes_on(bench: Bench) -> None:
    (part,) = bench.run("naive", until="warmup")
    assert part["status"] == "interrupted" and "average" not in part
    (whole,) = bench.run("naive")
    assert whole["status"] == "complete"
    assert [s["name"] for s in whole["stages"] if s["reused"]] == ["prepare", "bm25", "warmup"]


def test_the_analysis_is_one_stage_more_and_stands_in_the_same_record(bench: Bench) -> None:
    (plain,) = bench.run("tsage", "burn_in=0")
    (analysed,) = bench.run("tsage", "burn_in=0", "analyze.batches=2", until="analyze")
    assert "analysis" not in plain and analysed["run_id"] == plain["run_id"] and analysed["status"] == "complete"
    assert [s["name"] for s in analysed["stages"] if not s["reused"]] == ["analyze"]
    entropy = analysed["analysis"]["entropy"]
    counted = sum(entropy["counts"]) + sum(entropy[kind] for kind in ("unused", "not_activated", "task_specific"))
    assert counted == entropy["parameters"] == analysed["cost"]["num_parameters"]
    commitment = analysed["analysis"]["commitment"]
    assert commitment["steps"] and commitment["committed_steps"] and all(0 <= r <= 1 for r in commitment["rate"])


def test_another_analysis_of_the_same_run_is_made_where_it_is_asked_for(bench: Bench) -> None:
    (first,) = bench.run("naive", "analyze.batches=2", until="analyze")
    (same,) = bench.run("naive", "analyze.batches=2", until="analyze")
    (other,) = bench.run("naive", "analyze.batches=2", "analyze.distribution=shares", until="analyze")
    assert same["stages"] == first["stages"] and other["run_id"] == first["run_id"]
    kinds = [record["analysis"]["entropy"]["distribution"] for record in (first, same, other)]
    assert kinds == ["softmax", "softmax", "shares"]
    assert other["analysis"]["sensitivity"] == first["analysis"]["sensitivity"]


def test_baselines_are_records_too(bench: Bench) -> None:
    bm25, untrained, _ = bench.run("naive", baselines=("bm25", "untrained"))
    assert bm25["spec"]["optimizer"]["name"] == "bm25" and untrained["spec"]["optimizer"]["name"] == "untrained"
    assert bm25["status"] == untrained["status"] == "complete"
    assert bm25["average"] > 0.5 > untrained["average"]


def test_a_failed_run_is_recorded_and_the_others_go_on(bench: Bench, tmp_path: Path) -> None:
    plugin = tmp_path / "broken_method.py"
    plugin.write_text(
        "from mtbench import LossWeighting\n\n\nclass Broken(LossWeighting):\n"
        '    """Fails."""\n\n    name = "broken_method"\n    summary = "fails"\n\n'
        "    def weights_from_losses(self, losses):\n        raise ValueError('no weights today')\n",
        encoding="utf-8",
    )
    broken, naive = bench.run(["broken_method", "naive"], plugins=[str(plugin)])
    assert naive["status"] == "complete" and broken["status"] == "failed"
    (file,) = (bench.results / "runs" / "tiny@1" / "mini" / "broken_method").glob("*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert "no weights today" in record["error"]["message"] and record["error"]["traceback"]
    assert "average" not in record and str(tmp_path) not in json.dumps(record)
    assert broken == record and set(record) == set(naive) - {"average", "selection", "per_query"}


def test_malformed_data_are_one_error_for_all_runs_and_mending_them_is_enough(bench: Bench) -> None:
    import shutil

    bench.suite = shutil.copytree(bench.suite, bench.folder / "broken")
    qrels = bench.suite / "ask" / "train.tsv"
    whole = qrels.read_text(encoding="utf-8")
    qrels.write_text(whole + "ask-1\tno-such-passage\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.tsv:\d+: .*no-such-passage"):
        bench.run(["naive", "tsage"], baselines=("bm25",))
    qrels.write_text(whole, encoding="utf-8")
    assert {r["status"] for r in bench.run(["naive", "tsage"], baselines=("bm25",))} == {"complete"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("tau=0", r"tsage: tau must be .* except 0, got 0"),
        ("beta=1.5", r"tsage: beta must be float in \[0, 1\), got 1.5"),
        ("speed=3", r"none of the named optimizers has 'speed'"),
        ("train.batchsize=3", r"unknown setting 'train.batchsize'; close: train.batch_size"),
        ("train.lr=fast", r"train.lr: .*got 'fast'"),
        ("train.start_episode=9", r"start_episode=9 but there are 2 episodes"),
        ("encoder.path=./absent", r"encoder\.path='\./absent': no such folder"),
        ("train.lr=inf", r"^--set: train\.lr: .*finite"),
    ],
)
def test_a_wrong_setting_is_named_before_any_work(bench: Bench, assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bench.run("tsage", assignment)
    assert not (bench.store / "stages").exists()


def test_calls_from_several_threads_do_not_disturb_each_other(bench: Bench, tmp_path: Path) -> None:
    def work(name: str) -> None:
        found[name] = bench.run(name, store=tmp_path / name / "store", results=tmp_path / name / "results")[0]

    found: dict[str, Any] = {}
    threads = [threading.Thread(target=work, args=(name,)) for name in ("cgd", "pcgrad")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {r["spec"]["optimizer"]["name"]: metrics(r) for r in bench.run(["cgd", "pcgrad"])}
    assert {name: metrics(record) for name, record in found.items()} == expected


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_a_run_is_interrupted_and_says_how_to_go_on(bench: Bench, sign: signal.Signals) -> None:
    process = start(bench, "train.warmup_steps=100000", stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((bench.store / "leases").glob("warmup-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sign)
    message = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Go on with:" in message, message
    statuses = {json.loads(f.read_text())["status"] for f in bench.results.glob("runs/*/*/tsage/*.json")}
    assert statuses == {"interrupted"} and not list((bench.store / "leases").glob("*.json"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": []}, "--seeds is empty"),
        ({"seeds": [-1]}, "whole number from 0"),
        ({"seeds": [1.5]}, "whole number from 0 .* got 1.5"),
        ({"seeds": "0"}, "whole number from 0 .* got '0'"),
        ({"seeds": [2**63]}, "whole number from 0"),
        ({"seeds": [True]}, "whole number from 0"),
        ({"seeds": [1, 1]}, "names a seed twice"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"rerun": "bogus"}, "choose missing, failed or all"),
    ],
)
def test_a_wrong_argument_is_named_before_any_work(bench: Bench, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("naive", bench.suite, store=bench.store, results=bench.results, set=SETTINGS, **wrong)
    assert not (bench.store / "stages").exists()


def test_a_profiles_own_mistake_is_named_with_it(bench: Bench, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text("[train]\nlr = -1\n")
    with pytest.raises(ConfigError, match=r"^profile .*mine\.toml: train\.lr"):
        run("naive", bench.suite, profile=profile, store=bench.store, results=bench.results, set=SETTINGS)


def test_the_command_that_computes_a_run_again_names_every_setting(bench: Bench) -> None:
    [record] = bench.run("tsage", "tau=4", limit=30)
    words = shlex.split(rerun_command(record["spec"]))
    assert words[:4] == ["mtbench", "run", "--rerun", "all"] and words[-2:] == ["--limit", "30"]
    given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert "tau=4.0" in given
    again = run("tsage", bench.suite, set=given, limit=30, baselines=(), store=bench.store, results=bench.results)
    assert again[0]["run_id"] == record["run_id"]


def test_unknown_names(bench: Bench) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tsage'"):
        bench.run("tsge")
    with pytest.raises(UsageError, match="no such stage"):
        bench.run("naive", until="cook")


def start(
    bench: Bench, *extra: str, stderr: int = subprocess.DEVNULL, optimizer: str = "tsage", **environment: str
) -> subprocess.Popen[bytes]:
    settings = [item for s in (*SETTINGS, *extra) for item in ("--set", s)]
    command = [sys.executable, "-m", "mtbench", "run", "--optimizer", optimizer, "--suite", str(bench.suite), *settings]
    command += ["--store", str(bench.store), "--results", str(bench.results)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env={**os.environ, **environment})


DEAF = '''
import time
from mtbench import LossWeighting

class Deaf(LossWeighting):
    """Swallows one interrupt, as a library's bare except does."""
    name = "deaf"
    summary = "uniform"
    waited = False

    def weights_from_losses(self, losses):
        if not Deaf.waited:
            Deaf.waited = True
            open({mark!r}, "w").close()
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
        return [1 / len(losses)] * len(losses)
'''


@pytest.mark.slow
def test_a_run_ends_though_something_swallowed_the_signal(bench: Bench, tmp_path: Path) -> None:
    mark, plugin = tmp_path / "asleep", tmp_path / "deaf.py"
    plugin.write_text(DEAF.format(mark=str(mark)))
    environment = {"MTBENCH_PLUGINS": str(plugin)}
    process = start(bench, "train.start_episode=warmup", "train.warmup_steps=100000", optimizer="deaf", **environment)
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    (file,) = bench.results.glob("runs/*/*/deaf/*.json")
    assert json.loads(file.read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(bench: Bench, tmp_path: Path) -> None:
    longer = ("train.warmup_steps=40", "train.steps=30")
    for delay in (0.4, 0.8, 1.2, 0.3):  # after the first sign of each further stage
        process = start(bench, *longer)
        before = len(files_named(bench.store, "manifest.json"))
        limit = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < limit:
            if len(files_named(bench.store, "manifest.json")) > before:
                break
            time.sleep(0.02)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (resumed,) = bench.run("tsage", *longer)
    bench.store, bench.results = tmp_path / "undisturbed", tmp_path / "undisturbed_results"
    (undisturbed,) = bench.run("tsage", *longer)
    assert metrics(resumed) == metrics(undisturbed)
