"""The equations of the methods with state, written out step by step in float64, as slowly and plainly as can be.

Nothing of mtbench is used: no logarithms of shares, no Gram matrix, no streaming. Each function takes the gradients
``[steps][K][d]``, the losses ``[steps][K]`` and the hyperparameters, and returns the mean-form updates ``[steps][d]``.
"""

from __future__ import annotations

import itertools

import numpy as np

Steps = np.ndarray


def floored(losses: np.ndarray) -> np.ndarray:
    return np.maximum(losses, 1e-8 * np.abs(losses).max())


def groupdro(gradients: Steps, losses: Steps, step: float) -> list[np.ndarray]:
    q = np.full(len(gradients[0]), 1 / len(gradients[0]))
    updates = []
    for g, loss in zip(gradients, losses, strict=True):
        q = q * np.exp(step * loss)
        q = q / q.sum()
        updates.append(q @ g)
    return updates


def stch(gradients: Steps, losses: Steps, mu: float, warmup_steps: int) -> list[np.ndarray]:
    nadir = np.mean(losses[:warmup_steps], axis=0)
    updates = []
    for t, (g, loss) in enumerate(zip(gradients, losses, strict=True)):
        loss = floored(loss)
        e = np.ones_like(loss) if t < warmup_steps else (loss / nadir) ** (1 / mu)
        updates.append((e / e.sum() / loss) @ g)
    return updates


def imtl_l(gradients: Steps, losses: Steps, lr: float) -> list[np.ndarray]:
    s = np.zeros(len(losses[0]))
    updates = []
    for g, loss in zip(gradients, losses, strict=True):
        updates.append(np.exp(s) @ g / len(g))
        for k, value in enumerate(floored(loss)):
            moved, rest = s[k] - lr * (np.exp(s[k]) * value - 1), -np.log(value)
            s[k] = rest if (s[k] - rest) * (moved - rest) < 0 else moved
    return updates


def idro(
    gradients: Steps, losses: Steps, step: float, loss_power: float, memory: float, floor: float
) -> list[np.ndarray]:
    n = len(losses[0])
    h = np.full(n, 1 / n)
    updates = []
    for g, loss in zip(gradients, losses, strict=True):
        updates.append(h @ g)
        loss = floored(loss)
        r = np.zeros(n)
        for k, j in itertools.product(range(n), range(n)):
            cosine = g[k] @ g[j] / (np.linalg.norm(g[k]) * np.linalg.norm(g[j]))
            r[k] += step / n * (loss[k] * loss[j]) ** loss_power * cosine
        h = h**memory * np.exp(r - r.max())
        h = np.maximum(h / h.sum(), floor)
        h = h / h.sum()
    return updates


def dbmtl(gradients: Steps, losses: Steps, beta: float, decay: float) -> list[np.ndarray]:
    m = np.zeros_like(gradients[0])
    updates = []
    for t, (g, loss) in enumerate(zip(gradients, losses, strict=True), 1):
        b = beta / t**decay
        m = b * m + (1 - b) * g / floored(loss)[:, None]
        norms = np.linalg.norm(m, axis=1)
        updates.append(norms.max() / len(g) * sum(row / norm for row, norm in zip(m, norms, strict=True)))
    return updates


def excessmtl(gradients: Steps, losses: Steps, step: float, reference_steps: int) -> list[np.ndarray]:
    n = len(losses[0])
    squares, q = np.zeros_like(gradients[0]), np.full(n, 1 / n)
    first: list[list[float]] = [[] for _ in range(n)]
    updates = []
    for g in gradients:
        squares = squares + g**2
        e = (g**2 / np.sqrt(squares)).sum(axis=1)
        x = np.zeros(n)
        for k in range(n):
            if len(first[k]) < reference_steps:
                first[k].append(e[k])
            else:
                x[k] = step * e[k] / np.mean(first[k])
        q = q * np.exp(x)
        q = q / q.sum()
        updates.append(q @ g)
    return updates


def go4align(gradients: Steps, losses: Steps, step: float, groups: int) -> list[np.ndarray]:
    n = len(losses[0])
    q = np.full(n, 1 / n)
    updates = []
    for g, loss in zip(gradients, losses, strict=True):
        q = q * np.exp(-step * loss)
        q = q / q.sum()
        v = floored(loss).sum() / floored(loss) * q
        order = np.argsort(v)
        best, chosen = np.inf, v
        for cuts in itertools.combinations(range(1, n), groups - 1):
            parts = np.split(order, cuts)
            spread = sum(((v[p] - v[p].mean()) ** 2).sum() for p in parts)
            if spread < best:
                best, chosen = spread, v.copy()
                for p in parts:
                    chosen[p] = v[p].mean()
        updates.append(chosen @ g / n)
    return updates


def moco(
    gradients: Steps, losses: Steps, beta: float, gamma: float, beta_decay: float, gamma_decay: float, rho: float
) -> list[np.ndarray]:
    n = len(losses[0])
    y, share = np.zeros_like(gradients[0]), np.full(n, 1 / n)
    updates = []
    for t, g in enumerate(gradients, 1):
        y = y + beta / t**beta_decay * (g - y)
        gram = y @ y.T
        share = nearest_on_simplex(
            share - gamma / t**gamma_decay * (gram / (np.trace(gram) / n) + rho * np.eye(n)) @ share
        )
        updates.append(share @ y)
    return updates


def nearest_on_simplex(point: np.ndarray) -> np.ndarray:
    """By bisection on the shift: sum max(point - shift, 0) = 1."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(point - (low + high) / 2, 0)


def sdmgrad(draws: np.ndarray, lam: float, inner_lr: float, momentum: float, inner_steps: int) -> list[np.ndarray]:
    """``draws`` [steps][3][K][d]; the projection by bisection on its threshold."""
    n = draws.shape[2]
    w, updates = np.full(n, 1 / n), []
    for zeta, xi, other in draws:
        products = np.array([[a @ b for b in other] for a in xi])
        norms = [np.sqrt(max(products[k, k], 0.0)) for k in range(n)]
        products = products / np.mean(norms) ** 2
        v = np.zeros(n)
        for _ in range(inner_steps):
            v = momentum * v + products @ (w + lam / n)
            w = nearest_on_simplex(w - inner_lr * v)
        updates.append((sum(w[k] * zeta[k] for k in range(n)) + lam * zeta.mean(axis=0)) / (1 + lam))
    return updates
