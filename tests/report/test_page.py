"""The HTML page: nothing leaves it, hostile text stays text, and in a real browser it sorts without a console error."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_records import make_record
from test_tables import HOSTILE, make_board

from mtbench.report.page import to_html
from mtbench.report.page_figures import _ticks


class Reader(HTMLParser):
    """Collects tags and checks that they are balanced."""

    VOID = frozenset({"meta", "link", "br", "rect", "line", "circle", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_refers_to_nothing_outside() -> None:
    page = to_html(make_board([make_record("tsage", 0, params={"note": HOSTILE})]))
    tags = read(page).seen
    assert sum(tag == "script" for tag, _ in tags) == 1
    for tag, attributes in tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "<script>alert" not in page


def test_missing_cells_have_a_reason_and_no_value_to_sort_by() -> None:
    cells = re.findall(r"<td([^>]*)>([^<]*)</td>", to_html(make_board()))
    missing = [(a, t) for a, t in cells if t in ("failed: RunError", "missing", "incomplete")]
    assert len(missing) == 5 + 4
    assert not any("data-value" in a for a, _ in missing)


def test_every_task_has_a_figure_with_intervals_and_seeds_on_hover() -> None:
    page = to_html(make_board())
    assert page.count('class="whisker"') == 4 * 3 * 3
    assert page.count("<circle") == 2 * 3
    assert "seed 2: " in page


@pytest.mark.parametrize("values", [[0.5], [1.0, 1.0], [0.0], [-3.0, 2.0], [61.2, 61.3], [1e-9, 5e9]])
def test_ticks_span_the_values(values: list[float]) -> None:
    ticks = _ticks(values)
    assert ticks[0] <= min(values) and ticks[-1] >= max(values)
    assert 3 <= len(ticks) <= 9


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
]
CLICK = """<script>
const table = document.querySelector("table.scores"), column = 1;
const read = () => [...table.tBodies[0].rows].map(row => row.cells[column].textContent).join(";");
table.tHead.rows[0].cells[column].querySelector("button").click(); const down = read();
table.tHead.rows[0].cells[column].querySelector("button").click(); const up = read();
document.title = "DOWN " + down + " UP " + up + " REQUESTS " + performance.getEntriesByType("resource").length;
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_it_sorts_without_errors_or_requests(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(to_html(make_board()).replace("</body>", CLICK + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>DOWN (.*) UP (.*) REQUESTS (\d+)</title>", done.stdout)
    assert title, done.stderr[-800:]
    down, up = ([c.rstrip("*") for c in part.split(";")] for part in title.groups()[:2])
    numbers = [float(c) for c in down[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    assert [float(c) for c in up[:-1]] == sorted(numbers)
    assert down[-1] == up[-1] == "failed: RunError"
    assert title[3] == "0"
    assert "CONSOLE" not in done.stderr
