"""JSON arrays: elements one at a time, whatever the size of the file, and every break named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mtbench.data.json_array import iter_json_array
from mtbench.errors import DataError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def write(tmp_path: Path, content: bytes, name: str = "data.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_elements_come_with_the_line_they_start_at(tmp_path: Path) -> None:
    path = write(tmp_path, b'[\n {"a": [1, {"b": 2}]},\n\n "x", 17 ,null,\n -2.5]\n')
    assert list(iter_json_array(path)) == [(2, {"a": [1, {"b": 2}]}), (4, "x"), (4, 17), (4, None), (5, -2.5)]
    assert list(iter_json_array(write(tmp_path, b" [ ] "))) == []


def test_a_member_of_an_object(tmp_path: Path) -> None:
    path = write(
        tmp_path, json.dumps({"Version": 1.0, "Data": [{"Q": 1}, {"Q": 2}], "Split": "dev"}, indent=4).encode()
    )
    assert [item for _, item in iter_json_array(path, "Data")] == [{"Q": 1}, {"Q": 2}]
    with pytest.raises(DataError, match="Datum"):
        list(iter_json_array(path, "Datum"))


@pytest.mark.parametrize("chunk", [2, 3, 7, 64])
def test_any_chunk_size_gives_the_same(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"text": 'é "quoted" ]},{ \u200b \U0001f600', "n": [1, 2.5, -3]}, [], "x\\", 12345, True, {"e": {}}]
    path = write(tmp_path, json.dumps(values, ensure_ascii=False, indent=1).encode())
    monkeypatch.setattr("mtbench.data.json_array._CHUNK", chunk)
    assert [value for _, value in iter_json_array(path)] == values


def test_memory_is_that_of_one_element(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "big.json.gz"
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.write("[" + ",".join(json.dumps({"n": i, "text": "word " * 2000}) for i in range(3000)) + "]")
    tracemalloc.start()
    assert sum(1 for _ in iter_json_array(path)) == 3000
    assert tracemalloc.get_traced_memory()[1] < 12 << 20  # the file is 30 MB unpacked
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b'{"a": 1}\n', 1, "expected a JSON array"),
        (b'[{"a": 1},\n {"a": ', 2, "not valid JSON"),
        (b'[{"a": 1}\n', 2, "ends in the middle"),
        (b'[{"a": 1}\n {"a": 2}]', 2, "expected ',' or ']'"),
        (b'[1,\n2,\n"\xff"]', 3, "not UTF-8"),
        (b'[1,\n"\0"]', 2, "NUL"),
        (LFS, 1, "Git LFS pointer"),
        (b"", 1, "ends in the middle"),
    ],
)
def test_broken_arrays(tmp_path: Path, content: bytes, line: int, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        list(iter_json_array(path))
    assert (caught.value.path, caught.value.line) == (path, line)


def test_truncated_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps([{"n": i * 7919 % 1013} for i in range(20_000)]).encode())
    with pytest.raises(DataError, match="end in the middle"):
        list(iter_json_array(write(tmp_path, packed[: len(packed) // 2], "a.json.gz")))
