"""Among the registered methods: is it another one under a new name, and does its specification cross to a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from torch import Tensor

from mtbench.errors import MtbenchError
from mtbench.optim.conformance.bench import (
    Step,
    Subject,
    ViolationError,
    conflicting_steps,
    direction_gap,
    run,
)
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.registry import PLUGIN_VARIABLE, entries, get_optimizer, lookup, plugin_files

DISTINCT_STEPS = 120
"""Steps within which two methods must part: 50 would do for all but DWA, which waits for two windows of 50."""


def distinct(subject: Subject) -> str:
    """Its updates part from every other registered method's."""
    stream = conflicting_steps(steps=DISTINCT_STEPS)
    own = run(subject.start(total_steps=DISTINCT_STEPS), stream)
    parted, skipped = [], []
    for name in sorted(set(entries("optimizer")) - {subject.name}):
        try:
            other = Subject(name, get_optimizer(name)).start(total_steps=DISTINCT_STEPS)
        except MtbenchError:
            skipped.append(name)
            continue
        step = _parts_at(own, other, stream)
        if step is None:
            raise ViolationError(
                f"its direction is {name}'s in all of {DISTINCT_STEPS} steps with conflicting gradients: it is {name}. "
                "If only its defaults are, name others for the checks in `conformance: ClassVar[Params] = {...}`"
            )
        parted.append(step)
    left_out = f" (not compared: {', '.join(skipped)}, which cannot be loaded)" if skipped else ""
    return f"parts from each of {len(parted)} other methods by step {max(parted, default=0)}{left_out}"


def _parts_at(own: list[Tensor], other: MultitaskOptimizer, stream: list[Step]) -> int | None:
    """The first step in which the directions differ."""
    pairs = enumerate(zip(own, stream, strict=True))
    return next((t for t, (update, step) in pairs if direction_gap(update, run(other, [step])[0]) > 1e-9), None)


def worker_updates(specification: str) -> str:
    """What a worker does with ``{"name": ..., "params": ...}``: the updates of some steps, as JSON."""
    spec = json.loads(specification)
    opt = Subject(spec["name"], get_optimizer(spec["name"]), spec["params"]).start()
    return json.dumps([u.tolist() for u in run(opt, conflicting_steps())])


def survives_a_worker(subject: Subject) -> str:
    """The specification crosses to another process as JSON and gives the same numbers there."""
    spec = json.dumps({"name": subject.name, "params": subject.make().params})
    code = f"import sys; from {__name__} import worker_updates as w; print(w(sys.stdin.read()))"
    place = os.pathsep.join([str(Path(__file__).resolve().parents[3]), *(p for p in sys.path if p)])
    there = {**os.environ, "PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    there[PLUGIN_VARIABLE] = os.pathsep.join(plugin_files())
    # -P: a random.py or mtbench.py in the user's folder is a plugin and nobody's module
    done = subprocess.run([sys.executable, "-P", "-c", code], input=spec, capture_output=True, text=True, env=there)
    if done.returncode:
        raise ViolationError(f"a fresh process cannot run it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    if json.loads(done.stdout.splitlines()[-1]) != json.loads(worker_updates(spec)):
        raise ViolationError("a fresh process gives other numbers from the same specification")
    source = "file" if lookup("optimizer", subject.name).file else "entry point"
    return f"specification -> JSON -> a fresh process ({source}) gives the same numbers"
