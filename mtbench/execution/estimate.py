"""What a plan will cost, before it runs: work in floating-point operations, and from it GPU hours and memory.

The model counts a transformer's forward pass (twice its multiplying parameters a token) over the tokens that each
stage reads, three passes for a training step (four with gradient caching; as many for every further draw, and for
gradients at other points) and 30 % more where a multitask optimizer acts, and N d multiplications for every searched
query. Tokenising and BM25 run on processors: their core hours are counted apart, from measured speeds. It is an
estimate for planning: shares are good to a few percent, hours to a factor of two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypedDict

from mtbench.config import Config, TrainConfig, build_config, load_profile, merge
from mtbench.execution.planned import PlannedRuns
from mtbench.execution.reader_estimate import reading_operations, studying_operations
from mtbench.pipeline.demand import all_demanded
from mtbench.pipeline.plan import PART, Plan, Stage, make_plan
from mtbench.pipeline.request import ResolvedRun
from mtbench.registry import get_optimizer, get_suite
from mtbench.training.budget import epoch_steps, task_budget

GPU_FLOPS = 100e12
"""Operations a second that an A100 reaches on such models in bf16 (a third of its peak)."""
ACTING = 1.3
"""A training step with an acting multitask optimizer against a naive one."""
TOKENISED, INDEXED = 1450.0, 18_300.0
"""Passages a second and core: tokenised with T5's tokenizer, and put into a BM25 index."""
BM25_QUERY = 7.4e-9
"""Seconds and core that a query takes for each passage of the index: 1.5 ms for a shard of 200,000."""
PASSAGE_TOKENS = 145.0
"""Mean tokens of a 100-word Wikipedia passage with its title."""
PASSAGES = {"kilt": 36e6, "mixed": 36e6 + 8_841_823 + 5_416_568 + 492_321}
"""Passages of the real corpora: MT-DPR's Wikipedia; with MS MARCO, FEVER of BEIR and ZESHEL."""
T5_BASE = {"operations": 204e6, "parameters": 223e6, "hidden": 768, "layers": 24}
"""Of T5-base as dual encoder: operations a token, parameters, vector size, layers of encoder and decoder."""


WHOLE = {name: TrainConfig.model_fields[name].default for name in PART}
"""What a stage trains on unless its settings say so."""


@dataclass(frozen=True)
class Sizes:
    """How much data there is: passages, and train and dev queries with their lengths in tokens, task by task."""

    passages: float
    passage_tokens: float
    train: tuple[int, ...]
    dev: tuple[int, ...]
    query_tokens: tuple[int, ...]
    names: tuple[str, ...]
    """Of the tasks; one without train judgements has 0 train queries."""

    def trained(self, text: str | None) -> list[int]:
        """The places of the tasks that a stage's setting ``tasks`` names; all that have train queries for None."""
        chosen = self.names if text is None else text.split(",")
        return [i for i, name in enumerate(self.names) if name in chosen and self.train[i]]


@dataclass(frozen=True)
class Model:
    """What the encoder costs: operations a token (one forward pass), parameters, vector size, layers."""

    operations: float
    parameters: float
    hidden: int
    layers: int

    @classmethod
    def of(cls, config: Config) -> Model:
        """The tiny encoder from its sizes; any other as T5-base."""
        encoder = config.encoder
        if encoder.path != "tiny":
            return cls(**T5_BASE)  # type: ignore[arg-type]
        block = 4 * encoder.hidden**2 + 3 * encoder.hidden * encoder.feed_forward
        parameters = encoder.vocabulary * encoder.hidden + 2.5 * encoder.layers * block
        return cls(2.0 * encoder.layers * block, parameters, encoder.hidden, 2 * encoder.layers)


class EstimateRow(TypedDict):
    """An estimate in rounded numbers: hours on a GPU as fast as :data:`GPU_FLOPS`, bytes, and what they rest on."""

    share_of_independent_runs: float
    gpu_hours: float
    gpu_hours_independent: float
    gpu_hours_one_run: float
    cpu_hours: float
    memory_bytes: dict[str, int]
    store_bytes_per_model: int
    stages_total: int
    stages_distinct: int
    basis: str


