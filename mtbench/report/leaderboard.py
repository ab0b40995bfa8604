"""The leaderboard of one suite and profile: rows of runs, ranked, with the evidence for their differences.

Everything comes from records; nothing is computed from models. Rendering is in ``tables`` and ``page``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtbench.config import profile_name
from mtbench.errors import DataError, UsageError
from mtbench.records.files import Loaded, load_records, no_garbage_collection
from mtbench.records.record import RunSpec
from mtbench.report.answering import retrieval_alone
from mtbench.report.board import DEFAULT_BASELINE, Board
from mtbench.report.comparing import compare_variants, compare_with
from mtbench.report.conclusion import conclusion
from mtbench.report.folding import MULTITASK, fold, wanted
from mtbench.report.notes import statistics_notes
from mtbench.report.published import reported_systems
from mtbench.report.rows import Group, Row, group_runs, main_variant, make_row, task_titles, tell_code_apart
from mtbench.report.statistics import Estimate
from mtbench.report.variants import fits, name_variants


def load_board(
    results: Path,
    suite: str,
    profile: str,
    *,
    metric: str | None = None,
    baseline: str = DEFAULT_BASELINE,
    published: bool = False,
    protocol: str = MULTITASK,
    reference: str | None = None,
    summary: bool = True,
) -> Board:
    """Read the records of one suite and profile and rank them. UsageError if there are none to rank.

    ``protocol``: whose rows (``all`` for those of all). ``reference``: a row that every row of whatever configuration
    is compared with, as one family of tests.

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
    return build_board(
        retrieval_alone(loaded),
        metric=metric,
        baseline=baseline,
        published=published,
        protocol=protocol,
        reference=reference,
    )


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
    loaded: Sequence[Loaded],
    *,
    metric: str | None = None,
    baseline: str = DEFAULT_BASELINE,
    published: bool = False,
    protocol: str = MULTITASK,
    reference: str | None = None,
    limited: bool = False,
) -> Board:
    """The board of the newest suite version among ``loaded`` (records of one suite and profile).

    ``metric`` defaults to the suite's own; ``protocol`` and ``reference`` as of :func:`load_board`; ``limited`` keeps
    runs with ``--limit``, which no leaderboard has. Raises UsageError for a metric or a reference that no record has.
    """
    readable = [i for i in loaded if i.usable]
    problems = [f"{_short_path(i.path)} {i.problem}" for i in loaded if i.problem and i.kind != "incomplete"]
    if not readable:
        raise UsageError("no record can be read:\n  " + "\n  ".join(problems[:10]))
    notes: list[str] = []
    version = max(i.record["spec"].get("suite_version", 1) for i in readable)
    ranked = _select(readable, version, notes, limited)
    spec = (ranked or readable)[0].record["spec"]
    metric = metric or _suite_metric(ranked or readable)
    tasks, undefined = task_titles(ranked, metric)
    _check_metric(ranked, metric, tasks)
    if undefined and tasks:
        names = ", ".join(undefined)
        notes.append(f"{metric} is not defined for {names}: the average is over the other tasks.")
    board = Board(spec["suite"], version, spec["profile"], metric, reference or baseline, tasks, [], notes, problems)
    board.protocol = protocol
    with no_garbage_collection():
        board.rows = _rows(ranked, board)
        if reference is None:
            compare_variants(board)
        else:
            compare_with(board, reference)
    board.rows.sort(key=_rank_key)
    if published:
        board.rows += _reported_rows(board)
    board.notes[:0] = conclusion(board.rows, board.baseline, board.detectable)
    board.notes += statistics_notes(board.rows, board.baseline, board.detectable, board.profile)
    return board


def _select(readable: Sequence[Loaded], version: int, notes: list[str], keep_limited: bool) -> list[Loaded]:
    """Records of this version that ran on all queries; what is left out goes to ``notes``."""
    older = sum(i.record["spec"].get("suite_version", 1) != version for i in readable)
    current = [i for i in readable if i.record["spec"].get("suite_version", 1) == version]
    tuned = [i for i in current if i.record["spec"].get("tuned")]
    if tuned:
        current = [i for i in current if not i.record["spec"].get("tuned")]
        notes.append(f"{_runs(len(tuned))} of tuned methods: leaderboard --tuned.")
    limited = [i for i in current if i.record["spec"].get("limit") is not None and not keep_limited]
    if older:
        notes.append(f"{_runs(older)} of older suite versions left out.")
    if limited:
        notes.append(f"{_runs(len(limited))} with --limit kept off.")
    return fold([i for i in current if keep_limited or i.record["spec"].get("limit") is None])


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
    rows = _of_protocol(rows, board)
    variants = {row.variant for row in rows if row.variant}
    if variants:
        board.notes.append(
            f"{len(variants)} other configuration{'s' if len(variants) > 1 else ''} than the table's own: such rows"
            " name the difference in brackets and are compared only with a baseline of their own configuration."
        )
    return rows


def _of_protocol(rows: Sequence[Row], board: Board) -> list[Row]:
    """The rows that stand on the board: those of its protocol, what no protocol touches, and the baseline."""
    kept, others = [], set()
    for row in rows:
        name = row.protocol["name"] if row.protocol else MULTITASK
        fixed = row.kind != "optimizer" or (name == MULTITASK and board.baseline in (row.label, row.optimizer))
        if wanted(name, board.protocol) or fixed:
            kept.append(row)
        elif name != MULTITASK:
            others.add(name)
    if others:
        board.notes.append(f"Rows of other protocols: leaderboard --protocol {', '.join(sorted(others))}.")
    return kept


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
