"""The command line: exit codes, one message for a mistake, JSON alone on standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_suite import SETTINGS, write_suite

from mtbench import get_optimizer
from mtbench.cli.main import GROUPS, VERBS, main
from mtbench.storage.lease import Lease


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def run_arguments(suite: Path, *more: str) -> list[str]:
    settings = [item for s in SETTINGS for item in ("--set", s)]
    return ["run", "--optimizer", "naive", "--suite", str(suite), *settings, *more]


@pytest.mark.parametrize("verb", [*VERBS, *GROUPS])
def test_every_verb_of_the_contract_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_run_prints_a_table_and_json_prints_one_object(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run_arguments(suite)) == 0
    table = capsys.readouterr()
    assert "BM25" in table.out and "untrained" in table.out and "average" in table.out
    assert "warmup 0: done" in table.err
    assert main(run_arguments(suite, "--json")) == 0
    again = capsys.readouterr()
    found = json.loads(again.out)
    assert [r["spec"]["optimizer"]["name"] for r in found["runs"]] == ["bm25", "untrained", "naive"]
    assert {r["status"] for r in found["runs"]} == {"complete"}
    assert main(["ls", "runs"]) == 0
    assert "naive-s0-" in capsys.readouterr().out


def test_a_dry_run_computes_nothing(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run_arguments(suite, "--dry-run", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["stages_cached"] == 0 and plan["stages_to_compute"] == plan["stages_distinct"] > 5
    assert not (tmp_path / "results").exists() and not (tmp_path / "home" / "stages").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--optimizer", "tsge", "--suite", "kilt"], "Did you mean 'tsage'"),
        (["run", "--optimizer", "naive", "--suite", "klit"], "Did you mean 'kilt'"),
        (["run", "--optimizer", "naive", "--suite", "./absent"], "absent"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--profile", "pape"], "Did you mean 'paper'"),
        (
            ["run", "--optimizer", "naive", "--suite", "kilt", "--profile", "paper"],
            "mtbench prepare kilt --profile paper",
        ),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--seeds", "0,x"], "'x' is not a whole number"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--set", "tau"], "expected KEY=VALUE"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--executor", "slurm"], "choose local or ray"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--rerun", "some"], "choose missing, failed or all"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--limit", "0"], "--limit must be at least 1"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--plugin", "no.py"], "no.py does not exist"),
        (["run", "--optimizr", "naive"], "--optimizr"),
        (["run"], "--optimizer"),
        (["lss"], "lss"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--seeds", "4-0"], "'4-0' ends before it begins"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--seeds", "0--3"], "'0--3' ends before it begins"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--seeds", "0-99999999999"], "more than 10,000 numbers"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--seeds", "9" * 30], "from 0 to 2^63 - 1"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--profile", "x" * 300], "longer than 255 bytes"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--profile", "~nobody-here/x.toml"], "~nobody-here"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--encoder", "foo..bar"], "not a hub name"),
        (
            ["run", "--optimizer", "naive", "--suite", "kilt", "--encoder", "no/such"],
            "mtbench prepare kilt --profile mini",
        ),
        (["prepare", "kilt", "--raw", ""], "no such folder"),
        (["run", "--optimizer", "TSAGE", "--suite", "kilt"], "Did you mean 'tsage'"),
        (["run", "--optimizer", "naive", "--suite", "kilt", "--encoder", ""], "encoder.path=''"),
        (
            ["run", "--optimizer", "naive", "--suite", "kilt", "--executor", "ray", "--gpus-per-run", "nan"],
            "--gpus-per-run must be a number",
        ),
        (["sweep", "--optimizer", "tsage", "--suite", "kilt", "--max-concurrent", "0"], "must be at least 1, got 0"),
        (["sweep", "--optimizer", "tsage", "--suite", "kilt", "--grid", "tau=1,inf"], "got inf"),
        (["check", "suite", "kilt", "--profile", "nope"], "no profile 'nope'"),
        (["score", "--as", "x", "--suite", "kilt", "--run", "a", "--profile", "nope"], "no profile 'nope'"),
        (["compare", "naive", "tsage", "--tolerance", "nan"], "from 0 to 100, got nan"),
        (["info", "pcgrd"], "Did you mean 'pcgrad'"),
        (["ls", "optimisers"], "choose optimizers"),
        (["clean"], "name run ids"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert message in found.err.replace("\n", " ") and "Traceback" not in found.err and found.out == ""


def test_interrupting_says_how_to_go_on(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtbench.training.loop import Trainer

    def interrupt(self: Trainer, step: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_step", interrupt)
    assert main(run_arguments(suite)) == 130
    assert "mtbench run --optimizer naive" in capsys.readouterr().err
    assert main(["ls", "runs"]) == 0
    assert "interrupted" in capsys.readouterr().out


def test_info_shows_hyperparameters_and_suites_show_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "tsage", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"name": "tau", "type": "float", "default": 2.0}.items() <= facts["hyperparameters"][0].items()
    assert "TACL 2023" in facts["paper"]
    assert main(["info", "kilt"]) == 0
    text = capsys.readouterr().out
    assert "licences:" in text and "aidayago2" in text
    assert "settings:\n  train.episodes = 8\n" in text  # what the suite carries for the profile mini
    assert main(["info", "mixed"]) == 0
    assert "shared drive with a form" in capsys.readouterr().out  # what no program can fetch


def test_info_on_a_plugin_that_says_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "terse.py").write_text(
        "from mtbench import LossWeighting\n\n\nclass Terse(LossWeighting):\n    name = 'terse'\n"
    )
    assert main(["info", "terse", "--plugin", str(tmp_path / "terse.py")]) == 0
    assert "losses only" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize(("target", "code", "says"), [("/dev/full", 1, "No space left"), ("|true", 0, "")])
def test_output_that_nobody_takes(target: str, code: int, says: str) -> None:
    command = [sys.executable, "-m", "mtbench", "ls", "settings"]
    if target.startswith("|"):
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert done.returncode == code
    assert says in done.stderr and len(done.stderr.splitlines()) == (1 if says else 0)


def test_an_interruption_inside_of_source_text_is_130_too(tmp_path: Path) -> None:
    plugin = tmp_path / "stops.py"
    plugin.write_text(
        "from mtbench import LossWeighting\n\nexec('raise KeyboardInterrupt')\n\n\n"
        "class Stops(LossWeighting):\n    name = 'stops'\n"
    )
    command = [sys.executable, "-m", "mtbench", "info", "stops", "--plugin", str(plugin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130 and "interrupted" in done.stderr


def test_ls_settings_tells_what_each_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "settings", "--json"]) == 0
    told = {row["name"]: row["summary"] for row in json.loads(capsys.readouterr().out)["settings"]}
    assert told["negatives.exclude"].startswith("default 'passage'; passage | page | answer; page: other passages")
    assert told["search.backend"] == "default 'exact'; exact | flat | ivf | hnsw"
    assert told["train.start_episode"].startswith("default 'last'; a whole number | last | warmup;")
    assert told["train.clip_norm"].startswith("default 1.0; a number | naive;")
    assert told["bm25.b"] == "default 0.4; >= 0, <= 1"


def test_ls_lists_the_methods_by_their_cost_class(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "optimizers", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["optimizers"]
    assert {row["name"]: row["cost"] for row in rows} == {row["name"]: get_optimizer(row["name"]).cost for row in rows}
    order = ["losses", "norms", "gram", "elementwise"]
    assert [row["cost"] for row in rows] == sorted((row["cost"] for row in rows), key=order.index)
    assert main(["ls", "optimizers"]) == 0
    assert "pcgrad     gram         removes" in capsys.readouterr().out


def test_ls_lists_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "optimizers", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)["optimizers"]}
    assert names >= {
        "naive",
        "pcgrad",
        "cgd",
        "gradnorm",
        "tsage",
        "gradvac",
        "mgda",
        "cagrad",
        "imtl_g",
        "nash",
        "aligned",
        "upgrad",
        "uw",
        "dwa",
        "famo",
    }


def test_doctor_reports_versions_and_finds_no_fault_here(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert code == (1 if facts["problems"] else 0)
    assert facts["libraries"]["torch"] and facts["optimizers"] >= 15


@pytest.mark.parametrize("place", ["file", "/proc/no-store-here"])
def test_doctor_sees_a_store_that_cannot_be(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--store", place, "--json"]) == 1
    assert any("cannot be written" in problem for problem in json.loads(capsys.readouterr().out)["problems"])


def test_clean_frees_what_no_other_run_uses(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run_arguments(suite, "--json")) == 0
    run = json.loads(capsys.readouterr().out)["runs"][2]["run_id"]
    assert main(["clean", run, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["clean", run, "--json"]) == 0
    freed = json.loads(capsys.readouterr().out)
    assert freed == planned and freed["bytes"] > 0 and freed["kept"] == 2  # prepare and bm25 serve the baselines
    assert main(["clean", "no-such-run"]) == 2
    assert main(["clean", run, "--all"]) == 2
    capsys.readouterr()


def test_clean_leaves_a_store_alone_in_which_a_run_computes(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(run_arguments(suite, "--until", "bm25")) == 0
    leases = tmp_path / "home" / "leases"
    with Lease(leases / "train-abc.json", lambda: False):
        assert main(["clean", "--all"]) == 2
        assert "a run is computing in the store" in capsys.readouterr().err
        (tmp_path / "home" / "work" / "train-abc").mkdir(parents=True)
        assert main(["clean", "--leftovers", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"stages": [], "bytes": 0, "kept": 1}
        sign = json.loads((leases / "train-abc.json").read_text())
    gone = subprocess.Popen(["true"])
    gone.wait()
    (leases / "train-abc.json").write_text(json.dumps({**sign, "pid": gone.pid}))  # whose holder was killed
    assert main(["clean", "--leftovers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"] == ["work/train-abc"]
    assert not list(leases.iterdir())
    assert main(["clean", "--all"]) == 0