@dataclass(frozen=True)
class Estimate:
    """Operations of all runs by themselves and of the distinct stages still to compute, and what they mean."""

    independent: float
    to_compute: float
    one_run: float
    memory: dict[str, float]
    disk: float
    stages: int = 0
    """Of all runs by themselves."""
    distinct: int = 0
    processor_seconds: float = 0.0
    """Of one core, for the stages to compute that run on processors."""

    @property
    def share(self) -> float:
        """Work left over work of independent runs."""
        return self.to_compute / self.independent if self.independent else 0.0

    def plain(self) -> EstimateRow:
        """For JSON."""
        hours = 1 / GPU_FLOPS / 3600
        return {
            "share_of_independent_runs": round(self.share, 4),
            "gpu_hours": _three(self.to_compute * hours),
            "gpu_hours_independent": _three(self.independent * hours),
            "gpu_hours_one_run": _three(self.one_run * hours),
            "cpu_hours": _three(self.processor_seconds / 3600),
            "memory_bytes": {name: int(value) for name, value in self.memory.items()},
            "store_bytes_per_model": int(self.disk),
            "stages_total": self.stages,
            "stages_distinct": self.distinct,
            "basis": "operations: forward passes over tokens, 3 (4 with gradient caching) a training step, "
            f"{ACTING} where the optimizer acts, search; A100 at {GPU_FLOPS / 1e12:.0f} TFLOP/s effective; "
            "tokenising and BM25 in core hours, from measured speeds",
        }


def estimate(planned: PlannedRuns) -> Estimate:
    """The cost of what is planned; finished runs and stages in the store cost nothing."""
    waiting = [job.plan for job in planned.waiting]
    needed = all_demanded([plan.until(planned.until) for plan in waiting], planned.store.has)
    return _total(waiting, needed, planned.until)


def paper_projection(planned: PlannedRuns) -> Estimate | None:
    """The same runs in the profile ``paper``, of which nothing is computed yet; None for a suite without one."""
    runs = [job.plan.run for job in planned.jobs]
    if not runs or any(run.suite.name not in PASSAGES for run in runs):
        return None
    plans = [make_plan(_as_in_paper(run)) for run in runs]
    return _total(plans, None, None)


def _as_in_paper(run: ResolvedRun) -> ResolvedRun:
    """With the paper's lengths and model; what was set for this run alone (a swept learning rate) stays different."""
    profile = load_profile("paper")
    swept = {
        section: {k: v for k, v in values.items() if k not in profile.get(section, {}) or k in ("lr", "warmup_lr")}
        for section, values in run.request.settings.items()
        if section in ("train", "negatives") and isinstance(values, dict)
    }
    for values in swept.values():
        for name in ("steps", "warmup_steps"):
            values.pop(name, None)
    part = {
        name: getattr(run.config.train, name) for name in (*PART, "start", "fusion")
    }  # as resolved: names, not -names
    if run.reader is None:
        profile.pop("reader", None)
    config = build_config(merge(merge(profile, swept), {"train": part}), "profile paper")
    request = dataclasses.replace(run.request, limit=None)
    parent = None if run.parent is None else _as_in_paper(run.parent)
    parts = tuple(_as_in_paper(part) for part in run.parts)
    return dataclasses.replace(
        run,
        config=config,
        request=request,
        encoder={"name": config.encoder.path},
        parent=parent,
        parts=parts,
        reader=None if run.reader is None else {"name": config.reader.path},
    )


def _total(plans: Iterable[Plan], needed: Collection[str] | None, until: str | None) -> Estimate:
    independent, one_run, total, cost, processor = 0.0, 0.0, 0, dict[str, float](), dict[str, float]()
    memory: dict[str, float] = {}
    disk = 0.0
    known: dict[tuple[str, str, int | None], Sizes] = {}
    for plan in plans:
        config = plan.run.config
        kind = (plan.run.suite.name, config.encoder.path, plan.run.request.limit)
        sizes = known[kind] if kind in known else known.setdefault(kind, sizes_of(plan.run))
        model = Model.of(config)
        by_itself = 0.0
        for stage in plan.until(until):
            if stage.key not in cost:
                owner = stage.owner.config if stage.owner is not None else config
                cost[stage.key] = stage_operations(stage, owner, sizes, model)
                processor[stage.key] = processor_seconds(stage, sizes)
            by_itself += cost[stage.key]
            total += 1
        independent += by_itself
        one_run = max(one_run, by_itself)
        memory = memory or training_memory(config, sizes, model)
        disk = max(disk, sizes.passages * model.hidden * 2 + model.parameters * 4)
    left = sum(v for k, v in cost.items() if needed is None or k in needed)
    seconds = sum(v for k, v in processor.items() if needed is None or k in needed)
    return Estimate(independent, left, one_run, memory, disk, total, len(cost), seconds)


