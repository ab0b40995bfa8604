"""The leaderboard of one suite and profile: rows of runs, ranked, with the evidence for their differences.

Everything comes from records; nothing is computed from models. Rendering is in ``tables`` and ``page``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtbench.config import profile_name
from mtbench.errors import DataError, UsageError
from mtbench.records.files import Loaded, load_records, no_garbage_collection
from mtbench.records.record import RunSpec
from mtbench.report.notes import statistics_notes
from mtbench.report.published import reported_systems
from mtbench.report.rows import Group, Row, group_runs, main_variant, make_row, task_titles, tell_code_apart
from mtbench.report.statistics import Difference, Estimate, correct, detectable_difference, paired_t, pooled_sd, tier
from mtbench.report.variants import fits, name_variants

DEFAULT_BASELINE = "naive"


@dataclass(slots=True)
class Board:
    """A ranked table; rows best first, rows without an average after those with one, reported rows last."""

    suite: str
    version: int
    profile: str
    metric: str
    baseline: str
    tasks: dict[str, str]
    """Task name -> title, in column order."""
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    detectable: dict[int, float] = field(default_factory=dict)
    """Number of seeds -> smallest gain that as many seeds show four times out of five, fraction of 1."""

    @property
    def label(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.suite}@{self.version}"

    @property
    def measured(self) -> list[Row]:
        """Rows from records."""
        return [row for row in self.rows if row.kind != "reported"]


def load_board(
    results: Path,
    suite: str,
    profile: str,
    *,
    metric: str | None = None,
    baseline: str = DEFAULT_BASELINE,
    published: bool = False,
    summary: bool = True,
) -> Board:
    """Read the records of one suite and profile and rank them. UsageError if there are none to rank.

    ``summary=False`` keeps the records whole in ``Row.runs`` (learning curves, stages, analyses).
    """
    suite, profile = suite_name(suite), profile_name(profile)
    loaded = load_records(results, suite=suite, profile=profile, summary=summary)
    if not loaded:
        others = sorted({f"{i.path.parts[-4]} {i.path.parts[-3]}" for i in load_records(results, summary=True)})
        there = f"\n  There are runs of: {', '.join(others)} (suite and profile)." if others else ""
        raise UsageError(
            f"no runs of the suite {suite!r} in the profile {profile!r} below {results}/runs.{there}\n"
            f"  Make some: mtbench run --optimizer naive,tsage --suite {suite} --profile {profile}"
        )
    return build_board(loaded, metric=metric, baseline=baseline, published=published)


def suite_name(text: str) -> str:
    """The suite's name where ``text`` is a folder with a ``suite.toml`` (as ``mtbench run`` takes), else ``text``."""
    file = Path(text) / "suite.toml"
    if not file.is_file():
        return text
    try:
        declared = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(str(error), path=file) from None
    return str(declared.get("name", text))


def build_board(
    loaded: Sequence[Loaded], *, metric: str | None = None, baseline: str = DEFAULT_BASELINE, published: bool = False
) -> Board:
    """The board of the newest suite version among ``loaded`` (records of one suite and profile).

    ``metric`` defaults to the suite's own. Raises UsageError for a metric that no record has.
    """
    readable = [i for i in loaded if i.usable]
    problems = [f"{_short_path(i.path)} {i.problem}" for i in loaded if i.problem and i.kind != "incomplete"]
    if not readable:
        raise UsageError("no record can be read:\n  " + "\n  ".join(problems[:10]))
    notes: list[str] = []
    version = max(i.record["spec"].get("suite_version", 1) for i in readable)
    ranked = _select(readable, version, notes)
    spec = (ranked or readable)[0].record["spec"]
    metric = metric or _suite_metric(ranked or readable)
    tasks, undefined = task_titles(ranked, metric)
    _check_metric(ranked, metric, tasks)
    if undefined and tasks:
        names = ", ".join(undefined)
        notes.append(f"{metric} is not defined for {names}: the average is over the other tasks.")
    board = Board(spec["suite"], version, spec["profile"], metric, baseline, tasks, [], notes, problems)
    with no_garbage_collection():
        board.rows = _rows(ranked, board)
        _compare(board)
    board.rows.sort(key=_rank_key)
    if published:
        board.rows += _reported_rows(board)
    board.notes += statistics_notes(board.rows, board.baseline, board.detectable, board.profile)
    return board


