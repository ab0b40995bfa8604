"""The contract of a multitask optimizer.

A multitask optimizer turns the gradients of K task losses into one update. Write one by subclassing

- ``LossWeighting``: return K weights from the losses (cheapest; no task gradient is kept),
- ``GramWeighting``: return K weights from the K x K Gram matrix of the task gradients (K rows are kept once),
- ``GradientCombining``: combine the K gradients element by element (K rows are kept),

all three, and what else a method needs, importable from ``mtbench.optim``. What they share stands here.

Conventions (all methods): *mean form*: uniform weights give the mean of the task gradients, ``scale="sum"``
multiplies by the number of tasks. Gradients arrive unscaled and averaged over ranks. No threshold is absolute.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, dataclass_transform

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import ConfigError, UsageError, shown
from mtbench.hyperparameters import hyper, hyperparameters
from mtbench.optim.hooks import GradientAt, Hooks, by_draw, extremes
from mtbench.optim.simplex import normalised
from mtbench.optim.states import Stateful
from mtbench.optim.task_numbers import TaskHyperparameters
from mtbench.records.values import Params, Report

Layout = Sequence[tuple[str, int, int]]
"""``(parameter name, start, stop)`` in the flat vector, in order."""


Reduce = Callable[[Tensor], Tensor]
"""Adds a tensor over the ranks (or takes its maximum), of which each holds a slice of the coordinates."""

Cost = Literal["losses", "norms", "gram", "elementwise"]
"""What a step costs beyond the K backward passes of one task each.

