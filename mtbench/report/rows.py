"""From records to rows: runs of one setting side by side over their seeds, and what went wrong with the others."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mtbench.protocols.labels import row_label
from mtbench.records.files import Loaded
from mtbench.records.record import (
    BASELINES,
    CostName,
    OptimizerSpec,
    ProtocolSpec,
    RunRecord,
    RunSummary,
    average,
    error_type,
)
from mtbench.records.values import Params
from mtbench.report.settings import (
    VariantKeys,
    changed_params,
    default_params,
    describe_params,
    kind_of,
)
from mtbench.report.statistics import Difference, Estimate, estimate
from mtbench.report.variants import decisive, is_partial


@dataclass(slots=True)
class Row:
    """One line of a leaderboard. Scores are fractions of 1; an :class:`Estimate` without mean says why."""

    label: str
    optimizer: str
    kind: str
    """``optimizer``, ``baseline``, ``external`` or ``reported``."""
    params: Params = field(default_factory=dict)
    variant_key: str | None = None
    """What rows share that may be compared; see ``variants``."""
    variant: str = ""
    """How the rest of the configuration differs from the table's; empty for the rows compared with each other."""
    tasks: dict[str, Estimate] = field(default_factory=dict)
    task_gains: dict[str, Difference] = field(default_factory=dict)
    average: Estimate = field(default_factory=lambda: Estimate(None, reason="no run"))
    gain: Difference | None = None
    best_tier: bool | None = None
    costs: dict[str, float | None] = field(default_factory=dict)
    """``step_ms``, ``step_ratio``, ``peak_memory_bytes``, ``optimizer_state_bytes``, ``hours``."""
    trials: int | None = None
    seeds_done: list[int] = field(default_factory=list)
    seeds_known: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    protocol: ProtocolSpec | None = None
    """Of a row that is no run on all tasks: what its runs have in common."""
    measures: dict[str, Estimate] = field(default_factory=dict)
    """``delta_m`` and ``delta_m_batch``, fractions of 1; absent where there is no row to take them over."""
    mean_rank: float | None = None
    """Over tasks and seeds, among the rows of one configuration; 1 is best."""
    mean_rank_interval: tuple[float, float] | None = None
    """95 % bootstrap interval of ``mean_rank`` over tasks and seeds; None with one seed."""
    worst: str | None = None
    """The task that loses most against the baseline; None if none loses."""
    runs: dict[int, RunRecord] = field(default_factory=dict, repr=False)
    """Seed -> record (its summary alone, on boards that were read so)."""

    @property
    def name(self) -> str:
        """Label and variant: unique within a board."""
        return f"{self.label} [{self.variant}]" if self.variant else self.label


@dataclass(slots=True)
class Group:
    """The runs of one setting: records by seed, the latest of each seed.

    ``key``: optimizer, its changed parameters (JSON), everything else that was configured, and what the plugin's code
    or the method's version is called.
    """

    key: tuple[str, str, str, str]
    runs: dict[int, RunRecord] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    protocol: ProtocolSpec | None = None


def group_runs(loaded: Sequence[Loaded], defaults: Mapping[str, Params] | None = None) -> list[Group]:
    """Usable records grouped by optimizer, non-default parameters and everything else in their specification."""
    records = [item.record for item in loaded if item.usable]
    if defaults is None:
        names = {r["spec"]["optimizer"]["name"] for r in records if kind_of(r) == "optimizer"}
        defaults = default_params(names)
    groups: dict[tuple[tuple[str, str, str, str], str], Group] = {}
    variant_key = VariantKeys()
    for record in records:
        changed = changed_params(record["spec"], defaults)
        setting = json.dumps(changed, sort_keys=True) if changed else "{}"
        optimizer = record["spec"]["optimizer"]
        partial = is_partial(record["spec"])  # runs that agree in what a baseline depends on are one row
        variant = json.dumps(decisive(record["spec"]), sort_keys=True) if partial else variant_key(record["spec"])
        key = (optimizer["name"], setting, variant, _code_of(optimizer))
        protocol = record["spec"].get("protocol")
        named = json.dumps(protocol, sort_keys=True) if protocol else ""
        _add(groups.setdefault((key, named), Group(key, protocol=protocol)), record)
    return _merge_baselines(list(groups.values()))


