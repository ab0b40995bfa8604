"""The state of the process while mtbench computes, and the caller's own before and after.

Figures depend on it: threads change the order of sums, numbers near 0 may be flushed, kernels may be picked by speed.
So every stage is computed inside :func:`computing`, wherever it runs (the Python API, the command line, a Ray worker, a
rank), and whatever was set is put back, on errors too. What cannot be put back, such as the allocator's thresholds
(``mtbench.allocator.keep_freed_memory``), is left to processes that are mtbench's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    """Threads that a run of ``config`` computes with: 1 for the tiny encoder, which is faster than several and gives
    every machine the same figures; else torch's own number."""
    return 1 if config.encoder.path == "tiny" else torch.get_num_threads()


@contextmanager
def computing(config: Config) -> Iterator[None]:
    """Threads, rounding, determinism and defaults as mtbench's figures are made, whatever the caller has set, and
    generators at one fixed state; the caller's own again at the end."""
    count, on_gpu = threads(config), device().type == "cuda"
    with caller_as_it_was(), ExitStack() as stack:
        torch.set_num_threads(count)
        if on_gpu:
            os.environ.setdefault(*CUBLAS)
            stack.enter_context(torch.backends.cudnn.flags(True, False, False, True))
        else:
            stack.callback(_flush_denormals, flushes_denormals(), count)
            _flush_denormals(True, count)
        torch.use_deterministic_algorithms(on_gpu, warn_only=True)
        torch.set_float32_matmul_precision("highest")
        torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device().type, enabled=False))
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(0)
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
    gradients, dtype, precision = torch.is_grad_enabled(), torch.get_default_dtype(), _precision()

    def restore() -> None:
        torch.set_num_threads(count)
        torch.set_flush_denormal(flushing)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        precision()

    return restore


def _precision() -> Callable[[], None]:
    """torch has an older name for the precision of all products, and newer ones by library that may contradict it."""
    places = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    libraries: list[Any] = [place for place in places if hasattr(place, "fp32_precision")]
    by_library = [library.fp32_precision for library in libraries]
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # they do contradict it
        overall = None

    def restore() -> None:
        if overall is not None:
            torch.set_float32_matmul_precision(overall)
        for library, before in zip(libraries, by_library, strict=True):
            if library.fp32_precision != before:
                library.fp32_precision = before

    return restore


def _random() -> Callable[[], None]:
    state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

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
    # by the modules that hold the switches: a package may be loaded without them, and loads them lazily or not at all
    names = "transformers.utils.logging", "huggingface_hub.utils"
    before = [sys.modules.get(name) for name in names]
    shown = before[0] is None or bool(before[0].is_progress_bar_enabled())
    hub_shown = before[1] is None or not before[1].are_progress_bars_disabled()

    def restore() -> None:
        transformers, hub = (sys.modules.get(name) for name in names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a variable of the user's forbids bars
            if shown and transformers is not None:
                transformers.enable_progress_bar()
            if hub_shown and hub is not None:
                hub.enable_progress_bars()

    return restore


def flushes_denormals() -> bool:
    """Whether numbers nearer to 0 than 1.2e-38 are taken for 0 in this thread; torch does not tell."""
    return float(torch.tensor(1e-40) * 1.0) == 0.0


def _flush_denormals(on: bool, count: int) -> None:
    """In this thread, as torch does it, and in the others of torch's OpenMP: a new one has what its maker had then, so
    that otherwise figures depended on when they began, and flushing outlived the run."""
    parallel = _openmp() if count > 1 else None
    if parallel is None:
        torch.set_flush_denormal(on)
    else:
        parallel(_REGION(lambda _: torch.set_flush_denormal(on)), None, ctypes.c_uint(count), ctypes.c_uint(0))


_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _openmp() -> Callable[..., None] | None:
    """``GOMP_parallel`` of the library that torch brings along and has loaded; None where it has another OpenMP, of
    which those in use (LLVM's, Intel's) hand a thread's rounding on to their workers in every region."""
    for file in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        with contextlib.suppress(OSError, AttributeError):
            parallel: Callable[..., None] = ctypes.CDLL(str(file), mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
            return parallel
    return None
