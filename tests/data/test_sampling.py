"""The seeded sample of train queries, in every format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_suites import QRELS_HEADER, SUITE_TOML, write_jsonl

from mtbench.data.loading import load_suite, suite_fingerprint
from mtbench.data.reading import read_task
from mtbench.data.sampling import smallest_hashes
from mtbench.errors import DataError


def numbered(count: int) -> list[tuple[int, int]]:
    return [(i, i) for i in range(count)]


def test_a_sample_is_a_function_of_the_seed_in_the_files_order() -> None:
    first, again, other = (smallest_hashes(numbered(1000), 100, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert first == sorted(set(first)) and len(first) == 100
    assert smallest_hashes(numbered(5), None, 0) == smallest_hashes(numbered(5), 10, 0) == list(range(5))
    assert set(smallest_hashes(numbered(1000), 50, 1)) < set(first)


def test_every_item_is_drawn_equally_often() -> None:
    counts = Counter(i for seed in range(2000) for i in smallest_hashes(numbered(20), 5, seed))
    assert all(abs(counts[i] - 500) < 100 for i in range(20))  # 5 standard deviations of a binomial


def write_suite(folder: Path, options: str = "") -> Path:
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"p{i}", "text": f"passage {i}"} for i in range(20)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(20)])
    (folder / "qrels").mkdir(exist_ok=True)
    for split, rows in (("train", range(15)), ("dev", range(15, 20))):
        lines = "".join(f"q{i}\tp{i}\t1\n" for i in rows)
        (folder / "qrels" / f"{split}.tsv").write_text(QRELS_HEADER + lines)
    (folder / "suite.toml").write_text(SUITE_TOML + options)
    return folder


def test_a_task_in_beirs_layout_trains_on_its_sample(tmp_path: Path) -> None:
    folder = write_suite(tmp_path)
    whole = load_suite(str(folder), "mini")
    everything = read_task(whole, whole.tasks[0])
    write_suite(tmp_path, "options = { sample = 6, sample_seed = 42 }\n")
    suite = load_suite(str(folder), "mini")
    data = read_task(suite, suite.tasks[0])
    assert len(data.train) == 6 and data.dev == everything.dev
    rows = [everything.train.ids.index(name) for name in data.train.ids]
    assert rows == smallest_hashes(numbered(15), 6, 42)
    assert data.train == everything.train.take(rows)
    assert suite_fingerprint(suite) != suite_fingerprint(whole)


@pytest.mark.parametrize("sample", ["0", "-1", '"many"', "true", "1.5"])
def test_a_sample_that_is_none_is_refused(tmp_path: Path, sample: str) -> None:
    with pytest.raises(DataError, match=r"options\.sample"):
        load_suite(str(write_suite(tmp_path, f"options = {{ sample = {sample} }}\n")), "mini")
