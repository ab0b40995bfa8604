"""Places mean the same wherever they are typed: relative, with blanks, accents and bytes that are no UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_suite import SETTINGS, write_suite

import mtbench
from mtbench.cli.main import main
from mtbench.errors import ConfigError
from mtbench.storage.places import checkout, committed_results, default_results


def is_utf8(path: Path) -> bool:
    return str(path).encode("utf-8", "replace").decode() == str(path)


NAMES = ["my data", "données", os.fsdecode(b"r\xe9sum\xe9")]
SET = [word for item in SETTINGS for word in ("--set", item)]
METHOD = """from mtbench import LossWeighting


class Mine(LossWeighting):
    name = "mine"
    summary = "uniform weights"

    def weights_before(self):
        return [1 / self.num_tasks] * self.num_tasks
"""


def bert(folder: Path) -> Path:
    from tiny_bert import write_bert

    from mtbench.model.tokenizer import train_tokenizer

    return write_bert(folder, train_tokenizer(["amber birch cedar", "delta ember fjord"] * 4, 64))


@pytest.fixture(params=NAMES, ids=["blanks", "accents", "no UTF-8"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a folder with a suite, a profile, an encoder and a plug-in of the given name."""
    name = request.param
    try:
        (tmp_path / name).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write_suite(tmp_path / name / "suite")
    (tmp_path / name / "mine.py").write_text(METHOD, encoding="utf-8")
    (tmp_path / name / "mine.toml").write_text('extends = "of/base.toml"\n[train]\nlog_every = 3\n', encoding="utf-8")
    (tmp_path / name / "of").mkdir()
    base = 'extends = "mini"\n[train]\nclip_norm = 0.5\n'
    (tmp_path / name / "of" / "base.toml").write_text(base, encoding="utf-8")
    shutil.move(bert(tmp_path / "bert"), tmp_path / name / "bert")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    return Path(name)


def test_every_verb_takes_relative_places(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: object) -> str:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == 0, (words, out, err)
        return out

    out = place / "out"
    store = place / "store" if is_utf8(place) else Path("store")
    common = ("-s", place / "suite", "--profile", place / "mine.toml", "--results", out, "--store", store)
    plugin = ("--plugin", place / "mine.py")
    ran = json.loads(said("run", "-o", "mine,uw", *common, *plugin, *SET, "--json"))["runs"]
    assert {r["status"] for r in ran} == {"complete"}
    run = ran[-1]["run_id"]
    encoder = ("--encoder", place / "bert", "--set", "encoder.pooling=cls", "--set", "train.lr=1e-3")
    if is_utf8(place):
        said("run", "-o", "naive", *common, *SET, *encoder, "--set", "train.warmup_lr=1e-3", "--dry-run")
    said("leaderboard", "--suite", place / "suite", "--profile", place / "mine.toml", "--results", out, *plugin)
    said("compare", "mine", "BM25", "--suite", place / "suite", "--profile", "mine", "--results", out, "--store",
         store, *plugin)  # fmt: skip
    said("plot", "--suite", "tiny", "--profile", "mine", "--results", out, *plugin, "--out", place / "gain.png",
         "--baseline", "mine")  # fmt: skip
    said("ls", "runs", "--results", out)
    said("info", place / "suite")
    said("info", "mine", *plugin)
    said("check", "suite", place / "suite")
    said("export", run, "--format", "trec", "--results", out, "--store", store, "--to", place / "ex")
    ids = ("--qrels", place / "suite" / "ask" / "dev.tsv", "--run", place / "ex" / "ask.trec")
    said("score", *ids)
    said("score", "--as", "other", "--suite", place / "suite", "--run", place / "ex", "--results", out,
         "--store", store)  # fmt: skip
    said("prepare", place / "suite", "--profile", place / "mine.toml", "--store", store)
    said("new", "optimizer", "another", "--dir", place)
    said("check", "optimizer", "--file", place / "another.py")
    said("clean", run, "--results", out, "--store", store)


