"""Differences between the rows of a board, with their evidence: gains, families of tests, tiers, power."""

from __future__ import annotations

from collections.abc import Sequence

from mtbench.errors import UsageError
from mtbench.report.board import DEFAULT_BASELINE, Board
from mtbench.report.groups import group_notes
from mtbench.report.measures import add_measures, missing_references
from mtbench.report.rows import Row
from mtbench.report.statistics import Difference, Estimate, correct, detectable_difference, paired_t, pooled_sd, tier


def compare_variants(board: Board) -> None:
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
        notes = add_measures(rows, list(board.tasks)) + group_notes(rows, base, list(board.tasks))
        board.notes += [note for note in notes if not variant]
        step = base.costs.get("step_ms")
        for row in rows:
            own = row.costs.get("step_ms")
            row.costs["step_ratio"] = own / step if own is not None and step else None
    board.notes += missing_references(board.rows, board.suite, board.profile)
    _tiers([r for r in board.rows if r.kind == "optimizer" and not r.variant and r.seeds_done])


def compare_with(board: Board, reference: str) -> None:
    """Every row against one, whatever its configuration: one family of tests, seeds paired."""
    base = next((r for r in board.rows if reference == r.name and r.seeds_done), None)
    base = base or _baseline_row(board.rows, reference)
    if base is None:
        names = "\n    ".join(row.name for row in board.rows if row.seeds_done)
        raise UsageError(
            f"no finished row {reference!r} to compare with (a line of a paper's table: --layout). Write one of:\n"
            f"    {names}"
        )
    board.baseline = base.name
    for row in board.rows:
        if row is not base and row.seeds_done:
            _against(row, base, list(board.tasks))
    tested = [r.gain for r in board.rows if r.gain is not None]
    correct(tested)
    board.notes.append(
        f"All rows, of whatever configuration, are compared with {base.name}: the tests are one family, and a gain may "
        "be that of the configuration."
    )


def _baseline_row(rows: Sequence[Row], baseline: str) -> Row | None:
    """The row called ``baseline``: by its whole label, else the optimizer with its default parameters."""
    finished = [r for r in rows if r.seeds_done]
    for rule in (
        lambda r: r.label == baseline,
        lambda r: r.optimizer == baseline and not r.params,
        lambda r: r.optimizer == baseline,
    ):
        found = next((r for r in finished if rule(r)), None)
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
