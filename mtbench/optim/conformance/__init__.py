"""Does an optimizer keep the promises of the contract? One line per promise, in seconds, on the CPU.

Each module holds the checks of one theme; :data:`CHECKS` lists them all in the order in which they are shown.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtbench.computing import caller_as_it_was
from mtbench.errors import ConfigError, PluginError
from mtbench.optim.conformance import (
    declarations,
    episodes,
    form,
    geometry,
    hooks,
    layers,
    memory,
    numbers,
    randomness,
    registered,
    slices,
    steps,
)
from mtbench.optim.conformance.bench import Subject, ViolationError
from mtbench.registry import add_plugin_files, entries, get_optimizer
from mtbench.storage.places import expanded


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
        return [check(title, subject) for title in CHECKS if worker or title != "worker"]


def check(title: str, subject: Subject) -> Check:
    """The check called ``title`` of one optimizer class."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # hard numbers overflow on the way to a sound answer
            return Check(title, True, CHECKS[title](subject))
    except ViolationError as violation:
        return Check(title, False, str(violation))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises is a finding, not the end
        return Check(title, False, f"raised {type(error).__name__}: {error}")


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


CHECKS: dict[str, Callable[[Subject], str]] = {
    "metadata": declarations.metadata,
    "hyperparameters": declarations.typed_hyperparameters,
    "boundary values": declarations.boundary_values,
    "shapes": form.shapes,
    "one task": form.one_task,
    "identical tasks": form.identical_tasks,
    "sum form": form.sum_form,
    "reported weights": form.reported_weights,
    "permutation": form.permutation,
    "layers": layers.layers,
    "draws": randomness.draws,
    "resume": episodes.resume,
    "second start": episodes.second_start,
    "seed": episodes.seeds,
    "state": episodes.state_changes,
    "arguments": steps.arguments,
    "task by task": steps.task_by_task,
    "not finite": steps.not_finite,
    "missing task": steps.missing_task,
    "zeros": numbers.zeros,
    "scales": numbers.scales,
    "precision": numbers.precisions,
    "losses": numbers.losses,
    "frozen tasks": geometry.frozen_tasks,
    "degenerate": geometry.degenerate,
    "hooks": hooks.asked_for,
    "slices": slices.slices,
    "cost class": memory.cost_class,
    "distinct": registered.distinct,
    "worker": registered.survives_a_worker,
}
"""The checks by title: each returns the sentence that says what holds, or raises ViolationError."""
