"""Which executor a user has asked for."""

from __future__ import annotations

from mtbench.execution.executors import Executor, LocalExecutor
from mtbench.execution.options import ExecutionOptions
from mtbench.execution.progress import Reporter


def make_executor(options: ExecutionOptions, reporter: Reporter) -> Executor:
    """The executor that ``options`` name; Ray is imported when it runs something."""
    if options.executor == "local":
        return LocalExecutor(reporter)
    from mtbench.execution.ray.executor import RayExecutor

    return RayExecutor(options, reporter)
