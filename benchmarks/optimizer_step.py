"""Time and memory of one combination step, for every registered multitask optimizer.

    python benchmarks/optimizer_step.py [--sizes 1M,8M,64M] [--tasks 8] [--threads 1] [--device cpu] [--clock wall]

The K gradients are in memory, as one (K, d) block in float32; measured is ``combine`` alone. Beside each time stand
its ratio to naive and to the floor, the time that the bytes which must move take at this machine's bandwidth
(an in-place addition of two vectors of K d numbers, measured in the same process: shorter ones would stay in a large
cache, where the gradients and averages do not): with d numbers as the unit,

    losses, norms   K + 1          the gradients once, the update once
    gram            2 K + 1        the gradients for the Gram matrix and for the weighted sum
    tsage fused     3 K + 2        gradients, averages read and written, theta, update; + 2 K with exact medians
    tsage stream    12 K + 3       each task: theta, gradient for the median; theta, gradient, average and scratch

Memory is the peak above theta and the gradients, in units of d numbers, the method's state included. For T-SAGE the
forms stand one by one, with exact and with given medians, and the authors' formulation (plain expressions on
K x d blocks, torch.median). torchjd's aggregators stand beside the methods that it has.
Every line is a process of its own. On a busy machine with one thread use ``--clock cpu``.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = 5
TSAGE = ("fused", "fused, medians given", "stream", "authors' formulation")
TORCHJD = {
    "pcgrad": "PCGrad",
    "gradvac": "GradVac",
    "mgda": "MGDA",
    "cagrad": "CAGrad",
    "imtl_g": "IMTLG",
    "nash": "NashMTL",
    "aligned": "AlignedMTL",
    "upgrad": "UPGrad",
}


def main() -> None:
    """Measure every line in a process of its own and print one table per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1M,8M,64M", help="values of d")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--only", default="", help="lines whose name contains one of these, as pcgrad,stream")
    parser.add_argument("--line", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line:
        print(json.dumps(measure(options.line, int(options.sizes), options)))
        return
    for text in options.sizes.split(","):
        size = int(float(text.rstrip("Mm")) * 1_000_000)
        print(f"\nd = {text}, K = {options.tasks}, {options.threads} thread(s), {options.clock} clock\n")
        print("| method | ms | x naive | floor ms | x floor | memory / d |\n|---|---:|---:|---:|---:|---:|")
        naive = 0.0
        for line in lines():
            if line != "naive" and not any(part in line for part in options.only.split(",")):
                continue
            r = in_own_process(line, size, options)
            naive = naive or r["ms"]
            floor = f"{r['floor']:.1f} | {r['ms'] / r['floor']:.1f}" if r["floor"] else " | "
            print(f"| {line} | {r['ms']:.1f} | {r['ms'] / naive:.1f} | {floor} | {r['memory']:.1f} |", flush=True)


def lines() -> list[str]:
    """What is measured: naive first, T-SAGE's forms, torchjd's version after each method that it has."""
    from mtbench.registry import entries

    names = sorted(entries("optimizer"), key=lambda n: (n != "naive", n))
    found = []
    for name in names:
        found += [f"tsage ({form})" for form in TSAGE] if name == "tsage" else [name]
        if name in TORCHJD and importlib.util.find_spec("torchjd"):
            found.append(f"torchjd {TORCHJD[name]}")
    return found


def in_own_process(line: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """The measurement of one line; its own process, so that peak memory is its own."""
    command = [sys.executable, "-P", __file__, "--line", line, "--sizes", str(size), "--tasks", str(options.tasks)]
    command += ["--threads", str(options.threads), "--device", options.device, "--clock", options.clock]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}; too little memory?"]
        raise SystemExit(f"{line}: {said[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(line: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a step (the fastest of some), of its floor, and peak memory over d."""
    import torch

    torch.set_num_threads(options.threads)
    device, K = torch.device(options.device), options.tasks
    theta, gradients = problem(size, K, device)
    step, _ = stepper(line, theta, gradients)  # libraries and compiled code are in memory after this
    step()
    del step
    seconds_per_number = bandwidth(K * size, device, options.clock)
    forget_peak(device)
    before = memory(device, peak=False)
    step, vectors = stepper(line, theta, gradients)
    step()
    forget_peak(device, trim=False)
    step()
    extra = (memory(device, peak=True) - before) / (4 * size)
    reuse_memory()
    step()
    times = [timed(step, device, options.clock) for _ in range(STEPS)]
    return {"ms": 1e3 * min(times), "floor": 1e3 * vectors * size * seconds_per_number, "memory": extra}


def problem(size: int, num_tasks: int, device: Any) -> tuple[Any, Any]:
    """Parameters (d,) and gradients (K, d), heavy-tailed, a fifth of them 0."""
    import torch

    torch.manual_seed(0)
    theta = torch.randn(size, device=device) * 0.05
    gradients = torch.empty(num_tasks, size, device=device)
    for k, row in enumerate(gradients):
        row.normal_()
        row.mul_(row.abs().add_(0.1 * k))[::5] = 0
    return theta, gradients


def stepper(line: str, theta: Any, gradients: Any) -> tuple[Callable[[], object], float]:
    """A function that makes one step, and how many vectors of d numbers it has to move."""
    import torch

    from mtbench.registry import get_optimizer

    K = len(gradients)
    losses = torch.ones(K)
    name, _, form = line.partition(" ")
    if name == "torchjd":
        import torchjd.aggregation as peers

        needed = {"NashMTL": {"n_tasks": K}, "CAGrad": {"c": 0.4}}
        aggregator = getattr(peers, form)(**needed.get(form, {}))
        return lambda: aggregator(gradients), 2 * K + 1
    if "authors" in form:
        return authors_formulation(theta, gradients), 0
    params: dict[str, Any] = {}
    if form:
        params = {"implementation": form.strip("()").split(",")[0], "burn_in": 0.0}
    opt = get_optimizer(name)(**params)
    opt.start(theta, K, 1000)
    cost = {"losses": K + 1, "norms": K + 1, "gram": 2 * K + 1, "elementwise": 3 * K + 2}[opt.cost]
    if form:
        cost += 2 * K
    if "given" in form:
        medians = [opt._normaliser_of(row) for row in gradients] * 1000  # type: ignore[attr-defined]
        upcoming = iter(medians)
        opt._normaliser_of = lambda gradient: next(upcoming)  # type: ignore[attr-defined]
        cost -= 2 * K
    cost = 12 * K + 3 if form == "(stream)" else cost
    return lambda: opt.combine(gradients, losses), cost


def authors_formulation(theta: Any, gradients: Any) -> Callable[[], object]:
    """T-SAGE as the authors' code writes it: whole K x d blocks, one expression after the other."""
    import torch

    average = torch.zeros_like(gradients)

    def step() -> Any:
        nonlocal average
        sensitivity = (theta * gradients).abs()
        sensitivity = sensitivity / (sensitivity.median(dim=-1, keepdim=True).values + 1e-12)
        average = 0.999 * average + (1 - 0.999) * sensitivity
        weights = torch.softmax(average / 2.0, dim=0)
        return (weights * gradients).sum(0) / len(gradients)

    return step


def bandwidth(size: int, device: Any, clock: str) -> float:
    """Seconds per number moved, measured by adding one vector to another in place (two reads, one write)."""
    import torch

    size = max(size, 16_000_000)
    a, b = torch.ones(size, device=device), torch.ones(size, device=device)
    return min(timed(lambda: a.add_(b), device, clock) for _ in range(5)) / (3 * size)


def timed(step: Callable[[], object], device: Any, clock: str) -> float:
    """Seconds of one call."""
    import torch

    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - start


def forget_peak(device: Any, trim: bool = True) -> None:
    """Give free memory back, and measure the peak from here."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    if trim:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def reuse_memory() -> None:
    """Let malloc keep what is freed: in training the update has one place, here ``combine`` returns a new vector.

    Otherwise every step would pay for the system's handing out that vector page by page.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def memory(device: Any, peak: bool) -> int:
    """Bytes in use, now or at the peak."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    field = "VmHWM:" if peak else "VmRSS:"
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(row.split()[1] for row in text.splitlines() if row.startswith(field)))


if __name__ == "__main__":
    main()
