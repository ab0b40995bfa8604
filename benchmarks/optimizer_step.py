"""Time and memory of one combination step, for every registered multitask optimizer, beside torchjd's and LibMTL's.

    python benchmarks/optimizer_step.py [--sizes 1M,8M,64M] [--tasks 8] [--threads 1] [--device cpu] [--clock cpu]
    python benchmarks/optimizer_step.py --sizes 8M --json benchmarks/optimizer_step.json   # docs/optimizers.md reads it

The K gradients are in memory, as one (K, d) block in float32; measured is the combination alone. Every line is a
process of its own in which naive, the line and the floor are measured in turns, and the ratios are medians over the
rounds: what else the machine does meets all three. The floor is the time that the bytes which must move take at the
bandwidth of an in-place addition of two vectors of K d numbers (shorter ones would stay in a large cache, where the
gradients and averages do not). With d numbers as the unit, and S vectors of state,

    losses, norms     K + 1          the gradients once, the update once
    gram              2 K + 1        the gradients for the Gram matrix and for the weighted sum; + 2 S
    elementwise       K + 1 + 2 S    the gradients, the state read and written, the update
    tsage fused       3 K + 2        that, and theta; + 2 K with exact medians
    tsage stream      12 K + 3       each task: theta, gradient for the median; theta, gradient, average and scratch

Memory is the peak above theta and the gradients, in units of d numbers, the method's state included. For T-SAGE the
forms stand one by one, with exact and with given medians, and the authors' formulation (plain expressions on
K x d blocks, torch.median). Peers that are installed stand beside the methods that they have: torchjd's aggregators on
the block; LibMTL's weighting classes with the block where their own backward passes would put it, the update left in
``grad`` (``pip install --no-deps LibMTL``; the package index has 1.1.5). Weightings of losses have no line there:
LibMTL drives one weighted sum back, and there is nothing to combine.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

ROUNDS = 7
TSAGE = ("fused", "fused, medians given", "stream", "authors' formulation")
TORCHJD = {
    "aligned": "AlignedMTL",
    "cagrad": "CAGrad",
    "excessmtl": "ExcessMTL",
    "fairgrad": "FairGrad",
    "graddrop": "GradDrop",
    "gradvac": "GradVac",
    "imtl_g": "IMTLG",
    "mgda": "MGDA",
    "nash": "NashMTL",
    "pcgrad": "PCGrad",
    "upgrad": "UPGrad",
}
LIBMTL: dict[str, tuple[str, dict[str, Any]]] = {
    "gradnorm": ("GradNorm", {"alpha": 1.5}),
    "gradvac": ("GradVac", {"beta": 0.5}),
    "imtl_g": ("IMTL", {}),
    "mgda": ("MGDA", {"mgda_gn": "none"}),
    "pcgrad": ("PCGrad", {}),
}
"""Their CAGrad is written for three tasks, and their GradDrop for gradients of representations."""


def main() -> None:
    """Measure every line in a process of its own and print one table per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1M,8M,64M", help="values of d")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="cpu", help="cpu: with one thread, on a busy machine"
    )
    parser.add_argument("--only", default="", help="lines whose name contains one of these, as pcgrad,stream")
    parser.add_argument("--json", type=Path, help="add the figures to this file, by size and line")
    parser.add_argument("--line", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line:
        print(json.dumps(measure(options.line, int(options.sizes), options)))
        return
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    for text in options.sizes.split(","):
        print(f"\nd = {text}, K = {options.tasks}, {options.threads} thread(s), {options.clock} clock\n")
        print("| method | ms | x naive | x floor | memory / d |\n|---|---:|---:|---:|---:|")
        for line in lines():
            if not any(part in line for part in options.only.split(",")):
                continue
            try:
                r = in_own_process(line, int(float(text.rstrip("Mm")) * 1_000_000), options)
            except RuntimeError as error:
                print(f"| {line} | {error} | | | |", flush=True)
                continue
            floor = f"{r['floor']:.1f}" if r["floor"] else ""
            print(f"| {line} | {r['ms']:.1f} | {r['naive']:.1f} | {floor} | {r['memory']:.1f} |", flush=True)
            if options.json:
                keep(options.json, text, line, r)


def versions() -> dict[str, str]:
    """Of what is compared."""
    found = {}
    for name in ("mtbench", "torch", "torchjd", "LibMTL"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def keep(file: Path, size: str, line: str, figures: dict[str, float]) -> None:
    """Put the figures of a line into ``file``; those of other lines stay."""
    held: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    held["versions"] = {**held.get("versions", {}), **versions()}
    held.setdefault(size, {})[line] = {key: float(f"{value:.3g}") for key, value in figures.items()}
    file.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")


def lines() -> list[str]:
    """What is measured: naive first, T-SAGE's forms, the peers' version after each method that they have."""
    from mtbench.registry import entries

    names = sorted(entries("optimizer"), key=lambda n: (n != "naive", n))
    found = []
    for name in names:
        found += [f"tsage ({form})" for form in TSAGE] if name == "tsage" else [name]
        if name in TORCHJD and importlib.util.find_spec("torchjd"):
            found.append(f"torchjd {TORCHJD[name]}")
        if name in LIBMTL and importlib.util.find_spec("LibMTL"):
            found.append(f"LibMTL {LIBMTL[name][0]}")
    return found


def in_own_process(line: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """The measurement of one line; its own process, so that peak memory is its own."""
    command = [sys.executable, "-P", __file__, "--line", line, "--sizes", str(size), "--tasks", str(options.tasks)]
    command += ["--threads", str(options.threads), "--device", options.device, "--clock", options.clock]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}; too little memory?"]
        raise RuntimeError(said[-1])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(line: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds, ratios to naive and to the floor (medians over the rounds), and peak memory over d."""
    import torch

    torch.set_num_threads(options.threads)
    device, K = torch.device(options.device), options.tasks
    theta, gradients = problem(size, K, device)
    step, _ = stepper(line, theta, gradients)  # libraries and compiled code are in memory after this
    step()
    del step
    forget_peak(device)
    before = memory(device, peak=False)
    step, vectors = stepper(line, theta, gradients)
    step()
    forget_peak(device, trim=False)
    step()
    extra = (memory(device, peak=True) - before) / (4 * size)
    reuse_memory()
    plain, _ = stepper("naive", theta, gradients)
    move = mover(K * size, device)
    for each in (step, plain, move):
        each()
    rounds = [[timed(each, device, options.clock) for each in (step, plain, move)] for _ in range(ROUNDS)]
    floors = [vectors() * size / (3 * max(K * size, LEAST)) * m for _, _, m in rounds]
    return {
        "ms": 1e3 * median([own for own, _, _ in rounds]),
        "naive": 1.0 if line == "naive" else median([own / naive for own, naive, _ in rounds]),
        "floor": median([own / floor for (own, _, _), floor in zip(rounds, floors, strict=True)]) if floors[0] else 0.0,
        "memory": extra,
    }


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


Step = tuple[Callable[[], object], Callable[[], float]]
"""What makes one step, and how many vectors of d numbers it has to move (0: not counted); asked after a step."""


def stepper(line: str, theta: Any, gradients: Any) -> Step:
    """The step of a line."""
    name, _, form = line.partition(" ")
    if name == "torchjd":
        return torchjd_step(form, gradients)
    if name == "LibMTL":
        return libmtl_step(form, gradients), lambda: 0
    if "authors" in form:
        return authors_formulation(theta, gradients), lambda: 0
    return own_step(name, form, theta, gradients)


def own_step(name: str, form: str, theta: Any, gradients: Any) -> Step:
    """A registered method, or a form of T-SAGE."""
    import torch

    from mtbench.registry import get_optimizer

    K, d = gradients.shape
    params = {"implementation": form.strip("()").split(",")[0], "burn_in": 0.0} if form else {}
    opt = get_optimizer(name)(**params)
    opt.start(theta, K, 1000, task_sizes=[100] * K)
    draws = getattr(opt, "draws", 1)
    given = gradients if draws == 1 else gradients.expand(draws, K, d)
    losses = torch.ones(K) if draws == 1 else torch.ones(draws, K)
    more = {"gradient_at": lambda k, offset, draw=0: (gradients[k], 1.0)} if getattr(opt, "perturbs", False) else {}
    if "given" in form:
        upcoming = iter([opt._normaliser_of(row) for row in gradients] * 1000)  # type: ignore[attr-defined]
        opt._normaliser_of = lambda gradient: next(upcoming)  # type: ignore[attr-defined]

    def vectors() -> float:
        if form:
            return 12 * K + 3 if "stream" in form else 3 * K + 2 + (0 if "given" in form else 2 * K)
        state = 2 * opt.state_bytes() // (4 * d)
        return float({"gram": 2 * K + 1 + state, "elementwise": K + 1 + state}.get(opt.cost, K + 1))

    return lambda: opt.combine(given, losses, **more), vectors


def torchjd_step(form: str, gradients: Any) -> Step:
    """An aggregator of torchjd on the block."""
    import torchjd.aggregation as peers

    K = len(gradients)
    needed = {"NashMTL": {"n_tasks": K}, "CAGrad": {"c": 0.4}, "FairGrad": {"alpha": 2.0}}
    aggregator = getattr(peers, form)(**needed.get(form, {}))
    return lambda: aggregator(gradients), lambda: 0 if form in ("ExcessMTL", "GradDrop") else 2 * K + 1


def libmtl_step(form: str, gradients: Any) -> Callable[[], object]:
    """A weighting class of LibMTL, given the block where it would compute its gradients."""
    import torch

    if "LibMTL" not in sys.modules:
        spec = importlib.util.find_spec("LibMTL")
        package = ModuleType("LibMTL")  # without its own imports, such as torchvision, which combining has no use for
        package.__path__, package.__spec__ = list(spec.submodule_search_locations or []), spec  # type: ignore[union-attr]
        sys.modules["LibMTL"] = package
    weighting = importlib.import_module("LibMTL.weighting")
    K, d = gradients.shape
    parameter = torch.nn.Parameter(gradients.new_zeros(d))
    parameter.grad = gradients.new_zeros(d)

    class Held(getattr(weighting, form)):  # type: ignore[misc]
        def _compute_grad(self, losses: Any, mode: str, rep_grad: bool = False) -> Any:
            return gradients

        def get_share_params(self) -> list[Any]:
            return [parameter]

    method = Held()
    method.task_num, method.device, method.rep_grad, method.epoch = K, gradients.device, False, 2
    method.train_loss_buffer = torch.ones(K, 3).numpy()
    method.init_param()
    losses = torch.ones(K, device=gradients.device)
    kwargs = next(kwargs for name, kwargs in LIBMTL.values() if name == form)
    return lambda: method.backward(losses, **kwargs)


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


LEAST = 16_000_000


def mover(size: int, device: Any) -> Callable[[], object]:
    """Adds one vector of ``size`` numbers (at least :data:`LEAST`) to another in place: two reads, one write."""
    import torch

    size = max(size, LEAST)
    a, b = torch.ones(size, device=device), torch.ones(size, device=device)
    return lambda: a.add_(b)


def median(values: list[float]) -> float:
    """The middle value of an odd number of them."""
    return sorted(values)[len(values) // 2]


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
