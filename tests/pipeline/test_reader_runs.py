"""Runs with a reader: rows, records, sharing, going on after a kill, and nothing of it without --reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_kilt
import tiny_suite
from reader.reader_cases import write_bart

import mtbench
from mtbench.config import split_assignments
from mtbench.errors import ConfigError, UsageError
from mtbench.evaluation.downstream_scores import score_answers
from mtbench.evaluation.scores import read_scores
from mtbench.execution.matrix import RunMatrix
from mtbench.execution.options import PlanOptions
from mtbench.execution.planned import plan_runs
from mtbench.pipeline.plan import Plan, make_plan
from mtbench.pipeline.request import RunRequest
from mtbench.pipeline.resolver import Resolver
from mtbench.records.record import RunRecord
from mtbench.report.export import export
from mtbench.storage.store import Store

SETTINGS = (*tiny_suite.SETTINGS, *tiny_kilt.SETTINGS)


class Finished:
    """The runs of one call with a reader, by method."""

    def __init__(self, folder: Path) -> None:
        self.suite = tiny_kilt.write_kilt_suite(folder / "tiny")
        self.store, self.results = folder / "store", folder / "results"
        self.records = {r["spec"]["optimizer"]["name"]: r for r in self.run()}

    def run(self, **more: Any) -> list[RunRecord]:
        places = {"store": self.store, "results": self.results, "set": list(SETTINGS)}
        asked = {"optimizer": ["naive", "pcgrad"], **places, "reader": True, **more}
        return mtbench.run(suite=self.suite, **asked)

    def read_stage(self, name: str) -> Path:
        reference = self.records[name]["downstream"]["per_query"]
        return self.store / "stages" / "read" / reference["fingerprint"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("reader"))


def test_a_call_makes_all_rows_with_answers_beside_retrieval(finished: Finished) -> None:
    records = finished.records
    assert set(records) == {"untrained", "bm25", "closed-book", "gold", "naive", "pcgrad"}
    assert all(r["status"] == "complete" for r in records.values())
    assert "downstream" not in records["untrained"] and "reader" not in records["untrained"]["spec"]
    for name in ("bm25", "closed-book", "gold", "naive", "pcgrad"):
        told = records[name]["downstream"]
        assert told["metrics"] == {"ask": "em", "claim": "accuracy"}
        by_task = records[name]["tasks"]
        own = [by_task["ask"]["downstream"]["em"], by_task["claim"]["downstream"]["accuracy"]]
        assert told["average"] == pytest.approx(sum(own) / 2)
        assert told["reader"]["all"]["queries"] == 2 * 27 - 2 * 2, "the slice for choosing settings is left out"
        assert told["reader"]["all"]["steps"] == 4
    assert records["gold"]["average"] == 1 and records["closed-book"]["average"] == 0
    assert records["closed-book"]["downstream"]["kilt_average"] == 0
    assert records["gold"]["downstream"]["kilt_average"] == records["gold"]["downstream"]["average"]


@pytest.mark.parametrize("name", ["gold", "bm25", "naive"])
def test_figures_are_those_of_the_official_script_on_the_prediction_files(finished: Finished, name: str) -> None:
    scores = read_scores(finished.read_stage(name) / "scores.parquet")
    for task, result in finished.records[name]["tasks"].items():
        gold, guess = finished.suite / f"{task}-dev-kilt.jsonl", finished.read_stage(name) / "guess" / f"{task}.jsonl"
        official = score_answers(gold, guess)
        for metric, value in result["downstream"].items():
            assert value == pytest.approx(official.metrics[metric], abs=1e-12), (task, metric)
            assert scores[task].per_query[metric].tolist() == official.per_query[metric]


def test_all_rows_of_a_seed_start_from_one_reader(finished: Finished) -> None:
    starts = {
        stage["fingerprint"]
        for name in ("bm25", "closed-book", "gold", "naive", "pcgrad")
        for stage in finished.records[name]["stages"]
        if stage["name"] == "study"
    }
    assert len(starts) == 1
    without = [plan(finished, "naive", "reader.start_steps=0"), plan(finished, "naive", seed=1)]
    assert [s.key in starts for p in without for s in p.stages if s.name == "study"] == [False]
    kept = plan(finished, "pcgrad", "reader.passages=1", "reader.lr=0.5", "train.steps=9")
    assert {s.key for s in kept.stages if s.name == "study"} == starts


def test_the_reader_gets_what_its_row_found(finished: Finished) -> None:
    lines = (finished.read_stage("closed-book") / "guess" / "ask.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["output"][0]["provenance"] == [] for line in lines)
    gold = (finished.read_stage("gold") / "guess" / "ask.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(len(json.loads(line)["output"][0]["provenance"]) == 1 for line in gold)


def test_answers_are_exported_with_the_pages(finished: Finished, tmp_path: Path) -> None:
    def ask(name: str, form: str) -> list[Path]:
        run = finished.records[name]["run_id"]
        return export(run, form, tmp_path / f"{name}-{form}", results=finished.results, store=Store(finished.store))

    for name in ("naive", "gold"):
        files = ask(name, "kilt")
        assert [f.name for f in files] == ["ask.jsonl", "claim.jsonl"]
        assert files[0].read_bytes() == (finished.read_stage(name) / "guess" / "ask.jsonl").read_bytes()
    assert len(ask("naive", "trec")) == 2
    with pytest.raises(UsageError, match="ranks nothing"):
        ask("gold", "trec")


def test_the_model_is_a_folder_that_transformers_loads(finished: Finished) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = finished.read_stage("naive") / "readers" / "all"
    assert AutoModelForSeq2SeqLM.from_pretrained(folder).config.d_model == 16
    assert AutoTokenizer.from_pretrained(folder).decode([1], skip_special_tokens=True) == ""


def test_any_sequence_to_sequence_model_one_for_each_task(finished: Finished, tmp_path: Path) -> None:
    folder = write_bart(tmp_path / "bart", [f"ask claim {word}" for word in tiny_suite.WORDS])
    asked = [f"reader.path={folder}", "reader.sharing=per-task", "reader.beams=2", "reader.steps=2", "reader.lr=0.01"]
    kept = [s for s in SETTINGS if not s.startswith("reader.steps")]
    (record,) = finished.run(optimizer="bm25", set=[*kept, *asked], baselines=())
    assert record["status"] == "complete"
    assert record["spec"]["reader"]["model"]["name"] == "bart" and "hidden" not in record["spec"]["reader"]
    assert set(record["downstream"]["reader"]) == {"ask", "claim"}
    reference = record["downstream"]["per_query"]
    readers = finished.store / "stages" / "read" / reference["fingerprint"] / "readers"
    weights = [(readers / name / "model.safetensors").read_bytes() for name in ("ask", "claim")]
    assert weights[0] != weights[1]


def test_asking_again_computes_nothing(finished: Finished) -> None:
    before = sorted(f.stat().st_mtime_ns for f in finished.store.rglob("manifest.json"))
    assert all(r["status"] == "complete" for r in finished.run())
    assert sorted(f.stat().st_mtime_ns for f in finished.store.rglob("manifest.json")) == before


def test_a_reader_that_was_stopped_goes_on_and_ends_alike(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtbench.reader.answering import ReaderAnswers
    from mtbench.reader.training import ReaderTrainer

    places: dict[str, Any] = {"store": tmp_path / "store", "results": tmp_path / "results", "baselines": ("gold",)}
    step, steps_taken = ReaderTrainer._step, list[int]()

    def stopped(self: ReaderTrainer, lesson: Any, number: int) -> float:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, lesson, number)

    def counted(self: ReaderTrainer, lesson: Any, number: int) -> float:
        steps_taken.append(number)
        return step(self, lesson, number)

    ask = {"optimizer": "bm25", "suite": finished.suite, "set": list(SETTINGS), "reader": True, "rerun": "all"}
    monkeypatch.setattr(ReaderTrainer, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        mtbench.run(**ask, **{**places, "baselines": ()})
    monkeypatch.setattr(ReaderTrainer, "_step", counted)
    monkeypatch.setattr(ReaderAnswers, "answer", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        mtbench.run(**ask, **{**places, "baselines": ()})
    assert steps_taken == [2, 3], "from the checkpoint after two steps"
    monkeypatch.undo()
    (record,) = mtbench.run(**ask, **{**places, "baselines": ()})
    whole = finished.records["bm25"]
    assert record["run_id"] == whole["run_id"]
    assert {n: t["downstream"] for n, t in record["tasks"].items()} == {
        n: t["downstream"] for n, t in whole["tasks"].items()
    }
    assert record["downstream"]["per_query"] == whole["downstream"]["per_query"]


def _interrupted(*_: object) -> list[str]:
    raise KeyboardInterrupt


def plan(finished: Finished, optimizer: str, *items: str, reader: bool = True, seed: int = 0) -> Plan:
    kept = [s for s in SETTINGS if reader or not s.startswith("reader.")]
    settings = split_assignments([*kept, *items])[0]
    request = RunRequest(optimizer, str(finished.suite), settings=settings, reader=reader, seed=seed)
    return make_plan(Resolver(finished.store).resolve(request))


def test_without_the_flag_nothing_changes(finished: Finished) -> None:
    with_it, without = plan(finished, "pcgrad"), plan(finished, "pcgrad", reader=False)
    assert without.reading is None and "reader" not in without.run.specification
    assert "reader" not in without.run.specification["config"]
    own = {s.key for s in with_it.stages if s.name not in ("answers", "study", "retrieve", "read")}
    assert own == {s.key for s in without.stages}
    spec = {k: v for k, v in with_it.run.specification.items() if k != "reader"}
    assert spec == without.run.specification


def test_only_what_matters_names_a_reader(finished: Finished) -> None:
    def key(optimizer: str, *items: str, **more: Any) -> str:
        reading = plan(finished, optimizer, *items, **more).reading
        assert reading is not None
        return reading.key

    assert key("pcgrad") == key("pcgrad", "reader.checkpoint_every=7", "reader.epochs=9")
    assert key("closed-book") == key("closed-book", "reader.passages=1", "train.steps=9")
    others = ["reader.passages=1", "reader.beams=2", "reader.lr=0.1", "reader.sharing=per-task", "train.steps=9"]
    assert len({key("pcgrad"), *(key("pcgrad", item) for item in others), key("pcgrad", seed=1)}) == len(others) + 2


def test_methods_that_act_alike_share_the_reader(finished: Finished) -> None:
    naive, other = (plan(finished, name, "train.tasks=ask") for name in ("naive", "pcgrad"))
    assert naive.reading is not None and other.reading is not None
    assert naive.reading.key == other.reading.key
    assert naive.reading.settings["tasks"] == ["ask"]


def test_baselines_have_every_seed_with_a_reader(finished: Finished) -> None:
    matrix = RunMatrix(["naive"], str(finished.suite), [0, 1], assignments=SETTINGS, reader=True)
    planned = plan_runs(matrix, PlanOptions(finished.store, finished.results))
    labels = [job.label for job in planned.jobs]
    rows = ["bm25", "closed-book", "gold", "naive"]
    assert labels == ["untrained seed 0", *(f"{name} seed {seed}" for name in rows for seed in (0, 1))]


WRONG = {
    "settings without a reader": ({"set": ["reader.passages=2"]}, "the run has no reader"),
    "no such model": ({"reader": True, "set": ["reader.path=./nowhere"]}, "reader.path='./nowhere': no such folder"),
    "more passages than found": ({"reader": True, "set": ["reader.passages=500"]}, "reader.passages=500 is more"),
    "half a head": ({"reader": True, "set": ["reader.hidden=10"]}, "is not a multiple of heads"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_told_before_any_work(finished: Finished, case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        mtbench.run("naive", finished.suite, store=finished.store, results=finished.results, **options)
    assert message in str(caught.value)


def test_a_suite_without_answers_has_no_reader(tmp_path: Path) -> None:
    suite = tiny_suite.write_suite(tmp_path / "tiny")
    with pytest.raises(ConfigError, match="has no task with answers"):
        mtbench.run("naive", suite, store=tmp_path / "s", results=tmp_path / "r", reader=True)
