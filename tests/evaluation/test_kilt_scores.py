"""KILT's figures: worked by hand, by its rules written out, its own evaluator tests; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kilt_oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtbench.errors import DataError, MtbenchError, UsageError
from mtbench.evaluation.kilt_scores import metric_names, parse_ks, query_metrics, score_files


def provenance(*pages: Any) -> dict[str, Any]:
    return {"provenance": [{"wikipedia_id": page} for page in pages]}


def score(found: list[Any], gold: list[dict[str, Any]], *ks: int) -> dict[str, float]:
    return query_metrics({"output": [provenance(*found)]}, {"output": gold}, ks or (1, 2, 5))


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


# The gold sets are {10, 11}, {20} and {30, 31, 32}. "in_pieces" finds 99, 11, 30, 20, 10, 98, 31, 97. As points, where
# a set stands at its last page: 99 no, 20 yes, {10, 11} yes, 98 no, {30, 31} only in part, 97 no. R-precision is 1/2
# for {10, 11} (11 among 99 and 11), 0 for {20} and 1/3 for {30, 31, 32}.
THREE_SETS = {
    "in_pieces": {
        "Rprec": 1 / 2,
        "precision@1": 0,
        "recall@1": 0,
        "success_rate@1": 0,
        "precision@2": 1 / 2,
        "recall@2": 1 / 3,
        "success_rate@2": 1,
        "precision@5": 2 / 5,
        "recall@5": 2 / 3,
        "success_rate@5": 1,
    },
    "one_page": {
        "Rprec": 1,
        "precision@1": 1,
        "recall@1": 1 / 3,
        "success_rate@1": 1,
        "precision@2": 1 / 2,
        "recall@2": 1 / 3,
        "success_rate@2": 1,
        "precision@5": 1 / 5,
        "recall@5": 1 / 3,
        "success_rate@5": 1,
    },
}
RANK_KEYS = [
    ["wikipedia_id"],
    ["wikipedia_id", "section"],
    ["wikipedia_id", "start_paragraph_id", "end_paragraph_id"],
]


@pytest.mark.parametrize("keys", RANK_KEYS, ids="+".join)
@pytest.mark.parametrize("guess", THREE_SETS)
def test_three_sets_worked_by_hand(formats: Path, guess: str, keys: list[str]) -> None:
    folder = formats / "kilt_scores"
    scores = score_files(folder / "three_sets-gold.jsonl", folder / f"{guess}-guess.jsonl", [1, 2, 5], keys)
    assert scores.metrics == THREE_SETS[guess]


def test_four_queries_worked_by_hand(formats: Path) -> None:
    folder = formats / "kilt_scores"
    scores = score_files(folder / "pages-gold.jsonl", folder / "pages-guess.jsonl", [1, 2, 3])
    assert (scores.ids, scores.unused) == (["1", "2", "3", "5"], 1)
    # 1: found, after an item without an id. 2: not found. 3: pages 1 and 3 of a set of two, and a set that is empty.
    # 5: the first of two sets at once (it repeats), the other at the third page.
    assert scores.per_query == {
        "Rprec": [1, 0, 1 / 2, 1],
        "precision@1": [1, 0, 0, 1],
        "recall@1": [1, 0, 0, 1 / 2],
        "success_rate@1": [1, 0, 0, 1],
        "precision@2": [1 / 2, 0, 1 / 2, 1 / 2],
        "recall@2": [1, 0, 1 / 2, 1 / 2],
        "success_rate@2": [1, 0, 1, 1],
        "precision@3": [1 / 3, 0, 1 / 3, 2 / 3],
        "recall@3": [1, 0, 1 / 2, 1],
        "success_rate@3": [1, 0, 1, 1],
    }
    assert scores.metrics == {name: sum(values) / 4 for name, values in scores.per_query.items()}


ITEMS = st.fixed_dictionaries(
    {"wikipedia_id": st.sampled_from([1, 2, "1", " 2", "3", 4, None]), "section": st.sampled_from(["a", "b", 1])}
)
OUTPUTS = st.one_of(
    st.just({"answer": "x"}), st.lists(ITEMS, max_size=4).map(lambda items: {"answer": "x", "provenance": items})
)
FOUND = st.lists(st.one_of(ITEMS, st.just({"title": "no id"})), max_size=8)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(FOUND, st.lists(OUTPUTS, min_size=1, max_size=4), st.sampled_from(RANK_KEYS[:2]))
def test_figures_equal_the_rules_written_out(
    found: list[dict[str, Any]], outputs: list[dict[str, Any]], keys: list[str]
) -> None:
    guess, gold, ks = {"output": [{"provenance": found}]}, {"output": outputs}, [1, 2, 3, 5, 20]
    assert query_metrics(guess, gold, ks, keys) == kilt_oracle.figures(guess, gold, ks, keys)


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


def assert_best_is_one_and_nothing_is_zero(gold: Path, folder: Path) -> None:
    """The longest provenance of each gold record as the prediction, and then nothing at all."""
    records = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()]
    best = [
        {"id": str(r["id"]), "output": [max(r["output"], key=lambda o: len(o.get("provenance", ())))]} for r in records
    ]
    scores = score_files(gold, write(folder / "best.jsonl", best))
    assert scores.metrics["Rprec"] == 1.0
    assert scores.metrics["success_rate@20"] == 1.0
    nothing = [{"id": r["id"], "output": [provenance()]} for r in records]
    assert set(score_files(gold, write(folder / "none.jsonl", nothing)).metrics.values()) == {0.0}


@pytest.mark.parametrize("task", ["nq", "hotpotqa", "wow", "trex", "fever", "structured_zeroshot", "aidayago2"])
def test_gold_files_score_one_against_themselves(task: str, formats: Path, tmp_path: Path) -> None:
    assert_best_is_one_and_nothing_is_zero(formats / "kilt" / task / f"{task}-dev-kilt.jsonl", tmp_path)


@pytest.mark.parametrize("task", ["hotpotqa", "wow"])
def test_real_gold_files_score_one_against_themselves(task: str, shared_data: Path, tmp_path: Path) -> None:
    assert_best_is_one_and_nothing_is_zero(shared_data / "formats" / "kilt_dev" / f"{task}-dev-kilt.jsonl", tmp_path)


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
