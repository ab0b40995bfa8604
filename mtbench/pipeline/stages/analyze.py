"""analyze: sensitivities of the trained encoder by task, and how specialised its parameters are."""

from __future__ import annotations

import json
from pathlib import Path

from mtbench.model.flat import FlatParameters
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.stages.train import load_examples, stage_batches
from mtbench.records.curves import Analysis, Commitment
from mtbench.storage.manifest import Results
from mtbench.training.diagnostics import LoggedStep
from mtbench.training.examples import build_batch
from mtbench.training.forward import TaskForward
from mtbench.training.ranks import Ranks
from mtbench.training.sensitivity import SensitivityTable


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """The analysis stands in the manifest, and so in the record."""
    prepare, trained = stage.inputs["prepare"], stage.inputs["model"]
    config = context.config
    examples = load_examples(context, trained)
    order, _ = stage_batches(context, trained)
    model = context.model(trained, prepare).train()
    flat = FlatParameters(model, model.owners, {example.place for example in examples})
    forward = TaskForward(model, context.padding(prepare), context.device, config, Ranks())
    table = SensitivityTable(work / "sensitivity.npy", len(examples), flat.num_shared)
    batches = config.analyze.batches
    for step in range(batches):
        for k, example in enumerate(examples):
            flat.gradient.zero_()
            batch = build_batch(example, order, k, order.span(step, k), config.train, config.negatives)
            forward(example, batch, (order.seed, "analyze", step, order.names[k])).backward()
            shared = slice(0, flat.num_shared)
            table.add(k, flat.theta[shared], flat.gradient[shared], 1.0 / batches)
        context.listener.stage_advanced(stage, step + 1, batches, {})
    names, found = list(order.names), table.normalisation()
    analysis: Analysis = {
        "sensitivity": table.density(names),
        "entropy": table.entropy(names, found.medians, config.analyze),
        "medians": {
            "over": found.over,
            "counted": found.counted,
            "by_task": dict(zip(names, found.medians, strict=True)),
            "zeros_by_task": dict(zip(names, found.zeros, strict=True)),
        },
        "commitment": _commitment(context.folder(trained) / "journal.json"),
    }
    table.close()
    return {"analysis": analysis}


def _commitment(journal: Path) -> Commitment:
    """How parameters kept their tasks in training, by logged step; empty for methods that average no sensitivities."""
    entries: list[LoggedStep] = json.loads(journal.read_text(encoding="utf-8"))
    rates = [(e["step"], e["commitment_rate"]) for e in entries if "commitment_rate" in e]
    shares = [(e["step"], e["report"]["committed_share"]) for e in entries if "committed_share" in e.get("report", {})]
    return {
        "steps": [step for step, _ in rates],
        "rate": [rate for _, rate in rates],
        "committed_steps": [step for step, _ in shares],
        "committed_share": [share for _, share in shares],
    }
