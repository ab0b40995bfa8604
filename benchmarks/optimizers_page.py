"""The generated parts of docs/optimizers.md: one row per registered method, from its declarations and the measurements.

    python benchmarks/optimizers_page.py            # says whether the page is as it should be
    python benchmarks/optimizers_page.py --write    # puts the tables into the page

Paper, cost class, state and hyperparameters come from the classes; times and memory from ``optimizer_step.json``,
which ``optimizer_step.py --sizes 8M --json benchmarks/optimizer_step.json`` writes. What was not measured has a dash.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtbench.hyperparameters import Hyperparameter, hyperparameters
from mtbench.optim import MultitaskOptimizer
from mtbench.registry import entries, get_optimizer

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "optimizers.md"
FIGURES = ROOT / "benchmarks" / "optimizer_step.json"
SIZE = "8M"
CLASSES = ("losses", "norms", "gram", "elementwise")
K, D = 3, 53
"""Numbers that nothing else is, so that shapes of the state say what they consist of."""


def main() -> None:
    """Compare the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    page = PAGE.read_text(encoding="utf-8")
    wanted = filled(page)
    if parser.parse_args().write:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        raise SystemExit(f"{PAGE} is out of date: python benchmarks/optimizers_page.py --write")


def filled(page: str) -> str:
    """The page with every generated table as it should be."""
    for name, rows in {"methods": methods(), "hyperparameters": settings(), "peers": peers()}.items():
        marks = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
        text = "\n".join([marks[0], "", *rows, "", marks[1]])
        page = pattern.sub(lambda _, text=text: text, page)
    return page


def names() -> list[str]:
    """The built-in methods, the cheapest class first."""
    found = [name for name, entry in entries("optimizer").items() if entry.builtin]
    return sorted(found, key=lambda n: (CLASSES.index(get_optimizer(n).cost), n != "naive", n))


def methods() -> Iterator[str]:
    """One row per method: what it is, what it keeps, what it costs."""
    yield "| method | what it does | class | keeps from step to step | memory / d | time, x naive |"
    yield "|---|---|---|---|--:|--:|"
    for name in names():
        cls = get_optimizer(name)
        line = figures("tsage (fused)" if name == "tsage" else name)
        memory, times = (f"{line[key]:.1f}" if line else "–" for key in ("memory", "naive"))
        link = f"[{name}](../optimizers/{Path(entries('optimizer')[name].file or '').name})"
        yield f"| {link} | {cls.summary} | {cls.cost} | {state_of(cls)} | {memory} | {times} |"


def settings() -> Iterator[str]:
    """One row per method: paper, hyperparameters with defaults and ranges, traits."""
    yield "| method | paper | hyperparameters: default, allowed | traits |"
    yield "|---|---|---|---|"
    for name in names():
        cls = get_optimizer(name)
        declared = [
            f"`{h.name}={h.default!r}`{allowed(h)}"
            for h in hyperparameters(cls).values()
            if h.name not in ("scale", "reset_on_episode")
        ]
        traits = [trait for trait in ("rescales", "random", "shardable") if getattr(cls, trait)]
        traits += [f"{cls.draws} draws"] if cls.draws > 1 else []
        traits += ["perturbs"] if cls.perturbs else []
        paper = (cls.paper or "–").replace("|", "\\|")
        yield f"| {name} | {paper} | {'; '.join(declared) or '–'} | {', '.join(traits)} |"


def peers() -> Iterator[str]:
    """Each line of a peer beside ours."""
    from optimizer_step import LIBMTL, TORCHJD

    yield "| method | ours | torchjd | LibMTL | memory / d: ours | torchjd | LibMTL |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name in names():
        lines = [name, f"torchjd {TORCHJD.get(name)}", f"LibMTL {LIBMTL.get(name, ('',))[0]}"]
        found = [figures(line) for line in lines]
        if any(found[1:]):
            cells = [f"{line[key]:.1f}" if line else "–" for key in ("naive", "memory") for line in found]
            yield f"| {name} | {' | '.join(cells)} |"


def figures(line: str) -> dict[str, float] | None:
    """What was measured for a line at :data:`SIZE`."""
    measured: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    found: dict[str, float] | None = measured.get(SIZE, {}).get(line)
    return found


def state_of(cls: type[MultitaskOptimizer]) -> str:
    """The fields of the state after a step, each with its size in K and d."""
    method = stepped(cls)
    parts = [f"`{field}` {size}" for field in cls.state if (size := size_of(getattr(method, field, None)))]
    return ", ".join(parts) or "–"


def stepped(cls: type[MultitaskOptimizer]) -> MultitaskOptimizer:
    """A method after one step on K gradients of d numbers."""
    import torch

    torch.manual_seed(0)
    method = cls()
    method.start(torch.randn(D), K, 10, task_sizes=[5] * K, task_names=[str(k) for k in range(K)])
    rows = torch.randn(K, D)
    elsewhere = (lambda k, offset, draw=0: (rows[k], 1.0)) if cls.perturbs else None
    method.combine(rows, torch.ones(K), gradient_at=elsewhere)
    return method


def allowed(h: Hyperparameter) -> str:
    """The range, in few words."""
    if h.per_task:
        return " a number per task"
    if h.choices:
        return " or " + ", ".join(f"`{choice!r}`" for choice in h.choices if choice != h.default)
    return "" if h.kind is bool else " " + h.allowed.removeprefix(h.kind.__name__ + " ")


def size_of(value: Any) -> str:
    """The shape of a tensor or array, ``1`` for a number, the parts of anything nested; empty for nothing."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return " x ".join({K: "K", D: "d"}.get(n, str(n)) for n in shape) or "1"
    if isinstance(value, (bool, int, float)):
        return "1"
    if isinstance(value, dict):
        return " + ".join(size for size in map(size_of, value.values()) if size)
    if isinstance(value, (list, tuple)):
        sizes = [size_of(v) for v in value]
        if sizes and set(sizes) == {"1"}:
            return {K: "K"}.get(len(sizes), str(len(sizes)))
        if sizes and len(set(sizes)) == 1 and len(sizes) == K:
            return f"K x {sizes[0]}" if sizes[0] else ""
        return " + ".join(size for size in sizes if size)
    return ""


if __name__ == "__main__":
    main()
