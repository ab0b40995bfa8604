"""The leaderboard as one HTML page: no request leaves it, it sorts, and it reads on a phone, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from mtbench.report.board import Board
from mtbench.report.cells import Column, caption, cell, columns, seeds_text, why
from mtbench.report.notes import metric_title
from mtbench.report.page_figures import scatter, task_bars
from mtbench.report.rows import Row
from mtbench.report.statistics import Estimate

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def to_html(board: Board) -> str:
    """The whole page of one board."""
    parts = [
        f"<h1>{escape(board.label)}</h1>",
        f'<p class="lead">{escape(caption(board))}. {len(board.measured)} rows.</p>',
        _table(board, "scores"),
        _notes(board),
        "<h2>Costs</h2>",
        _table(board, "costs"),
        _figures(board),
    ]
    return whole_page(f"mtbench: {board.label}, {board.profile}", parts)


def whole_page(title: str, parts: Sequence[str]) -> str:
    """A page with ``parts`` as its body. Styles and script stand in it; the content policy forbids every request."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_asset('page.css')}</style>\n</head>\n<body>",
            *parts,
            '<div id="tip" role="tooltip"></div>',
            f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _asset(name: str) -> str:
    return (resources.files("mtbench.report") / name).read_text(encoding="utf-8")


def _table(board: Board, part: str) -> str:
    chosen = [c for c in columns(board) if c.part == part]
    heads = ['<th scope="col" data-kind="text"><button type="button">method</button></th>']
    for column in chosen:
        hint = board.tasks.get(column.key.removeprefix("task:"), "")
        order = ' aria-sort="descending"' if column.key == "average" else ""
        heads.append(
            f'<th scope="col"{order} title="{escape(hint)}"><button type="button">{escape(column.header)}</button></th>'
        )
    rows = [r for r in board.rows if part == "scores" or r.kind != "reported"]
    body = "\n".join(_row(row, chosen) for row in rows)
    return (
        f'<div class="scroll"><table class="{part}"><thead><tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: Row, chosen: list[Column]) -> str:
    classes = row.kind + (" best" if row.best_tier else "")
    tip = "\n".join([row.source] * bool(row.source) + row.notes)
    head = f'<th scope="row"{_tip(tip)}>{escape(row.name)}</th>'
    return f'<tr class="{classes}">{head}{"".join(_cell(row, c) for c in chosen)}</tr>'


def _cell(row: Row, column: Column) -> str:
    value, tip = _value(row, column.key)
    text = cell(row, column)
    scored = column.key.startswith("task:") or column.key == "average"
    style = ' class="none"' if scored and value is None else ""
    data = f' data-value="{value!r}"' if value is not None else ""
    return f"<td{style}{data}{_tip(tip)}>{escape(text)}</td>"


def _value(row: Row, key: str) -> tuple[float | None, str]:
    """What a cell sorts by, and what it tells on hover."""
    if key.startswith("task:"):
        name = key.removeprefix("task:")
        test = row.task_gains.get(name)
        gained = "" if test is None or test.difference is None else f"\ngain {100 * test.difference:+.2f}"
        p = "" if test is None or test.p_holm is None else f", p = {test.p_holm:.3g} (Holm)"
        return row.tasks[name].mean, seeds_text(row.tasks[name]) + gained + p
    if key == "average":
        return row.average.mean, seeds_text(row.average)
    if key == "interval":
        width = None if row.average.high is None or row.average.mean is None else row.average.high - row.average.mean
        return width, ""
    if key == "gain":
        return _gain(row)
    if key.startswith("delta_m"):
        measure = row.measures.get(key)
        return (None, "") if measure is None else (measure.mean, _seeds_of(measure))
    if key == "rank":
        if row.mean_rank_interval is None:
            return row.mean_rank, ""
        return row.mean_rank, "95 % over tasks and seeds: {:.2f} to {:.2f}".format(*row.mean_rank_interval)
    if key == "worst":
        return (None, "") if row.worst is None else (row.task_gains[row.worst].difference, "")
    if key == "seeds":
        return float(len(row.seeds_done)), ""
    costs = {"step": "step_ms", "ratio": "step_ratio", "memory": "peak_memory_bytes"}
    costs |= {"state": "optimizer_state_bytes", "hours": "hours"}
    return (float(row.trials) if row.trials is not None else None) if key == "trials" else row.costs.get(costs[key]), ""


def _seeds_of(measure: Estimate) -> str:
    return "\n".join(f"seed {seed}: {100 * value:+.2f} %" for seed, value in sorted(measure.seeds.items()))


def _gain(row: Row) -> tuple[float | None, str]:
    test = row.gain
    if test is None or test.difference is None:
        return None, ""
    parts = [test.reason] if test.reason else []
    if test.low is not None and test.high is not None:
        parts.append(f"95 % interval {100 * test.low:+.2f} to {100 * test.high:+.2f}")
    if test.p is not None:
        parts.append(
            f"p = {test.p:.3g}, after Holm {test.p_holm:.3g}" if test.p_holm is not None else f"p = {test.p:.3g}"
        )
    return test.difference, "\n".join(parts)


def _tip(text: str) -> str:
    return f' data-tip="{escape(text)}" tabindex="0"' if text else ""


def _notes(board: Board) -> str:
    items = [f"<li>{escape(note)}</li>" for note in board.notes]
    items += [f'<li class="problem">{escape(line)}</li>' for line in why(board)]
    return f'<ul class="notes">{"".join(items)}</ul>'


def _figures(board: Board) -> str:
    key = (
        '<div class="key"><span class="o">optimizer</span><span class="b">baseline</span>'
        '<span class="e">outside system</span></div>'
    )
    bars = "\n".join(
        f"<figure><h3>{escape(title)}</h3>{task_bars(board, name)}</figure>" for name, title in board.tasks.items()
    )
    parts = [
        f"<h2>By task: {escape(metric_title(board.metric))} in percent, with 95 % intervals over seeds</h2>",
        key,
        f'<div class="small">{bars}</div>',
    ]
    charts = [(name, scatter(board, width)) for name, width in (("desktop", 760), ("phone", 340))]
    if charts[0][1]:
        parts += ["<h2>Cost against quality</h2>", key]
        parts += [f'<figure class="wide {name}">{chart}</figure>' for name, chart in charts]
    return "\n".join(parts)
