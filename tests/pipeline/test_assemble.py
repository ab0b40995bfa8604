from __future__ import annotations

from pathlib import Path

import pytest

from mtbench.pipeline.assemble import shorten_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('File "/data/store/stages/x.json", line 3', 'File "<store>/stages/x.json", line 3'),
        ('File "/usr/lib/python3/abc.py", line 3', 'File "abc.py", line 3'),
        ("cannot open /scratch/someone/own/corpus.jsonl:7: broken", "cannot open corpus.jsonl:7: broken"),
        ("12/30 steps, a/b and 3 / 4 stay", "12/30 steps, a/b and 3 / 4 stay"),
        (f"{Path.home()}/x/y.toml", "~/x/y.toml"),
    ],
)
def test_places_of_this_machine_are_shortened(text: str, expected: str) -> None:
    assert shorten_paths(text, [Path("/data/store")]) == expected
