"""The state of the process while mtbench computes, and the caller's own before and after.

Figures depend on it: threads change the order of sums, numbers near 0 may be flushed, kernels may be picked by speed.
So every stage is computed inside :func:`computing`, wherever it runs (the Python API, the command line, a Ray worker, a
rank), and whatever was set is put back, on errors too. What cannot be put back, such as the allocator's thresholds
(``mtbench.allocator.keep_freed_memory``), is left to processes that are mtbench's own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from mtbench.config import Config
from mtbench.registry import plugins_as_they_were

CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Without it cuBLAS is not deterministic, whatever torch is told."""
LOGGERS = ("", "transformers", "huggingface_hub", "ray", "ray.tune", "optuna")


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def threads(config: Config) -> int:
    """Threads that a run of ``config`` computes with: 1 for the tiny encoder on a processor, which is faster than
    several and gives every machine the same figures; else torch's own number."""
    return 1 if config.encoder.path == "tiny" and device().type == "cpu" else torch.get_num_threads()


@contextmanager
def computing(config: Config) -> Iterator[None]:
    """Threads, rounding and determinism as mtbench's figures are made; the caller's own again at the end."""
    with caller_as_it_was():
        if device().type == "cuda":
            os.environ.setdefault(*CUBLAS)
            torch.use_deterministic_algorithms(True, warn_only=True)
        else:
            if threads(config) > 1:
                _start_threads()
            torch.set_flush_denormal(True)
            torch.set_num_threads(threads(config))
        yield


@contextmanager
def caller_as_it_was() -> Iterator[None]:
    """Whatever is changed inside of torch, random states, the environment, warnings, loggers or the plug-ins known by
    file is at the end as it was before."""
    with ExitStack() as stack:
        for keep in (_torch, _random, _environment, _messages):
            stack.callback(keep())
        stack.enter_context(plugins_as_they_were())
        yield


def _torch() -> Callable[[], None]:
    count, flushing = torch.get_num_threads(), flushes_denormals()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, gradients = torch.get_float32_matmul_precision(), torch.is_grad_enabled()

    def restore() -> None:
        torch.set_num_threads(count)
        torch.set_flush_denormal(flushing)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_float32_matmul_precision(precision)
        torch.set_grad_enabled(gradients)

    return restore


def _random() -> Callable[[], None]:
    state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None

    def restore() -> None:
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def restore() -> None:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    return restore


def _messages() -> Callable[[], None]:
    filters, levels = list(warnings.filters), {name: logging.getLogger(name).level for name in LOGGERS}
    bars = _progress_bars()

    def restore() -> None:
        if list(warnings.filters) != filters:
            warnings.filters[:] = filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        bars()

    return restore


def _progress_bars() -> Callable[[], None]:
    """transformers and huggingface_hub show bars unless told otherwise; told for one call, they would stay silent."""
    before = sys.modules.get("transformers"), sys.modules.get("huggingface_hub")
    shown = before[0] is None or bool(before[0].utils.logging.is_progress_bar_enabled())
    hub_shown = before[1] is None or not before[1].utils.are_progress_bars_disabled()

    def restore() -> None:
        transformers, hub = sys.modules.get("transformers"), sys.modules.get("huggingface_hub")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a variable of the user's forbids bars
            if shown and transformers is not None:
                transformers.utils.logging.enable_progress_bar()
            if hub_shown and hub is not None:
                with contextlib.suppress(AttributeError):
                    hub.utils.enable_progress_bars()

    return restore


def flushes_denormals() -> bool:
    """Whether numbers nearer to 0 than 1.2e-38 are taken for 0 in this thread; torch does not tell."""
    return float(torch.tensor(1e-40) * 1.0) == 0.0


def _start_threads() -> None:
    """Let torch's threads begin before flushing is switched on: they inherit it, and nobody could switch it off."""
    torch.ones(1 << 20).sum()
