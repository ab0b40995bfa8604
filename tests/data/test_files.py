"""Every way in which a raw file can be broken is told apart, with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mtbench.data.files import find_file, iter_json_lines, iter_lines
from mtbench.errors import DataError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def write(tmp_path: Path, content: bytes, name: str = "data.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\u2028b\x0bc\n\u200bd\n".encode(), ["a\u2028b\x0bc", "\u200bd"]),
        (b"", []),
    ],
)
def test_lines_end_at_line_feeds_only(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    found = list(iter_lines(write(tmp_path, content)))
    assert [text for _, text in found] == lines
    assert [number for number, _ in found] == list(range(1, len(lines) + 1))


def test_gzip_is_recognised_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    assert list(iter_lines(write(tmp_path, gzip.compress(b"a\nb\n"), "plain.txt"))) == [(1, "a"), (2, "b")]
    assert list(iter_lines(write(tmp_path, b"a\n", "not.gz"))) == [(1, "a")]


def test_a_file_is_found_with_or_without_gz(tmp_path: Path) -> None:
    packed = write(tmp_path, b"x", "a.tsv.gz")
    plain = write(tmp_path, b"x", "b.tsv")
    assert find_file(tmp_path, "a.tsv") == packed
    assert find_file(tmp_path, "b.tsv.gz") == plain
    with pytest.raises(DataError, match=r"c\.tsv: corpus not found"):
        find_file(tmp_path, "c.tsv", "corpus")
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="this is a folder"):
        find_file(tmp_path, "d")


GOOD = b'{"a": 1}\n'
BROKEN_LINES = {
    "lfs": (LFS, 1, "Git LFS pointer"),
    "nul": (GOOD * 2 + b'{"a": "\0"}\n', 3, "NUL"),
    "latin1": (GOOD + b'{"a": "caf\xe9"}\n', 2, "not UTF-8"),
    "array": (b'[{"a": 1},\n {"a": 2}]', 1, "JSON array"),
    "no newlines": (b'{"a": 1}{"a": 2}\n', 1, "without newlines"),
    "not json": (GOOD + b'{"a": \n', 2, "not valid JSON"),
    "scalar": (GOOD + b"17\n", 2, "a JSON object, found int"),
    "surrogate": (GOOD + b'{"a": "\\ud800"}\n', 2, "surrogate"),
    "deep": (GOOD + b"[" * 200_000 + b"\n", 2, "nested too deeply|not valid JSON"),
}


@pytest.mark.parametrize("case", BROKEN_LINES)
def test_broken_json_lines_name_file_and_line(tmp_path: Path, case: str) -> None:
    content, line, message = BROKEN_LINES[case]
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        list(iter_json_lines(path))
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_blank_lines_are_no_records(tmp_path: Path) -> None:
    assert [line for line, _ in iter_json_lines(write(tmp_path, GOOD + b"\n  \n" + GOOD))] == [1, 4]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated_gzip_names_the_line_it_breaks_at(tmp_path: Path, keep: float) -> None:
    import random

    rng = random.Random(1)
    packed = gzip.compress("".join(f'{{"a": {rng.random()}}}\n' for _ in range(5000)).encode())
    path = write(tmp_path, packed[: int(len(packed) * keep)], "data.jsonl.gz")
    seen = []
    with pytest.raises(DataError, match="end in the middle") as caught:
        seen.extend(line for line, _ in iter_json_lines(path))
    assert caught.value.line is not None and caught.value.line >= len(seen) > 0
    assert "fetch it again" in str(caught.value)


def test_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(GOOD * 5000))
    packed[-6] ^= 1  # in the checksum
    with pytest.raises(DataError, match="damaged"):
        list(iter_json_lines(write(tmp_path, bytes(packed), "data.jsonl.gz")))
