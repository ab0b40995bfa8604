"""Results as pandas objects: the board's and the records' own numbers, shown in a notebook with their notes."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from synthetic_records import TASKS, family, make_record, write_all

import mtbench
from mtbench.cli.main import main
from mtbench.errors import UsageError


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [*family(3, tsage=0.012), make_record("cgd", 0, status="failed", tasks={})]
    return write_all(tmp_path_factory.mktemp("results"), records)


def test_a_board_is_the_leaderboards_numbers(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = mtbench.leaderboard("toy", results=results)
    assert main(["leaderboard", "--suite", "toy", "--results", str(results), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert list(frame.index) == list(rows)
    for name, row in rows.items():
        line = frame.loc[name]
        for task in TASKS:
            expected = row["tasks"][task]["mean"]
            assert line[task] == expected if expected is not None else math.isnan(line[task])
        if row["gain"] and row["gain"]["p_holm"] is not None:
            assert (line["gain"], line["p"]) == (row["gain"]["difference"], row["gain"]["p_holm"])
    assert "failed" in frame.loc["cgd", "notes"] and frame.loc["cgd", "seeds"] == 0
    assert frame["average"].dtype == float and frame["best_tier"].dtype == "boolean"


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_a_board_with_its_notes_and_parts_as_plain_frames(results: Path) -> None:
    frame = mtbench.leaderboard("toy", results=results)
    page = Text()
    page.feed(frame._repr_html_())
    assert page.tags.count("table") == 1 and page.tags.count("tr") == len(frame) + 1
    assert "Holm" in page.text and f"{100 * frame.loc['tsage', 'average']:.2f}" in page.text
    for part in (frame[["average"]], frame.head(1), frame.sort_values("fever")):
        assert type(part) is pd.DataFrame


def test_a_comparison_by_task(results: Path, tmp_path: Path) -> None:
    frame = mtbench.compare("tsage", "naive", "toy", results=results, store=tmp_path)
    assert list(frame.index) == [*TASKS, "average"]
    board = mtbench.leaderboard("toy", results=results)
    assert frame.loc["average", "difference"] == pytest.approx(board.loc["tsage", "gain"])
    assert frame.loc["average", "n"] == 3 and frame["won"].isna().all()
    assert "no evidence" in frame._repr_html_().lower()
    with pytest.raises(UsageError, match="nobody"):
        mtbench.compare("tsage", "nobody", "toy", results=results)


def test_a_comparison_with_published_figures(tmp_path: Path) -> None:
    values = {"fever": 0.86, "nq": 0.2}
    folder = write_all(tmp_path, [make_record("tsage", 0, suite="kilt", tasks=values)])
    frame = mtbench.compare("tsage", "published", results=folder)
    assert frame.loc["fever", "second"] == pytest.approx(0.8617) and frame.loc["fever", "verdict"] == "OK"
    assert frame.loc["nq", "verdict"] == "off" and "not" in frame._repr_html_()


def test_records_are_a_long_table(results: Path) -> None:
    frame = mtbench.records(results, suite="toy")
    runs = frame[frame.status == "complete"]
    assert len(runs) == 8 * len(TASKS) * 2  # two metrics
    pivot = runs[(runs.optimizer == "tsage") & (runs.metric == "rprecision_page")].pivot(
        index="seed", columns="task", values="value"
    )
    assert pivot.shape == (3, len(TASKS)) and pivot.notna().all().all()
    assert frame[frame.optimizer == "cgd"].value.isna().all()
    with pytest.raises(UsageError, match="mtbench run"):
        mtbench.records(results, suite="other")


def test_the_package_of_records_is_a_package_still() -> None:
    from mtbench.records.files import load_records

    assert callable(load_records) and mtbench.records.files.load_records is load_records
