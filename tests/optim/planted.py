"""Plugins that each break one promise, as source."""

from __future__ import annotations

HEAD = """
import numpy as np
import torch

from mtbench import GradientCombining, GramWeighting, LossWeighting, hyper
from mtbench.optim.contract import reset_field

"""

FIRST_TASK = '''
class Planted(LossWeighting):
    """Half of the weight goes to the first task."""
    name = "planted"
    summary = "depends on the order of the tasks"

    def weights_from_losses(self, losses):
        weights = np.full(len(losses), 0.5 / len(losses))
        weights[0] += 0.5
        return weights
'''

UNDOCUMENTED = """
class Planted(LossWeighting):
    name = "planted"
    summary = "no docstring, no bounds, a state that never changes"
    state = ("memory",)

    power: float = hyper(1.0)

    def init_state(self):
        self.memory = np.zeros(3)

    def weights_from_losses(self, losses):
        return losses / losses.sum()
"""

NEEDS_ITS_PROCESS = '''
import os

HERE = os.environ.setdefault("PLANTED_PROCESS", str(os.getpid()))


class Planted(LossWeighting):
    """Weights by the square of the losses, in the process that loaded it first."""
    name = "planted"
    summary = "does not survive a worker"

    def weights_from_losses(self, losses):
        power = 2 if HERE == str(os.getpid()) else 3
        shares = (1 + abs(losses)) ** -power
        return shares / shares.sum()
'''

TAKEN_NAMES = '''
class Planted(LossWeighting):
    """Weights by the losses, with names that the base class uses."""
    name = "planted"
    summary = "a hyperparameter and a state with taken names"
    state = ("params",)

    seed: int = hyper(7, ge=0)
    reset_on_episode: bool = reset_field()

    def weights_from_losses(self, losses):
        return losses / losses.sum()
'''
