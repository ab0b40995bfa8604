"""KILT's figures: its own evaluator tests, the corner cases, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtbench.errors import DataError, MtbenchError, UsageError
from mtbench.evaluation.kilt_scores import metric_names, parse_ks, query_metrics, score_files


def provenance(*pages: Any) -> dict[str, Any]:
    return {"provenance": [{"wikipedia_id": page} for page in pages]}


def score(found: list[Any], gold: list[dict[str, Any]], *ks: int) -> dict[str, float]:
    return query_metrics({"output": [provenance(*found)]}, {"output": gold}, ks or (1, 2, 5))


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


OFFICIAL = {
    ("gold1", "guess1_1"): {"Rprec": 1 / 3, "precision@1": 1 / 3, "recall@5": 1 / 3},
    # The figures that KILT's tests/test_eval_retrieval.py asserts.
    ("gold2", "guess2_1"): {
        "Rprec": 1 / 2,
        "precision@1": 1,
        "precision@5": 2 / 5,
        "recall@5": 2 / 3,
        "success_rate@5": 1,
    },
    ("gold2", "guess2_2"): {
        "Rprec": 1,
        "precision@1": 1,
        "precision@5": 1 / 5,
        "recall@5": 1 / 3,
        "success_rate@5": 1,
    },
    ("gold3", "guess3_1"): {
        "Rprec": 1 / 2,
        "precision@1": 1 / 2,
        "precision@5": 1 / 10,
        "success_rate@5": 1 / 2,
    },
}


@pytest.mark.parametrize(("gold", "guess"), OFFICIAL)
def test_kilts_own_evaluator_tests(shared_data: Path, gold: str, guess: str) -> None:
    folder = shared_data / "formats" / "kilt_eval_tests"
    keys = [["wikipedia_id"]]
    if gold == "gold2":  # the one file that has sections and paragraphs
        keys += [["wikipedia_id", "section"], ["wikipedia_id", "start_paragraph_id", "end_paragraph_id"]]
    for rank_keys in keys:
        scores = score_files(folder / f"{gold}.jsonl", folder / f"{guess}.jsonl", [1, 5], rank_keys)
        for name, expected in OFFICIAL[gold, guess].items():
            assert scores.metrics[name] == expected, name


RPREC = {
    "repeated pages count once": (["A", "A", "A", "B"], [provenance("A", "B")], 1.0),
    "the best set counts": (["C"], [provenance("A", "B"), provenance("C")], 1.0),
    "a set that repeats a page is smaller": (["A"], [provenance("A", "A")], 1.0),
    "outputs without provenance are passed over": (["A"], [{"answer": "x"}, provenance("A")], 1.0),
    "numbers and text are equal ids": ([7, " 8 "], [provenance("7", 8)], 1.0),
    "only the first R pages count": (["X", "A", "B"], [provenance("A", "B")], 0.5),
    "no provenance in any output": (["A"], [{"answer": "x"}], 0.0),
    "nothing found": ([], [provenance("A")], 0.0),
    "null is an id like any other": ([None], [provenance(None)], 1.0),
}


@pytest.mark.parametrize("case", RPREC)
def test_page_rprecision(case: str) -> None:
    found, gold, expected = RPREC[case]
    assert score(found, gold)["Rprec"] == expected


def test_a_set_counts_at_the_rank_of_its_last_page_and_as_one_point() -> None:
    scores = score(["A", "X", "B", "Y"], [provenance("A", "B")], 1, 2, 3)
    assert [scores[f"recall@{k}"] for k in (1, 2, 3)] == [0, 1, 1]  # A moves up to B: points X, {A, B}, Y
    assert [scores[f"precision@{k}"] for k in (1, 2, 3)] == [0, 1 / 2, 1 / 3]
    assert [scores[f"success_rate@{k}"] for k in (1, 2, 3)] == [0, 1, 1]


def test_a_page_of_two_sets_makes_two_points() -> None:
    scores = score(["A", "B"], [provenance("A"), provenance("A", "B")], 1, 2)
    assert scores["recall@1"] == 1 / 2
    assert scores["recall@2"] == 1.0
    assert scores["precision@2"] == 1.0


def test_equal_sets_count_once_and_success_needs_one_whole_set() -> None:
    assert score(["A"], [provenance("A"), provenance("A")], 1)["recall@1"] == 1.0
    assert score(["A"], [provenance("A", "B")], 5)["success_rate@5"] == 0.0


def test_an_empty_provenance_list_is_a_set_that_nothing_finds() -> None:
    assert score(["A"], [provenance("A"), provenance()], 5)["recall@5"] == 1 / 2
    assert score(["A"], [provenance("A"), {"answer": "x"}], 5)["recall@5"] == 1.0


def test_provenance_without_the_page_is_skipped_in_the_prediction() -> None:
    guess = {"output": [{"provenance": [{"title": "Alpha"}, {"wikipedia_id": "A"}]}]}
    assert query_metrics(guess, {"output": [provenance("A")]}, [1])["precision@1"] == 1.0


def test_precision_is_over_k_even_when_fewer_pages_are_given() -> None:
    assert score(["A"], [provenance("A")], 20)["precision@20"] == 1 / 20


def test_files_are_aligned_by_id_and_other_predictions_are_left_out(tmp_path: Path) -> None:
    gold = write(
        tmp_path / "gold.jsonl",
        [{"id": 1, "output": [provenance("A")]}, {"id": "2", "output": [provenance("B")]}],
    )
    guess = write(
        tmp_path / "guess.jsonl",
        [
            {"id": 9, "output": [provenance("Z")]},
            {"id": " 2", "output": [{"answer": "b"}, provenance("X")]},
            {"id": "1", "output": [provenance("A")]},
        ],
    )
    scores = score_files(gold, guess)
    assert scores.ids == ["1", "2"]
    assert scores.per_query["Rprec"] == [1.0, 0.0]
    assert scores.metrics["Rprec"] == 0.5
    assert scores.unused == 1


def test_real_gold_files_score_one_against_themselves(shared_data: Path, tmp_path: Path) -> None:
    for name in ("hotpotqa", "wow"):
        gold = shared_data / "formats" / "kilt_dev" / f"{name}-dev-kilt.jsonl"
        records = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()]
        best = [
            {"id": str(r["id"]), "output": [max(r["output"], key=lambda o: len(o.get("provenance", ())))]}
            for r in records
        ]
        scores = score_files(gold, write(tmp_path / f"{name}.jsonl", best))
        assert scores.metrics["Rprec"] == 1.0
        assert scores.metrics["success_rate@20"] == 1.0
        nothing = [{"id": r["id"], "output": [provenance()]} for r in records]
        assert set(score_files(gold, write(tmp_path / "none.jsonl", nothing)).metrics.values()) == {0.0}


REFUSED = {
    "no prediction for 1 of 2": ('{"id": 1, "output": [{"provenance": []}]}', None),
    "guess.jsonl:2: not valid JSON": ('{"id": 1, "output": [{"provenance": []}]}\n{"id": 2,', None),
    "guess.jsonl:2: id '1' occurs twice": ('{"id": 1, "output": [{"provenance": []}]}\n' * 2, None),
    "guess.jsonl:1: id 1 has 2 outputs with provenance": (
        '{"id": 1, "output": [{"provenance": []}, {"provenance": []}]}',
        None,
    ),
    "guess.jsonl:1: id 1 has 0 outputs with provenance": ('{"id": 1, "output": [{"answer": "x"}]}', None),
    'guess.jsonl:1: the record has no "id"': ('{"output": []}', None),
    "guess.jsonl:1: is a JSON array": ("[1, 2]", None),
    'gold.jsonl:1: id 1 has no "output" list': ("{}", '{"id": 1, "output": []}'),
    "gold.jsonl: the gold file has no lines": ('{"id": 1, "output": [{"provenance": []}]}', ""),
    'its "provenance" a list': ('{"id": 1, "output": [{"provenance": {"wikipedia_id": 1}}]}', None),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_the_official_script_refuses_is_one_clear_error(message: str, tmp_path: Path) -> None:
    guess_text, gold_text = REFUSED[message]
    gold = write(tmp_path / "gold.jsonl", [{"id": i, "output": [provenance("A")]} for i in (1, 2)])
    if gold_text is not None:
        gold.write_text(gold_text)
    guess = tmp_path / "guess.jsonl"
    guess.write_text(guess_text)
    with pytest.raises(DataError) as raised:
        score_files(gold, guess)
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MtbenchError, match=r"absent\.jsonl: "):
        score_files(tmp_path / "absent.jsonl", tmp_path / "absent.jsonl")


def test_crlf_byte_order_mark_and_blank_lines_are_read(tmp_path: Path) -> None:
    line = json.dumps({"id": "ä", "output": [provenance("A")]}, ensure_ascii=False)
    path = tmp_path / "crlf.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    assert score_files(path, path).metrics["Rprec"] == 1.0


def test_ks_are_sorted_and_checked() -> None:
    assert parse_ks("20, 1,5,5") == [1, 5, 20]
    assert metric_names([5]) == ["Rprec", "precision@5", "recall@5", "success_rate@5"]
    for text in ("", "0", "-1", "1.5", "five"):
        with pytest.raises(UsageError, match="--ks"):
            parse_ks(text)
