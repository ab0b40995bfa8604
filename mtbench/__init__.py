"""mtbench: an extensible benchmark harness for multitask optimizers in dense retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtbench.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from mtbench.execution.api import run
    from mtbench.hyperparameters import hyper
    from mtbench.optim.contract import MultitaskOptimizer
    from mtbench.optim.gram_weighting import GramWeighting
    from mtbench.optim.weighting import GradientCombining, LossWeighting
    from mtbench.registry import get_optimizer, get_suite
    from mtbench.report.frames import compare, leaderboard, records
    from mtbench.suite import Suite, SuiteDefinition, Task

__all__ = [
    "GradientCombining",
    "GramWeighting",
    "LossWeighting",
    "MultitaskOptimizer",
    "Suite",
    "SuiteDefinition",
    "Task",
    "compare",
    "get_optimizer",
    "get_suite",
    "hyper",
    "leaderboard",
    "records",
    "run",
]

_HOMES = {
    "GradientCombining": "mtbench.optim.weighting",
    "GramWeighting": "mtbench.optim.gram_weighting",
    "LossWeighting": "mtbench.optim.weighting",
    "SuiteDefinition": "mtbench.suite",
    "hyper": "mtbench.hyperparameters",
    "MultitaskOptimizer": "mtbench.optim.contract",
    "Suite": "mtbench.suite",
    "Task": "mtbench.suite",
    "get_optimizer": "mtbench.registry",
    "get_suite": "mtbench.registry",
    "run": "mtbench.execution.api",
    "compare": "mtbench.report.frames",
    "leaderboard": "mtbench.report.frames",
}


if not TYPE_CHECKING:  # for a type checker a name that is not public does not exist
    import types

    from mtbench import records

    class _Records(types.ModuleType):
        """``mtbench.records(...)`` is public, ``mtbench.records`` a package of ours: so the package can be called."""

        def __call__(self, *args: Any, **options: Any) -> Any:
            from mtbench.report.frames import records as table

            return table(*args, **options)

    records.__class__ = _Records

    def __getattr__(name: str) -> Any:
        """Load public names on first use: ``import mtbench`` and the command line's help need no torch."""
        if name not in _HOMES:
            raise AttributeError(f"module 'mtbench' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
