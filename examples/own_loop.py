"""A multitask optimizer in a plain torch loop: ``python examples/own_loop.py [METHOD]``.

Two tasks share an encoder of random features; the second has the opposite sign on half of them, so their gradients
conflict. Prints both losses every ten steps.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from mtbench.optim import MultitaskStep

STEPS = 60


def main(method: str = "pcgrad") -> dict[str, float]:
    """Train with ``method``; the last losses by task."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    sign = torch.cat([torch.ones(4), -torch.ones(4)])
    targets = {"ask": torch.ones(8), "claim": sign}
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
    mt = MultitaskStep(method, model.named_parameters(), tasks=list(targets), total_steps=STEPS)
    losses: dict[str, float] = {}
    for step in range(STEPS):
        x = torch.randn(32, 8)
        with mt.step():
            for task, weights in targets.items():
                loss = nn.functional.mse_loss(model(x), (x @ weights)[:, None])
                mt.backward(task, loss)
                losses[task] = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step % 10 == 9:
            print(f"step {step + 1:3}  " + "  ".join(f"{task} {value:.3f}" for task, value in losses.items()))
    return losses


if __name__ == "__main__":
    main(*sys.argv[1:])