``losses``: K scalars; one backward pass of the weighted sum would do. ``norms``: the norm of each gradient as it
passes, no row is kept. ``gram``: K rows once and K x K mathematics. ``elementwise``: work on every number of K rows.
"""


@dataclass_transform(kw_only_default=True, field_specifiers=(hyper,))
@dataclasses.dataclass(kw_only=True, eq=False)
class MultitaskOptimizer(Stateful, Hooks, TaskHyperparameters):
    """Base of all methods: one whole step by :meth:`combine`, or task by task by ``begin_step, task, finish``."""

    summary: ClassVar[str]
    """One line for ``mtbench ls``."""
    paper: ClassVar[str] = ""
    """Citation."""
    cost: ClassVar[Cost]
    """What a step costs, see :data:`Cost`."""
    version: ClassVar[int] = 1
    """Raised when the method computes something else than it did. Above 1 it stands in the specification of a run and
    in the stages in which the method acts, so that what an earlier version computed keeps its id and is not taken for
    this one's."""
    rescales: ClassVar[bool] = False
    """Whether identical gradients g give a multiple of g rather than g itself (Nash-MTL)."""
    frozen_task: ClassVar[str] = ""
    """What a task whose gradient is 0 for ever does to the method, where that is more than its own absence: ends the
    sentence that a run's warning begins."""
    random: ClassVar[bool] = False
    """Whether the method draws random numbers (from :attr:`generator` only)."""
    weighted_sum: ClassVar[bool] = False
    """Whether the update is a weighted sum of the step's gradients with weights >= 0, those of the report: then
    ``scale="unit"`` may divide them by their sum."""
    shardable: ClassVar[bool] = False
    """Whether it may be given a slice of the coordinates on each of several ranks: everything that it takes over all
    coordinates goes through :attr:`reduce_sum` or :attr:`reduce_max`, on all ranks in one order."""

    conformance: ClassVar[Params] = {}
    """Hyperparameters with which `mtbench check` tries the method where its defaults are another method's (fixed
    weights, say). Its tasks are called ``task0``, ``task1`` and so on."""

    scale: Literal["mean", "sum", "unit"] = hyper(
        "mean", help="sum multiplies the update by the number of tasks, unit divides its weights by their sum"
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if type(cls.version) is not int or cls.version < 1:
            raise ConfigError(f"{cls.__name__}: version must be a whole number, at least 1, got {shown(cls.version)}")
        dataclasses.dataclass(kw_only=True, eq=False)(cls)
        _refuse_unknown_fields(cls)

    def __post_init__(self) -> None:
        for field, declared in hyperparameters(type(self)).items():
            setattr(self, field, declared.check(getattr(self, field), self.name))
        if self.scale == "unit" and not self.weighted_sum:
            raise ConfigError(
                f"{self.name}: scale='unit' divides the weights by their sum, and this method's update is no sum of "
                "the gradients with weights >= 0\n  Choose 'mean' or 'sum'."
            )
        self.reduce_sum: Reduce = _identity
        self.reduce_max: Reduce = _identity
        self.offset = 0
        """Place of the first coordinate of ``theta`` in the whole vector: 0 but for a slice of it."""
        self.first_episode = 0
        """The first episode in which this method acts, of those that ``start`` numbers; set before ``start``."""

    def version_used(self) -> int:
        """The version that these hyperparameters compute by: :attr:`version`, or an earlier one where what was changed
        since does not concern them. Override it so that no run gets a new id without need."""
        return self.version

    def was_otherwise(self, report: Report) -> bool:
        """Whether a step with this report, of a run that is known to be of the same version, may have been computed
        otherwise than it would be today: for a change that leaves most runs alone and so had no version of its own."""
        return False

    # -- life cycle --------------------------------------------------------------------------------------------

    def start(
        self,
        theta: Tensor,
        num_tasks: int,
        total_steps: int,
        seed: int = 0,
        task_sizes: Sequence[int] | None = None,
        layout: Layout | None = None,
        episode: int = 0,
        task_names: Sequence[str] | None = None,
    ) -> None:
        """Begin an episode in which this optimizer acts for ``total_steps`` steps.

        ``theta``: flat trainable parameters ``(d,)``, a live view that the caller updates between steps.
        ``task_sizes``: training examples per task. ``layout``: where each named parameter lies in ``theta``.
        ``task_names``: needed only where a hyperparameter names tasks.
        Resets the state unless the method has ``reset_on_episode`` and it is False. Raises ConfigError for bad sizes.
        """
        self._check_start(theta, num_tasks, total_steps, task_sizes)
        if seed < 0 or episode < 0:
            raise ConfigError(f"{self.name}: seed and episode must be >= 0, got {seed}, {episode}")
        self.theta, self.num_tasks, self.total_steps = theta.detach(), num_tasks, total_steps
        self.seed, self.episode, self.layout = seed, episode, layout
        self.task_sizes = None if task_sizes is None else [int(n) for n in task_sizes]
        self._name_tasks(task_names)
        keep = (self._started or self._carried) and not getattr(self, "reset_on_episode", True)
        if self._carried and keep and self._carried_tasks not in (None, num_tasks):
            raise ConfigError(f"{self.name}: the state is of {self._carried_tasks} tasks, this start of {num_tasks}")
        self.set_up(keep)
        if not keep:
            self.generator = np.random.default_rng([seed, episode, *self.name.encode()])
            self.skipped_steps = 0
            self.init_state()
        else:
            self._place_state()
        self._started, self._carried = True, False
        self._next_step, self._open = 0, False
        self._report: Report = {"weights": [1.0 / num_tasks] * num_tasks}
        self.begin_episode()

    def set_up(self, keep: bool) -> None:
        """Called by :meth:`start` before the state is set or, with ``keep``, taken over: for base classes."""

    def _check_start(self, theta: Tensor, num_tasks: int, total_steps: int, task_sizes: Sequence[int] | None) -> None:
        if theta.dim() != 1 or not theta.dtype.is_floating_point:
            raise ConfigError(f"{self.name}: theta must be a flat float tensor, got {tuple(theta.shape)} {theta.dtype}")
        if num_tasks < 1 or total_steps < 1:
            raise ConfigError(f"{self.name}: num_tasks and total_steps must be >= 1, got {num_tasks}, {total_steps}")
        if task_sizes is not None and (len(task_sizes) != num_tasks or min(task_sizes) < 1):
            needed = f"task_sizes must be >= 1, one for each of {num_tasks} tasks"
            raise ConfigError(f"{self.name}: {needed}, got {list(task_sizes)}")

    def begin_episode(self) -> None:
        """Called at the end of every :meth:`start`, whether the state was reset or kept."""

    # -- one step ----------------------------------------------------------------------------------------------

    def combine(self, gradients: Tensor, losses: Tensor, *, gradient_at: GradientAt | None = None) -> Tensor:
        """One whole step: ``gradients`` (K, d) and ``losses`` (K,) to the update (d,), valid until the next call.

        A method of several draws takes them as (draws, K, d) and (draws, K); one matrix stands for all draws. The
        arguments are never changed. If a gradient is not finite the step does not count and the result is zero.
        """
        self._require_started()
        shape = (self.num_tasks, self.theta.numel())
        if gradients.shape not in {shape, (self.draws, *shape)}:
            raise UsageError(f"{self.name}: gradients must be {shape}, got {tuple(gradients.shape)}")
        given = torch.as_tensor(losses).detach()
        if given.shape not in {shape[:1], (self.draws, self.num_tasks)}:
            raise UsageError(f"{self.name}: losses must be ({self.num_tasks},), got {tuple(given.shape)}")
        rows, values = by_draw(gradients, self.draws, 2), by_draw(given, self.draws, 1).tolist()
        self.begin_step(self._next_step, values[0], gradient_at=gradient_at)
        for draw in [*range(1, self.draws), 0]:
            for k in range(self.num_tasks):
                self.task(k, rows[draw, k], values[draw][k], draw)
        out = torch.empty_like(rows[0, 0])
        self.finish(out)
        return out

    def begin_step(
        self,
        step: int,
        losses: Sequence[float] | None = None,
        *,
        tasks: Sequence[int] | None = None,
        sizes: Sequence[int] | None = None,
        gradient_at: GradientAt | None = None,
    ) -> None:
        """Open step ``step`` (0-based in this episode). ``losses``: all K of them, where the caller knows them already.

        A ``LossWeighting`` that is told the losses here keeps no gradient rows. ``tasks``: the tasks that this step is
        about, where the caller leaves the others out on purpose (one task a step, say); their ``losses`` are NaN. A
        task that is expected and does not come is missing by accident: the others make up for it. ``sizes``: the
        queries of each task (K,) that :meth:`shares` led to; those of size 0 are left out. ``gradient_at``: for a
        method that :attr:`perturbs`.
        """
        self._require_started()
        if losses is not None and len(losses) != self.num_tasks:
            raise UsageError(f"{self.name}: losses must be ({self.num_tasks},), got {len(losses)} of them")
        self._open_hooks(sizes, gradient_at)
        if tasks is None and self.sizes is not None:
            tasks = [k for k, size in enumerate(self.sizes) if size]
        self.expected = list(range(self.num_tasks)) if tasks is None else sorted(tasks)
        if not self.expected or len({*self.expected} & {*range(self.num_tasks)}) < len(self.expected):
            raise UsageError(f"{self.name}: the tasks of a step are distinct ones of {self.num_tasks}, got {tasks}")
        self.step_index, self._open = step, True
        self.tasks, self._told = self.expected, losses
        self.losses = [math.nan] * self.num_tasks
        self.present: list[int] = []
        self._probes: list[Tensor] = []
        self._undrawn = copy.deepcopy(self.generator) if self.random else None
        self.open_step(losses)

    def task(self, k: int, gradient: Tensor, loss: float | Tensor, draw: int = 0) -> None:
        """Give the gradient ``(d,)`` and the loss of task ``k``; each task at most once a step, in any order.

        With several draws each task once in every draw, draws in the order 1, 2, .., 0.
        """
        self._require_open("task")
        if not 0 <= k < self.num_tasks or (0 <= draw < self.draws and k in self._by_draw[draw]):
            raise UsageError(f"{self.name}: task {k} of {self.num_tasks} given twice or out of range in one step")
        if k not in self.expected:
            raise UsageError(f"{self.name}: task {k} is not one of this step's: {', '.join(map(str, self.expected))}")
        if gradient.shape != self.theta.shape:
            expected = tuple(self.theta.shape)
            raise UsageError(f"{self.name}: the gradient of task {k} must be {expected}, got {tuple(gradient.shape)}")
        if not gradient.dtype.is_floating_point:
            raise UsageError(f"{self.name}: the gradient of task {k} must be of floats, got {gradient.dtype}")
        self._take_draw(k, draw)
        gradient = gradient.detach()
        if draw:
            self._extra += [extremes(gradient), gradient.new_full((1,), float(loss))]
            self.add_draw(k, gradient, draw)
            return
        self.losses[k] = float(loss)
        self.present.append(k)
        probe = self.watch(gradient)
        if probe is not None:
            self._probes.append(probe)
        self.add_task(k, gradient)

    def finish(self, out: Tensor) -> bool:
        """Write the update into ``out`` (d,). False: a gradient or loss was not finite; ``out`` is 0, skip the step."""
        self._require_open("finish")
        if out.shape != self.theta.shape:
            raise UsageError(f"{self.name}: out must be {tuple(self.theta.shape)}, got {tuple(out.shape)}")
        self._check_draws(self.present)
        self.second_pass()
        self._next_step, self._open = self.step_index + 1, False
        if not self.present or not self._all_finite():
            out.zero_()
            self.skipped_steps += 1
            self.discard_step()
            if self._undrawn is not None:  # whatever was drawn belongs to the next step that counts
                self.generator = self._undrawn
            return False
        self.write_update(out)
        if self.scale == "sum":
            out.mul_(len(self.present))
        return True

    @property
    def needs_losses(self) -> bool:
        """Whether a caller should compute all losses before the first gradient and tell them in :meth:`begin_step`."""
        return False

    @property
    def uses_after_step(self) -> bool:
        """Whether :meth:`after_step` does anything; if not, a caller may leave it out."""
        return type(self).after_step is not MultitaskOptimizer.after_step

    def weights_before(self) -> list[float] | None:
        """The K weights of this step where they are known before any gradient, else None. Asked once a step."""
        return None

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        """Called when the model has been updated. ``loss_fn()`` gives the K losses of the same batch, no gradient."""

    # -- what a method fills in ----------------------------------------------------------------------------------

    def open_step(self, losses: Sequence[float] | None) -> None:
        """Prepare a step."""

    def add_task(self, k: int, gradient: Tensor) -> None:
        """Take one task's gradient; copy what is needed, ``gradient`` is overwritten by the next task."""
        raise NotImplementedError

    def watch(self, gradient: Tensor) -> Tensor | None:
        """A small tensor that is finite exactly if ``gradient`` is. None: :meth:`probes` will tell.

        Minimum and maximum carry NaN and infinities. They stay on the device until :meth:`finish` reads them.
        """
        return extremes(gradient)

    def probes(self) -> list[Tensor]:
        """Small tensors that are all finite exactly if this step's gradients are; asked once, by :meth:`finish`."""
        return self._probes

    def write_update(self, out: Tensor) -> None:
        """Write the mean-form update into ``out`` and call :meth:`set_report`."""
        raise NotImplementedError

    def discard_step(self) -> None:
        """Forget what this step left behind; called instead of :meth:`write_update` for a step that does not count."""

    # -- report and parameters ----------------------------------------------------------------------------------------

    def report(self) -> Report:
        """Plain numbers of the last step, see :data:`mtbench.records.values.Report`."""
        self._require_started()
        return dict(self._report)

    def importances(self) -> Sequence[Tensor] | None:
        """How important each coordinate is to each task after the last step: K tensors (d,), live; None for methods
        that keep no such thing."""
        return None

    def counts(self) -> dict[str, int]:
        """The whole numbers of the last step's report, to be added up over all steps; never costs a pass."""
        return {name: v for name, v in self._report.items() if isinstance(v, int) and not isinstance(v, bool)}

    def set_report(self, weights: Sequence[float] | np.ndarray, **numbers: Any) -> None:
        """Set the report: ``weights`` of the present tasks (missing tasks get 0) and other plain numbers."""
        full = [0.0] * self.num_tasks
        for k, w in zip(sorted(self.present), weights, strict=True):
            full[k] = float(w)
        self._report = {"weights": full, **numbers}

    def scaled(self, weights: np.ndarray) -> np.ndarray:
        """``weights`` (n,) as they are, or with ``scale="unit"`` divided by their sum (zeros stay zeros)."""
        if self.scale != "unit" or not weights.any():
            return weights
        if weights.min() < -1e-9 * weights.max():
            raise ConfigError(
                f"{self.name}: scale='unit' needs weights >= 0, and this step has {weights.min():g}\n"
                "  The method must say weighted_sum = False."
            )
        return normalised(weights)

    @property
    def params(self) -> Params:
        """The hyperparameters and their values, as plain JSON types."""
        return {field: getattr(self, field) for field in hyperparameters(type(self))}

    def _require_open(self, what: str) -> None:
        self._require_started()
        if not self._open:
            raise UsageError(f"{self.name}: call begin_step(step) before {what}(), once a step")

    def _all_finite(self) -> bool:
        given = [self.losses, *([] if self._told is None else [self._told])]
        if not all(math.isfinite(losses[k]) for losses in given for k in self.present):
            return False
        bad = sum((~torch.isfinite(probe)).sum() for probe in [*self.probes(), *self._extra])
        # where the coordinates are sharded, all ranks skip the step or none
        return not isinstance(bad, Tensor) or not bool(self.reduce_sum(bad))


def _refuse_unknown_fields(cls: type[MultitaskOptimizer]) -> None:
    """Make the constructor answer an unknown hyperparameter with ConfigError and the known names."""
    build = cls.__init__

    @functools.wraps(build)
    def checked(self: MultitaskOptimizer, **values: Any) -> None:
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{cls.name} has no hyperparameter {unknown[0]!r}; it has: {', '.join(known)}")
        build(self, **values)

    cls.__init__ = checked  # type: ignore[method-assign]


def reset_field() -> Any:
    """The hyperparameter ``reset_on_episode`` that every method with state has."""
    return hyper(True, help="reset the state at the beginning of each episode in which the method acts")


def _identity(value: Tensor) -> Tensor:
    return value
