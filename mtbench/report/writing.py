"""Leaderboards as files: every format below ``RESULTS/leaderboards``, and the block in the README."""

from __future__ import annotations

from pathlib import Path

from mtbench.errors import DataError
from mtbench.report.board import Board
from mtbench.report.tables import FORMATS, render, to_markdown
from mtbench.storage.atomic import write_text


def write_board(board: Board, results: Path, readme: Path | None = None) -> list[Path]:
    """Write the board in all file formats and, where ``readme`` has a block for its suite, there; the paths."""
    folder = Path(results) / "leaderboards"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{board.label}-{board.profile}"
    own = board.metric.replace("@", "")
    written = []
    for format, suffix in FORMATS.items():
        if format != "terminal":
            path = folder / f"{stem}-{own}.{suffix}"
            write_text(path, render(board, format))
            written.append(path)
    if readme is not None and readme.is_file() and update_block(readme, board):
        written.append(readme)
    return written


def update_block(readme: Path, board: Board) -> bool:
    """Replace what stands between ``<!-- leaderboard:SUITE:begin -->`` and ``:end``; False if there is no block.

    Line ends stay as the file has them. Raises DataError if one of the two marks is missing, they are in the wrong
    order, or the file is not UTF-8.
    """
    try:
        text = readme.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        remedy = "Save it as UTF-8, or choose another file with --readme."
        raise DataError(f"not UTF-8 at byte {error.start}", path=readme, remedy=remedy) from error
    begin, end = (f"<!-- leaderboard:{board.suite}:{mark} -->" for mark in ("begin", "end"))
    start, stop = text.find(begin), text.find(end)
    if start < 0 and stop < 0:
        return False
    if start < 0 or stop < start:
        raise DataError(
            f"the marks of the leaderboard block are not a pair: {begin} ... {end}",
            path=readme,
            remedy="Write both, in this order, each on a line of its own.",
        )
    block = f"{begin}\n\n{to_markdown(board)}\n{end}"
    if "\r\n" in text:
        block = block.replace("\n", "\r\n")
    write_text(readme, text[:start] + block + text[stop + len(end) :])
    return True
