"""The prepared form: equal to the raw data, whole or absent, the same however it was made."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_suites import QRELS_HEADER, tiny_tokenizer, write_jsonl

from mtbench.data import corpus_build, corpus_shards
from mtbench.data.prepared import PreparedSuite
from mtbench.data.preparing import PrepareOptions, build_prepared
from mtbench.data.reading import iter_passages, read_task
from mtbench.data.suite_file import read_suite_folder
from mtbench.data.tokenizing import PromptMode
from mtbench.errors import DataError, StoreError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Corrupt = Callable[[str, bytes], Path]


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file of the data, whatever the time of the raw files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "building.json"
    }


@pytest.fixture
def many(small_suite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small suite with 47 passages in shards of ten; ids are not sorted, pages cross the shards."""
    monkeypatch.setattr(corpus_build.CorpusBuild, "shard_size", 10)
    passages = [
        {
            "_id": f"p{i * 29 % 47}",
            "title": f"é{i}",
            "text": f"text {i} " * (i % 5),
            "metadata": {"wikipedia_id": f"w{i % 7}"},
        }
        for i in range(47)
    ]
    write_jsonl(small_suite / "corpus.jsonl", passages)
    return small_suite


def build(
    folder: Path, out: Path, tokenizer: PreTrainedTokenizerFast, options: PrepareOptions | None = None, workers: int = 1
) -> PreparedSuite:
    build_prepared(read_suite_folder(folder), out, tokenizer, options, workers=workers)
    return PreparedSuite.open(out)


