"""Methods with one fault each, beside the twin without it, and the check that must find the fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from twins import (
    Average,
    Drawing,
    Drawn,
    Layered,
    Norms,
    Numbered,
    Perturbing,
    Sampling,
    SoftLosses,
    Tracked,
    shares_of,
)

from mtbench.optim import GradientCombining, LossWeighting, MultitaskOptimizer, hyper

# -- 1: slices -----------------------------------------------------------------------------------------------------


class NormsOfTheSlice(Tracked):
    def norms(self, rows: Tensor) -> Tensor:
        return torch.linalg.vector_norm(rows, dim=1)


class NoEmptySlice(Tracked):
    def norms(self, rows: Tensor) -> Tensor:
        largest = self.reduce_max(rows.abs().amax(1))
        return self.reduce_sum((rows / largest[:, None].clamp(min=1e-300)).square().sum(1)).sqrt() * largest


class StateTheOtherWayRound(Tracked):
    def init_state(self) -> None:
        super().init_state()
        self.turned: Tensor | None = self.rows.t().contiguous()

    state = ("turned", "seen")

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        assert self.turned is not None
        self.rows = self.turned.t().contiguous()
        update = super().combine_gradients(gradients, losses)
        self.turned = self.rows.t().contiguous()
        return update


class ReducesWhereItHasSomething(Tracked):
    def norms(self, rows: Tensor) -> Tensor:
        squares = rows.square().sum(1)
        return (self.reduce_sum(squares) if rows.numel() else squares).sqrt()


class OverlooksItsPart(Layered):
    def observe(self, losses: np.ndarray) -> None:
        squares = torch.stack([self._norms[k] for k in self.tasks])
        self.lengths[self.tasks] = squares.sqrt().numpy()


# -- 2: resume -----------------------------------------------------------------------------------------------------


class HiddenCounter(Average):
    def begin_episode(self) -> None:
        self.passed = 0

    def observe(self, losses: np.ndarray) -> None:
        super().observe(losses)
        self.passed += 1
        if self.passed % (3 * self.window) == 0:
            self.average = np.ones(self.num_tasks)


class KeepsWhatItDerived(Average):
    def weights_before(self) -> list[float]:
        if self.steps % 4 == 0 or not hasattr(self, "derived"):
            self.derived = super().weights_before()
        return self.derived

    def begin_episode(self) -> None:
        self.__dict__.pop("derived", None)


# -- 3: a second start ---------------------------------------------------------------------------------------------


class FirstShapeForEver(SoftLosses):
    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        if not hasattr(self, "prior"):
            self.prior = 1.0 / self.num_tasks
        return super().weights_from_losses(losses) * self.prior * self.num_tasks


class FirstSeedForEver(Drawn):
    def begin_episode(self) -> None:
        if not hasattr(self, "own"):
            self.own = np.random.default_rng(self.seed)

    def draw(self) -> np.ndarray:
        return self.own.normal(size=self.num_tasks)


class ResetsWhatShouldStay(Average):
    def begin_episode(self) -> None:
        self.init_state()


# -- 4: losses -----------------------------------------------------------------------------------------------------


class InverseLosses(LossWeighting):
    name, summary, rescales = "planted", "one over the loss", True

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return 1.0 / losses / len(losses)


class LogarithmsForEver(Average):
    def observe(self, losses: np.ndarray) -> None:
        super().observe(losses)
        self.average[self.tasks] += np.abs(np.log(losses))


class OverflowsOnce(Average):
    def observe(self, losses: np.ndarray) -> None:
        super().observe(losses)
        self.average[self.tasks] += np.exp(np.minimum(losses, 0.0) + losses / 1e3) - 1


# -- 5: frozen tasks -----------------------------------------------------------------------------------------------


class GrowsToTheFrozen(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        norms = np.sqrt(np.diag(gram))
        if (norms == 0).sum() < 2:
            return super().weights_from_gram(gram, losses)
        return (1.0 / norms) / (1.0 / norms).sum()


class ForgetsToReport(GradientCombining):
    name, summary, weighted_sum = "planted", "the mean of those that move", True

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        moving = gradients[gradients.abs().amax(1) > 0]
        return moving.mean(0) if len(moving) else torch.zeros_like(gradients[0])


# -- 6: degenerate geometry ----------------------------------------------------------------------------------------


class Inverts(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return shares_of(np.diag(np.linalg.inv(gram))) if gram.any() else super().weights_from_gram(gram, losses)


class FirstOfTheLongest(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return np.eye(len(gram))[np.diag(gram).argmax()]


class Explodes(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        solution = np.linalg.lstsq(gram, np.ones(len(gram)), rcond=1e-15)[0]
        return solution / solution.sum() if solution.sum() else super().weights_from_gram(gram, losses)


# -- 7: boundary values --------------------------------------------------------------------------------------------


class NegativeRate(Average):
    rate: float = hyper(0.1, le=1)

    def weights_before(self) -> list[float]:
        return list(shares_of(self.average**-self.rate))


class ShareAboveOne(Average):
    share: float = hyper(0.1, ge=0)

    def weights_before(self) -> list[float]:
        grown = np.exp(self.share * self.average)
        return list(grown / grown.sum())


class BrokenChoice(Average):
    form: Literal["plain", "root", "log"] = hyper("plain")  # type: ignore[assignment]

    def weights_before(self) -> list[float]:
        if self.form == "log":
            return list(np.log(self.average) / np.log(self.average).sum())
        return super().weights_before()


class OwnMessage(Average):
    def __post_init__(self) -> None:
        from mtbench.errors import ConfigError

        try:
            super().__post_init__()
        except ConfigError:
            raise ConfigError("planted: a bad value") from None


# -- 8: layers -----------------------------------------------------------------------------------------------------


class LastByPlace(Layered):
    def part(self) -> slice:
        assert self.layout is not None
        return slice(*self.layout[-3][1:])


class FirstCoordinate(SoftLosses):
    def write_update(self, out: Tensor) -> None:
        super().write_update(out)
        out[:1] *= 2


# -- 9: memory -----------------------------------------------------------------------------------------------------


class RowsFromTheStart(SoftLosses):
    def begin_episode(self) -> None:
        self.kept = self.theta.new_empty(self.num_tasks, len(self.theta))


class RowsAsArrays(SoftLosses):
    def add_task(self, k: int, gradient: Tensor) -> None:
        super().add_task(k, gradient)
        self.__dict__.setdefault("arrays", {})[k] = gradient.numpy().copy()


class RowsOfTheStep(SoftLosses):
    def add_task(self, k: int, gradient: Tensor) -> None:
        super().add_task(k, gradient)
        self.__dict__.setdefault("copies", {})[k] = gradient.clone()


class RowsTwice(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        norms = self.present_rows().double().square().sum(1).sqrt()
        return shares_of(norms.numpy())


# -- 10: random methods --------------------------------------------------------------------------------------------


class FirstTaskWider(Drawn):
    def draw(self) -> np.ndarray:
        wide = np.ones(self.num_tasks)
        wide[0] = 4.0
        return super().draw() * wide


class SameDrawAgain(Drawn):
    def draw(self) -> np.ndarray:
        return np.random.default_rng(self.seed).normal(size=self.num_tasks)


class HalfOfTheLastDraw(Drawn):
    state = ("last",)
    reset_on_episode: bool = hyper(True)

    def init_state(self) -> None:
        self.last = np.zeros(self.num_tasks)

    def draw(self) -> np.ndarray:
        self.last = 0.8 * self.last + 0.6 * super().draw()
        return self.last


class DrawsWhenLookedAt(Drawn):
    @property
    def needs_losses(self) -> bool:
        return bool(self.generator.random() < 0)


class DrawsUndeclared(Drawn):
    random = False


# -- 11: missing tasks ---------------------------------------------------------------------------------------------


class StateByPlace(Average):
    def observe(self, losses: np.ndarray) -> None:
        self.tasks = list(range(len(losses)))
        super().observe(losses)


class AllDecay(Average):
    def observe(self, losses: np.ndarray) -> None:
        super().observe(losses)
        self.average = self.average * 0.99


class AllCount(Tracked):
    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        update = super().combine_gradients(gradients, losses)
        absent = [k for k in range(self.num_tasks) if k not in self.tasks]
        self.seen[absent] += 1
        return update


class ReportsByPlace(SoftLosses):
    def set_report(self, weights: Sequence[float] | np.ndarray, **numbers: Any) -> None:
        super().set_report(weights, **numbers)
        if len(weights) < self.num_tasks:
            full = [*self._report["weights"]]
            self._report["weights"] = [*sorted(full, reverse=True)]


# -- 12: identical tasks, one task, the sum form -------------------------------------------------------------------


class Drifts(Average):
    def weights_before(self) -> list[float]:
        return [w * 1.001**self.steps for w in super().weights_before()]


class ScalesTwice(SoftLosses):
    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return super().weights_from_losses(losses) * (len(losses) if self.scale == "sum" else 1)


class ReportsTooEarly(SoftLosses):
    def set_report(self, weights: Sequence[float] | np.ndarray, **numbers: Any) -> None:
        super().set_report([1.0 / len(weights)] * len(weights), **numbers)


# -- 13: steps that do not count -----------------------------------------------------------------------------------


class CountsOpenedSteps(Average):
    def open_step(self, losses: Sequence[float] | None) -> None:
        self.average = self.average + 0.01 * np.arange(self.num_tasks)
        super().open_step(losses)


class RemembersToldLosses(Average):
    def begin_episode(self) -> None:
        self.largest = 1.0

    def open_step(self, losses: Sequence[float] | None) -> None:
        if losses is not None:
            self.largest = max(self.largest, *(v if v == v else 1e9 for v in losses))
        super().open_step(losses)

    def weights_before(self) -> list[float]:
        return list(shares_of(self.average / self.largest + np.arange(self.num_tasks)))


class DrawsBehindTheBack(Drawn):
    def begin_episode(self) -> None:
        self.own = np.random.default_rng(self.seed)

    def draw(self) -> np.ndarray:
        return self.own.normal(size=self.num_tasks)


# -- 14: distinct --------------------------------------------------------------------------------------------------


class DefaultsAreNaive(Numbered):
    conformance: ClassVar[dict[str, Any]] = {}


# -- 15: precision -------------------------------------------------------------------------------------------------


class ShortGram(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return shares_of(np.sqrt(np.diag(gram.astype(np.float32)))).astype(np.float64)


class ShortState(Tracked):
    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        update = super().combine_gradients(gradients, losses)
        self.rows = self.rows.float().to(self.rows.dtype)
        return update


class ShortLosses(SoftLosses):
    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return super().weights_from_losses(losses.astype(np.float32)).astype(np.float64)


# -- 16: hooks -----------------------------------------------------------------------------------------------------


class OneDrawTwice(Drawing):
    def further(self) -> tuple[Tensor, Tensor]:
        return self.present_rows(1), self.present_rows(1)


class LastDrawForAll(Drawing):
    def add_draw(self, k: int, gradient: Tensor, draw: int) -> None:
        for place in {1, 2} - {draw}:
            super().add_draw(k, gradient, place)
        super().add_draw(k, gradient, draw)


class MovesTheta(Perturbing):
    def ahead(self, k: int, offset: Tensor) -> Tensor:
        self.theta.add_(offset)
        gradient = super().ahead(k, torch.zeros_like(offset))
        self.theta.sub_(offset)
        return gradient


class NeverAsks(Perturbing):
    def ahead(self, k: int, offset: Tensor) -> Tensor:
        return self.row(k).clone()


class KeepsTheAnswers(Perturbing):
    def ahead(self, k: int, offset: Tensor) -> Tensor:
        return self.gradient_at(k, offset)[0]


class GoesUp(Perturbing):
    def ahead(self, k: int, offset: Tensor) -> Tensor:
        return -super().ahead(k, offset)


class SharesThatAreDrawn(Sampling):
    random = True

    def shares(self) -> Sequence[float] | None:
        return [float(v) for v in self.generator.dirichlet(np.ones(self.num_tasks))]


class SharesFromNowhere(Sampling):
    def begin_episode(self) -> None:
        self.passed = 1

    def shares(self) -> Sequence[float] | None:
        return [float(v) for v in shares_of(np.arange(self.num_tasks) + self.passed)]

    def observe(self, losses: np.ndarray) -> None:
        super().observe(losses)
        self.passed += 1


class NumbersByPlace(Numbered):
    def weights_before(self) -> list[float]:
        text = str(self.numbers)
        found = [float(v.partition(":")[2] or v) for v in text.split(",")] if text else []
        return list(shares_of(np.asarray((found + [1.0] * self.num_tasks)[: self.num_tasks])))


class NumbersForNothing(Numbered):
    def weights_before(self) -> list[float]:
        return [1.0 / self.num_tasks] * self.num_tasks


# -- how a step is given, and to whom its arguments belong ---------------------------------------------------------


class KeepsTheBuffer(Tracked):
    def add_task(self, k: int, gradient: Tensor) -> None:
        super().add_task(k, gradient)
        self.__dict__.setdefault("views", {})[k] = gradient

    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        return super().combine_gradients(torch.stack([self.views[k] for k in self.tasks]), losses)


class ChangesArguments(Tracked):
    def combine_gradients(self, gradients: Tensor, losses: np.ndarray) -> Tensor:
        return super().combine_gradients(gradients.clamp_(min=-1.0), losses)


class GlobalDraws(Drawn):
    def draw(self) -> np.ndarray:
        return np.random.normal(size=self.num_tasks)


class AbsoluteThreshold(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        small = np.diag(gram).sum() * self.gram_scale < 1e-4
        return np.full(len(gram), 1.0 / len(gram)) if small else super().weights_from_gram(gram, losses)


class NaNOnZeros(Norms):
    def weights_from_gram(self, gram: np.ndarray, losses: np.ndarray) -> np.ndarray:
        return np.sqrt(np.diag(gram)) / np.sqrt(np.diag(gram)).sum()


class Sum(LossWeighting):
    name, summary = "planted", "the sum"

    def weights_from_losses(self, losses: np.ndarray) -> np.ndarray:
        return np.ones(len(losses))


class Fault(NamedTuple):
    """What is wrong, in a few words, which check finds it, and words of its sentence."""

    wrong: type[MultitaskOptimizer]
    twin: type[MultitaskOptimizer]
    check: str
    says: str


FAULTS = [
    Fault(NormsOfTheSlice, Tracked, "slices", "reduce_sum"),
    Fault(NoEmptySlice, Tracked, "slices", "empty"),
    Fault(StateTheOtherWayRound, Tracked, "slices", "turned"),
    Fault(ReducesWhereItHasSomething, Tracked, "slices", "reduce different things"),
    Fault(OverlooksItsPart, Layered, "slices", "against the whole"),
    Fault(HiddenCounter, Average, "resume", "uninterrupted run"),
    Fault(KeepsWhatItDerived, Average, "resume", "uninterrupted run"),
    Fault(FirstShapeForEver, SoftLosses, "second start", "num_tasks = 3"),
    Fault(FirstSeedForEver, Drawn, "second start", "num_tasks = 3"),
    Fault(ResetsWhatShouldStay, Average, "second start", "reset_on_episode=False"),
    Fault(InverseLosses, SoftLosses, "losses", "loss of task 1 0 in steps"),
    Fault(LogarithmsForEver, Average, "losses", "the step is skipped"),
    Fault(OverflowsOnce, Average, "losses", "1e+30"),
    Fault(GrowsToTheFrozen, Norms, "frozen tasks", "not finite"),
    Fault(ForgetsToReport, Norms, "frozen tasks", "reported weights"),
    Fault(Inverts, Norms, "degenerate", "LinAlgError"),
    Fault(FirstOfTheLongest, Norms, "degenerate", "tie"),
    Fault(Explodes, Norms, "degenerate", "explode"),
    Fault(NegativeRate, Average, "boundary values", "rate=-1000000.0"),
    Fault(ShareAboveOne, Average, "boundary values", "share=1000000.0"),
    Fault(BrokenChoice, Average, "boundary values", "form='log'"),
    Fault(OwnMessage, Average, "hyperparameters", "without naming"),
    Fault(LastByPlace, Layered, "layers", "by their names"),
    Fault(FirstCoordinate, SoftLosses, "layers", "place matters"),
    Fault(RowsFromTheStart, SoftLosses, "cost class", "rows are kept"),
    Fault(RowsAsArrays, SoftLosses, "cost class", "rows are kept"),
    Fault(RowsOfTheStep, SoftLosses, "cost class", "rows are kept"),
    Fault(RowsTwice, Norms, "cost class", "declares cost 'gram'"),
    Fault(FirstTaskWider, Drawn, "draws", "permuting the tasks changes"),
    Fault(SameDrawAgain, Drawn, "draws", "draw anew"),
    Fault(HalfOfTheLastDraw, Drawn, "draws", "correlated"),
    Fault(DrawsWhenLookedAt, Drawn, "draws", "once a step"),
    Fault(DrawsUndeclared, Drawn, "seed", "random = True"),
    Fault(StateByPlace, Average, "missing task", "indexed by place"),
    Fault(AllDecay, Average, "missing task", "state 'average' of the absent task"),
    Fault(AllCount, Tracked, "missing task", "state 'seen' of the absent task"),
    Fault(ReportsByPlace, SoftLosses, "missing task", "absent tasks must have 0"),
    Fault(Drifts, Average, "one task", "step 1"),
    Fault(Drifts, Average, "identical tasks", "step 1"),
    Fault(ScalesTwice, SoftLosses, "sum form", "3 tasks"),
    Fault(ReportsTooEarly, SoftLosses, "reported weights", "set_report"),
    Fault(CountsOpenedSteps, Average, "not finite", "changed the state"),
    Fault(RemembersToldLosses, Average, "not finite", "known in begin_step"),
    Fault(DrawsBehindTheBack, Drawn, "not finite", "run without them"),
    Fault(DefaultsAreNaive, Numbered, "distinct", "it is naive"),
    Fault(Sum, Numbered, "distinct", "it is naive"),
    Fault(ShortGram, Norms, "precision", "float32"),
    Fault(ShortState, Tracked, "precision", "float32"),
    Fault(ShortLosses, SoftLosses, "precision", "float32"),
    Fault(OneDrawTwice, Drawing, "hooks", "draw 2"),
    Fault(LastDrawForAll, Drawing, "hooks", "against combine with all draws"),
    Fault(MovesTheta, Perturbing, "hooks", "theta"),
    Fault(NeverAsks, Perturbing, "hooks", "never asks"),
    Fault(KeepsTheAnswers, Perturbing, "hooks", "before the next call"),
    Fault(GoesUp, Perturbing, "hooks", "does not descend"),
    Fault(SharesThatAreDrawn, Sampling, "hooks", "pure function"),
    Fault(SharesFromNowhere, Sampling, "hooks", "must be in `state`"),
    Fault(NumbersByPlace, Numbered, "hooks", "tasks' names"),
    Fault(NumbersForNothing, Numbered, "hooks", "not used"),
    Fault(KeepsTheBuffer, Tracked, "task by task", "copy what is kept"),
    Fault(ChangesArguments, Tracked, "arguments", "changes its argument: gradients"),
    Fault(GlobalDraws, Drawn, "seed", "generator of numpy"),
    Fault(AbsoluteThreshold, Norms, "scales", "absolute threshold"),
    Fault(NaNOnZeros, Norms, "zeros", "not finite"),
]
