"""Methods that weigh the task gradients by their inner products, for all parameters together or group by group."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.hyperparameters import hyper
from mtbench.optim.blocks import Block, Groups, averaged, blocks_of
from mtbench.optim.contract import Cost
from mtbench.optim.gram import gram_matrices
from mtbench.optim.rows import RowKeeping
from mtbench.optim.states import OptimizerState, copied, moved, nbytes
from mtbench.records.values import Report


class GramWeighting(RowKeeping):
    """Weights from the Gram matrix. Override :meth:`weights_from_gram`; the mathematics is K x K, in float64.

    With ``groups`` the parameters of each module, or each tensor, have a Gram matrix, weights and a state of their own.
    The report then has the weights' mean by the groups' sizes, and ``weights_by_block``.
    """

    cost: ClassVar[Cost] = "gram"
    shardable = True
    weighted_sum = True

    groups: Groups = hyper(  # type checkers see a default that has its name
        default="whole",
        since=2,
        help="weights for all parameters together, for each numbered module, or for each tensor",
    )

    block = 0
    """Which of :attr:`blocks` the weights are asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks = [Block("all", ())]
        self._sizes: list[float] | None = None
        self._states: list[dict[str, Any]] | None = None
        if self.groups != "whole" and self.uses_after_step and self.state:
            raise ConfigError(f"{self.name}: groups={self.groups!r} is not for a method whose state after_step() moves")

    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray | Sequence[float]:
        """Weights (n,) in mean form from ``gram`` (n, n), with entries <g_i, g_j>, and the ``losses`` (n,).

        ``gram`` is scaled by one positive number so that its largest diagonal entry lies between 1 and 4 (or is 0):
        a method whose weights depend on the gradients' absolute size multiplies by ``self.gram_scale``.
        ``self.tasks`` names the present tasks.
        """
        raise NotImplementedError

    def watch(self, gradient: Tensor) -> None:
        """The Gram matrix sees whatever is not finite: no pass of its own."""

    def probes(self) -> list[Tensor]:
        self._step_rows = self.present_rows()
        spans = [block.spans for block in self.blocks]
        self._grams, self._scales = gram_matrices(self._step_rows, spans, self.reduce_sum, self.reduce_max)
        return [torch.from_numpy(np.concatenate([np.diag(gram) for gram in self._grams]))]

    def write_update(self, out: Tensor) -> None:
        rows = self._step_rows
        del self._step_rows  # where a task is missing it is a copy
        found = []
        for number, block in enumerate(self.blocks):
            weights, notes = self._block_weights(number)
            column = torch.as_tensor(weights, dtype=rows.dtype, device=rows.device)
            for start, stop in block.spans:
                torch.mv(rows[:, start:stop].t(), column, out=out[start:stop])
            found.append((weights, notes))
        self._report_blocks([w for w, _ in found], [n for _, n in found])

    def _block_weights(self, block: int) -> tuple[np.ndarray, Report]:
        """Weights and notes of a block, by the state that is its own."""
        notes: Report = {}
        self.block, self.gram_scale, self.notes = block, self._scales[block], notes
        states = self._own_states()
        for field, value in states[block].items() if states else ():
            setattr(self, field, value)
        weights = np.asarray(self.weights_from_gram(self._grams[block], self.present_losses()), dtype=np.float64)
        if states:
            states[block] = {field: getattr(self, field) for field in self.state}
        return self.scaled(weights), notes

    def _report_blocks(self, weights: list[np.ndarray], notes: list[Report]) -> None:
        if len(self.blocks) == 1:
            self.set_report(weights[0], **notes[0])
            return
        if self._sizes is None:
            here = torch.tensor([float(b.size) for b in self.blocks], dtype=torch.float64, device=self.theta.device)
            self._sizes = self.reduce_sum(here).tolist()
        by_block: dict[str, list[float]] = {}
        for block, own in zip(self.blocks, weights, strict=True):
            self.set_report(own)
            by_block[block.name] = self._report["weights"]
        mean = np.average(weights, axis=0, weights=self._sizes)
        self.set_report(mean, **averaged(notes, self._sizes), weights_by_block=by_block)

    def discard_step(self) -> None:
        self.__dict__.pop("_step_rows", None)

    # -- a state for each block --------------------------------------------------------------------------------------

    def set_up(self, keep: bool) -> None:
        self.blocks = blocks_of(self.layout, self.groups, self.theta.numel())
        self._sizes = None
        if not keep:
            self._states = None
        elif self._carried or self._states:
            self._check_states()

    def _own_states(self) -> list[dict[str, Any]] | None:
        """The state of each block, all alike at first; None where there is one block or no state."""
        if self._states is None and self.state and len(self.blocks) > 1:
            self._states = [{f: copy.deepcopy(getattr(self, f)) for f in self.state} for _ in self.blocks]
        return self._states

    def _check_states(self) -> None:
        saved, expected = len(self._states or [{}]), len(self.blocks) if self.state else 1
        if saved != expected:
            raise ConfigError(
                f"{self.name}: this is the state of {saved} groups of parameters; there are {expected} here "
                f"(groups={self.groups!r})"
            )

    def state_dict(self) -> OptimizerState:
        found = super().state_dict()
        states = self._own_states()
        if states:
            found["blocks"] = [copied(own) for own in states]
            found["state"] = copied(states[0])
        return found

    def load_state_dict(self, state: OptimizerState) -> None:
        super().load_state_dict(state)
        blocks = state.get("blocks")
        self._states = None if blocks is None else [moved(copy.deepcopy(b), self._state_device()) for b in blocks]
        if self._started:
            self._check_states()

    def _state_device(self) -> torch.device:
        return self.theta.device if self._started else torch.device("cpu")

    def _place_state(self) -> None:
        super()._place_state()
        if self._states:
            self._states = [moved(own, self.theta.device) for own in self._states]

    def state_bytes(self) -> int:
        return super().state_bytes() if self._states is None else sum(nbytes(own) for own in self._states)
