"""A multitask optimizer in anyone's training loop.

    mt = MultitaskStep("pcgrad", model.named_parameters(), tasks=["nq", "fever"], total_steps=1000)
    for batches in data:                                      # one batch of each task
        with mt.step():
            for task, batch in batches.items():
                mt.backward(task, loss_fn(model, batch))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()                                           # p.grad holds the combined update

Only torch and numpy are needed here. Of several processes each drives its own part of a task's batch back; give
``reduce=average_over_ranks, reduce_loss=average_over_ranks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor, nn

from mtbench.errors import ConfigError, UsageError
from mtbench.optim.contract import MultitaskOptimizer
from mtbench.optim.states import OptimizerState
from mtbench.records.values import Report
from mtbench.registry import get_optimizer

if TYPE_CHECKING:
    from torch.amp import GradScaler

Reduce = Callable[[Tensor], object]
"""Averages a tensor over ranks, in place."""


class StepState(TypedDict):
    """What a checkpoint keeps of a :class:`MultitaskStep`."""

    steps: int
    tasks: list[str]
    optimizer: OptimizerState


class MultitaskStep:
    """Turns one backward pass per task into the update of a multitask optimizer, left in ``p.grad``.

    ``method``: a registered name, with its hyperparameters as keywords, or an optimizer object. ``parameters``: the
    trained parameters or ``(name, parameter)`` pairs (names make the ``layout`` that layered methods read), on one
    device, float32, float64, or shorter floats, whose gradients are combined in float32. ``tasks``: the names that
    :meth:`backward` takes. ``total_steps``: steps in which the method acts. ``reduce`` averages a task's gradient (d,)
    over ranks, and ``reduce_loss`` its loss (1,), such as :func:`average_over_ranks`. DistributedDataParallel averages
    gradients itself, in every backward pass outside its ``no_sync()``: give ``reduce_loss`` alone there.

    Raises ConfigError for parameters that cannot be combined, for methods that need several batches of a task or
    gradients at other points, and what the method raises for bad hyperparameters.
    """

    def __init__(
        self,
        method: str | MultitaskOptimizer,
        parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
        tasks: Sequence[str],
        total_steps: int,
        *,
        seed: int = 0,
        task_sizes: Sequence[int] | None = None,
        reduce: Reduce | None = None,
        reduce_loss: Reduce | None = None,
        **hyperparameters: Any,
    ) -> None:
        if isinstance(method, MultitaskOptimizer) and hyperparameters:
            raise UsageError("hyperparameters belong to the optimizer object that was given; or name the method")
        if not tasks or len(set(tasks)) != len(tasks):
            raise ConfigError(f"tasks must be distinct names, at least one; got {list(tasks)}")
        self.optimizer = method if isinstance(method, MultitaskOptimizer) else get_optimizer(method)(**hyperparameters)
        _refuse_what_only_the_harness_gives(self.optimizer)
        self.tasks = list(tasks)
        self._places = {name: k for k, name in enumerate(self.tasks)}
        self._reduce, self._reduce_loss = reduce, reduce_loss
        named = list(_named(parameters))
        self._parameters = [p for _, p in named]
        self._lay_out(named)
        self.skipped = False
        """Whether the last step does not count: a loss or gradient was not finite, and no ``p.grad`` is set."""
        self._steps, self._open = 0, False
        self._reached: set[int] = set()
        for i, p in enumerate(self._parameters):
            p.register_post_accumulate_grad_hook(_Noting(self._reached, i))
        self.optimizer.start(
            self._theta,
            len(self.tasks),
            total_steps,
            seed=seed,
            task_sizes=task_sizes,
            layout=self._layout,
            task_names=self.tasks,
        )

    def _lay_out(self, named: list[tuple[str, nn.Parameter]]) -> None:
        if not named:
            raise ConfigError("no parameter requires a gradient")
        if len({id(p) for p in self._parameters}) < len(named):
            raise ConfigError("a parameter was given twice; model.parameters() gives each once")
        if any(hasattr(p, "placements") for p in self._parameters):
            raise ConfigError("sharded parameters (DTensor) cannot be combined: every rank needs whole gradients")
        devices = {str(p.device) for p in self._parameters}
        if len(devices) > 1 or any(not p.dtype.is_floating_point for p in self._parameters):
            raise ConfigError(f"parameters must be floats on one device, found {', '.join(sorted(devices))}")
        dtype = torch.float64 if all(p.dtype == torch.float64 for p in self._parameters) else torch.float32
        self._flat = torch.zeros(
            sum(p.numel() for p in self._parameters), dtype=dtype, device=self._parameters[0].device
        )
        self._theta = torch.empty_like(self._flat)
        self._layout: list[tuple[str, int, int]] = []
        self._views: list[Tensor] = []
        start = 0
        for name, p in named:
            stop = start + p.numel()
            self._layout.append((name, start, stop))
            self._views.append(self._flat[start:stop].view_as(p))
            start = stop
        self._read_theta()

    @torch.no_grad()
    def _read_theta(self) -> None:
        for p, (_, start, stop) in zip(self._parameters, self._layout, strict=True):
            self._theta[start:stop].copy_(p.reshape(-1))

    # -- one step --------------------------------------------------------------------------------------------------

    @contextmanager
    def step(self, tasks: Sequence[str] | None = None) -> Iterator[MultitaskStep]:
        """One step: call :meth:`backward` for each task inside. ``tasks``: those that this step is about, where others
        are left out on purpose (one task a step, say), so that known weights stay what they are.

        Afterwards every ``p.grad`` is its part of the update, and None where no loss has ever reached the parameter. If
        the step does not count (:attr:`skipped`) all are None, which torch's optimizers pass over, or infinite under a
        scaler, which then passes the step over and lowers its scale."""
        self.begin(tasks)
        try:
            yield self
            self.finish()
        except BaseException:
            self._open = False
            self._clear()
            raise

    def backward(self, task: str, loss: Tensor, *, scaler: GradScaler | None = None) -> None:
        """Drive ``loss`` (a scalar with a graph) back as ``task``'s. Calls for one task in a row add up (gradient
        accumulation): divide the losses as usual. ``scaler``: a GradScaler that scales the loss; the method sees
        unscaled gradients, and ``p.grad`` is scaled again for ``scaler.step``.

        UsageError outside :meth:`step`, for an unknown task, or one that comes back after another."""
        if loss.numel() != 1:
            raise UsageError(f"the loss of task {task!r} must be one number, got the shape {tuple(loss.shape)}")
        self.point(task)
        (loss if scaler is None else scaler.scale(loss)).backward()
        self.take(loss.detach(), scale=scale_of(scaler))

    def begin(self, tasks: Sequence[str] | None = None) -> None:
        """Open a step; :meth:`step` does it."""
        self._read_theta()
        self.optimizer.begin_step(self._steps, tasks=None if tasks is None else [self._place(t) for t in tasks])
        self._current: str | None = None
        self._loss, self._open = 0.0, True
        self._scales: set[float | None] = set()

    def point(self, task: str) -> None:
        """Let every ``p.grad`` be a view of the buffer that ``task``'s gradient is added to."""
        if not self._open:
            raise UsageError("backward() belongs inside `with step():`")
        self._place(task)
        if task != self._current:
            self._hand_over()
            self._flat.zero_()
            self._current = task
        for p, view in zip(self._parameters, self._views, strict=True):
            p.grad = view if p.dtype == view.dtype else None  # zero_grad() and others set it to None

    def _place(self, task: str) -> int:
        if task not in self._places:
            raise UsageError(f"no task {task!r}; the tasks are {', '.join(self.tasks)}")
        return self._places[task]

    def take(self, loss: Tensor | float, *, scale: float | None = None) -> None:
        """Say that a backward pass of the pointed task is done; ``loss`` unscaled, gradients ``scale`` times (None:
        there is no scaler)."""
        for p, view in zip(self._parameters, self._views, strict=True):
            if p.dtype != view.dtype:
                if p.grad is not None:
                    view.add_(p.grad.detach())
            elif p.grad is None:
                raise UsageError("a gradient was set to None while the backward pass of a task was going on")
            elif p.grad is not view:  # DistributedDataParallel's buckets and create_graph put a tensor in its place
                view.copy_(p.grad.detach())
        self._loss += float(loss)
        self._scales.add(scale)
        if len(self._scales) > 1:
            raise UsageError(f"all tasks of a step need the same scaler and scale, got {self._scales}")

    @property
    def _scale(self) -> float | None:
        return next(iter(self._scales), None)

    def _hand_over(self) -> None:
        """Give the gathered gradient to the method."""
        if self._current is None:
            return
        if self._scale is not None:
            self._flat.div_(self._scale)
        if self._reduce is not None:
            self._reduce(self._flat)
        if self._reduce_loss is not None:
            loss = torch.tensor([self._loss], dtype=torch.float64, device=self._flat.device)
            self._reduce_loss(loss)
            self._loss = float(loss)
        self.optimizer.task(self._places[self._current], self._flat, self._loss)
        self._current, self._loss = None, 0.0

    def finish(self) -> None:
        """Close the step; :meth:`step` does it. UsageError if no task was given."""
        if not self._open:
            raise UsageError("finish() without begin()")
        self._hand_over()
        self._open = False
        if not self.optimizer.present:
            raise UsageError("a step needs backward() of at least one task")
        self.skipped = not self.optimizer.finish(self._flat)
        self._steps += 1
        if self.skipped and self._scale is None:
            self._clear()
            return
        if self.skipped:
            self._flat.fill_(torch.inf)
        elif self._scale is not None:
            self._flat.mul_(self._scale)
        for i, (p, view) in enumerate(zip(self._parameters, self._views, strict=True)):
            # as after a plain backward pass: weight decay leaves alone what no loss depends on
            p.grad = view.to(p.dtype) if i in self._reached or view.any() else None

    def _clear(self) -> None:
        for p in self._parameters:
            p.grad = None

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        """For methods that look at the losses once more when the model has been updated (FAMO): ``loss_fn()`` gives
        the losses of the same batches, in the order of ``tasks``, without a gradient. Others do nothing."""
        if not self.skipped:
            self.optimizer.after_step(loss_fn)

    # -- state and report --------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """The method's plain numbers of the last step; weights by task name."""
        found = self.optimizer.report()
        if "weights_by_block" in found:
            found["weights_by_block"] = {b: self._by_task(w) for b, w in found["weights_by_block"].items()}
        return {**found, "weights": self._by_task(found["weights"])}

    def _by_task(self, values: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.tasks, values, strict=True))

    def state_dict(self) -> StepState:
        """Everything that a resumed run needs: the method's state and the number of steps."""
        return {"steps": self._steps, "tasks": self.tasks, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: StepState) -> None:
        """Go on from :meth:`state_dict`. ConfigError for another method's state or other tasks."""
        if state["tasks"] != self.tasks:
            raise ConfigError(f"this is the state of the tasks {state['tasks']}, not of {self.tasks}")
        self.optimizer.load_state_dict(state["optimizer"])
        self._steps = int(state["steps"])


