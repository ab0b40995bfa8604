"""Where the episodes' negatives come from, what they leave out, and training anew with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_kilt
from tiny_suite import SETTINGS

import mtbench
from mtbench.data.negatives import Negatives
from mtbench.data.prepared import PreparedSuite
from mtbench.errors import ConfigError
from mtbench.records.record import RunRecord
from mtbench.retrieval.ranking import Ranking


class Bench:
    """Runs of naive on a tiny suite in KILT's format, one store for all."""

    def __init__(self, folder: Path) -> None:
        self.suite, self.folder = tiny_kilt.write_kilt_suite(folder / "tiny"), folder

    def run(self, *settings: str, **more: Any) -> RunRecord:
        places = {"store": self.folder / "store", "results": self.folder / "results", "baselines": ()}
        (record,) = mtbench.run("naive", self.suite, set=[*SETTINGS, *settings], **places, **more)
        assert record["status"] == "complete"
        return record

    def stage(self, record: RunRecord, name: str) -> Path:
        key = [s["fingerprint"] for s in record["stages"] if s["name"] == name][-1]
        return self.folder / "store" / "stages" / name / key

    def negatives(self, record: RunRecord, task: str, name: str = "mine") -> np.ndarray:
        return np.asarray(Negatives.load(self.stage(record, name) / "negatives" / task).indices)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def usual(bench: Bench) -> RunRecord:
    return bench.run()


def test_the_two_rankings_in_turn(bench: Bench, usual: RunRecord) -> None:
    both = bench.run("negatives.sources=bm25+model", "train.episodes=1")
    assert [s["name"] for s in both["stages"] if s["reused"]] == ["prepare", "bm25", "warmup", "encode", "evaluate"]
    one_episode = bench.run("train.episodes=1")  # its model is the one that the two rankings share
    suite = PreparedSuite.open(bench.stage(both, "prepare") / "data")
    lexical = Ranking.load(bench.stage(both, "bm25") / "train_rankings" / "ask")
    model, found = bench.negatives(one_episode, "ask"), bench.negatives(both, "ask")
    for query in range(len(found)):
        relevant = suite.tasks["ask"].train.positives(query)[0]
        first = next(row for row in lexical.indices[query].tolist() if row not in relevant)
        assert found[query, 0] == first or lexical.indices[query, 0] in relevant
        assert len(set(found[query].tolist())) == found.shape[1]
        assert {int(model[query, 0])} & set(found[query, :3].tolist())


def test_bm25_alone_mines_nothing(bench: Bench, usual: RunRecord) -> None:
    record = bench.run("negatives.sources=bm25")
    assert "mine" not in {s["name"] for s in record["stages"]}
    assert record["average"] != usual["average"] or record["history"] != usual["history"]


def test_chosen_tasks_alone_get_them(bench: Bench, usual: RunRecord) -> None:
    record = bench.run("negatives.tasks=-ask", "train.episodes=1")
    np.testing.assert_array_equal(bench.negatives(record, "ask"), bench.negatives(record, "ask", "bm25"))
    other = bench.run("train.episodes=1")
    np.testing.assert_array_equal(bench.negatives(record, "claim"), bench.negatives(other, "claim"))
    with pytest.raises(ConfigError, match=r"negatives.tasks: suite .* has no task 'aks' \(did you mean 'ask'"):
        bench.run("negatives.tasks=aks")


def test_no_negative_of_a_question_holds_its_answer(bench: Bench, usual: RunRecord) -> None:
    record = bench.run("negatives.exclude=answer", "negatives.sources=bm25+model")
    suite = PreparedSuite.open(bench.stage(record, "prepare") / "data")
    from mtbench.pipeline.stages.answers import answers_of

    answers = answers_of(bench.stage(record, "answers"), "ask", "train")

    def holding(name: str, of: RunRecord) -> int:
        rows = bench.negatives(of, "ask", name)
        texts = [[suite.corpora["main"].text(int(r)).lower() for r in row if r >= 0] for row in rows]
        return sum(
            any(a.lower() in text for a in found) for found, row in zip(answers, texts, strict=True) for text in row
        )

    assert holding("mine", usual) + holding("bm25", usual) > 0
    assert holding("mine", record) == holding("bm25", record) == 0
    np.testing.assert_array_equal(bench.negatives(record, "claim", "bm25"), bench.negatives(usual, "claim", "bm25"))


