"""Does an optimizer keep the promises of the contract? One line per promise, in seconds, on the CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtbench.computing import caller_as_it_was
from mtbench.errors import ConfigError, MtbenchError, PluginError
from mtbench.hyperparameters import Hyperparameter, hyperparameters
from mtbench.optim import conformance_checks as behaviour
from mtbench.optim.conformance_bench import Subject, ViolationError, conflicting_steps, direction_gap, run, started
from mtbench.optim.contract import Cost, MultitaskOptimizer
from mtbench.registry import (
    PLUGIN_VARIABLE,
    add_plugin_files,
    entries,
    get_optimizer,
    lookup,
    plugin_files,
)
from mtbench.storage.places import expanded

DISTINCT_STEPS = 120
"""Steps within which two methods must part: 50 would do for all but DWA, which waits for two windows of 50."""


@dataclass(frozen=True)
class Check:
    """One promise: its name, whether it is kept, and a sentence that says so."""

    name: str
    ok: bool
    sentence: str


def check_optimizer(name: str | None = None, file: Path | None = None, *, worker: bool = True) -> list[Check]:
    """All checks of the optimizer registered as ``name``, or of the one in the plugin ``file``.

    ``worker=False`` leaves out the check that starts a process. Raises UnknownNameError for an unknown name and
    PluginError for a file without an optimizer or one that cannot be imported.
    """
    with caller_as_it_was():
        torch.set_num_threads(1)  # on vectors this small a second thread costs more than it does
        if file is not None:
            add_plugin_files([str(file)])
            name = _name_in(Path(file), name)
        if name is None:
            raise ConfigError("check_optimizer needs a name or a file")
        subject = Subject(name, get_optimizer(name))
        return [_check(title, test, subject) for title, test in CHECKS if worker or test is not survives_a_worker]


def _name_in(file: Path, wanted: str | None) -> str:
    path = expanded(file).resolve()
    names = [n for n, entry in entries("optimizer").items() if entry.file == path]
    if wanted is not None and wanted not in names:
        raise PluginError(f"{file}: has no optimizer {wanted!r}; it has {', '.join(names) or 'none'}")
    if wanted is not None:
        return wanted
    if len(names) != 1:
        raise PluginError(f"{file}: expected one optimizer class, found {', '.join(names) or 'none'}")
    return names[0]


def _check(title: str, test: Callable[[Subject], str], subject: Subject) -> Check:
    try:
        return Check(title, True, test(subject))
    except ViolationError as violation:
        return Check(title, False, str(violation))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises is a finding, not the end
        return Check(title, False, f"raised {type(error).__name__}: {error}")


def metadata(subject: Subject) -> str:
    """Name, summary, docstring, cost class."""
    cls = subject.cls
    if not re.fullmatch(r"[a-z][a-z0-9_]*", cls.name):
        raise ViolationError(f"name {cls.name!r} must be lower case letters, digits and underscores")
    if cls.name != subject.name:
        raise ViolationError(f"is registered as {subject.name!r}, but its class says name = {cls.name!r}")
    if not getattr(cls, "summary", "").strip():
        raise ViolationError("has no summary: one line for `mtbench ls optimizers`")
    # a dataclass without a docstring gets its signature for one
    if not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}("):
        raise ViolationError("has no docstring: say what the method does, with paper and equation numbers")
    if getattr(cls, "cost", None) not in get_args(Cost):
        raise ViolationError(f"cost must be one of {', '.join(get_args(Cost))} (the base classes set it)")
    return f"{cls.summary}; cost: {cls.cost}; paper: {cls.paper or 'none named'}"


def typed_hyperparameters(subject: Subject) -> str:
    """Types, bounds, and that bad values are refused."""
    declared = hyperparameters(subject.cls)
    for field in declared.values():
        bounds = (field.ge, field.gt, field.le, field.lt)
        if field.kind in (int, float) and not field.choices and bounds == (None,) * 4 and not field.nonzero:
            raise ViolationError(f"{field.name} has no bounds: hyper(default, ge=0), or gt, le, lt, nonzero")
        for bad in _bad_values(field):
            try:
                subject.cls(**{field.name: bad})
            except ConfigError:
                continue
            raise ViolationError(f"{field.name}={bad!r} is accepted; allowed: {field.allowed}")
    opt = subject.start()
    before = subject.make().params
    run(opt, conflicting_steps())
    moved = [name for name, value in opt.params.items() if value != before[name]]
    if moved:
        raise ViolationError(
            f"{', '.join(moved)} changes while training: the base class uses that name, or the method sets it"
        )
    return ", ".join(f"{f.name}={f.default!r} ({f.allowed})" for f in declared.values())


def _bad_values(field: Hyperparameter) -> list[Any]:
    bad: list[Any] = [None]
    if field.per_task:
        bad += ["task0:nan", "task0:1,task0:2", "task0", *(["task0:-1"] if 0 in (field.ge, field.gt) else [])]
    elif field.choices:
        bad.append("no such choice")
    elif field.kind in (int, float):
        below, above = (field.ge, field.gt), (field.le, field.lt)
        bad += [field.kind(b - 1) for b in below if b is not None] + [field.kind(b + 1) for b in above if b is not None]
        bad += [float("nan")] if field.kind is float else []
        bad += [field.kind(0)] if field.nonzero else []
    return bad


class _Allocations(TorchDispatchMode):
    """The most elements that tensors made inside hold at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage().data_ptr() for t in _tensors([args, kwargs or {}])}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            pointer = storage.data_ptr()
            if pointer and pointer not in known and pointer not in self._alive:
                self._alive[pointer] = storage.nbytes() // tensor.element_size()
                weakref.finalize(storage, self._alive.pop, pointer, None)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def cost_class(subject: Subject, num_tasks: int = 8, size: int = 1 << 19) -> str:
    """A loss-only method keeps no rows, a Gram method keeps K rows once and makes no more."""
    cost = subject.cls.cost
    if cost == "elementwise":
        return "elementwise: may keep and make whole blocks of K x d"
    (gradients, losses), *_ = conflicting_steps(num_tasks, size, 1, dtype=torch.float32)
    opt, out = subject.start(num_tasks, size, dtype=torch.float32), torch.empty(size)
    with _Allocations() as made:
        for step in range(2):
            opt.begin_step(step, losses.tolist())
            for k in range(num_tasks):
                opt.task(k, gradients[k], losses[k])
            opt.finish(out)
    limit = 1.7 * num_tasks if cost == "gram" else 3.0
    if made.peak > limit * size:
        raise ViolationError(
            f"declares cost {cost!r} but holds {made.peak / size:.1f} vectors of d at once, beyond {limit:.1f} "
            f"(K = {num_tasks})"
        )
    return f"{cost}: at most {made.peak / size:.1f} vectors of d at once with K = {num_tasks}"


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
                f"its direction is {name}'s in all of {DISTINCT_STEPS} steps with conflicting gradients: it is {name}"
            )
        parted.append(step)
    left_out = f" (not compared: {', '.join(skipped)}, which cannot be loaded)" if skipped else ""
    return f"parts from each of {len(parted)} other methods by step {max(parted, default=0)}{left_out}"


