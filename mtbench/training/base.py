"""The base optimizer, which takes the step once the tasks are combined: AdamW, SGD, or Muon for the weight matrices.

AdamW and SGD see flat pieces of the parameters. Muon orthogonalises whole matrices: it gets those of numbered blocks in
their shape, and AdamW the rest (embeddings, relative position biases, norms, biases) with the same learning rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.model.flat import Segment
from mtbench.train_config import TrainConfig
from mtbench.training.naive_step import step_difference
from mtbench.training.sharding import Shard

IN_A_BLOCK = re.compile(r"\.\d+\.")
"""In the name of a parameter of a numbered block."""


class BaseState(TypedDict):
    """The base optimizer's state, the same for every number of ranks."""

    step: float
    parameters: dict[str, dict[str, Tensor]]
    """Parameter name -> kind of state (``exp_avg``, ``momentum_buffer``, ..) -> vector, flat."""


@dataclass(frozen=True)
class Part:
    """A stretch of this rank's coordinates that is one parameter of the base optimizer: where it lies in the flat
    vector and in this rank's vectors, and its shape where it is a matrix."""

    piece: slice
    place: slice
    shape: tuple[int, ...] | None = None


class BaseOptimizer:
    """Moves this rank's part of ``shard.flat.theta`` along ``update``. Weight decay is decoupled in all three.

    ConfigError for Muon where the state is sharded, which would cut matrices, and where torch has none.
    """

    def __init__(self, shard: Shard, update: Tensor, train: TrainConfig) -> None:
        self.shard, self.update, self.train = shard, update, train
        if train.base == "muon":
            check_muon(shard.active)
        self.parts = list(_parts(shard, train.base == "muon"))
        flat = shard.flat.theta
        self.parameters = [torch.nn.Parameter(_shaped(flat[part.piece], part)) for part in self.parts]
        self.optimizers = self._build(self.parameters, self.update, train.weight_decay)

    def _build(self, parameters: list[torch.nn.Parameter], update: Tensor, decay: float) -> list[torch.optim.Optimizer]:
        """The optimizers of ``parameters``, one for each part, whose gradients are views of ``update``."""
        train, base = self.train, self.train.base
        for part, parameter in zip(self.parts, parameters, strict=True):
            parameter.grad = _shaped(update[part.place], part)
        matrices = [p for p in parameters if p.dim() > 1]
        flat = [p for p in parameters if p.dim() == 1]
        if base == "sgd":  # its own decay would go through the momentum: see step()
            return [torch.optim.SGD(flat, lr=1.0, momentum=train.momentum)]
        found: list[torch.optim.Optimizer] = []
        if matrices:
            found.append(
                torch.optim.Muon(
                    matrices, lr=1.0, momentum=train.momentum, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
                )
            )
        if flat:
            found.append(
                torch.optim.AdamW(
                    flat, lr=1.0, betas=train.adam_betas, eps=train.adam_eps, weight_decay=decay, fused=True
                )
            )
        return found

    def step(self, learning_rate: float) -> None:
        """One step of all ranks; afterwards they hold the same weights."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        if self.train.base == "sgd" and self.train.weight_decay:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter.mul_(1 - learning_rate * self.train.weight_decay)
        for optimizer in self.optimizers:
            optimizer.step()
        self.shard.broadcast()

    def step_difference(self, naive: Tensor) -> float | None:
        """How far the next step is from the one along ``naive``, which lies as ``update`` does; before :meth:`step`.
        See :func:`mtbench.training.naive_step.step_difference`."""
        if self.train.base == "adamw":
            return step_difference(self.optimizers[0], naive, self.shard)
        theirs = self._trial(naive)
        squares = torch.stack([self._trial(self.update).sub_(theirs).double().square().sum()])
        squares = torch.cat([squares, theirs.double().square().sum()[None]])
        apart, length = self.shard.summed(squares).sqrt().tolist()
        if apart == 0:
            return 0.0
        return apart / length if 0 < length < math.inf and math.isfinite(apart) else None

    def _trial(self, gradient: Tensor) -> Tensor:
        """The next step along ``gradient`` over the learning rate, without decay, on parameters that are all 0."""
        steps = torch.zeros_like(gradient)
        parameters = [torch.nn.Parameter(_shaped(steps[part.place], part)) for part in self.parts]
        known = {id(mine): self._state_of(mine) for mine in self.parameters}
        optimizers = self._build(parameters, gradient.clone(), 0.0)
        for mine, parameter in zip(self.parameters, parameters, strict=True):
            owner = next(o for o in optimizers if any(p is parameter for p in o.param_groups[0]["params"]))
            if known[id(mine)]:
                owner.state[parameter] = {key: value.clone() for key, value in known[id(mine)].items()}
        for optimizer in optimizers:
            optimizer.step()
        return steps.neg_()

    # -- state, by parameter name ----------------------------------------------------------------------------------

    def _state_of(self, parameter: torch.nn.Parameter) -> dict[str, Tensor]:
        for optimizer in self.optimizers:
            if parameter in optimizer.state:
                return {k: v for k, v in optimizer.state[parameter].items() if isinstance(v, Tensor)}
        return {}

    @property
    def state_bytes(self) -> int:
        """Bytes of the state on this rank."""
        return sum(v.nbytes for parameter in self.parameters for v in self._state_of(parameter).values())

    def state(self) -> BaseState:
        """The whole state on rank 0; all ranks call it. No parameters before the first step."""
        states = [self._state_of(parameter) for parameter in self.parameters]
        step = max((float(s["step"]) for s in states if "step" in s), default=0.0)
        found: BaseState = {"step": step, "parameters": {}}
        for key in sorted({key for s in states for key in s} - {"step"}):
            vectors = [(part.piece, s[key].flatten()) for part, s in zip(self.parts, states, strict=True) if key in s]
            if self.shard.active:
                vectors = [(slice(0, self.shard.total), self.shard.gather_flat(torch.cat([v for _, v in vectors])))]
            if self.shard.ranks.rank:
                continue
            for piece, vector in vectors:
                for segment in _inside(self.shard.flat.segments, piece):
                    own = vector[segment.start - piece.start : segment.stop - piece.start]
                    found["parameters"].setdefault(segment.name, {})[key] = own.cpu()
        return found

    def load(self, state: BaseState) -> None:
        """Take this rank's part of what :meth:`state` gave."""
        for part, parameter in zip(self.parts, self.parameters, strict=True):
            owner = next(o for o in self.optimizers if any(p is parameter for p in o.param_groups[0]["params"]))
            inside = _inside(self.shard.flat.segments, part.piece)
            known = [state["parameters"].get(s.name, {}) for s in inside]
            if not all(known):
                continue
            device = parameter.device
            own = {key: _shaped(_cut(inside, [k[key] for k in known], part.piece).to(device), part) for key in known[0]}
            if "exp_avg" in own:
                own["step"] = torch.tensor(state["step"], device=device if device.type == "cuda" else "cpu")
            owner.state[parameter] = own


