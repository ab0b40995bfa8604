"""Exports: flat tables that read back to the same numbers, run files that score as the record says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from synthetic_records import baselines, make_record, write_all

from mtbench.errors import DataError, UnknownNameError, UsageError
from mtbench.evaluation.runfiles import read_trec_run
from mtbench.records.files import load_records
from mtbench.report.export import COLUMNS, export, find_run
from mtbench.storage.store import Store


@pytest.fixture
def results(tmp_path: Path) -> Path:
    failed = make_record("tsage", 1, tasks={}, status="failed", extra={"error": {"type": "X", "message": "m"}})
    return write_all(tmp_path / "results", [*baselines(), make_record("naive", 0), make_record("naive", 1), failed])


def table(run: str, form: str, results: Path, target: Path) -> Path:
    (path,) = export(run, form, target, results=results, store=Store(results.parent / "store"))
    return path


def expected_rows(results: Path) -> dict[tuple[str, str, str], float]:
    return {
        (item.record["run_id"], task, metric): value
        for item in load_records(results)
        for task, scored in item.record["tasks"].items()
        for metric, value in scored["metrics"].items()
    }


def test_csv_reads_back_to_the_same_numbers(results: Path, tmp_path: Path) -> None:
    path = table("all", "csv", results, tmp_path / "out")
    assert path == tmp_path / "out" / "results.csv"
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    found = {(r["run_id"], r["task"], r["metric"]): float(r["value"]) for r in rows if r["value"]}
    assert found == expected_rows(results)
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["task"] == failed["value"] == failed["average"] == ""


def test_parquet_has_typed_columns_and_the_same_numbers(results: Path, tmp_path: Path) -> None:
    path = table("all", "parquet", results, tmp_path / "mine.parquet")
    assert path == tmp_path / "mine.parquet"
    read = pyarrow.parquet.read_table(path)
    assert tuple(read.column_names) == COLUMNS
    assert str(read.schema.field("value").type) == "double"
    assert str(read.schema.field("seed").type) == "int64"
    rows = [row for row in read.to_pylist() if row["value"] is not None]
    assert {(r["run_id"], r["task"], r["metric"]): r["value"] for r in rows} == expected_rows(results)
    assert {row["external"] for row in rows} == {False}


def test_one_run_can_be_named_by_id_beginning_or_file(results: Path, tmp_path: Path) -> None:
    first = load_records(results)[0]
    identifier = first.record["run_id"]
    assert find_run(results, identifier).record["run_id"] == identifier
    assert find_run(results, identifier[:-2]).record["run_id"] == identifier
    assert find_run(results, str(first.path)).record["run_id"] == identifier
    path = table(identifier, "csv", results, tmp_path / "one")
    with open(path, newline="") as stream:
        assert {row["run_id"] for row in csv.DictReader(stream)} == {identifier}


def test_wrong_requests_are_answered(results: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def ask(run: str, form: str, places: Path = results) -> None:
        export(run, form, tmp_path / "out", results=places, store=store)

    naive = next(i.record for i in load_records(results) if i.record["spec"]["optimizer"]["name"] == "naive")
    with pytest.raises(UsageError, match="unknown format 'xml'"):
        ask("all", "xml")
    with pytest.raises(UnknownNameError, match=r"unknown run 'nil'(?s:.*)mtbench ls runs"):
        ask("nil", "csv")
    with pytest.raises(UsageError, match="beginning of several run ids"):
        ask("naive-s", "csv")
    with pytest.raises(UsageError, match="takes one run"):
        ask("all", "trec")
    with pytest.raises(DataError, match="no runs here"):
        ask("all", "csv", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no longer has the stage 'train'(?s:.*)mtbench run --rerun all"):
        ask(naive["run_id"], "sentence-transformers")
    with pytest.raises(UsageError, match="has no rankings"):
        ask(naive["run_id"], "trec")
    outside = make_record("seal", 0, extra={"external": True})
    write_all(results, [outside])
    with pytest.raises(UsageError, match="outside system"):
        ask(outside["run_id"], "kilt")
    untrained = make_record("untrained", 5, extra={"stages": []})
    write_all(results, [untrained])
    with pytest.raises(UsageError, match="trained no encoder"):
        ask(untrained["run_id"], "sentence-transformers")


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, dict[str, Any]]:
    """A run as the pipeline leaves it: prepared suite, checkpoint and rankings in the store, and its record."""
    from outside_suite import write_suite
    from test_encoder_export import make_checkpoint

    from mtbench.data.prepared import PreparedSuite
    from mtbench.data.preparing import build_prepared
    from mtbench.data.suite_file import read_suite_folder
    from mtbench.evaluation.metrics import evaluate_task, summarise
    from mtbench.model.tokenizer import load_tokenizer
    from mtbench.records.files import write_record
    from mtbench.retrieval.ranking import Ranking

    root = tmp_path_factory.mktemp("run")
    suite = read_suite_folder(write_suite(root / "suite"))
    make_checkpoint(root / "model", "t5")
    tokenizer = load_tokenizer(str(root / "model"))
    store = Store(root / "store")

    def prepare(work: Path) -> None:
        build_prepared(suite, work / "data", tokenizer)  # type: ignore[arg-type]

    def train(work: Path) -> None:
        make_checkpoint(work / "model", "t5")

    def evaluate(work: Path) -> dict[str, Any]:
        prepared = PreparedSuite.open(store.folder("prepare", "p" * 16) / "data")
        rng, tasks = np.random.default_rng(0), {}
        for name, task in prepared.tasks.items():
            rows = np.stack([rng.permutation(12)[:8] for _ in task.dev.ids]).astype(np.int32)
            ranking = Ranking(rows, np.tile(np.arange(8, 0, -1, dtype=np.float32), (len(rows), 1)))
            ranking.save(work / "rankings" / name)
            scores = evaluate_task(ranking, task.dev, prepared.corpora[task.dev_corpus])
            tasks[name] = {"metrics": summarise(scores), "num_queries": len(rows)}
        return {"tasks": tasks}

    store.build("prepare", "p" * 16, {}, prepare)
    store.build("train", "t" * 16, {}, train)
    built = store.build("evaluate", "e" * 16, {}, evaluate)
    stages = [
        {"name": name, "fingerprint": name[0] * 16, "reused": False, "seconds": 1.0}
        for name in ("prepare", "train", "evaluate")
    ]
    per_query = {"stage": "evaluate", "fingerprint": "e" * 16, "file": "scores.parquet", "sha256": "0"}
    record = make_record("naive", 0, tasks={}, suite="small", extra={"stages": stages, "per_query": per_query})
    record["tasks"] = built.results["tasks"]
    write_record(root / "results", record)
    return root / "results", store, record


def test_trec_files_hold_the_rankings(stored_run: tuple[Path, Store, dict[str, Any]], tmp_path: Path) -> None:
    from mtbench.evaluation.runfiles import read_qrels
    from mtbench.evaluation.trec import score_run

    results, store, record = stored_run
    written = export(record["run_id"], "trec", tmp_path, results=results, store=store)
    assert [path.name for path in written] == ["nq.trec", "doc.trec"]
    qrels = read_qrels(results.parent / "suite" / "doc" / "dev.tsv")
    scores = score_run(qrels, read_trec_run(tmp_path / "doc.trec"), ["Rprec", "mrr@10"])
    metrics = record["tasks"]["doc"]["metrics"]
    assert scores.metrics["Rprec"] == pytest.approx(metrics["rprecision_passage"])
    assert (tmp_path / "nq.trec").read_text().split()[5] == record["run_id"]


def test_kilt_files_score_as_the_record_says(stored_run: tuple[Path, Store, dict[str, Any]], tmp_path: Path) -> None:
    from mtbench.evaluation.kilt_scores import score_files

    results, store, record = stored_run
    written = export(record["run_id"], "kilt", tmp_path, results=results, store=store)
    assert [path.name for path in written] == ["nq.jsonl"]  # doc has no gold pages
    scores = score_files(results.parent / "suite" / "nq" / "dev-kilt.jsonl", written[0])
    assert scores.metrics["Rprec"] == pytest.approx(record["tasks"]["nq"]["metrics"]["rprecision_page"])


def test_the_encoder_is_exported_with_the_suites_length_and_prompts(
    stored_run: tuple[Path, Store, dict[str, Any]], tmp_path: Path
) -> None:
    import json

    results, store, record = stored_run
    (folder,) = export(record["run_id"], "sentence-transformers", tmp_path / "out", results=results, store=store)
    assert json.loads((folder / "first_decoder_state.json").read_text())["max_seq_length"] == 160
    assert json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]["nq"] == "NQ </s> "
    assert "naive on small, seed 0" in (folder / "README.md").read_text()
