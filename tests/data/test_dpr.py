"""DPR-style files and the seeded sample."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mtbench.data.dpr import Row, iter_dpr
from mtbench.errors import DataError


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def read_like_json(path: Path) -> list[Row]:
    """The rows of a file in DPR's own form, after they were found equal to what the whole file says."""
    rows = list(iter_dpr(path))
    raw = json.loads(path.read_text("utf-8"))
    assert [row.question for row in rows] == [record["question"] for record in raw]
    assert [len(row.positives) for row in rows] == [len({c["passage_id"] for c in r["positive_ctxs"]}) for r in raw]
    return rows


def test_a_file_of_dprs_own_form(formats: Path) -> None:
    rows = read_like_json(formats / "dpr" / "biencoder_dev.json")
    assert [row.positives for row in rows] == [["90011001", "90011002"], ["90014002"], []]


def test_the_real_dpr_file(shared_data: Path) -> None:
    rows = read_like_json(shared_data / "formats" / "dpr" / "biencoder_nq_dev_sample.json")
    assert rows[0].positives[0] == "11828866" and len(rows) == 5


def test_multikilt_ids_are_numbers_and_gzip_is_read(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "positive_ctxs": [{"psg_id": 12}, {"psg_id": 7}, {"psg_id": 12}], "hard_negative_ctxs": []},
        {"question": "b", "positive_ctxs": []},
        {"question": "c"},
    ]
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert [(r.number, r.question, r.positives) for r in iter_dpr(path)] == [
        (0, "a", ["12", "7"]),
        (1, "b", []),
        (2, "c", []),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"question": "a"}, "expected a JSON array"),
        (["a"], "element 0 is not an object"),
        ([{"positive_ctxs": []}], "'question' must be a string"),
        (
            [{"question": "a", "positive_ctxs": {}}, {"question": "b", "positive_ctxs": {"x": 1}}],
            "of element 1 must be a list",
        ),
        ([{"question": "a", "positive_ctxs": [{"title": "t", "text": "x"}]}], "no psg_id or passage_id"),
        ([{"question": "a", "positive_ctxs": ["x"]}], "no psg_id or passage_id"),
    ],
)
def test_wrong_rows(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(iter_dpr(write(tmp_path / "x.json", value)))
