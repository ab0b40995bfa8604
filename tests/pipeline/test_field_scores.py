"""Figures and negatives on inputs from the field: cases of tests/data/field and their right answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtbench
from mtbench.cli.main import main
from mtbench.data.negatives import Negatives
from mtbench.data.prepared import PreparedSuite
from mtbench.errors import ConfigError, DataError

TINY = (
    "train.steps=3", "train.warmup_steps=3", "train.episodes=1", "train.batch_size=8", "analyze.batches=2",
    "encoder.vocabulary=512", "encoder.hidden=16",
)  # fmt: skip
Field = Callable[[str], Path]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The records by optimizer of a run on a case's suite."""

    def runner(suite: Path, *settings: str, optimizer: str = "naive", **options: Any) -> dict[str, Any]:
        places = {"store": tmp_path / "store", "results": tmp_path / "results", "rerun": "all"}
        records = mtbench.run(optimizer, suite, set=[*TINY, *settings], **places, **options)
        return {record["spec"]["optimizer"]["name"]: record for record in records}

    return runner


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The parsed output of ``mtbench ... --json``, which must end with ``code``."""

    def call(*arguments: object, code: int = 0) -> Any:
        assert main([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return call


def figure(record: dict[str, Any], task: str, metric: str = "ndcg@10") -> float:
    return round(100 * record["tasks"][task]["metrics"][metric], 2)


def stage_folder(record: dict[str, Any], tmp_path: Path, name: str) -> Path:
    key = next(stage["fingerprint"] for stage in record["stages"] if stage["name"] == name)
    return tmp_path / "store" / "stages" / name / key


def declare(suite: Path, *lines: str) -> Path:
    """Add keys to the suite's (last) task."""
    path = suite / "suite.toml"
    path.write_text(path.read_text("utf-8").rstrip() + "\n" + "\n".join(lines) + "\n", "utf-8")
    return suite


def test_a_query_judged_only_below_zero_counts_zero(field: Field, command: Callable[..., Any]) -> None:
    case = field("negative-only-qrels")
    found = command("score", "--qrels", case / "qrels.txt", "--run", case / "run.trec")
    assert found["num_queries"] == 2 and set(found["metrics"].values()) == {0.5}


