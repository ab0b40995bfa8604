"""The file that ``mtbench new optimizer`` writes."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from mtbench.errors import UsageError

TEMPLATE = '''"""{title}: a multitask optimizer for mtbench."""

from __future__ import annotations

import numpy as np

from mtbench import LossWeighting, hyper


class {class_name}(LossWeighting):
    """More weight to the tasks with the larger losses.

    Replace this by what your method does: the equation, and where it comes from (paper, equation number).
    """

    name = "{name}"
    summary = "one line for `mtbench ls optimizers`"
    paper = "Author, Title, Venue Year"

    # Hyperparameters: a type, a default and a range. `--set power=2` and `--grid power=1,2` reach them by name.
    power: float = hyper(1.0, ge=0, le=10, help="exponent on the losses; 0 gives uniform weights")

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        """Weights (n,) that sum to 1, from the losses (n,) of the tasks in this step."""
        # Your formula. Uniform weights, 1/n each, give the mean of the task gradients.
        shares = np.maximum(losses, 0.0) ** self.power
        total = shares.sum()
        return shares / total if total > 0 else np.full(len(losses), 1.0 / len(losses))


# Weights from the angles between the task gradients instead? Derive from GramWeighting and write
#     def weights_from_gram(self, gram, losses):      # gram[i, j] = <g_i, g_j>, float64
# Every number of every gradient? Derive from GradientCombining and write
#     def combine_gradients(self, gradients, losses):  # gradients: (n, d) tensor, not to be changed
# State, random draws, missing tasks: docs/adding-an-optimizer.md.
'''


def new_optimizer(name: str, folder: Path) -> Path:
    """Write ``folder/NAME.py``, ready to run, and return its path.

    UsageError for a name that is no lower-case identifier, one that is taken, or a file that exists.
    """
    from mtbench.records.record import BASELINES
    from mtbench.registry import entries

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} is not a possible name for an optimizer: use a-z, 0-9 and _")
    if name in BASELINES:
        raise UsageError(f"{name!r} is the name of a baseline; choose another")
    taken = entries("optimizer").get(name)
    if taken is not None:
        raise UsageError(f"an optimizer called {name!r} exists already: {taken.place}")
    file = folder / f"{name}.py"
    if file.exists():
        raise UsageError(f"{file} exists already\n  Choose another name, or edit that file.")
    words = [word for word in name.split("_") if word]
    folder.mkdir(parents=True, exist_ok=True)
    title, class_name = " ".join(words).capitalize(), "".join(word.capitalize() for word in words)
    file.write_text(TEMPLATE.format(title=title, name=name, class_name=class_name), encoding="utf-8")
    return file
