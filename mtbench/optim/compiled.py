"""Elementwise passes that ``torch.compile`` turns into one loop over memory, where there is a compiler.

Compiling takes seconds, so it is for large vectors only (:data:`WORTHWHILE`), and a machine without a C++ compiler
gets the chunked forms of the same arithmetic (``mtbench.optim.streaming``, ``mtbench.optim.medians``) and one warning.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

WORTHWHILE = 1_000_000
"""Coordinates from which on compiling pays."""
BLOCK = 64
"""Neighbouring coordinates that :func:`block_counts` counts together."""

VARIANTS = 64
"""Lengths, numbers of tasks and options that one process may meet; each is compiled for itself."""

_failed: set[str] = set()


def attempt(function: Callable[..., Any], size: int, *arguments: Any) -> Any:
    """What the compiled ``function`` returns (None counts as True), or False where it is not to be had.

    ``size``: how many coordinates there are. After one failure the chunked form is used for good.
    """
    if size < WORTHWHILE or function.__name__ in _failed:
        return False
    try:
        import torch._dynamo  # seconds, for those who need it

        with torch._dynamo.config.patch(recompile_limit=VARIANTS):
            result = _compile(function)(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever keeps the compiler from working, the chunked form does
        _failed.add(function.__name__)
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"torch.compile does not work here; a slower form is used: {reason}", stacklevel=2)
        return False
    return True if result is None else result


@functools.cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    # One graph: each piece of a broken one would read all memory again. And one size: a loop for any size is eight
    # times slower.
    return torch.compile(function, fullgraph=True, dynamic=False)


class Factors(NamedTuple):
    """The numbers of a pass, as tensors: every value of a Python number would be compiled for itself."""

    lifts: Tensor
    scales: Tensor
    """``lifts * scales`` (K,): what the sensitivities are multiplied by, see :func:`reciprocals`."""
    sharpness: Tensor | None
    """One over the temperatures (K,). None: the update is the mean."""
    beta: Tensor
    limit: Tensor


def fused_update(theta: Tensor, gradients: list[Tensor], averages: list[Tensor], factors: Factors, out: Tensor) -> None:
    """:func:`mtbench.optim.streaming.fused_pass`, unrolled over the tasks.

    Every number is read and written once. A reduction over the rows of a (K, d) block would be compiled to a loop six
    times slower, as measured; divisions by medians and temperatures cost a quarter more.
    """
    lifts, scales, sharpness, beta, limit = factors
    logits = []
    for k, gradient in enumerate(gradients):
        fresh = (theta * gradient).abs() * lifts[k] * scales[k]
        new = torch.minimum(averages[k] * beta + fresh, limit)
        averages[k].copy_(new)
        logits.append(new if sharpness is None else new * sharpness[k])
    if sharpness is None:
        out.copy_(functools.reduce(torch.add, gradients) / len(gradients))
        return
    highest = functools.reduce(torch.maximum, logits)
    shares = [torch.exp(z - highest) for z in logits]
    total = functools.reduce(torch.add, shares)
    weighted = [share * gradient for share, gradient in zip(shares, gradients, strict=True)]
    out.copy_(functools.reduce(torch.add, weighted) / total)


def reciprocals(divisors: Tensor) -> tuple[Tensor, Tensor]:
    """Two factors each, to multiply by one after the other instead of dividing by ``divisors`` (K,), 0 < m <= inf.

    One over a very small float is infinite, and over a very large one loses digits: those are lifted by a power of
    two, which is exact, before.
    """
    ones = torch.ones_like(divisors)
    lifts = torch.where(divisors < 2.0**-60, ones * 2.0**60, torch.where(divisors > 2.0**60, ones * 2.0**-60, ones))
    return lifts, 1 / (divisors * lifts)


def block_counts(theta: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Per block of 64 sensitivities: how many are < low, <= high, > 0 and finite; (4, d / 64) in float32."""
    values = (theta * gradient).abs().view(-1, BLOCK)
    tests = (values < low, values <= high, values > 0, values < torch.inf)
    return torch.stack([t.to(torch.float32).sum(1) for t in tests])  # counting in floats vectorises, in integers not
