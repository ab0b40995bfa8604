"""Outside systems become records that the same tests apply to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from outside_suite import write_suite, write_systems

from mtbench.data.suite_file import read_suite_folder
from mtbench.errors import DataError, UsageError
from mtbench.evaluation.scores import read_scores
from mtbench.pipeline.outside import OutsideSystem, check_name, enter_system, task_files
from mtbench.pipeline.outside_scores import score_file
from mtbench.records.files import load_records
from mtbench.storage.store import Store
from mtbench.suite import METRICS, Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return read_suite_folder(write_suite(tmp_path / "suite"))


@pytest.fixture
def systems(tmp_path: Path) -> Path:
    return write_systems(tmp_path / "systems")


def enter(suite: Suite, files: dict[str, Path], tmp_path: Path, name: str = "seal") -> tuple[dict, Path]:
    results, store = tmp_path / "results", Store(tmp_path / "store")
    return enter_system(OutsideSystem(name, suite, "abc", "mini"), files, results=results, store=store)


def test_a_run_is_scored_as_trec_eval_and_kilt_do(suite: Suite, systems: Path) -> None:
    scores, unanswered = score_file(suite, suite.task("nq"), systems / "nq.trec")
    assert scores.ids == ["1", "2"] and unanswered == 0
    assert tuple(scores.per_query) == METRICS[:-1]
    by_first = score_file(replace(suite, metric="success@1"), suite.task("nq"), systems / "nq.trec")[0]
    assert by_first.per_query["success@1"].tolist() == [0.0, 0.0]  # the first relevant one is second
    # Query 1: pages 0, 0, 3 are two pages, one of the two gold ones. Query 2: p3 and p11 tie, the larger id is first.
    assert scores.per_query["rprecision_page"].tolist() == [0.5, 0.0]
    assert scores.per_query["rprecision_passage"].tolist() == [0.5, 0.0]
    assert scores.per_query["recall@20"].tolist() == [0.5, 0.0]
    assert scores.per_query["mrr@10"].tolist() == [0.5, 0.0]


def test_equal_scores_go_by_id_descending(suite: Suite, tmp_path: Path) -> None:
    run = tmp_path / "tie.trec"
    run.write_text("2 Q0 p10 1 5 x\n2 Q0 p9 2 5 x\n")
    # "p9" > "p10" as text, so p9 comes first although the rank column says otherwise.
    assert score_file(suite, suite.task("nq"), run)[0].per_query["rprecision_page"].tolist() == [0.0, 0.0]
    run.write_text("2 Q0 p10 1 5 x\n2 Q0 p1 2 5 x\n")
    assert score_file(suite, suite.task("nq"), run)[0].per_query["rprecision_page"].tolist() == [0.0, 1.0]


def test_kilt_predictions_give_page_rprecision_alone(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "nq.jsonl"
    pages = [{"wikipedia_id": "1"}, {"wikipedia_id": 1}, {"wikipedia_id": 0}]
    file.write_text(json.dumps({"id": 1, "output": [{"provenance": pages}]}) + "\n")
    scores, unanswered = score_file(suite, suite.task("nq"), file)
    assert {name: values.tolist() for name, values in scores.per_query.items()} == {"rprecision_page": [1.0, 0.0]}
    assert unanswered == 1
    with pytest.raises(DataError, match=r"task 'doc' has no gold pages.*\n.*doc\.trec"):
        score_file(suite, suite.task("doc"), file)


def test_the_record_has_every_task_and_no_average_without_the_metric(
    suite: Suite, systems: Path, tmp_path: Path
) -> None:
    suite = replace(suite, metric="rprecision_page")
    record, path = enter(suite, task_files(suite, systems, None), tmp_path)
    assert record["external"] and record["spec"]["optimizer"] == {"name": "seal", "params": {}}
    assert record["tasks"]["nq"]["metrics"]["rprecision_page"] == 0.25
    assert record["tasks"]["doc"]["metrics"]["rprecision_passage"] == 0.5
    assert record["tasks"]["doc"]["num_queries"] == 2
    assert "average" not in record  # doc has no gold pages
    assert path.parent == tmp_path / "results" / "runs" / "small@2" / "mini" / "seal"
    (loaded,) = load_records(tmp_path / "results")
    assert loaded.kind == "incomplete"
    stored = Store(tmp_path / "store").folder("external", record["per_query"]["fingerprint"])
    assert read_scores(stored / "scores.parquet")["nq"].per_query["mrr@10"].tolist() == [0.5, 0.0]
    assert str(tmp_path) not in path.read_text()


def test_tasks_entered_one_by_one_end_in_the_record_of_all(suite: Suite, systems: Path, tmp_path: Path) -> None:
    whole, path = enter(suite, task_files(suite, systems, None), tmp_path / "at once")
    first, _ = enter(suite, task_files(suite, systems / "doc.trec", "doc"), tmp_path)
    assert "average" not in first
    both, path2 = enter(suite, task_files(suite, systems / "nq.trec", "nq"), tmp_path)
    assert path.name == path2.name
    assert both["average"] == whole["average"] == pytest.approx((0.5 + 0.25) / 2)
    assert both["tasks"] == whole["tasks"]
    (loaded,) = load_records(tmp_path / "results")
    assert loaded.kind == "ok"


def test_lost_scores_of_an_earlier_entry_are_an_error_not_a_gap(suite: Suite, systems: Path, tmp_path: Path) -> None:
    record, _ = enter(suite, {"doc": systems / "doc.trec"}, tmp_path)
    Store(tmp_path / "store").remove("external", record["per_query"]["fingerprint"])
    with pytest.raises(DataError, match="no longer in the store"):
        enter(suite, {"nq": systems / "nq.trec"}, tmp_path)


UNKNOWN = {
    ("nq.trec", "1 Q0 p0 1 3 x\n7 Q0 p0 1 3 x\n"): r"nq\.trec:2: query '7' is not in task 'nq' \(1 unknown",
    ("nq.trec", "1 Q0 p0 1 3 x\n\n1 Q0 p99 2 2 x\n"): r"nq\.trec:3: passage 'p99' is not in task 'nq'",
    ("nq.trec", "1\tQ0\tp0\t1\t3\tx\nno one\tQ0\tp0\t1\t3\tx\n"): r"nq\.trec:2: query 'no one' is not in task",
    ("nq.jsonl", '{"id": 9, "output": [{"provenance": []}]}\n'): r"nq\.jsonl:1: query '9' is not in task",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_ids_are_refused_by_file_and_line(case: tuple[str, str], suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / case[0]
    file.write_text(case[1])
    with pytest.raises(DataError, match=UNKNOWN[case]):
        score_file(suite, suite.task("nq"), file)


def test_files_are_matched_to_tasks(suite: Suite, systems: Path, tmp_path: Path) -> None:
    assert list(task_files(suite, systems, None)) == ["doc", "nq"]
    (systems / "nq.jsonl").write_text("{}")
    (systems / "README.md").write_text("notes")
    assert task_files(suite, systems, None)["nq"].suffix == ".trec"
    assert task_files(suite, systems, "nq") == {"nq": systems / "nq.trec"}
    assert task_files(suite, systems / "nq.jsonl", "nq") == {"nq": systems / "nq.jsonl"}
    with pytest.raises(UsageError, match="--task"):
        task_files(suite, systems / "nq.jsonl", None)
    with pytest.raises(UsageError, match="no task 'squad'; its tasks: nq, doc"):
        task_files(suite, systems, "squad")
    with pytest.raises(DataError, match="no such file"):
        task_files(suite, tmp_path / "absent", "nq")
    (systems / "squad.trec").write_text("")
    with pytest.raises(DataError, match=r"squad\.trec: suite small@2 has no task 'squad'"):
        task_files(suite, systems, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no TASK\.trec"):
        task_files(suite, tmp_path / "empty", None)


@pytest.mark.parametrize("name", ["naive", "bm25", "untrained", "a/b", "", "../x", "two words"])
def test_names_of_mtbenchs_own_rows_and_paths_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--as"):
        check_name(name, ["naive", "tsage"])
    check_name("CorpusBrain-v1.2", ["naive"])


def test_a_file_of_ours_with_encoded_ids_is_scored(suite: Suite, tmp_path: Path) -> None:
    root = suite.root
    for name in ("corpus.jsonl", "nq/queries.jsonl", "nq/dev.tsv", "nq/dev-kilt.jsonl"):
        path = root / name
        path.write_text(path.read_text().replace('"p10"', '"p 10"').replace("\tp10\t", "\tp 10\t"))
    run = tmp_path / "nq.trec"
    run.write_text("1\tQ0\tp0\t1\t5\tx\n2\tQ0\tp%2010\t1\t5\tx\n")
    scores, unanswered = score_file(suite, suite.task("nq"), run)
    assert scores.per_query["mrr@10"].tolist() == [1.0, 1.0] and unanswered == 0
    run.write_text("1\tQ0\tp0\t1\t5\tx\n2\tQ0\tp%2010\t1\t5\tx\n2\tQ0\tp%2099\t2\t4\tx\n")
    with pytest.raises(DataError, match=r"nq\.trec:3: passage 'p 99' is not in task 'nq'"):
        score_file(suite, suite.task("nq"), run)
