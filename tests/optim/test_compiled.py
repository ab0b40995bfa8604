"""The compiled passes against the chunked ones, and what happens without a compiler."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import pytest
import torch

from mtbench.optim import compiled, medians
from mtbench.optim.medians import exact_median, fast_median
from optimizers.tsage import TSage

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def small_is_worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(compiled, "WORTHWHILE", 0)
    monkeypatch.setattr(compiled, "_failed", set())


def counting(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """A list that grows with each call of ``module.name``."""
    calls: list[int] = []
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: (calls.append(1), original(*a, **k))[1])
    return calls


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_fast_median_is_exact_in_every_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medians, "PIECE", 12_800)  # three pieces, of which the last reaches back
    monkeypatch.setattr(medians, "GATHERED", 16)
    fallbacks = counting(monkeypatch, medians, "exact_median")
    candidates: list[torch.Tensor] = []
    among = medians._between
    monkeypatch.setattr(medians, "_between", lambda *a: candidates.append(among(*a)) or candidates[-1])  # type: ignore[func-returns-value]
    torch.manual_seed(3)
    for size, zeros, expected in [(31_000, z, 0) for z in (0.3, 0.499, 0.7, 0.97)] + [(31_000, 1.0, 2)]:
        fallbacks.clear()
        theta, gradient = torch.randn(size), torch.randn(size) * torch.randn(size).exp() * (torch.rand(size) >= zeros)
        for nonzero in (False, True):
            fast = fast_median(theta, gradient, over="nonzero" if nonzero else "all")
            exact = exact_median(theta, gradient, over="nonzero" if nonzero else "all")
            assert (fast.value, fast.is_zero, fast.bad) == (exact.value, exact.is_zero, exact.bad)
        assert len(fallbacks) == expected
    assert all((c > 0).all() for c in candidates)  # many zeros, as in embeddings' gradients, cost nothing
    # what is too small for a normal float
    gradient = torch.randn(31_000) * 1e-42
    assert fast_median(torch.ones(31_000), gradient).value == gradient.abs().median()
    # a sample that misleads: every 31st number is unlike the others
    gradient = 1 + torch.rand(31_000)
    gradient[::31] = 1000.0
    fallbacks.clear()
    assert fast_median(torch.ones(31_000), gradient).value == gradient.median()
    assert len(fallbacks) == 1
    gradient[5] = torch.inf
    assert int(fast_median(torch.ones(31_000), gradient).bad) == 1


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_pass_equals_the_streamed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from mtbench.optim import streaming

    chunked = counting(monkeypatch, streaming, "sensitivity")
    theta = torch.randn(5003)
    opts = {f: TSage(tau=-0.5, beta=0.5, burn_in=0.5, implementation=f) for f in ("fused", "stream")}  # type: ignore[arg-type]
    for opt in opts.values():
        opt.start(theta, 3, 6)
    # medians whose reciprocals leave the range of a float, and a gradient of 0
    scales = torch.tensor([[1, 1, 1], [1e-41, 1, 1e36], [1, 1e-44, 1e37], [1, 1, 1], [1e-41, 1e36, 1], [0, 1, 1]])
    for scale in scales:
        gradients = torch.randn(3, 5003) * scale[:, None]
        gradients[:, :1000] = 0
        fused, streamed = (opts[f].combine(gradients, torch.ones(3)) for f in ("fused", "stream"))
        torch.testing.assert_close(fused, streamed, rtol=1e-5, atol=1e-6)
        for a, b in zip(opts["fused"].sensitivities, opts["stream"].sensitivities, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not chunked


def test_without_a_compiler_the_chunked_form_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Any) -> Any:
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(compiled, "_compile", refuse)
    theta, gradients = torch.randn(500), torch.randn(2, 500)
    opts = [TSage(burn_in=0.0, implementation=f) for f in ("fused", "stream")]  # type: ignore[arg-type]
    updates = []
    with pytest.warns(UserWarning, match="no working C"):
        for opt in opts:
            opt.start(theta, 2, 1)
            updates.append(opt.combine(gradients, torch.ones(2)))
    torch.testing.assert_close(*updates)
    for opt in opts:
        opt.combine(gradients, torch.ones(2))  # told once


def test_a_sweep_compiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every beta and tau by the same program; and more lengths than torch's limit of eight are compiled."""
    compilations: list[int] = []

    def programs(graph: Any, inputs: Any) -> Any:
        compilations.append(1)
        return graph.forward

    whole = functools.cache(lambda f: torch.compile(f, fullgraph=True, dynamic=False, backend=programs))
    monkeypatch.setattr(compiled, "_compile", whole)
    for number in range(12):
        for i in range(12 if number == 0 else 1):
            opt = TSage(tau=1.0 + i, beta=0.5 + i / 100, burn_in=0.0, implementation="fused")
            opt.start(torch.randn(640 + 64 * number), 2, 1)
            opt.combine(torch.randn(2, 640 + 64 * number), torch.ones(2))
    assert not compiled._failed and len(compilations) == 12


def test_one_program_counts_vectors_of_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(medians, "PIECE", 1280)

    def counted(theta: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(len(theta))
        return compiled.block_counts(theta, *others)

    monkeypatch.setattr(compiled, "_compile", lambda function: counted)
    for size in (1280, 1281, 2000, 2560, 5003):
        theta, gradient = torch.randn(size), torch.randn(size) * torch.randn(size).exp()
        assert fast_median(theta, gradient).value == (theta * gradient).abs().median()
    assert set(sizes) == {1280}
    sizes.clear()
    assert int(fast_median(torch.ones(1000), torch.full((1000,), torch.nan)).bad) == 1000
    assert not sizes  # shorter than a piece


def test_small_vectors_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WORTHWHILE", 501)
    compilations = counting(monkeypatch, compiled, "_compile")
    opt = TSage(burn_in=0.0, implementation="fused")
    opt.start(torch.randn(500), 2, 1)
    opt.combine(torch.randn(2, 500), torch.ones(2))
    assert not compilations