def _select(readable: Sequence[Loaded], version: int, notes: list[str]) -> list[Loaded]:
    """Records of this version that ran on all queries; what is left out goes to ``notes``."""
    older = sum(i.record["spec"].get("suite_version", 1) != version for i in readable)
    current = [i for i in readable if i.record["spec"].get("suite_version", 1) == version]
    limited = [i for i in current if i.record["spec"].get("limit") is not None]
    parts = sum("protocol" in i.record["spec"] for i in current)
    if older:
        notes.append(f"{_runs(older)} of older suite versions left out.")
    if limited:
        notes.append(f"{_runs(len(limited))} with --limit kept off.")
    if parts:
        notes.append(f"{_runs(parts)} on a part of the tasks kept off.")
    return [i for i in current if i.record["spec"].get("limit") is None and "protocol" not in i.record["spec"]]


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _suite_metric(loaded: Sequence[Loaded]) -> str:
    metrics = Counter(i.record.get("metric") for i in loaded if i.record.get("metric"))
    return str(metrics.most_common(1)[0][0]) if metrics else "rprecision_page"


def _check_metric(ranked: Sequence[Loaded], metric: str, tasks: dict[str, str]) -> None:
    available = {m for i in ranked for task in i.record.get("tasks", {}).values() for m in task["metrics"]}
    if available and not tasks:
        raise UsageError(f"no record has the metric {metric!r}; there are {', '.join(sorted(available))}")


def _rows(ranked: Sequence[Loaded], board: Board) -> list[Row]:
    groups = group_runs(ranked)
    main_key = main_variant(groups, board.baseline)
    specs = [next(iter(group.runs.values()))["spec"] for group in groups]
    main = next((spec for spec, g in zip(specs, groups, strict=True) if g.key[2] == main_key), None)
    rows = [make_row(group, list(board.tasks), board.metric) for group in groups]
    if main is not None and main_key is not None:
        _place_rows(rows, groups, specs, (main_key, main))
    tell_code_apart(rows, groups)
    variants = {row.variant for row in rows if row.variant}
    if variants:
        board.notes.append(
            f"{len(variants)} other configuration{'s' if len(variants) > 1 else ''} than the table's own: such rows"
            " name the difference in brackets and are compared only with a baseline of their own configuration."
        )
    return rows


def _place_rows(
    rows: Sequence[Row], groups: Sequence[Group], specs: Sequence[RunSpec], main: tuple[str, RunSpec]
) -> None:
    """Say which rows may be compared (``variant_key``), and what those of another configuration are called."""
    trained = {g.key[2]: s for g, s, r in zip(groups, specs, rows, strict=True) if r.kind == "optimizer"}
    others: dict[str, RunSpec] = {}
    for row, group, spec in zip(rows, groups, specs, strict=True):
        row.variant_key = group.key[2]
        if row.kind == "external":
            row.variant_key = main[0]
        elif row.kind == "baseline":
            beside = [key for key, other in [main, *trained.items()] if fits(spec, other)]
            row.variant_key = beside[0] if beside else group.key[2]
        if row.variant_key != main[0]:
            others[group.key[2]] = spec
    names = name_variants(others, main[1])
    for row, group in zip(rows, groups, strict=True):
        row.variant = names.get(group.key[2], "") if row.variant_key != main[0] else ""