def sizes_of(run: ResolvedRun) -> Sizes:
    """Published counts for the real data of a built-in suite; of anything else a guess from the size of its files."""
    tasks, limit = run.suite.tasks, run.request.limit
    if run.config.encoder.path != "tiny" and run.suite.name in PASSAGES:
        counts = get_suite(run.suite.name).published_counts
        train, dev = [counts[t.name][0] for t in tasks], [counts[t.name][1] for t in tasks]
        passages = PASSAGES[run.suite.name]
    else:
        bytes_of = [max(1, (run.suite.root / c.path).stat().st_size) for c in run.suite.corpora if c.path]
        passages = sum(bytes_of) / 700
        train = [max(40, _size(run, t.queries) // 500) for t in tasks]
        dev = [max(10, n // 4) for n in train]
    if limit is not None:
        train, dev = [min(limit, n) for n in train], [min(limit, n) for n in dev]
    train = [n if task.train_qrels else 0 for n, task in zip(train, tasks, strict=True)]
    tokens, names = [t.query_max_length + 6 for t in tasks], tuple(t.name for t in tasks)
    return Sizes(passages, PASSAGE_TOKENS, tuple(train), tuple(dev), tuple(tokens), names)


def _size(run: ResolvedRun, path: str) -> int:
    file = run.suite.root / path
    return file.stat().st_size if file.is_file() else 0


def stage_operations(stage: Stage, config: Config, sizes: Sizes, model: Model) -> float:
    """Floating-point operations of one stage; 0 for those that run on processors."""
    if stage.name == "encode":
        return sizes.passages * sizes.passage_tokens * model.operations
    if stage.name in ("warmup", "train"):
        return _training(stage, config, sizes, model)
    if stage.name == "study":
        return studying_operations(config.reader, sizes.train, sizes.query_tokens)
    if stage.name == "read":
        return reading_operations(stage, config.reader, sizes.train, sizes.dev, sizes.query_tokens)
    if stage.name in ("mine", "evaluate", "retrieve") and stage.inputs["source"].name == "encode":
        mined = sizes.trained(stage.settings.get("tasks"))
        counts = [n if i in mined else 0 for i, n in enumerate(sizes.train)] if stage.name == "mine" else sizes.dev
        counts = [*sizes.train, *sizes.dev] if stage.name == "retrieve" else counts
        reading = sum(n * t for n, t in zip(counts, 2 * sizes.query_tokens, strict=False)) * model.operations
        return reading + 2.0 * sum(counts) * sizes.passages * model.hidden
    return 0.0


def processor_seconds(stage: Stage, sizes: Sizes) -> float:
    """Of one core, for a stage that runs on processors; 0 for the others."""
    if stage.name == "prepare":
        return sizes.passages / TOKENISED
    if stage.name == "bm25":
        return sizes.passages / INDEXED + BM25_QUERY * sizes.passages * (sum(sizes.train) + sum(sizes.dev))
    return 0.0


def _training(stage: Stage, config: Config, sizes: Sizes, model: Model) -> float:
    own = stage.settings["train"]
    train = config.train.model_copy(update={name: own.get(name, usual) for name, usual in WHOLE.items()})
    places, known = sizes.trained(own.get("tasks")), sizes.trained(None)
    counts = [min(sizes.train[i], train.examples or sizes.train[i]) for i in known]
    names = [sizes.names[i] for i in known]
    budget = task_budget(names, counts, [sizes.names[i] for i in places], train)
    passages = 160 * (1 + train.hard_negatives)
    tokens = sum(b * (passages + sizes.query_tokens[i]) for b, i in zip(budget.sizes, places, strict=True))
    steps = stage.settings.get("steps")
    if steps is None:
        whole = task_budget(names, counts, names, train).sizes
        steps = stage.settings["epochs"] * epoch_steps(counts, whole, train)
    steps = budget.steps(math.ceil(steps))
    texts = max(budget.sizes) * (2 + train.hard_negatives)
    passes = 4.0 if 0 < train.micro_batch < texts else 3.0
    acting = ACTING if stage.settings["optimizer"]["name"] != "naive" else 1.0
    method = get_optimizer(stage.settings["optimizer"]["name"])
    passes *= 2 if method.perturbs else 1
    passes *= method.draws if train.draws == "extra" else 1
    return float(steps * tokens * model.operations * passes * acting)


def training_memory(config: Config, sizes: Sizes, model: Model) -> dict[str, float]:
    """Bytes on one GPU while training: weights, gradient, update and Adam (5 floats a parameter); a method with state
    per task (K floats) and all gradient rows at once (K more); activations of one forward pass.

    Activations: 34 + 5 a s / h bytes a token, unit of width and layer in half precision (Korthikanti et al. 2022,
    equation 2), twice that in single precision.
    """
    tasks = len(sizes.train)
    queries = -(-config.train.batch_size // (1 if config.train.mixing == "union" else tasks))
    texts = config.train.micro_batch or queries * (2 + config.train.hard_negatives)
    length = 160
    per_unit = 34 + 5 * (model.hidden / 64) * length / model.hidden
    width = 1.0 if config.encoder.precision == "bf16" else 2.0
    if config.encoder.gradient_checkpointing:
        per_unit = 2.0 + per_unit / model.layers
    return {
        "weights_gradient_adam": 20.0 * model.parameters,
        "state_per_task": 4.0 * tasks * model.parameters,
        "gradient_rows": 4.0 * tasks * model.parameters,
        "activations": texts * length * model.hidden * model.layers / 2 * per_unit * width,
    }


def _three(value: float) -> float:
    return float(f"{value:.3g}")
