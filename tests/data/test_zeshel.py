"""ZESHEL: windows around mentions, worlds as groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from small_suites import write_jsonl

from mtbench.data.files import iter_json_lines
from mtbench.data.prepared import PreparedSuite
from mtbench.data.preparing import build_prepared
from mtbench.data.reading import iter_passages, read_task
from mtbench.data.zeshel import _Mention, marked_window
from mtbench.errors import DataError
from mtbench.suite import Corpus, Suite, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def mention(name: str, world: str, document: str, start: int, text: str, label: str) -> dict[str, Any]:
    return {
        "mention_id": name, "context_document_id": document, "corpus": world, "start_index": start,
        "end_index": start + len(text.split()) - 1, "text": text, "label_document_id": label, "category": "LOW_OVERLAP",
    }  # fmt: skip


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    for world, prefix in (("lego", "L"), ("muppets", "M"), ("yugioh", "Y")):
        write_jsonl(
            tmp_path / "documents" / f"{world}.json",
            [
                {"document_id": f"{prefix}{i}", "title": f"{world} {i}", "text": f"a b {world} {i} c . d"}
                for i in range(3)
            ],
        )
    write_jsonl(
        tmp_path / "mentions" / "train.json",
        [mention("t1", "muppets", "M0", 2, "muppets 0", "M1"), mention("t2", "lego", "L2", 0, "a", "L0")],
    )
    write_jsonl(tmp_path / "mentions" / "val.json", [mention("d1", "yugioh", "Y1", 6, "d", "Y2")])
    train = [f"documents/{world}.json" for world in ("lego", "muppets")]
    corpora = (
        Corpus("train", train[0], "zeshel", options={"documents_files": train}),
        Corpus("dev", "documents/yugioh.json", "zeshel"),
    )
    task = Task(
        "zeshel", "train", "mentions/train.json", "mentions/train.json", "mentions/val.json", format="zeshel",
        dev_corpus="dev", options={"context_words": 4},
    )  # fmt: skip
    return Suite("z", 1, "recall@100", corpora, (task,), tmp_path)


def test_documents_carry_their_world(suite: Suite) -> None:
    passages = list(iter_passages(suite, suite.corpora[0]))
    assert [(p.id, p.group, p.page) for p in passages[2:4]] == [("L2", "lego", "L2"), ("M0", "muppets", "M0")]


def test_mentions_are_marked_in_their_window(suite: Suite) -> None:
    data = read_task(suite, suite.tasks[0])
    assert data.train.texts == ["b <m> muppets 0 </m> c", "<m> a </m> b"]
    assert (data.train.positives, data.train.groups) == ([{"M1": 1}, {"L0": 1}], ["muppets", "lego"])
    assert (data.dev.texts, data.dev.groups) == ([". <m> d </m>"], ["yugioh"])


def test_groups_of_the_prepared_form(suite: Suite, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    build_prepared(suite, tmp_path / "out", tokenizer)
    prepared = PreparedSuite.open(tmp_path / "out")
    train, task = prepared.corpora["train"], prepared.tasks["zeshel"]
    assert train.group_names == ["lego", "muppets"] and train.groups is not None and task.train.groups is not None
    assert train.groups.tolist() == [0, 0, 0, 1, 1, 1] and task.train.groups.tolist() == [1, 0]
    assert task.dev_corpus == "dev" and prepared.corpora["dev"].group_names == ["yugioh"]
    for i in range(2):
        (row,), _ = task.train.positives(i)
        assert train.groups[row] == task.train.groups[i]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_index": 1}, "words 1 to 3 of document 'M0' are not 'muppets 0'"),
        ({"start_index": -1}, "do not fit"),
        ({"end_index": 1}, "do not fit"),
        ({"end_index": 99}, "are not 'muppets 0'"),
        ({"context_document_id": "M9"}, "document 'M9' of world 'muppets' is not in corpus 'train'"),
        ({"corpus": "lego"}, "document 'M0' of world 'lego'"),
        ({"text": None}, "'text' must be a string"),
        ({"label_document_id": ""}, "'label_document_id' must be"),
    ],
)
def test_mistakes_name_the_mention(suite: Suite, change: dict[str, Any], message: str) -> None:
    path = suite.root / "mentions" / "train.json"
    first, second = path.read_text().splitlines()
    path.write_text(second + "\n" + json.dumps({**json.loads(first), **change}) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_task(suite, suite.tasks[0])
    assert str(caught.value).startswith(f"{path}:2: ")


def assert_documents_and_mentions(path: Path) -> None:
    lines = [r for _, r in iter_json_lines(path)]
    documents = [r for r in lines if "document_id" in r]
    mentions = [r for r in lines if "mention_id" in r]
    assert len(documents) == 2 and len(mentions) >= 2 and documents[0]["text"].startswith(documents[0]["title"])
    for record in mentions:  # the text's words are as many as the indices say, so the window can be cut
        words = record["text"].split()
        assert record["end_index"] - record["start_index"] + 1 == len(words)
        tokens = ["x"] * record["start_index"] + words + ["y"] * 300
        found = _Mention(1, "i", record["corpus"], "d", record["start_index"], record["end_index"], record["text"], "l")
        text = marked_window(tokens, found, Path("m"), 180)
        assert f"<m> {record['text']} </m>" in text and len(text.split()) - 2 in (179, 180)


def test_lines_of_the_official_form(formats: Path) -> None:
    assert_documents_and_mentions(formats / "zeshel" / "lines.jsonl")


def test_the_lines_of_the_official_readme(shared_data: Path) -> None:
    assert_documents_and_mentions(shared_data / "formats" / "zeshel" / "lines_from_README.jsonl")