def _compare(board: Board) -> None:
    """Gains over the baseline of the same configuration, corrected families, tiers and what was detectable."""
    named = {name for row in board.rows for name in (row.label, row.optimizer)}
    if board.baseline != DEFAULT_BASELINE and board.baseline not in named:
        raise UsageError(f"no row {board.baseline!r} to measure gains against; there are {', '.join(sorted(named))}")
    for key in dict.fromkeys(row.variant_key for row in board.rows):
        rows = [r for r in board.rows if r.variant_key == key]
        variant = next((r.variant for r in rows if r.kind == "optimizer"), rows[0].variant)
        base = _baseline_row(rows, board.baseline)
        if base is None:
            if not variant:
                board.notes.append(f"No finished run of the baseline {board.baseline}: no gains.")
            continue
        for row in rows:
            if row is not base and row.seeds_done:
                _against(row, base, list(board.tasks))
        tested = [r.gain for r in rows if r.gain is not None and r.kind == "optimizer"]
        correct(tested)
        correct([r.gain for r in rows if r.gain is not None and r.kind != "optimizer"])
        if not variant:
            _detectable(board, rows, tested)
        step = base.costs.get("step_ms")
        for row in rows:
            own = row.costs.get("step_ms")
            row.costs["step_ratio"] = own / step if own is not None and step else None
    _tiers([r for r in board.rows if r.kind == "optimizer" and not r.variant and r.seeds_done])


def _baseline_row(rows: Sequence[Row], baseline: str) -> Row | None:
    """The row called ``baseline``: by its whole label, else the optimizer with its default parameters."""
    finished = [r for r in rows if r.seeds_done]
    for wanted in (
        lambda r: r.label == baseline,
        lambda r: r.optimizer == baseline and not r.params,
        lambda r: r.optimizer == baseline,
    ):
        found = next((r for r in finished if wanted(r)), None)
        if found is not None:
            return found
    return None


def _against(row: Row, base: Row, tasks: list[str]) -> None:
    row.gain = compare_estimates(row, row.average, base, base.average)
    row.task_gains = {t: compare_estimates(row, row.tasks[t], base, base.tasks[t]) for t in tasks}
    correct(list(row.task_gains.values()))


def compare_estimates(row: Row, own: Estimate, other_row: Row, other: Estimate) -> Difference:
    """Paired t-test over common seeds; a system that has one figure and no seeds is held fixed for each of them."""
    ours, theirs = own.seeds, other.seeds
    if row.kind != "optimizer" and len(ours) == 1:
        ours = dict.fromkeys(theirs, next(iter(ours.values())))
    elif other_row.kind != "optimizer" and len(theirs) == 1:
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    return paired_t(ours, theirs)


def _detectable(board: Board, rows: Sequence[Row], tested: Sequence[Difference]) -> None:
    spread = pooled_sd(tested)
    for n in sorted({t.n for t in tested if t.n > 1}):
        difference = detectable_difference(spread, n)
        if difference is not None:
            board.detectable[n] = difference


def _tiers(rows: Sequence[Row]) -> None:
    """Mark the rows that a paired t-test over seeds, Holm-corrected, cannot tell from the best one."""
    for row, told in zip(rows, tier([r.average.seeds for r in rows]), strict=True):
        row.best_tier = told


def _rank_key(row: Row) -> tuple[bool, float, str]:
    return row.average.mean is None, -(row.average.mean or 0.0), row.name


def _reported_rows(board: Board) -> list[Row]:
    rows = []
    for system in reported_systems(board.suite, board.metric, list(board.tasks)):
        tasks = {
            t: Estimate(system.tasks[t]) if t in system.tasks else Estimate(None, reason="not reported")
            for t in board.tasks
        }
        average = Estimate(system.average) if system.average is not None else Estimate(None, reason="not reported")
        row = Row(system.system, system.system, "reported", tasks=tasks, average=average, source=system.source)
        row.notes = [system.note] if system.note else []
        rows.append(row)
    if not rows:
        board.notes.append(f"No published figures are comparable with {board.label} in {board.metric}.")
    return rows


def _short_path(path: Path) -> str:
    """The last parts of a path: PROFILE/OPTIMIZER/FILE, enough to find it below RESULTS/runs/SUITE."""
    return "/".join(path.parts[-3:])