def test_every_episode_anew_from_the_encoder(bench: Bench, usual: RunRecord) -> None:
    record = bench.run("train.restart=true")
    assert record["history"][0] == usual["history"][0]  # the warm-up is shared
    losses = [next(iter(e["losses"].values()))[0] for e in record["training"]["episodes"]]
    first = [next(iter(e["losses"].values()))[0] for e in usual["training"]["episodes"]]
    assert losses[0] == first[0] and losses[1] > first[1]
    with pytest.raises(ConfigError, match=r"train\.restart trains every episode anew"):
        bench.run("train.restart=true", "train.start=warmup")
    few = bench.run("train.restart=true", protocol="few-shot", start="leave-one-out", examples=3, tasks=("ask",))
    assert [e["episode"] for e in few["training"]["episodes"]] == [0, 1, 2, 3]  # three of the run without the task


def test_looks_while_training_change_nothing_unless_the_best_is_kept(bench: Bench, usual: RunRecord) -> None:
    looking = bench.run("train.evaluate_every=2")
    assert looking["tasks"] == usual["tasks"] and looking["history"] == usual["history"]
    curves = [e["summary"]["validation"] for e in looking["training"]["episodes"]]
    assert [c["steps"] for c in curves] == [[2, 4, 6], [2, 4], [2, 4]] and {c["kept"] for c in curves} == {None}
    assert all(0 < value <= 1 for c in curves for values in c["mrr"].values() for value in values)
    best = bench.run("train.evaluate_every=2", "train.keep=best")
    for episode in best["training"]["episodes"]:
        curve = episode["summary"]["validation"]
        assert curve["kept"] == curve["steps"][int(np.argmax(curve["mean"]))]
    with pytest.raises(ConfigError, match="keep=best needs looks"):
        bench.run("train.keep=best")


def test_at_their_defaults_the_settings_change_no_id(bench: Bench, usual: RunRecord) -> None:
    same = (
        "negatives.sources=model",
        "negatives.tasks=all",
        "train.restart=false",
        "train.keep=last",
        "store.keep_vectors=true",
    )
    assert bench.run(*same)["run_id"] == usual["run_id"]
    assert bench.run("store.keep_vectors=false")["run_id"] == usual["run_id"]


def test_the_profile_dpr_from_end_to_end(bench: Bench, tmp_path: Path) -> None:
    from tiny_bert import write_bert

    from mtbench.model.tokenizer import train_tokenizer

    folder = write_bert(tmp_path / "bert", train_tokenizer(["the amber lies near the birch " * 30], 120))
    small = ("train.warmup_epochs=0.2", "train.epochs=0.2", "train.batch_size=12", "data.selection_queries=4")
    small += (
        "negatives.depth=[0, 10]",
        "negatives.per_query=5",
        "encoder.precision=fp32",
        "data.passage_max_length=48",
    )
    places = {"store": bench.folder / "store", "results": bench.folder / "results", "baselines": ()}
    (record,) = mtbench.run("naive", bench.suite, profile="dpr", encoder=str(folder), set=list(small), **places)
    assert record["status"] == "complete"
    config = record["spec"]["config"]
    assert config["encoder"]["sharing"] == "untied" and config["encoder"]["pooling"] == "cls"
    assert config["negatives"]["sources"] == "bm25+model" and config["train"]["restart"] is True
    assert [s["name"] for s in record["stages"]].count("train") == 1


def test_the_tiny_encoder_pools_as_it_is_told(bench: Bench) -> None:
    record = bench.run("encoder.pooling=mean", "train.episodes=0")
    assert record["spec"]["config"]["encoder"]["pooling"] == "mean"
    from mtbench.model.encoder import DualEncoder

    model = DualEncoder.load(bench.stage(record, "warmup") / "model")
    assert model.pooling == "mean" and not any("decoder" in name for name, _ in model.named_parameters())
