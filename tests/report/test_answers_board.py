"""The board of answers beside retrieval, from records with known contents."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from synthetic_records import LEVELS, make_record
from typer.testing import CliRunner

from mtbench.errors import UsageError
from mtbench.records.files import load_records, write_record
from mtbench.report.answers_board import AnswersBoard, build_answers, correlate, load_answers
from mtbench.report.answers_text import correlation_sentence, header, lines, print_answers, render_answers
from mtbench.report.leaderboard import load_board

METRICS = {"nq": "em", "hotpotqa": "em", "fever": "accuracy", "wow": "f1"}
SHIFT = {"nq": 0.04, "hotpotqa": -0.02, "fever": 0.01, "wow": 0.0}
"""What tsage gains on each task; answers gain half of it."""
READER = {"model": {"name": "tiny"}, "passages": 3}


def record(name: str, seed: int, found: dict[str, float], answered: dict[str, float], **more: Any) -> dict[str, Any]:
    made = make_record(name, seed, tasks=found, reader={**READER, **more})
    made["per_query"] = {"stage": "evaluate", "fingerprint": f"{name}{seed}", "file": "scores.parquet", "sha256": "x"}
    for task, value in answered.items():
        own = METRICS[task]
        made["tasks"][task]["downstream"] = {own: value, f"KILT-{own}": value / 2, "rougel": 0.1}
    made["downstream"] = {
        "metrics": METRICS,
        "average": sum(answered.values()) / len(answered),
        "kilt_average": sum(answered.values()) / len(answered) / 2,
        "per_query": {**made["per_query"], "stage": "read"},
        "reader": {},
    }
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    for seed in range(3):
        noise = 0.001 * seed
        base = {t: v + noise for t, v in LEVELS.items()}
        own = {t: base[t] + SHIFT[t] * (1 + 0.1 * seed) for t in base}
        answers = {t: 0.5 * base[t] for t in base}
        runs = [
            record("naive", seed, base, answers),
            record("tsage", seed, own, {t: answers[t] + 0.5 * (own[t] - base[t]) for t in own}),
            record("bm25", seed, dict.fromkeys(base, 0.3), dict.fromkeys(base, 0.2 + noise)),
            record("closed-book", seed, dict.fromkeys(base, 0.0), dict.fromkeys(base, 0.1 + noise)),
            record("gold", seed, dict.fromkeys(base, 1.0), dict.fromkeys(base, 0.9 - noise)),
        ]
        for made in runs:
            if made["spec"]["optimizer"]["name"] in ("bm25", "closed-book", "gold"):
                made["per_query"]["fingerprint"] = made["spec"]["optimizer"]["name"]
            write_record(folder, made)
    plain = make_record("naive", 0, tasks=dict(LEVELS))
    plain["per_query"] = {"stage": "evaluate", "fingerprint": "naive0", "file": "scores.parquet", "sha256": "x"}
    write_record(folder, plain)
    return folder


@pytest.fixture(scope="module")
def board(results: Path) -> AnswersBoard:
    return load_answers(results, "toy", "mini")


def test_rows_are_ranked_by_their_answers_with_retrieval_beside(board: AnswersBoard) -> None:
    assert [r.name for r in board.rows] == ["gold passages", "tsage", "naive", "BM25", "closed book"]
    tsage = board.rows[1]
    assert tsage.retrieval is not None and tsage.retrieval.gain is not None and tsage.answers.gain is not None
    mean = sum(SHIFT.values()) / 4 * 1.1
    assert tsage.retrieval.gain.difference == pytest.approx(mean)
    assert tsage.answers.gain.difference == pytest.approx(mean / 2)
    assert tsage.answers.gain.n == 3 and tsage.answers.gain.p_holm is not None
    assert tsage.kilt.mean == pytest.approx((tsage.answers.average.mean or 0) / 2)
    assert board.rows[4].retrieval is None, "nothing is retrieved for a closed book"
    assert board.rows[0].answers.gain is not None and len(board.rows[0].answers.seeds_done) == 3


def test_the_correlation_is_that_of_the_gains(board: AnswersBoard) -> None:
    found = board.correlation
    pairs = [(SHIFT[t] * 1.1, 0.55 * SHIFT[t]) for t in LEVELS]
    pairs += [(0.3 - LEVELS[t] - 0.001, 0.201 - 0.5 * (LEVELS[t] + 0.001)) for t in LEVELS]
    assert found.r == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])
    assert (found.pairs, found.methods, found.tasks) == (8, 2, 4)
    assert found.low is not None and found.high is not None and found.low <= found.r <= found.high
    assert found.slope == pytest.approx(np.polyfit(*np.array(pairs).T, 1)[0])
    assert correlation_sentence(found).startswith("Gain in retrieval against gain in answers, over 8 pairs")


def test_too_little_to_correlate_is_said(board: AnswersBoard) -> None:
    assert correlate(board.rows[2:3], list(board.board.tasks)).r is None
    two = correlate(board.rows[1:2], ["nq", "fever"])
    assert two.r is None and "three tasks" in correlation_sentence(two)


def test_other_boards_know_nothing_of_readers(results: Path) -> None:
    board = load_board(results, "toy", "mini")
    assert [r.name for r in board.rows] == ["tsage", "naive", "BM25"]
    bm25 = board.rows[2]
    assert bm25.seeds_done == [0], "one stage scored it, whatever the reader's seed"
    assert not any("two records" in note for row in board.rows for note in row.notes)
    assert load_board(results, "toy", "mini", protocol="all").rows[1].average.n == 3


def test_another_reader_is_another_configuration(results: Path, tmp_path: Path) -> None:
    loaded = load_records(results, suite="toy", profile="mini", summary=True)
    other = record("naive", 0, LEVELS, dict.fromkeys(LEVELS, 0.7), passages=1)
    write_record(tmp_path, other)
    both = [i for i in loaded if "reader" in i.record["spec"]] + load_records(tmp_path, summary=True)
    names = [row.name for row in build_answers(both).rows]
    assert "naive [reader.passages=1]" in names and "naive" in names


def test_every_format_has_the_figures(board: AnswersBoard) -> None:
    text = render_answers(board, "md")
    assert text.startswith("**toy@1, profile mini: answers beside page R-precision, in percent**")
    assert "| tsage |" in text and "em of nq, hotpotqa; accuracy of fever; f1 of wow" in text
    table = {row[0]: dict(zip(header(board)[2:], row[3:], strict=True)) for row in lines(board)}
    assert table["BM25"]["answers"].startswith("20.10") and table["BM25"]["KILT"] == "10.05"
    rows = list(csv.DictReader(io.StringIO(render_answers(board, "csv"))))
    assert len(rows) == 5 * 5
    average = next(r for r in rows if r["method"] == "tsage" and r["task"] == "average")
    assert float(average["kilt_answers"]) == pytest.approx(float(average["answers"]) / 2)
    plain = json.loads(render_answers(board, "json"))
    assert plain["correlation"]["r"] == board.correlation.r and plain["rows"][4]["retrieval"] is None
    assert "\\toprule" in render_answers(board, "tex")
    console = Console(width=60, record=True, file=io.StringIO())
    print_answers(board, console)
    assert "closed book" in console.export_text()
    with pytest.raises(UsageError, match="no format 'html'"):
        render_answers(board, "html")


def test_published_rows_are_of_kilt_alone(results: Path) -> None:
    found = load_answers(results, "toy", "mini", published=True)
    assert not found.published and any("No published answers" in note for note in found.notes)
    loaded = [i for i in load_records(results, summary=True) if "reader" in i.record["spec"]]
    for item in loaded:
        item.record["spec"]["suite"] = "kilt"
    reported = build_answers(loaded, published=True)
    assert [s.system for s in reported.published] == ["MT-DPR + BART", "RAG", "DPR + BART", "T5"]
    assert reported.published[0].tasks == {"nq": 0.3975, "hotpotqa": 0.3177, "fever": 0.8632, "wow": 0.1512}
    assert lines(reported)[-4][0] == "MT-DPR + BART" and lines(reported)[-4][3] == "53.30"


def test_a_record_whose_answers_are_no_figures_is_named(results: Path, tmp_path: Path) -> None:
    made = record("naive", 0, LEVELS, LEVELS)
    made["tasks"]["nq"]["downstream"]["em"] = "much"
    with pytest.raises(ValueError, match=r"tasks\.nq\.downstream"):
        write_record(tmp_path, made)
    made = record("naive", 0, LEVELS, LEVELS)
    del made["tasks"]["nq"]["downstream"]
    with pytest.raises(ValueError, match=r"tasks\.nq\.downstream is missing"):
        write_record(tmp_path, made)


def test_without_a_reader_the_command_is_told(tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    with pytest.raises(UsageError, match=r"mtbench run .* --reader"):
        load_answers(tmp_path, "toy", "mini")


def test_the_verb_prints_it(results: Path) -> None:
    import typer

    from mtbench.cli.leaderboard import command

    app = typer.Typer()
    app.command()(command)
    place = ["--suite", "toy", "--results", str(results), "--downstream"]
    done = CliRunner().invoke(app, [*place, "--format", "md"])
    assert done.exception is None and "| gold passages |" in done.stdout
    wrong = CliRunner().invoke(app, [*place, "--metric", "recall@100"])
    assert isinstance(wrong.exception, UsageError) and "leave --metric out" in str(wrong.exception)
