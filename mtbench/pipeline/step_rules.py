"""What a method and the settings of a step allow together: told before any work, and what is to be known of them."""

from __future__ import annotations

from collections.abc import Sequence

from mtbench.config import TrainConfig
from mtbench.errors import ConfigError
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.training.base import check_muon
from mtbench.training.ranks import current_ranks
from mtbench.training.reading import check_draws


def check_steps(
    method: type[MultitaskOptimizer], train: TrainConfig, tasks: Sequence[str], sizes: Sequence[int], all_tasks: int
) -> None:
    """ConfigError where the settings of a step are none for this method, or for ``tasks`` with ``sizes`` queries a
    step, out of ``all_tasks`` of the suite that can be trained."""
    if train.tasks_per_step > all_tasks:
        raise ConfigError(f"train.tasks_per_step={train.tasks_per_step}: the suite has {all_tasks} tasks to train")
    if train.mixing == "union":
        _check_union(method, train)
    if method.chooses_batches:
        _check_sampling(method, train)
    check_draws(tasks, sizes, method.draws, train)
    if train.base == "muon":
        check_muon(train.shard_state and method.shardable and current_ranks().size > 1)


def _check_union(method: type[MultitaskOptimizer], train: TrainConfig) -> None:
    if method.chooses_batches or method.draws > 1:
        what = "chooses the tasks of a batch itself" if method.chooses_batches else "takes several batches of a task"
        raise ConfigError(
            f"train.mixing=union: {method.name} {what}, and a batch of the union is what it is\n  Use mixing=tasks."
        )
    for setting, given in (("tasks_per_step", train.tasks_per_step), ("micro_batch", train.micro_batch)):
        if given:
            raise ConfigError(
                f"train.mixing=union goes without train.{setting} (now {given}): the tasks of a batch share their "
                f"passages\n  Set train.{setting}=0."
            )


def _check_sampling(method: type[MultitaskOptimizer], train: TrainConfig) -> None:
    if train.tasks_per_step:
        raise ConfigError(
            f"{method.name} chooses the tasks of a step itself, and so does train.tasks_per_step="
            f"{train.tasks_per_step}\n  Leave one of them out."
        )
    if train.hard_negatives == 0:
        raise ConfigError(
            f"{method.name} may give a task one query a step, whose loss is always 0 with train.hard_negatives=0\n"
            "  Set train.hard_negatives=1."
        )


def step_warnings(method: type[MultitaskOptimizer], train: TrainConfig, num_tasks: int) -> list[tuple[str, str]]:
    """Code and message of what a step's settings do to a method."""
    if train.mixing == "union" and method.name not in ("naive", "static"):
        return [
            (
                "absent-tasks",
                "train.mixing=union: a task of which a batch has no query has the loss 0 and the gradient 0 in that "
                f"step, and {method.name} is given them: a method that weighs tasks by losses or norms takes such a "
                "task for one that is solved or that does not move",
            )
        ]
    alone = train.tasks_per_step == 1 < num_tasks
    if alone and method.cost in ("gram", "elementwise") and method.draws == 1:
        return [
            (
                "one-task-a-step",
                f"{method.name} acts on several gradients of one step; with train.tasks_per_step=1 there is one, and "
                "it is naive but for what it does to a single gradient",
            )
        ]
    return []
