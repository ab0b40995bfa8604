"""Groups of parameters: weights and states of their own, whole or sliced over ranks, saved and loaded."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sliced import sliced_run
from torch import Tensor

from mtbench.errors import ConfigError
from mtbench.optim import GramWeighting, MultitaskOptimizer, hyper, reset_field
from mtbench.optim.blocks import averaged, blocks_of, module_of
from mtbench.pipeline.request import specified
from mtbench.registry import entries, get_optimizer

GRAM = sorted(n for n, e in entries("optimizer").items() if e.builtin and issubclass(get_optimizer(n), GramWeighting))
CALM = [name for name in GRAM if not get_optimizer(name).random]
K = 4
LAYOUT = [
    ("embed.weight", 0, 7),
    ("encoder.block.0.attention.weight", 7, 15),
    ("encoder.block.0.norm.bias", 15, 16),
    ("encoder.block.1.attention.weight", 16, 25),
    ("encoder.norm.weight", 25, 28),
    ("decoder.block.0.layer.0.weight", 28, 31),
    ("decoder.block.0.layer.1.weight", 31, 36),
    ("embed.bias", 36, 40),
]
D = 40
MODULES = {
    "embed": [(0, 7), (36, 40)],
    "encoder.block.0": [(7, 16)],
    "encoder.block.1": [(16, 25)],
    "encoder": [(25, 28)],
    "decoder.block.0": [(28, 36)],
}


def steps(count: int = 6, dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(5)
    return [
        (
            torch.randn(K, D, generator=draws, dtype=torch.float64).to(dtype) + 0.2,
            torch.rand(K, generator=draws, dtype=torch.float64) + 0.1,
        )
        for _ in range(count)
    ]


def started(name: str, layout: Any = LAYOUT, size: int = D, **params: Any) -> MultitaskOptimizer:
    opt = get_optimizer(name)(**params)
    opt.start(torch.linspace(-1, 1, size, dtype=torch.float64), K, 50, seed=2, task_sizes=[1, 2, 3, 4], layout=layout)
    return opt


def run(opt: MultitaskOptimizer, stream: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [opt.combine(g, v).clone() for g, v in stream]


def test_blocks_follow_the_names() -> None:
    assert {b.name: list(b.spans) for b in blocks_of(LAYOUT, "module", D)} == MODULES
    tensors = blocks_of(LAYOUT, "tensor", D)
    assert [(b.name, *b.spans) for b in tensors] == [(n, (a, b)) for n, a, b in LAYOUT]
    for groups, layout in (("whole", LAYOUT), ("module", None), ("tensor", [])):
        assert [b.spans for b in blocks_of(layout, groups, D)] == [((0, D),)]  # type: ignore[arg-type]
    names = ["encoder.layer.11.x.2.w", "0.weight", "shared.weight", "weight", "a1.b2.w", "query.encoder.block.3.w"]
    assert [module_of(n) for n in names] == ["encoder.layer.11", "0", "shared", "weight", "a1", "query.encoder.block.3"]


@pytest.mark.parametrize("layout", [LAYOUT[:-1], LAYOUT[1:], [*LAYOUT, ("twice", 0, 3)], [("short", 0, 39)]])
def test_a_layout_that_does_not_cover_the_parameters_is_refused(layout: Any) -> None:
    with pytest.raises(ConfigError, match="groups='tensor': the layout must name every one of the 40 coordinates once"):
        started("mgda", layout, groups="tensor")


@pytest.mark.parametrize("groups", ["module", "tensor"])
@pytest.mark.parametrize("name", CALM)
def test_each_block_is_a_run_of_its_own(name: str, groups: Any) -> None:
    together = started(name, groups=groups)
    blocks = {b.name: [i for a, z in b.spans for i in range(a, z)] for b in blocks_of(LAYOUT, groups, D)}
    alone = {block: started(name, None, len(at)) for block, at in blocks.items()}
    for gradients, losses in steps():
        update = together.combine(gradients, losses)
        by_block = together.report()["weights_by_block"]
        assert list(by_block) == list(blocks)
        for block, at in blocks.items():
            torch.testing.assert_close(
                update[at], alone[block].combine(gradients[:, at], losses), rtol=1e-9, atol=1e-12
            )
            np.testing.assert_allclose(by_block[block], alone[block].report()["weights"], rtol=1e-9, atol=1e-12)
        mean = sum(len(at) * np.asarray(by_block[block]) for block, at in blocks.items()) / D
        np.testing.assert_allclose(together.report()["weights"], mean, rtol=1e-12)


@pytest.mark.parametrize("name", GRAM)
def test_one_block_is_the_whole(name: str) -> None:
    one = [("layer.0.weight", 0, 10), ("layer.0.bias", 10, D)]
    for other in (started(name, one, groups="module"), started(name, None, groups="tensor")):
        whole = started(name)
        for a, b in zip(run(whole, steps()), run(other, steps()), strict=True):
            assert torch.equal(a, b)
        assert whole.report() == other.report() and "weights_by_block" not in other.report()


@pytest.mark.parametrize("missing", [(), (1,)])
@pytest.mark.parametrize("cuts", [[20], [3, 12, 12, 27]])
@pytest.mark.parametrize("groups", ["whole", "module", "tensor"])
@pytest.mark.parametrize("name", GRAM)
def test_sliced_as_whole(name: str, groups: str, cuts: list[int], missing: tuple[int, ...]) -> None:
    make: Callable[[], MultitaskOptimizer] = lambda: get_optimizer(name)(groups=groups)  # noqa: E731
    more = {"seed": 2, "task_sizes": [1, 2, 3, 4]}
    expected, (whole,) = sliced_run(make, steps(4), [], LAYOUT, missing, **more)
    found, ranks = sliced_run(make, steps(4), cuts, LAYOUT, missing, **more)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    for rank in ranks:
        assert rank.report()["weights"] == pytest.approx(whole.report()["weights"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("groups", ["module", "tensor"])
@pytest.mark.parametrize("name", GRAM)
def test_resumed_bit_by_bit(name: str, groups: str) -> None:
    stream = steps(8)
    whole = started(name, groups=groups)
    expected = run(whole, stream)
    for place in (0, 1, 5):
        first, second = (started(name, groups=groups) for _ in range(2))
        run(first, stream[:place])
        run(second, stream[:3])  # what a used object held does not matter
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second.load_state_dict(torch.load(file, weights_only=False))
        run(first, stream[:2])
        for a, b in zip(run(second, stream[place:]), expected[place:], strict=True):
            assert torch.equal(a, b)
        assert second.state_bytes() == whole.state_bytes()


def test_states_are_reset_kept_and_carried_with_their_blocks() -> None:
    stream = steps(6)
    for reset in (True, False):
        opt = started("cgd", groups="module", reset_on_episode=reset)
        run(opt, stream[:3])
        state = opt.state_dict()
        assert len(state["blocks"]) == len(MODULES)
        assert opt.state_bytes() == len(MODULES) * K * 8
        fresh = get_optimizer("cgd")(groups="module", reset_on_episode=reset)
        fresh.load_state_dict(state)
        for other in (opt, fresh):
            other.start(opt.theta, K, 10, seed=2, task_sizes=[1, 2, 3, 4], layout=LAYOUT, episode=1)
        assert all(torch.equal(a, b) for a, b in zip(run(opt, stream[3:]), run(fresh, stream[3:]), strict=True))
        straight = started("cgd", groups="module")
        run(straight, stream if not reset else stream[3:])
        assert opt.report() == straight.report()


def test_a_state_of_other_groups_is_refused() -> None:
    whole, modules = started("cgd"), started("cgd", groups="module")
    with pytest.raises(ConfigError, match=r"the state of 1 groups of parameters; there are 5 here \(groups='module'\)"):
        modules.load_state_dict(whole.state_dict())
    with pytest.raises(ConfigError, match=r"the state of 5 groups of parameters; there are 1 here \(groups='whole'\)"):
        whole.load_state_dict(modules.state_dict())
    carried = get_optimizer("cgd")(groups="tensor", reset_on_episode=False)
    carried.load_state_dict(modules.state_dict())
    with pytest.raises(ConfigError, match="5 groups of parameters; there are 8 here"):
        carried.start(modules.theta, K, 10, layout=LAYOUT)
    for name in ("mgda", "nash"):  # without a state there is nothing to refuse
        started(name, groups="module").load_state_dict(started(name).state_dict())


def test_numbers_that_are_not_finite_in_one_block_skip_the_step_in_all() -> None:
    for name in ("cgd", "pcgrad"):
        opt, calm = started(name, groups="module"), started(name, groups="module")
        for gradients, losses in steps(4):
            broken = gradients.clone()
            broken[2, 26] = torch.nan
            assert not opt.combine(broken, losses).any()
            assert torch.equal(opt.combine(gradients, losses), calm.combine(gradients, losses))
        assert opt.skipped_steps == 4


def test_blocks_without_gradients_and_of_any_size() -> None:
    gradients, losses = steps(1)[0]
    for name in GRAM:
        for factor in (1e-145, 1e145, 1.0):
            scaled = gradients.clone()
            scaled[:, 7:16] = 0
            scaled[:, 16:25] *= factor
            opt = started(name, groups="module", **({"max_norm": 0.0} if name == "nash" else {}))
            update = opt.combine(scaled, losses)
            assert torch.isfinite(update).all() and not update[7:16].any(), name
            usual = started(name, groups="module", **({"max_norm": 0.0} if name == "nash" else {}))
            expected = usual.combine(gradients, losses)[16:25]
            if not opt.rescales and not opt.random:
                torch.testing.assert_close(update[16:25] / factor, expected, rtol=1e-9, atol=1e-12)


def test_notes_are_added_up_or_averaged_by_size() -> None:
    notes = [{"solver_fallbacks": 1, "entropy": 0.5}, {"solver_fallbacks": 2, "entropy": 1.0, "mode": "x"}]
    assert averaged(notes, [30, 10]) == {"solver_fallbacks": 3, "entropy": 0.625, "mode": "x"}


def test_unit_weights_in_each_block() -> None:
    opt, usual = (started("fairgrad", groups="module", scale=s, max_norm=0.0) for s in ("unit", "mean"))
    (update,), (expected,) = run(opt, steps(1)), run(usual, steps(1))
    for block, weights in opt.report()["weights_by_block"].items():
        assert sum(weights) == pytest.approx(1)
        total = sum(usual.report()["weights_by_block"][block])
        for a, b in MODULES[block]:
            torch.testing.assert_close(update[a:b], expected[a:b] / total)


def test_it_stays_out_of_ids_at_its_default() -> None:
    for name in GRAM:
        cls = get_optimizer(name)
        assert "groups" not in specified({"name": name, "params": cls().params})["params"]
        assert entries("optimizer")[name].defaults["groups"] == "whole"
        assert specified({"name": name, "params": cls(groups="module").params})["params"]["groups"] == "module"


class Afterwards(GramWeighting):
    """A state that moves after the step."""

    name = "afterwards"
    summary = "x"
    state = ("seen",)
    rate: float = hyper(1.0, ge=0)
    reset_on_episode: bool = reset_field()

    def after_step(self, loss_fn: Callable[[], Sequence[float]]) -> None:
        self.seen = 1


def test_a_state_that_moves_after_the_step_has_no_blocks() -> None:
    Afterwards()
    with pytest.raises(ConfigError, match="groups='module' is not for a method whose state after_step"):
        Afterwards(groups="module")