def test_zero_judged_queries_count_zero_everywhere(
    field: Field, run: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    case = field("zero-judged-dev")
    files = ("--qrels", case / "suite/z/qrels/dev.tsv", "--run", case / "z.trec")
    plain = command("score", *files, "--metrics", "ndcg@10,recall@100")
    assert plain == {"metrics": {"ndcg@10": 0.5, "recall@100": 0.5}, "num_queries": 6}
    places = ("--results", tmp_path / "results", "--store", tmp_path / "store")
    entered = command("score", "--as", "sysx", "--suite", case / "suite", "--run", case / "z.trec", *places)
    assert entered["tasks"]["z"]["num_queries"] == 6
    assert set(entered["tasks"]["z"]["metrics"].values()) == {0.5}
    records = run(case / "suite")
    assert figure(records["bm25"], "z") == 50.0
    for record in records.values():
        assert record["tasks"]["z"]["num_queries"] == 6 and figure(record, "z") <= 50.0
        assert record["spec"]["rules"] == {"zero_judged": ["z"]}
        assert [w["code"] for w in record["warnings"]].count("zero-judged") == 1
    checks = {check["name"]: check for check in command("check", "suite", case / "suite")["checks"]}
    assert "3 dev queries are judged and have no relevant passage" in checks["z: queries"]["sentence"]


def test_a_query_in_its_corpus_is_left_out_by_beirs_rule(
    field: Field, run: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    suite = field("query-is-in-corpus") / "suite"
    checks = {check["name"]: check["sentence"] for check in command("check", "suite", suite)["checks"]}
    assert checks["arg: own ids"].startswith("18 queries stand in the corpus under their own id")
    without = run(suite)
    assert figure(without["bm25"], "arg") == 59.76
    assert "18 queries stand in the corpus under their own id" in without["bm25"]["warnings"][0]["message"]
    declared = run(declare(suite, "ignore_identical_ids = true"))
    assert figure(declared["bm25"], "arg") == 91.67
    assert "rules" not in declared["bm25"]["spec"] and "warnings" not in declared["bm25"]
    for record in (without["naive"], declared["naive"]):
        prepared = PreparedSuite.open(stage_folder(record, tmp_path, "prepare") / "data")
        task, corpus = prepared.tasks["arg"], prepared.corpora["arg"]
        own = np.array([corpus.index_of(name) for name in task.train.ids])
        for stage in ("bm25", "mine"):
            negatives = Negatives.load(stage_folder(record, tmp_path, stage) / "negatives" / "arg")
            assert not (negatives.indices == own[:, None]).any()
    ranked = np.load(stage_folder(declared["naive"], tmp_path, "evaluate") / "rankings/arg/indices.npy")
    own = np.array([corpus.index_of(name) for name in task.dev.ids])
    assert (own >= 0).all() and not (ranked == own[:, None]).any()


def test_beirs_rule_holds_for_outside_systems(field: Field, command: Callable[..., Any], tmp_path: Path) -> None:
    case = field("query-is-in-corpus")
    dev = [line.split("\t") for line in (case / "suite/arg/qrels/dev.tsv").read_text().splitlines()[1:]]
    lines = [f"{query} Q0 {query} 1 2.0 t\n{query} Q0 {passage} 2 1.0 t\n" for query, passage, _ in dev]
    (case / "own.trec").write_text("".join(lines))
    places = ("--results", tmp_path / "results", "--store", tmp_path / "store")
    arguments = ("score", "--as", "sysx", "--suite", case / "suite", "--run", case / "own.trec", *places)
    assert command(*arguments)["tasks"]["arg"]["metrics"]["mrr@10"] == 0.5
    declare(case / "suite", "ignore_identical_ids = true")
    assert command(*arguments)["tasks"]["arg"]["metrics"]["mrr@10"] == 1.0


def test_a_scaffold_asks_for_beirs_rule(field: Field, command: Callable[..., Any], tmp_path: Path) -> None:
    folder = field("query-is-in-corpus") / "suite" / "arg"
    command("new", "suite", "args", "--from-beir", folder, "--dir", tmp_path)
    text = (tmp_path / "args" / "suite.toml").read_text("utf-8")
    assert "ignore_identical_ids = true  # BEIR's rule: 18 queries" in text
    command("new", "suite", "plain", "--from-beir", field("zero-judged-dev") / "suite" / "z", "--dir", tmp_path)
    assert "ignore_identical_ids" not in (tmp_path / "plain" / "suite.toml").read_text("utf-8")


@pytest.mark.parametrize("exclude", ["passage", "page"])
def test_copies_are_no_negatives(field: Field, run: Callable[..., Any], exclude: str) -> None:
    record = run(field("copies-as-negatives") / "suite", f"negatives.exclude={exclude}")["naive"]
    for found in record["negatives"].values():
        assert found["dup"]["likely_false"] == found["dup"]["likely_false_candidates"] == 0.0
    assert record["spec"]["rules"] == {"copies": ["dup"]}


def test_words_of_devanagari_are_whole(field: Field, run: Callable[..., Any]) -> None:
    record = run(field("devanagari-bm25") / "suite", baselines=("bm25",))["bm25"]
    assert figure(record, "hi") == 100.0 and record["spec"]["rules"] == {"words": ["hi"]}


def test_ids_that_no_run_file_can_hold_are_refused(
    field: Field, run: Callable[..., Any], command: Callable[..., Any]
) -> None:
    suite = field("tab-in-passage-id") / "suite"
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: the id 'tab\\tid' has a tab or a line end"):
        run(suite)
    error = command("run", "-o", "naive", "-s", suite, code=2)["error"]
    assert error["place"].endswith("corpus.jsonl:1") and "blanks are allowed" in error["remedy"]


def test_a_loss_that_is_always_zero_is_refused(field: Field, run: Callable[..., Any], tmp_path: Path) -> None:
    suite = field("no-negative-loss-zero") / "suite"
    with pytest.raises(ConfigError, match=r"one query a step and train\.hard_negatives=0 .* aa, bb"):
        run(suite, "train.batch_size=2", "train.hard_negatives=0")
    with pytest.raises(ConfigError, match="nothing to learn for aa, bb"):  # the same query four times is no other one
        run(suite, "train.hard_negatives=0", limit=1)
    assert not (tmp_path / "store" / "stages").exists()
    assert run(suite, "train.batch_size=2", "train.hard_negatives=1")["naive"]["status"] == "complete"


def test_rankings_too_short_for_the_metric_are_refused(field: Field, run: Callable[..., Any], tmp_path: Path) -> None:
    suite = field("copies-as-negatives") / "suite"
    with pytest.raises(ConfigError, match=r"search\.depth=9 .* ndcg@10, which takes 10"):
        run(suite, "search.depth=9")
    with pytest.raises(ConfigError, match=r"bm25\.depth=9 .* ndcg@10, which takes 10"):
        run(suite, "bm25.depth=9")
    declaration = suite / "suite.toml"
    declaration.write_text(declaration.read_text().replace("ndcg@10", "recall@100"))
    with pytest.raises(ConfigError, match=r"search\.depth=89 .* recall@100, which takes 90"):  # all there are
        run(suite, "search.depth=89")
    assert not (tmp_path / "store" / "stages").exists()
    assert run(suite, "search.depth=90", baselines=())["naive"]["status"] == "complete"
