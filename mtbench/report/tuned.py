"""The board of tuned methods: each by its winner of an equal budget, tested against naive and static tuned alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from mtbench.config import profile_name
from mtbench.errors import UsageError
from mtbench.records.files import Loaded, load_records
from mtbench.records.record import RunSpec
from mtbench.report.answering import retrieval_alone
from mtbench.report.board import DEFAULT_BASELINE, Board
from mtbench.report.leaderboard import build_board, suite_name
from mtbench.report.rows import Row

SCALARIZATION = "static"
"""Fixed weights: what an adaptive method has to be better than (Kurin et al. 2022; Xin et al. 2022)."""
RATES = ("lr", "warmup_lr")


def load_tuned(
    results: Path, suite: str, profile: str, *, metric: str | None = None, baseline: str = DEFAULT_BASELINE
) -> Board:
    """The board of the winners of ``mtbench tune`` with the largest budget. UsageError if there are none.

    Learning rates belong to what was tuned: rows that differ in them are compared. Beside the tests against
    ``baseline`` the notes have those against ``static`` tuned, a family of their own.
    """
    suite, profile = suite_name(suite), profile_name(profile)
    loaded = retrieval_alone(load_records(results, suite=suite, profile=profile, summary=True))
    of_tuning = [item for item in loaded if item.usable and _has_budget(item.record["spec"])]
    if not of_tuning:
        raise UsageError(
            f"no tuned runs of the suite {suite!r} in the profile {profile!r} below {results}/runs\n"
            f"  Make some: mtbench tune --optimizer naive,static,tsage --suite {suite} --trials 10"
        )
    budgets = {_budget(item): _trials(item) for item in of_tuning}
    budget = max(budgets, key=lambda key: (budgets[key], key))
    chosen = [item for item in of_tuning if _budget(item) == budget]
    comparable = [_without_choices(item) for item in chosen]
    board = build_board(comparable, metric=metric, baseline=baseline)
    others = len(of_tuning) - len(chosen)
    board.notes += [f"Budget of each method: {_in_words(chosen[0].record['spec'])}.", _rates(chosen)]
    board.notes += [f"{others} runs of other budgets left out."] if others else []
    optimizers = {row.optimizer for row in board.rows}
    if SCALARIZATION not in optimizers:
        board.notes.append(
            "No row of fixed weights (static) with this budget, which an adaptive method has to be better than."
        )
    elif baseline != SCALARIZATION:
        against = build_board(comparable, metric=metric, baseline=SCALARIZATION)
        board.notes.append("Against static tuned: " + "; ".join(filter(None, map(_gain, against.rows))) + ".")
    return board


def _has_budget(spec: RunSpec) -> bool:
    """Whether a record says how it was tuned; one that others wrote may say anything."""
    told: object = spec.get("tuned")
    return isinstance(told, dict) and isinstance(told.get("trials"), int) and isinstance(told.get("seeds"), list)


def _budget(item: Loaded) -> str:
    return json.dumps(item.record["spec"]["tuned"], sort_keys=True)


def _trials(item: Loaded) -> int:
    return int(item.record["spec"]["tuned"]["trials"])


def _in_words(spec: RunSpec) -> str:
    seeds = ",".join(map(str, spec["tuned"]["seeds"]))
    return f"{spec['tuned']['trials']} settings, chosen on the slice of train over the seeds {seeds}"


def _without_choices(item: Loaded) -> Loaded:
    """The record as one whose learning rates nobody chose."""
    spec = item.record["spec"]
    train = {key: value for key, value in spec["config"]["train"].items() if key not in RATES}
    plain = {key: value for key, value in spec.items() if key != "tuned"}
    plain["config"] = {**spec["config"], "train": train}
    return dataclasses.replace(item, record={**item.record, "spec": plain})  # type: ignore[typeddict-item]


def _rates(chosen: Sequence[Loaded]) -> str:
    found: dict[str, set[float]] = {}
    for spec in (item.record["spec"] for item in chosen):
        found.setdefault(spec["optimizer"]["name"], set()).add(float(spec["config"]["train"]["lr"]))
    told = [f"{name} {' and '.join(f'{rate:.3g}' for rate in sorted(rates))}" for name, rates in found.items()]
    return f"Learning rates chosen: {', '.join(sorted(told))}."


def _gain(row: Row) -> str:
    gain = row.gain
    if gain is None or gain.difference is None:
        return ""
    text = f"{row.label} {100 * gain.difference:+.2f}"
    if gain.low is None or gain.high is None:
        return text
    p = "" if gain.p_holm is None else f", Holm p {gain.p_holm:.3f}"
    return f"{text} [{100 * gain.low:.2f}, {100 * gain.high:.2f}{p}]"