def average_over_ranks(tensor: Tensor) -> None:
    """Average ``tensor`` over the processes of torch.distributed's group, in place, for ``reduce``, ``reduce_loss``."""
    from torch import distributed

    distributed.all_reduce(tensor)
    tensor.div_(distributed.get_world_size())


def scale_of(scaler: GradScaler | None) -> float | None:
    """What ``scaler`` multiplies losses by; None if there is none, or it is switched off."""
    return scaler.get_scale() if scaler is not None and scaler.is_enabled() else None


class _Noting:
    """Notes that a gradient has come for the parameter ``i``."""

    def __init__(self, reached: set[int], i: int) -> None:
        self.reached, self.i = reached, i

    def __call__(self, parameter: Tensor) -> None:
        self.reached.add(self.i)


def _refuse_what_only_the_harness_gives(method: MultitaskOptimizer) -> None:
    wants = {
        "several batches of each task in a step": method.draws > 1,
        "gradients at other points": method.perturbs,
    }
    for what in (what for what, wanted in wants.items() if wanted):
        raise ConfigError(f"{method.name} needs {what}, which only mtbench's own training loop gives: mtbench run")


def _named(
    parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
) -> Iterator[tuple[str, nn.Parameter]]:
    for i, item in enumerate(parameters):
        name, parameter = item if isinstance(item, tuple) else (str(i), item)
        if parameter.requires_grad:
            yield name, parameter
