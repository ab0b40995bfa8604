"""fuse: one model of the runs on one task each, at no training.

theta = start + sum_k w_k (theta_k - start), with the runs' common start. ``uniform``: w_k = 1/K. ``deviation``: of each
parameter tensor, in proportion to how far each run moved it, ||theta_k - start||, after CoDiEmb's fusion by the
deviation of parameters from their start. A tower that some tasks alone use is fused of these tasks' runs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mtbench.model.encoder import DualEncoder
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.storage.manifest import Results

MODEL = "model_"
"""What the inputs are called that are the runs' models: this and the task."""


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``model/``; the mean weight of each run stands in the manifest."""
    prepare = stage.inputs["prepare"]
    places = {name: k for k, name in enumerate(context.prepared(prepare).tasks)}
    parts = {name.removeprefix(MODEL): part for name, part in stage.inputs.items() if name.startswith(MODEL)}
    fused = _start(context, stage)
    start = {name: value.clone() for name, value in fused.named_parameters()}
    deviations: dict[str, dict[str, Tensor]] = {name: {} for name in start}
    with torch.no_grad():
        for task, part in parts.items():
            trained = dict(context.model(part, prepare).named_parameters())
            for name in start:
                if places[task] in _users(fused, name, set(places.values())):
                    deviations[name][task] = trained[name] - start[name]
        weights = {name: _weights(own, stage.settings["fusion"]) for name, own in deviations.items()}
        for name, parameter in fused.named_parameters():
            for task, deviation in deviations[name].items():
                parameter.add_(deviation, alpha=weights[name][task])
    prompts, lengths = context.query_settings(prepare)
    texts = context.config.data.model_dump(mode="json", include={"prompt", "passage_max_length", "query_max_length"})
    fused.save(work / "model", context.tokenizer(prepare), prompts, lengths, texts)
    means = {task: sum(w.get(task, 0.0) for w in weights.values()) / len(weights) for task in parts}
    return {"weights": {task: round(mean, 6) for task, mean in means.items()}}


def _start(context: Context, stage: Stage) -> DualEncoder:
    """The runs' common start, in the towers that their models have."""
    prepare = stage.inputs["prepare"]
    model = context.model(stage.inputs.get("start"), prepare)
    if model.settings.sharing != context.config.encoder.sharing:
        model = model.split(context.config.encoder, context.families(prepare)).to(context.device)
    return model


def _users(model: DualEncoder, name: str, everyone: set[int]) -> set[int] | frozenset[int]:
    """The tasks that use a parameter."""
    return next((tasks for prefix, tasks in model.owners.items() if name.startswith(prefix)), everyone)


def _weights(deviations: dict[str, Tensor], kind: str) -> dict[str, float]:
    """A weight for each run that sums to 1; equal ones where no run moved the parameter."""
    equal = dict.fromkeys(deviations, 1.0 / max(1, len(deviations)))
    if kind == "uniform":
        return equal
    norms = {task: float(torch.linalg.vector_norm(d, dtype=torch.float64)) for task, d in deviations.items()}
    total = sum(norms.values())
    return {task: norm / total for task, norm in norms.items()} if total > 0 else equal