def test_a_corpus_is_what_the_reader_gave(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    suite = read_suite_folder(small_suite)
    prepared = build(small_suite, tmp_path / "out", tokenizer)
    corpus = prepared.corpora["docs"]
    passages = list(iter_passages(suite, suite.corpora[0]))
    assert [(corpus.id(i), corpus.title(i), corpus.text(i)) for i in range(len(corpus))] == [
        (p.id, p.title, p.text) for p in passages
    ]
    for i, passage in enumerate(passages):
        text = f"Title: {passage.title} Text: {passage.text}" if passage.title else f"Text: {passage.text}"
        assert corpus.tokens(i).tolist() == tokenizer(text)["input_ids"]
        assert corpus.page_names[corpus.pages[i]] == passage.page and corpus.index_of(passage.id) == i
    assert corpus.lengths.tolist() == [len(corpus.tokens(i)) for i in range(len(corpus))]
    assert (corpus.lengths.dtype, corpus.pages.dtype, corpus.id_rank.dtype) == (np.int32,) * 3
    assert corpus.token_ids.dtype == np.uint16 and corpus.offsets.dtype == np.uint64
    assert (corpus.num_pages, corpus.index_of("p9"), corpus.page_of("9"), corpus.groups) == (2, -1, -1, None)


def test_queries_and_judgements(small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    prepared = build(small_suite, tmp_path / "out", tokenizer)
    task = prepared.tasks["first"]
    assert (prepared.name, prepared.version, prepared.metric) == ("small", 1, "recall@100")
    assert (task.family, task.corpus, task.dev_corpus) == ("qa", "docs", "docs")
    assert task.train.ids == ["q0", "q1"] and task.train.text(1) == "question 1" and len(task.dev) == 1
    rows, relevance = task.train.positives(1)
    assert (rows.tolist(), relevance.tolist(), rows.dtype, relevance.dtype) == ([3], [1], np.int32, np.int32)
    assert task.dev.positives(0)[0].tolist() == [2] and task.dev.gold_pages(0) is None and task.dev.groups is None
    assert task.train.tokens(0).tolist() == tokenizer("FIRST </s> question 0")["input_ids"]


@pytest.mark.parametrize("prompt", ["task", "family", "none"])
def test_the_prompt_does_not_count_against_the_length(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, prompt: PromptMode
) -> None:
    dev = build(small_suite, tmp_path / "out", tokenizer, PrepareOptions(prompt, query_max_length=4)).tasks["first"].dev
    bare = tokenizer("question 2")["input_ids"]
    prefix = {"task": "FIRST </s>", "family": "QA </s>", "none": ""}[prompt]
    expected = tokenizer(prefix, add_special_tokens=False)["input_ids"] + [*bare[: min(3, len(bare) - 1)], 1]
    assert dev.tokens(0).tolist() == expected


def test_lengths_and_limit(small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    prepared = build(small_suite, tmp_path / "out", tokenizer, PrepareOptions(passage_max_length=3, limit=1))
    assert prepared.corpora["docs"].lengths.max() == 3
    assert all(prepared.corpora["docs"].tokens(i)[-1] == tokenizer.eos_token_id for i in range(4))
    assert prepared.tasks["first"].train.ids == ["q0"] and prepared.tasks["first"].dev.ids == ["q2"]


def test_ranks_pages_and_ids_across_shards(many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    corpus = build(many, tmp_path / "out", tokenizer).corpora["docs"]
    ids = [corpus.id(i) for i in range(47)]
    assert [ids[i] for i in np.argsort(corpus.id_rank)] == sorted(ids)
    assert [corpus.index_of(name) for name in ids] == list(range(47))
    assert list(corpus.page_names) == [f"w{i}" for i in range(7)] and corpus.pages.tolist() == [
        i % 7 for i in range(47)
    ]
    assert corpus.title(46) == "é46" and corpus.text(5) == ""


def test_workers_and_shards_change_nothing(
    many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = build(many, tmp_path / "one", tokenizer, workers=1)
    build(many, tmp_path / "two", tokenizer, workers=2)
    monkeypatch.setattr(corpus_build.CorpusBuild, "shard_size", 1000)
    build(many, tmp_path / "whole", tokenizer)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "whole")
    assert not list((tmp_path / "one").rglob("parts")) and len(one.corpora["docs"]) == 47


@pytest.mark.parametrize("stop", [1, 3, 7, 12, 20])
def test_an_interrupted_build_goes_on(
    many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    build(many, tmp_path / "whole", tokenizer)
    real, calls, written = os.rename, 0, []

    def interrupted(source: object, target: object) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        real(source, target)  # type: ignore[arg-type]

    real_write = corpus_shards.write_shard

    def counting(parts: Path, shard: corpus_shards.Shard, *rest: object) -> int:
        written.append(shard.number)
        return real_write(parts, shard, *rest)  # type: ignore[arg-type]

    real_replace = os.replace

    def interrupted_replace(source: object, target: object) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        real_replace(source, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", interrupted)
        patch.setattr(os, "replace", interrupted_replace)
        try:
            build(many, tmp_path / "again", tokenizer)
            assert stop > calls
        except KeyboardInterrupt:
            assert not (tmp_path / "again" / "prepared.json").exists()
    monkeypatch.setattr(corpus_build, "write_shard", counting)
    build(many, tmp_path / "again", tokenizer)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    if stop >= 7:
        assert 0 not in written, "shards that were finished are not made again"


def test_half_a_shard_is_never_taken_for_whole(many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    out = tmp_path / "again"
    build(many, tmp_path / "whole", tokenizer)
    real = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        if ".shard-00002" in str(self):
            real(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(StoreError, match="the disk is full") as caught:
            build(many, out, tokenizer)
    assert "mtbench clean" in str(caught.value) and str(out) in str(caught.value)
    with pytest.raises(StoreError, match=r"prepared\.json: not readable"):
        PreparedSuite.open(out)
    build(many, out, tokenizer)
    assert contents(out) == contents(tmp_path / "whole")


def test_lost_bytes_behind_a_state_are_noticed(many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """After a crash of the machine a file can be shorter than the state says: the corpus starts anew."""
    build(many, tmp_path / "whole", tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mtbench.data.corpus_files.CorpusFiles.finish", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            build(many, tmp_path / "again", tokenizer)
    tokens = tmp_path / "again" / "corpora" / "docs" / "tokens"
    os.truncate(tokens, tokens.stat().st_size - 2)
    build(many, tmp_path / "again", tokenizer)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_other_inputs_start_anew(small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    first = build(small_suite, tmp_path / "out", tokenizer)
    assert len(first.tasks["first"].train) == 2
    assert len(build(small_suite, tmp_path / "out", tokenizer, PrepareOptions(limit=1)).tasks["first"].train) == 1
    other = tiny_tokenizer(["entirely different words"])
    assert (
        build(small_suite, tmp_path / "out", other).corpora["docs"].tokens(0).tolist()
        == other("Text: text number 0")["input_ids"]
    )


def test_a_finished_folder_is_not_built_again(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    build(small_suite, tmp_path / "out", tokenizer)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    build(small_suite, tmp_path / "out", tokenizer)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_file_that_is_cut_is_told(small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    out = tmp_path / "out"
    build(small_suite, out, tokenizer)
    texts = out / "corpora" / "docs" / "texts"
    data = texts.read_bytes()
    texts.write_bytes(data[:-1])
    with pytest.raises(StoreError, match=f"texts: missing or not {len(data)} bytes long"):
        PreparedSuite.open(out)


def test_pages_the_corpus_lacks_are_distinct_negatives(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    toml = small_suite / "suite.toml"
    toml.write_text(toml.read_text() + 'kilt_dev = "kilt.jsonl"\n')
    sets = [["0", "x"], ["y"], ["x", "1", "y"]]
    output = [{"answer": "a"}, *({"provenance": [{"wikipedia_id": p} for p in pages]} for pages in sets)]
    write_jsonl(
        small_suite / "kilt.jsonl", [{"id": "q2", "output": output}, {"id": "q1", "output": [{"answer": "none"}]}]
    )
    dev = build(small_suite, tmp_path / "out", tokenizer).tasks["first"].dev
    found = dev.gold_pages(0)
    assert found is not None and [pages.tolist() for pages in found] == [[0, -2], [-3], [-2, 1, -3]]
    assert dev.ids == ["q2", "q1"] and dev.gold_pages(1) == [] and len(dev.positives(1)[0]) == 0


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        (
            "qrels/dev.tsv",
            QRELS_HEADER + "q2\tp0\t1\nq2\tp99\t1\n",
            "qrels/dev.tsv:3",
            "passage 'p99' is not in corpus 'docs'",
        ),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "x"}\n\n{"_id": "a", "text": "y"}\n',
            "corpus.jsonl:3",
            "'a' occurs twice .*:1",
        ),
        ("corpus.jsonl", "", "corpus.jsonl", "corpus 'docs' is empty"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b"\n', "corpus.jsonl:2", "not valid JSON"),
    ],
)
def test_what_only_shows_while_building(
    corrupt: Corrupt,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    content: str,
    place: str,
    message: str,
) -> None:
    folder = corrupt(name, content.encode())
    with pytest.raises(DataError, match=message) as caught:
        build(folder, tmp_path / "out", tokenizer)
    assert str(caught.value).startswith(f"{folder / place}: ")
    assert not (tmp_path / "out" / "prepared.json").exists()


def test_duplicates_across_shards_are_found(many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with (many / "corpus.jsonl").open("a") as stream:
        stream.write(json.dumps({"_id": "p0", "text": "again"}) + "\n")
    with pytest.raises(DataError, match=r"corpus\.jsonl:48: passage id 'p0' occurs twice \(first: corpus\.jsonl:1\)"):
        build(many, tmp_path / "out", tokenizer)


def test_progress_is_told(many: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    told: list[tuple[str, int, int | None]] = []
    suite = read_suite_folder(many)
    build_prepared(suite, tmp_path / "out", tokenizer, progress=lambda *what: told.append(what))
    assert [done for what, done, _ in told if what == "corpus docs"] == [10, 20, 30, 40, 47]
    totals = [total for what, _, total in told if what == "corpus docs"]
    assert totals[-1] == 47 and all(total is not None and 30 <= total <= 60 for total in totals)


def assert_says_what_the_files_say(folder: Path, out: Path) -> PreparedSuite:
    """The prepared form of a folder, after its ids, judgements, texts, pages and lengths were found right."""
    suite = read_suite_folder(folder)
    tokenizer = tiny_tokenizer((p.text for p in iter_passages(suite, suite.corpora[0])), 1000)
    prepared = build(folder, out, tokenizer, PrepareOptions(limit=50))
    for task in suite.tasks:
        data, found = read_task(suite, task).dev.first(50), prepared.tasks[task.name]
        corpus = prepared.corpora[task.corpus]
        for i in range(len(data)):
            assert [corpus.id(int(row)) for row in found.dev.positives(i)[0]] == list(data.positives[i])
            assert found.dev.text(i) == data.texts[i]
            if data.gold_pages is not None:
                sets = found.dev.gold_pages(i)
                assert sets is not None
                assert [[corpus.page_names[int(p)] for p in pages] for pages in sets] == data.gold_pages[i]
    assert all(
        corpus.lengths.max() <= suite.corpus(name).passage_max_length for name, corpus in prepared.corpora.items()
    )
    return prepared


@pytest.mark.parametrize("group", ["valley", "crafts"])
def test_folders_of_several_tasks(suites: Path, tmp_path: Path, group: str) -> None:
    prepared = assert_says_what_the_files_say(suites / group, tmp_path / "out")
    if group == "crafts":
        assert prepared.corpora["knots"].lengths.max() == 24, "texts longer than that were cut"
        assert prepared.corpora["bread"].lengths.max() > 24
    else:
        assert len(prepared.corpora["pages"].page_names) == 10


@pytest.mark.slow
@pytest.mark.parametrize("group", ["wiki8", "own"])
def test_the_real_suites(shared_data: Path, tmp_path: Path, group: str) -> None:
    assert_says_what_the_files_say(shared_data / group, tmp_path / "out")


def test_rules_add_files_and_fields_where_they_are_called_for(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    lines = (small_suite / "corpus.jsonl").read_text().splitlines()
    copy = json.dumps({**json.loads(lines[1]), "_id": "p9"})
    (small_suite / "corpus.jsonl").write_text("\n".join([*lines, copy]) + "\n")
    plain = build(small_suite, tmp_path / "plain", tokenizer)
    assert plain.corpora["docs"].copies is None
    assert (
        not plain.tasks["first"].own_ids
        and plain.tasks["first"].unranked(plain.tasks["first"].dev, plain.corpora["docs"]) is None
    )
    (small_suite / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q2\tp2\t1\nq1\tp0\t0\n")
    rules = {"copies": ["docs"], "own_ids": ["first"], "zero_judged": ["first"]}
    ruled = build(small_suite, tmp_path / "ruled", tokenizer, PrepareOptions(rules=rules))
    task, corpus = ruled.tasks["first"], ruled.corpora["docs"]
    assert corpus.copies is not None and corpus.copies.of(np.array([1])).tolist() == [4]
    assert task.own_ids and [task.dev.is_judged(i) for i in range(2)] == [True, True]
    assert task.not_negative(corpus)(0).tolist() == [1, 4]
    new = set(contents(tmp_path / "ruled")) - set(contents(tmp_path / "plain"))
    assert new == {"corpora/docs/copies", "corpora/docs/copy_starts", "tasks/first/dev/judged"}
    unchanged = json.loads((tmp_path / "plain" / "prepared.json").read_text())["tasks"]
    assert unchanged == [{"name": "first", "family": "qa", "corpus": "docs", "dev_corpus": "docs"}]


def test_the_passage_with_a_querys_own_id_is_found(
    small_suite: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = small_suite / "corpus.jsonl"
    path.write_text(path.read_text().replace('"p0"', '"q2"'))
    (small_suite / "qrels" / "dev.tsv").write_text(QRELS_HEADER + "q2\tp2\t1\n")
    toml = small_suite / "suite.toml"
    toml.write_text(toml.read_text() + "ignore_identical_ids = true\n")
    prepared = build(small_suite, tmp_path / "out", tokenizer)
    task, corpus = prepared.tasks["first"], prepared.corpora["docs"]
    unranked = task.unranked(task.dev, corpus)
    assert unranked is not None and unranked.tolist() == [0]
    train = task.unranked(task.train, corpus)
    assert train is not None and train.tolist() == [-1, -1]