def _code_of(optimizer: OptimizerSpec) -> str:
    """What tells runs of one method and setting apart that were computed by other code; empty for a first version."""
    named = [f"code {optimizer['source'][:8]}"] if "source" in optimizer else []
    named += [f"version {optimizer['version']}"] if "version" in optimizer else []
    return ", ".join(named)


def _add(group: Group, record: RunRecord) -> None:
    seed = record["spec"]["seed"]
    other = group.runs.get(seed)
    if other is not None:
        order = sorted((other, record), key=lambda r: (r["status"] == "complete", str(r.get("finished") or "")))
        group.notes.append(f"seed {seed} stands in two records; {order[1]['run_id']} (the later one) counts")
        record = order[1]
    group.runs[seed] = record


def _merge_baselines(groups: list[Group]) -> list[Group]:
    """BM25 and outside systems do not depend on how optimizers were trained: equal figures are one row."""
    merged: list[Group] = []
    seen: dict[tuple[str, str], Group] = {}
    for group in groups:
        first = next(iter(group.runs.values()))
        if kind_of(first) == "optimizer":
            merged.append(group)
            continue
        figures = json.dumps([first["tasks"], first["status"]], sort_keys=True)
        known = seen.setdefault((group.key[0], figures), group)
        if known is group:
            merged.append(group)
        else:
            known.runs = {**group.runs, **known.runs}
    return merged


def main_variant(groups: Sequence[Group], baseline: str) -> str | None:
    """The configuration that most runs share; of equals the one that has the baseline, then the first."""
    counts: Counter[str] = Counter()
    with_baseline = set()
    for group in groups:
        if kind_of(next(iter(group.runs.values()))) != "optimizer":
            continue
        counts[group.key[2]] += len(group.runs)
        if group.key[0] == baseline:
            with_baseline.add(group.key[2])
    if not counts:
        return None
    return max(counts, key=lambda v: (counts[v], v in with_baseline, v))


def make_row(group: Group, tasks: Sequence[str], metric: str) -> Row:
    """The row of one group: estimates over the seeds that have every task, reasons for the others."""
    first = next(iter(group.runs.values()))
    name, kind = first["spec"]["optimizer"]["name"], kind_of(first)
    params = json.loads(group.key[1])
    label = BASELINES.get(name, name) + (f" ({describe_params(params)})" if params else "")
    if group.protocol is not None:
        # no other row of the method is meant by its name alone
        label = name = row_label(group.protocol, label)
    row = Row(label, name, kind, params, notes=list(group.notes), seeds_known=sorted(group.runs), runs=group.runs)
    row.protocol = group.protocol
    _fill_scores(row, group, tasks, metric)
    told = [w["message"] for r in group.runs.values() for w in r.get("warnings", [])]
    row.notes += [f"warning: {message}" for message in dict.fromkeys(told)]
    complete = [group.runs[s] for s in row.seeds_done] or list(group.runs.values())
    row.costs = {
        "step_ms": _mean(complete, "step_ms"),
        "peak_memory_bytes": _largest(complete, "peak_memory_bytes"),
        "optimizer_state_bytes": _largest(complete, "optimizer_state_bytes"),
        "hours": _scaled(_mean(complete, "total_seconds"), 1 / 3600),
    }
    trials = [int(r["tuning"]["trials"] or 0) if "tuning" in r else 0 for r in group.runs.values()]
    row.trials = max(trials) if kind == "optimizer" else None
    return row


def tell_code_apart(rows: Sequence[Row], groups: Sequence[Group]) -> None:
    """Rows of one method in several versions get theirs into their labels, of a plugin the beginning of its hash."""
    named = Counter(row.name for row in rows)
    for row, group in zip(rows, groups, strict=True):
        if named[row.name] > 1 and group.key[3]:
            row.label += f" ({group.key[3]})"


