"""The stages in the order of the data's way: one file each, found by name."""

from __future__ import annotations

import importlib
from pathlib import Path

from mtbench.computing import computing
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.storage.manifest import Results

_FILES = {"warmup": "train"}


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Compute ``stage`` into ``work``; what it returns goes into the manifest. The caller's process stays as it was."""
    module = importlib.import_module(f"mtbench.pipeline.stages.{_FILES.get(stage.name, stage.name)}")
    context = context.of(stage)
    with computing(context.config):
        results: Results | None = module.compute(context, stage, work)
    return results
