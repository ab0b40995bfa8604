"""Geometric loss strategy."""

from __future__ import annotations

import numpy as np

from mtbench.optim import LossWeighting
from mtbench.optim.simplex import positive_losses


class GeometricLoss(LossWeighting):
    """The gradient of the geometric mean of the losses: every loss counts by its relative change.

    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
    Learning", CVPR Workshops 2019, Eq. 2: L = (prod_k l_k)^(1/K), so

        u = sum_k w_k g_k,   w_k = L / (K l_k)

    which is the mean where all losses are equal. Computed in logarithms; a loss at or below 0 counts as 1e-8 of the
    step's largest. LibMTL's update is the same; the weights that it reports, l / (K prod l), are not the ones it uses.
    """

    name = "gls"
    summary = "the geometric mean of the losses: each counts by its relative change"
    paper = "Chennupati et al., MultiNet++: Geometric Loss Strategy for Multi-Task Learning, CVPR Workshops 2019"
    rescales = True

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        logs = np.log(positive_losses(losses))
        weights: np.ndarray = np.exp(logs.mean() - logs) / len(logs)
        return weights
