"""Declarations: name and documents, hyperparameters with ranges, and every value at the end of its range."""

from __future__ import annotations

import math
import re
from typing import Any, get_args

from mtbench.errors import ConfigError
from mtbench.hyperparameters import Hyperparameter, hyperparameters
from mtbench.optim.conformance.bench import Subject, ViolationError, conflicting_steps, require_finite, run
from mtbench.optim.contract import Cost

FAR = 1e6
"""What stands for infinity where a range has no end."""
STEPS = 20


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
        for bad in _refused(field):
            _must_refuse(subject, field, bad)
    opt = subject.start()
    before = subject.make().params
    run(opt, conflicting_steps())
    moved = [name for name, value in opt.params.items() if value != before[name]]
    if moved:
        raise ViolationError(
            f"{', '.join(moved)} changes while training: the base class uses that name, or the method sets it"
        )
    return ", ".join(f"{f.name}={f.default!r} ({f.allowed})" for f in declared.values())


def _must_refuse(subject: Subject, field: Hyperparameter, bad: Any) -> None:
    try:
        subject.cls(**{field.name: bad})
    except ConfigError as error:
        if field.name not in str(error):
            raise ViolationError(f"{field.name}={bad!r} is refused without naming {field.name}: {error}") from None
        return
    raise ViolationError(f"{field.name}={bad!r} is accepted; allowed: {field.allowed}")


def _refused(field: Hyperparameter) -> list[Any]:
    """Values of a wrong type, just outside the range, and far outside."""
    bad: list[Any] = [None]
    if field.per_task:
        return [*bad, "task0:nan", "task0:1,task0:2", "task0", *(["task0:-1"] if 0 in (field.ge, field.gt) else [])]
    if field.choices:
        return [*bad, "no such choice"]
    if field.kind in (int, float):
        bad += [v for low in (field.ge,) if low is not None for v in (_next(field, low, -1), field.kind(low - 1))]
        bad += [v for high in (field.le,) if high is not None for v in (_next(field, high, 1), field.kind(high + 1))]
        bad += [field.kind(v) for low in (field.gt,) if low is not None for v in (low, low - 1)]
        bad += [field.kind(v) for high in (field.lt,) if high is not None for v in (high, high + 1)]
        bad += [math.nan, math.inf] if field.kind is float else []
        bad += [field.kind(0)] if field.nonzero else []
    return bad


def _next(field: Hyperparameter, value: float, direction: int) -> Any:
    """The nearest value beyond."""
    return int(value) + direction if field.kind is int else math.nextafter(value, direction * math.inf)


def boundary_values(subject: Subject) -> str:
    """Every hyperparameter at both ends of its range, every choice: 20 finite steps."""
    tried = 0
    stream = conflicting_steps(steps=STEPS)
    for field in hyperparameters(subject.cls).values():
        ends = _ends(field)
        if field.name == "scale" and not subject.cls.weighted_sum:
            ends.remove("unit")
            _must_refuse(subject, field, "unit")
        usual = subject.make().params[field.name]  # which every other check tries
        for value in (end for end in ends if end != usual):
            tried += 1
            opt = subject.using(**{field.name: value}).start(total_steps=STEPS)
            for step, one in enumerate(stream):
                [update] = run(opt, [one])
                what = f"step {step} with {field.name}={value!r} (allowed: {field.allowed})"
                require_finite(opt, update, what, "guard the computation, or declare a narrower range")
                if opt.skipped_steps:
                    raise ViolationError(f"{what}: the step is skipped; its numbers are finite")
    return f"{tried} values at the ends of the hyperparameters' ranges give finite updates for {STEPS} steps"


def _ends(field: Hyperparameter) -> list[Any]:
    if field.per_task:
        low = 0 if 0 in (field.ge, field.gt) else None
        return [f"task0:{FAR:g}"] + (["task0:1e-6", "*:1e-6,task1:1"] if low is None or field.gt == 0 else ["task0:0"])
    if field.choices:
        return list(field.choices)
    if field.kind is bool:
        return [True, False]
    if field.kind is int:
        return [_lowest_int(field), _highest_int(field)]
    if field.kind is float:
        return [v for v in (_lowest(field), _highest(field)) if not (field.nonzero and v == 0)]
    return []


def _lowest(field: Hyperparameter) -> float:
    if field.ge is not None:
        return float(field.ge)
    return -FAR if field.gt is None else field.gt + 1e-6


def _highest(field: Hyperparameter) -> float:
    if field.le is not None:
        return float(field.le)
    return FAR if field.lt is None else field.lt - 1e-6


def _lowest_int(field: Hyperparameter) -> int:
    if field.ge is not None:
        return math.ceil(field.ge)
    return int(field.default - 10) if field.gt is None else math.floor(field.gt) + 1


def _highest_int(field: Hyperparameter) -> int:
    """Without an end: a good deal more than usual, since a length of a million takes a million steps."""
    if field.le is not None:
        return math.floor(field.le)
    return int(4 * abs(field.default) + 10) if field.lt is None else math.ceil(field.lt) - 1
