"""Plugins that each break one promise, as source; ``{name}`` and the like are not filled in."""

from __future__ import annotations

HEAD = """
import numpy as np
import torch

from mtbench import GradientCombining, GramWeighting, LossWeighting, hyper
from mtbench.optim.contract import reset_field

"""

SUM = '''
class Planted(LossWeighting):
    """The sum."""
    name = "planted"
    summary = "identical to the sum"

    def weights_from_losses(self, losses):
        return np.ones(len(losses))
'''

CHANGES_ARGUMENTS = '''
class Planted(GradientCombining):
    """Normalises in place."""
    name = "planted"
    summary = "changes its arguments"

    def combine_gradients(self, gradients, losses):
        norms = gradients.norm(dim=1, keepdim=True)
        mean = norms.mean()
        gradients.mul_(torch.where(norms > 0, mean / norms, 1.0))
        return gradients.mean(0)
'''

GLOBAL_GENERATOR = '''
class Planted(LossWeighting):
    """Random weights."""
    name = "planted"
    summary = "uses the global generator"
    random = True

    def weights_from_losses(self, losses):
        draws = np.exp(np.random.normal(size=len(losses)))
        return draws / draws.sum()
'''

LOSES_STATE = '''
class Planted(LossWeighting):
    """Weights by the running mean of the losses, which is not declared as state."""
    name = "planted"
    summary = "loses state on resume"

    def begin_episode(self):
        self.average = np.ones(self.num_tasks)

    def weights_before(self):
        return list(self.average / self.average.sum())

    def observe(self, losses):
        self.average[self.tasks] = 0.5 * self.average[self.tasks] + 0.5 * losses
'''

NAN_ON_ZEROS = '''
class Planted(GramWeighting):
    """Weights inversely proportional to the norms."""
    name = "planted"
    summary = "returns NaN on zeros"

    def weights_from_gram(self, gram, losses):
        with np.errstate(all="ignore"):
            inverse = 1 / np.sqrt(np.diag(gram))
            return inverse / inverse.sum()
'''

BLOCKS = '''
class Planted(GramWeighting):
    """Weights proportional to the norms, with a copy of all the rows."""
    name = "planted"
    summary = "makes K x d blocks"

    def weights_from_gram(self, gram, losses):
        norms = self.present_rows().pow(2).sum(1).sqrt()
        return (norms / norms.sum()).numpy() if norms.sum() > 0 else np.full(len(gram), 1 / len(gram))
'''

ABSOLUTE_THRESHOLD = '''
class Planted(GramWeighting):
    """Weights proportional to the squared norms, if these are not small."""
    name = "planted"
    summary = "an absolute threshold"

    def weights_from_gram(self, gram, losses):
        squares = np.diag(gram) * self.gram_scale
        return squares / squares.sum() if squares.sum() > 1e-4 else np.full(len(gram), 1 / len(gram))
'''

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
        return losses**power / (losses**power).sum()
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