def check_muon(sharded: bool) -> None:
    """ConfigError where ``train.base=muon`` cannot be."""
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"train.base=muon needs torch 2.9 or later, this is {torch.__version__}")
    if sharded:
        raise ConfigError(
            "train.base=muon needs whole matrices, and with train.shard_state each rank has a slice of the parameters\n"
            "  Set train.shard_state=false."
        )


def _parts(shard: Shard, matrices: bool) -> Iterator[Part]:
    """This rank's parts: its pieces, or with ``matrices`` each weight matrix and what lies between two."""
    if not matrices:
        start = 0
        for piece in shard.pieces():
            yield Part(piece, slice(start, start + piece.stop - piece.start))
            start += piece.stop - piece.start
        return
    start = 0
    for segment in [s for s in shard.flat.segments if is_matrix(s)]:
        if segment.start > start:
            yield Part(slice(start, segment.start), slice(start, segment.start))
        place = slice(segment.start, segment.stop)
        yield Part(place, place, segment.shape)
        start = segment.stop
    if start < shard.total:
        yield Part(slice(start, shard.total), slice(start, shard.total))


def is_matrix(segment: Segment) -> bool:
    """Whether a parameter is a weight matrix of a numbered block."""
    return len(segment.shape) == 2 and not segment.embedding and bool(IN_A_BLOCK.search(f".{segment.name}"))


def _shaped(vector: Tensor, part: Part) -> Tensor:
    return vector if part.shape is None else vector.view(part.shape)


def _inside(segments: list[Segment], piece: slice) -> list[Segment]:
    """The parameters that have coordinates in ``piece``."""
    return [s for s in segments if s.start < piece.stop and s.stop > piece.start]


def _cut(segments: list[Segment], vectors: list[Tensor], piece: slice) -> Tensor:
    """The coordinates ``piece`` of the flat vector, from those of the parameters that reach into it; a copy."""
    return torch.cat(
        [
            vector[max(piece.start, s.start) - s.start : min(piece.stop, s.stop) - s.start]
            for s, vector in zip(segments, vectors, strict=True)
        ]
    )
