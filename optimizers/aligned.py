"""Independent component alignment (Aligned-MTL)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mtbench.optim import GramWeighting, PerTask, hyper, preference_field


class Aligned(GramWeighting):
    """Makes the system of task gradients perfectly conditioned: its principal components become equally long.

    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
    Algorithm 1: with M = V diag(lambda) V' the Gram matrix, over the eigenvalues that are not zero to rounding,

        w = B (1/K, ..., 1/K),   B = sqrt(s) V diag(lambda)^(-1/2) V',

    where s is the smallest of those eigenvalues (``min``, the paper's), their lower median, or their mean (``rmse``).
    A ``preference``, of sum 1, stands for 1/K.
    The paper applies B to ones; the mean form divides by K. With nearly parallel gradients the smallest eigenvalue,
    and the update with it, is small. All-zero gradients: the preferences as weights.
    """

    name = "aligned"
    summary = "aligns the principal components of the task gradients to one length"
    paper = "Senushkin et al., Independent Component Alignment for Multi-Task Learning, CVPR 2023"
    weighted_sum = False  # weights may be negative

    mode: Literal["min", "median", "rmse"] = hyper("min", help="which eigenvalue sets the common length")
    preference: PerTask = preference_field()

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        shares = self.preferences() / len(gram)
        values, vectors = np.linalg.eigh(gram)
        kept = values > values.max() * len(gram) * np.finfo(np.float64).eps
        if not kept.any():
            return shares
        values, vectors = values[kept], vectors[:, kept]
        self.notes["condition"] = float(np.sqrt(values.max() / values.min()))
        length = {"min": values.min(), "median": values[(len(values) - 1) // 2], "rmse": values.mean()}[self.mode]
        weights: np.ndarray = vectors @ (np.sqrt(length / values) * (vectors.T @ shares))
        return weights
