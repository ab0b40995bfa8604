"""Fixed task weights, chosen by the user: the baseline that tuned weights make hard to beat."""

from __future__ import annotations

from typing import ClassVar

from mtbench.optim import LossWeighting, PerTask, hyper
from mtbench.optim.simplex import normalised
from mtbench.records.values import Params


class Static(LossWeighting):
    """u = sum_k w_k g_k / sum_k w_k with a number w_k >= 0 for each task, 1 where none is given.

    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022, and Xin et al.,
    "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022: tuned static weights are
    what a method has to beat. At its default it is ``naive``. A task that is missing by accident gives its weight to
    the others; with one task a step each keeps the weight it was given.
    """

    name = "static"
    summary = "fixed weights, a number for each task"
    paper = "Kurin et al., NeurIPS 2022; Xin et al., NeurIPS 2022 (baseline)"
    conformance: ClassVar[Params] = {"weights": "task0:3"}

    weights: PerTask = hyper(
        "", per_task=True, ge=0, search="dirichlet", help="of the tasks, divided by their sum; 1 where none is given"
    )

    def begin_episode(self) -> None:
        self._shares = normalised(self.per_task("weights"))

    def weights_before(self) -> list[float]:
        return [float(w) for w in self._shares]