@pytest.mark.parametrize("option", ["--store", "--encoder"])
def test_what_tokenizers_cannot_open_is_told(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        shutil.move(bert(tmp_path / "bert"), NAMES[2])
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write_suite(tmp_path / "suite")
    assert main(["run", "-o", "naive", "-s", "suite", *SET, option, NAMES[2]]) == 2
    assert "not UTF-8" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_ray_takes_what_this_process_takes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ray's workers run in folders of their own."""
    common = ["--profile", str(place / "mine.toml"), "--plugin", str(place / "mine.py"), *SET, "--json"]
    folder = place if is_utf8(place) else Path("home")
    encoder = ["--set", f"encoder.path={place / 'bert'}", "--set", "encoder.pooling=cls", "--set", "train.lr=1e-3"]
    encoder = encoder if is_utf8(place) else ["--set", "train.lr=1e-3"]
    scores = []
    for executor in ("local", "ray"):
        places = ["--store", str(folder / executor), "--results", str(place / f"{executor}-results")]
        words = ["run", "-o", "mine", "-s", str(place / "suite"), "--executor", executor, *common, *encoder, *places]
        assert main([*words, "--set", "train.warmup_lr=1e-3"]) == 0
        scores.append([(r["run_id"], r["tasks"]) for r in json.loads(capsys.readouterr().out)["runs"]])
    assert scores[0] == scores[1]


@pytest.mark.ray
@pytest.mark.slow
def test_a_relative_suite_means_the_same_to_ray_and_to_a_sweep(
    field: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(field("relative-suite-ray"))
    tiny = [
        *("train.steps=3", "train.warmup_steps=3", "train.episodes=1", "train.batch_size=8", "analyze.batches=2"),
        *("encoder.vocabulary=512", "encoder.hidden=16"),
    ]
    words = ["-s", "suite", *(word for setting in tiny for word in ("--set", setting)), "--json"]
    scores = []
    for executor in ("local", "ray"):
        places = ["--results", f"{executor}-results", "--store", f"{executor}-store"]
        assert main(["run", "-o", "naive", *words, "--executor", executor, *places]) == 0
        scores.append([(r["run_id"], r["tasks"]) for r in json.loads(capsys.readouterr().out)["runs"]])
    assert scores[0] == scores[1]
    assert main(["sweep", "-o", "tsage", *words, "--grid", "tau=1,2", "--results", "out", "--store", "ray-store"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_the_api_takes_relative_places(place: Path) -> None:
    places: dict[str, Any] = {"results": place / "out", "plugins": [place / "mine.py"]}
    suite, profile = str(place / "suite"), str(place / "mine.toml")
    (record,) = mtbench.run("mine", suite, set=list(SETTINGS), profile=profile, baselines=(), **places)
    assert record["status"] == "complete" and record["spec"]["profile"] == "mine"
    assert record["spec"]["config"]["train"]["clip_norm"] == 0.5  # of the profile that it extends, beside it


def test_in_a_clone_records_go_beside_those_that_came_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkout() is None and default_results() == committed_results() == Path("results")
    root = Path(mtbench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        pytest.skip("mtbench runs from no clone here")
    monkeypatch.chdir(root)
    assert (committed_results(), default_results()) == (Path("results"), Path("results") / "local")
    monkeypatch.chdir(root / "docs")
    assert default_results() == root / "results" / "local"
    ignored = subprocess.run(["git", "check-ignore", "-q", "results/local/x.json"], cwd=root)
    assert ignored.returncode == 0


Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))

    def call(*words: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def test_a_mistake_is_one_object_and_leaves_no_record(as_json: Run, tmp_path: Path) -> None:
    code, said = as_json("run", "-o", "tsgae", "-s", "kilt")
    assert code == 2 and said["error"]["type"] == "UnknownNameError" and "tsage" in said["error"]["message"]
    assert "mtbench ls optimizers" in said["error"]["remedy"]
    code, said = as_json("run", "-o", "naive", "-s", "kilt", "--no-such-option")
    assert code == 2 and said["error"]["type"] == "UsageError" and "--no-such-option" in said["error"]["message"]
    suite = write_suite(tmp_path / "suite")
    qrels = suite / "ask" / "train.tsv"
    qrels.write_text(qrels.read_text(encoding="utf-8") + "ask-1\tno-such-passage\t1\n", encoding="utf-8")
    code, said = as_json("run", "-o", "naive", "-s", "suite", *SET)
    assert code == 2 and said["error"]["type"] == "DataError"
    assert said["error"]["place"].endswith("train.tsv:32") and "no-such-passage" in said["error"]["message"]
    assert said["error"]["remedy"] and "records" not in said
    assert not list(tmp_path.glob("results/**/*.json"))


def test_a_failed_run_is_one_object_with_the_records(as_json: Run, tmp_path: Path) -> None:
    write_suite(tmp_path / "suite")
    code, said = as_json("run", "-o", "naive", "-s", "suite", *SET, "--set", "train.lr=1e30", "--set",
                         "train.warmup_lr=1e30")  # fmt: skip
    assert code == 1 and said["error"]["type"] == "RunError"
    assert [r["status"] for r in said["records"]][-1] == "failed"


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_a_mistake_met_while_running_ends_with_2_and_no_record(as_json: Run, tmp_path: Path, executor: str) -> None:
    """The method's own complaint about its settings, which nobody can know before it starts."""
    write_suite(tmp_path / "suite")
    text = METHOD + "\n    def init_state(self):\n        from mtbench.errors import ConfigError\n\n"
    (tmp_path / "mine.py").write_text(text + "        raise ConfigError('mine: no such luck')\n", encoding="utf-8")
    code, said = as_json("run", "-o", "mine", "-s", "suite", "--plugin", "mine.py", *SET, "--executor", executor)
    assert code == 2 and said["error"] == {
        "type": "ConfigError", "message": "mine: no such luck", "place": None, "remedy": None
    }  # fmt: skip
    assert not list(tmp_path.glob("results/runs/*/*/mine/*.json"))


def test_a_mistake_puts_an_earlier_record_back(tmp_path: Path) -> None:
    suite, plugin = write_suite(tmp_path / "suite"), tmp_path / "mine.py"
    plugin.write_text(METHOD, encoding="utf-8")
    places: dict[str, Any] = {"store": tmp_path / "store", "results": tmp_path / "results", "baselines": ()}
    mtbench.run("naive", suite, set=list(SETTINGS), **places)
    (file,) = tmp_path.glob("results/runs/*/*/naive/*.json")
    before = file.read_bytes()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError):

        def refuse(*_: object) -> None:
            raise ConfigError("no")

        patch.setattr("mtbench.pipeline.runner.build_demanded", refuse)
        mtbench.run("naive", suite, set=list(SETTINGS), rerun="all", **places)
    assert file.read_bytes() == before


def test_a_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xe9sum\xe9")
    done = subprocess.run(
        [sys.executable, "-m", "mtbench", "info", name], capture_output=True, cwd=tmp_path, env={**os.environ}
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr
