"""The contract of a multitask optimizer, what methods are made of, and the kit that checks one.

The public names are loaded on first use, so that reading a plug-in's source or listing names needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtbench.hyperparameters import hyper
    from mtbench.optim.contract import Cost, Layout, MultitaskOptimizer, reset_field
    from mtbench.optim.gram_weighting import GramWeighting
    from mtbench.optim.step import MultitaskStep, average_over_ranks
    from mtbench.optim.task_numbers import preference_field
    from mtbench.optim.weighting import GradientCombining, LossWeighting
    from mtbench.per_task import PerTask
    from mtbench.records.values import Report

_HOMES = {
    "Cost": "mtbench.optim.contract",
    "GradientCombining": "mtbench.optim.weighting",
    "GramWeighting": "mtbench.optim.gram_weighting",
    "Layout": "mtbench.optim.contract",
    "LossWeighting": "mtbench.optim.weighting",
    "MultitaskOptimizer": "mtbench.optim.contract",
    "MultitaskStep": "mtbench.optim.step",
    "PerTask": "mtbench.per_task",
    "Report": "mtbench.records.values",
    "average_over_ranks": "mtbench.optim.step",
    "hyper": "mtbench.hyperparameters",
    "preference_field": "mtbench.optim.task_numbers",
    "reset_field": "mtbench.optim.contract",
}

__all__ = [
    "Cost",
    "GradientCombining",
    "GramWeighting",
    "Layout",
    "LossWeighting",
    "MultitaskOptimizer",
    "MultitaskStep",
    "PerTask",
    "Report",
    "average_over_ranks",
    "hyper",
    "preference_field",
    "reset_field",
]


if not TYPE_CHECKING:  # for a type checker a name that is not public does not exist

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'mtbench.optim' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
