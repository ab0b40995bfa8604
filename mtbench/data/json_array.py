"""A JSON array of any size, one element at a time."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtbench.data.files import broken_gzip, open_binary
from mtbench.errors import DataError

MAX_ELEMENT = 1 << 28
_CHUNK = 1 << 20


def iter_json_array(path: Path, key: str | None = None) -> Iterator[tuple[int, Any]]:
    """Elements of a JSON array as ``(line where it starts, element)``, parsed one at a time.

    ``key`` names the member that holds the array if the file is an object (``{"Data": [...]}``). Memory is that of
    the largest element. Raises DataError with the line for anything that is not such an array, or that ends early.
    """
    scanner = _Scanner(path)
    with scanner.stream:
        try:
            _enter_array(scanner, key)
            while True:
                scanner.skip(" \t\r\n")
                if scanner.peek() == "]":
                    return
                line = scanner.line
                yield line, scanner.value()
                scanner.skip(" \t\r\n")
                if scanner.peek() not in ",]":
                    raise DataError("expected ',' or ']' between the elements", path=path, line=scanner.line)
                if scanner.peek() == ",":
                    scanner.advance(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise broken_gzip(path, scanner.line, error) from error


def _enter_array(scanner: _Scanner, key: str | None) -> None:
    scanner.skip(" \t\r\n\ufeff")
    if key is not None:
        scanner.find_key(key)
    if scanner.peek() != "[":
        name = f"the array {key!r}" if key else "a JSON array"
        raise DataError(f"expected {name}", path=scanner.path, line=scanner.line, remedy="Is this the right file?")
    scanner.advance(1)


class _Scanner:
    """A window over a text file that grows only until the value at its start is whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.stream, self.line = path, open_binary(path), 1
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._text, self._start, self._ended = "", 0, False

    def _more(self, size: int | None = None) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        raw = self.stream.read(size or _CHUNK)
        self._ended = not raw
        try:
            text = self._decode.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            line = self._last_line() + error.object[: error.start].count(b"\n")
            raise DataError("is not UTF-8", path=self.path, line=line) from error
        if "\0" in text:
            line = self._last_line() + text[: text.index("\0")].count("\n")
            raise DataError("contains a NUL byte", path=self.path, line=line)
        self._text, self._start = self._text[self._start :] + text, 0
        return not self._ended

    def _last_line(self) -> int:
        return self.line + self._text.count("\n", self._start)

    def advance(self, count: int) -> None:
        """Step over ``count`` characters that are in the window."""
        self.line += self._text.count("\n", self._start, self._start + count)
        self._start += count

    def peek(self) -> str:
        """The next character; DataError at the end of the file, where a value was expected."""
        while self._start >= len(self._text):
            if not self._more():
                raise DataError(
                    "ends in the middle of a JSON array",
                    path=self.path,
                    line=self.line,
                    remedy="The download was cut off; fetch the file again.",
                )
        return self._text[self._start]

    def skip(self, characters: str) -> None:
        """Step over ``characters``."""
        while self.peek() in characters:
            self.advance(1)

    def find_key(self, key: str) -> None:
        """Step behind the first ``"key":``."""
        pattern = re.compile(rf'"{re.escape(key)}"\s*:\s*')
        while (match := pattern.search(self._text, self._start)) is None:
            # A match could straddle two chunks: keep a tail that is longer than any key.
            self.advance(max(0, len(self._text) - self._start - 256))
            if not self._more():
                raise DataError(f"no key {key!r} in the file", path=self.path, line=self.line)
        self.advance(match.end() - self._start)

    def value(self) -> Any:
        """The JSON value at the start of the window."""
        size = _CHUNK
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                left = len(self._text) - self._start
                if left > MAX_ELEMENT or not self._more(size):
                    line = self.line + self._text.count("\n", self._start, error.pos)
                    raise DataError(f"not valid JSON: {error.msg}", path=self.path, line=line) from error
                size *= 2  # so that a large element costs a few attempts, not one per chunk
            else:
                # A number at the window's end may go on behind it.
                whole = isinstance(value, (dict, list, str)) or self._text[end : end + 1] in (*",] \t\r\n",)
                if whole or not self._more():
                    self.advance(end - self._start)
                    return value