def _parts_at(own: list[Tensor], other: MultitaskOptimizer, stream: list[tuple[Tensor, Tensor]]) -> int | None:
    """The first step in which the directions differ."""
    pairs = enumerate(zip(own, stream, strict=True))
    return next((t for t, (update, step) in pairs if direction_gap(update, run(other, [step])[0]) > 1e-9), None)


def worker_updates(specification: str) -> str:
    """What a worker does with ``{"name": ..., "params": ...}``: the updates of some steps, as JSON."""
    spec = json.loads(specification)
    opt = started(get_optimizer(spec["name"])(**spec["params"]))
    return json.dumps([u.tolist() for u in run(opt, conflicting_steps())])


def survives_a_worker(subject: Subject) -> str:
    """The specification crosses to another process as JSON and gives the same numbers there."""
    spec = json.dumps({"name": subject.name, "params": subject.make().params})
    code = "import sys; from mtbench.optim.conformance import worker_updates as w; print(w(sys.stdin.read()))"
    place = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *(p for p in sys.path if p)])
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


CHECKS: list[tuple[str, Callable[[Subject], str]]] = [
    ("metadata", metadata),
    ("hyperparameters", typed_hyperparameters),
    ("shapes", behaviour.shapes),
    ("one task", behaviour.one_task),
    ("identical tasks", behaviour.identical_tasks),
    ("permutation", behaviour.permutation),
    ("resume", behaviour.resume),
    ("seed", behaviour.seeds),
    ("arguments", behaviour.arguments),
    ("task by task", behaviour.task_by_task),
    ("zeros", behaviour.zeros),
    ("scales", behaviour.scales),
    ("precision", behaviour.precisions),
    ("not finite", behaviour.not_finite),
    ("missing task", behaviour.missing_task),
    ("cost class", cost_class),
    ("state", behaviour.state_changes),
    ("distinct", distinct),
    ("worker", survives_a_worker),
]