def _fill_scores(row: Row, group: Group, tasks: Sequence[str], metric: str) -> None:
    values = {seed: task_values(record, metric) for seed, record in sorted(group.runs.items())}
    reasons: dict[int, str] = {}
    for seed, record in sorted(group.runs.items()):
        reason = _why_unusable(record, values[seed], tasks)
        if reason:
            reasons[seed] = reason
    row.seeds_done = [s for s in sorted(group.runs) if s not in reasons]
    row.notes += [f"seed {seed}: {reason}" for seed, reason in reasons.items()]
    if row.seeds_done:
        row.tasks = {t: estimate({s: values[s][t] for s in row.seeds_done}) for t in tasks}
        means = {seed: average(group.runs[seed]["tasks"], tasks, metric) for seed in row.seeds_done}
        row.average = estimate({seed: mean for seed, mean in means.items() if mean is not None})
        return
    short = _short_reason(list(group.runs.values()))
    finished = [s for s, r in group.runs.items() if r["status"] == "complete"]
    for task in tasks:
        have = {s: values[s][task] for s in sorted(finished) if task in values[s]}
        row.tasks[task] = estimate(have) if have else Estimate(None, reason=short or "missing")
    row.average = Estimate(None, reason=short or "incomplete")


def task_values(record: RunSummary, metric: str) -> dict[str, float]:
    """Task name -> value of ``metric``, finite values only."""
    found = {}
    for task, result in record["tasks"].items():
        value = result["metrics"].get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            found[task] = float(value)
    return found


def _why_unusable(record: RunSummary, values: dict[str, float], tasks: Sequence[str]) -> str | None:
    if record["status"] != "complete":
        error = record["error"]
        message = str(error.get("message") or "").splitlines() if error else []
        detail = ": ".join(part for part in (error_type(record), message[0] if message else "") if part)
        return f"{record['status']}{f' ({detail[:160]})' if detail else ''}"
    missing = [t for t in tasks if t not in values]
    return f"no result for {', '.join(missing)}, so no average" if missing else None


def _short_reason(records: Sequence[RunSummary]) -> str | None:
    """What a cell says when no run of the row finished: ``failed: RunError``, ``running``, ``interrupted``."""
    statuses = {r["status"] for r in records}
    if "complete" in statuses:
        return None
    for status in ("failed", "interrupted", "running"):
        if status in statuses:
            errors = [error_type(r) for r in records if r["status"] == status]
            kind = next((e for e in errors if e), None)
            return f"{status}: {kind}" if kind else status
    return None


def _costs(records: Sequence[RunSummary], key: CostName) -> list[float]:
    values = [r["cost"].get(key) for r in records]
    return [float(v) for v in values if isinstance(v, int | float)]


def _mean(records: Sequence[RunSummary], key: CostName) -> float | None:
    values = _costs(records, key)
    return sum(values) / len(values) if values else None


def _largest(records: Sequence[RunSummary], key: CostName) -> float | None:
    return max(_costs(records, key), default=None)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def task_titles(loaded: Sequence[Loaded], metric: str) -> tuple[dict[str, str], list[str]]:
    """Task name -> title of every task for which some record has ``metric``, in the records' own order.

    Also returns the tasks that no record has the metric for: it is not defined there.
    """
    titles: dict[str, str] = {}
    defined: dict[str, bool] = defaultdict(bool)
    usable = (i.record for i in loaded if i.usable)
    ordered = sorted(usable, key=lambda r: (kind_of(r) != "optimizer", -len(r["tasks"])))
    for record in ordered:
        for name, task in record["tasks"].items():
            titles.setdefault(name, task.get("title") or name)
            defined[name] |= metric in task["metrics"]
    return {n: t for n, t in titles.items() if defined[n]}, [n for n in titles if not defined[n]]
