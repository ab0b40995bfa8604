"""What a record says about an error names no place of the machine that it happened on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtbench.records.errors import describe_error, shorten_paths

PLACES = {Path("/data/store"): "<store>", Path("/disk/My Suites/own"): "<own>", Path("own"): "<wrong>"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('File "/data/store/stages/x.json", line 3', 'File "<store>/stages/x.json", line 3'),
        ('File "/usr/lib/python3/abc.py", line 3', 'File "abc.py", line 3'),
        ("cannot open /scratch/someone/own/corpus.jsonl:7: broken", "cannot open corpus.jsonl:7: broken"),
        ("12/30 steps, a/b and 3 / 4 stay", "12/30 steps, a/b and 3 / 4 stay"),
        (f"{Path.home()}/x/y.toml", "~/x/y.toml"),
        ("'/scratch/Jane Doe/x.json' is broken", "'x.json' is broken"),
        ("/disk/My Suites/own/corpus.jsonl:7: broken", "<own>/corpus.jsonl:7: broken"),
        ("/data/storehouse/x.json", "x.json"),
        ("home /home/jane and /Users/jane/", "home <home> and <home>"),
        ("file:///home/jane/x.json or file://host/share/y", "x.json or y"),
        (r"C:\Users\jane\x.json and C:\Users\jane", "x.json and <home>"),
        ("see https://host.org/a/b and a ratio 1:2", "see https://host.org/a/b and a ratio 1:2"),
        ("error:/scratch/jane/x.json", "error:x.json"),
        ('"/scratch/O\'Brien Files/x.json" is broken', '"x.json" is broken'),
        ("the own suite", "the own suite"),
        ("", ""),
    ],
)
def test_places_of_this_machine_are_shortened(text: str, expected: str) -> None:
    assert shorten_paths(text, PLACES) == expected


def test_an_error_has_a_short_traceback() -> None:
    def fail(depth: int) -> None:
        if depth == 0:
            raise OSError("no /scratch/jane/x.json")
        fail(depth - 1)

    with pytest.raises(OSError) as caught:
        fail(30)
    described = describe_error(caught.value, {})
    assert (described["type"], described["message"]) == ("OSError", "no x.json")
    assert len(described["traceback"]) <= 12 and "jane" not in str(described)
