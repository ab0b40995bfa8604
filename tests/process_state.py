"""What a library may change of the process that calls it, as one picture that can be compared.

What importing a library does by itself (torch._dynamo names a cache folder in the environment, scipy and sympy add
filters of warnings) is not what calling mtbench does: those libraries are imported here.
"""

from __future__ import annotations

import gc
import hashlib
import locale
import logging
import os
import pickle
import random
import signal
import sys
import threading
import warnings

import faiss
import huggingface_hub.utils
import numpy as np
import scipy.sparse
import scipy.special
import torch
import torch._dynamo
import torch.distributed
import transformers.utils.logging

State = dict[str, object]
LOGGERS = ("root", "mtbench", "transformers", "huggingface_hub", "torch", "faiss.loader", "ray", "ray.tune", "optuna")

transformers.utils.logging.get_verbosity()  # sets up its logger


def process_state() -> State:
    """By name, in values that can be compared."""
    return {**_interpreter(), **_logging(), **_torch(), **_libraries()}


def changes(before: State, after: State) -> dict[str, str]:
    """What differs, as text."""
    return {k: f"{before[k]} -> {after[k]}" for k in before if before[k] != after[k]}


def _interpreter() -> State:
    return {
        "environment": dict(os.environ),
        "signals": {n.name: signal.getsignal(n) for n in signal.valid_signals() if isinstance(n, signal.Signals)},
        "warning filters": [str(entry) for entry in warnings.filters],
        "showwarning": warnings.showwarning,
        "folder": os.getcwd(),
        "umask": _umask(),
        "locale": [locale.setlocale(getattr(locale, n)) for n in dir(locale) if n.startswith("LC_") and n != "LC_ALL"],
        "sys.path": list(sys.path),
        "streams": [sys.stdout, sys.stderr, sys.stdin],
        "hooks": [sys.excepthook, sys.unraisablehook, threading.excepthook, sys.gettrace(), sys.getprofile()],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()],
        "random": _digest(repr(random.getstate()).encode()),
        "denormals": sys.float_info.min / 2 != 0.0,
    }


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _logging() -> State:
    loggers = [logging.getLogger(None if name == "root" else name) for name in LOGGERS]
    return {
        "log levels": [(logger.name, logger.level, logger.disabled, logger.propagate) for logger in loggers],
        "log handlers": [(logger.name, list(logger.handlers)) for logger in loggers],
        "log limit": logging.root.manager.disable,
    }


def _torch() -> State:
    cudnn = torch.backends.cudnn
    return {
        "torch threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch denormals": denormals_by_part(),
        "torch random": _digest(torch.get_rng_state().numpy().tobytes()),
        "torch deterministic": [
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ],
        "torch precision": [torch.backends.cuda.matmul.fp32_precision, _overall_precision()],
        "torch defaults": [torch.get_default_dtype(), torch.get_default_device()],
        "torch modes": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()],
        "torch autocast": [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
        "torch cudnn": [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
        "torch group": torch.distributed.is_initialized(),
    }


def _overall_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # that of single libraries has been set
        return None


def denormals_by_part() -> list[bool]:
    """Whether numbers near 0 stay what they are, in parts of a vector that torch's threads share out among them."""
    product = torch.full((1 << 20,), 2**-130, dtype=torch.float64).float() * _HALF
    return [bool((part != 0).all()) for part in product.view(torch.int32).chunk(8)]


_HALF = torch.full((1 << 20,), 0.5)


def _libraries() -> State:
    return {
        "numpy random": _digest(pickle.dumps(np.random.get_state(legacy=False))),
        "numpy errors": np.geterr(),
        "numpy print": np.get_printoptions(),
        "faiss threads": faiss.omp_get_max_threads(),
        "transformers": [
            transformers.utils.logging.get_verbosity(),
            transformers.utils.logging.is_progress_bar_enabled(),
        ],
        "hub bars": huggingface_hub.utils.are_progress_bars_disabled(),
        "scipy errors": scipy.special.geterr(),
    }


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:12]
