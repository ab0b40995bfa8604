"""GradNorm: its derivative against autograd, the worked example, and which parameters count as the last block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optimizer_cases import examples, random_gradients, steps_of

from optimizers.gradnorm import GradNorm, last_block, norm_loss_derivative


def started(num_tasks: int = 3, size: int = 6, **params: Any) -> GradNorm:
    opt = GradNorm(**params)
    opt.start(torch.zeros(size, dtype=torch.float64), num_tasks, 10)
    return opt


def test_worked_example_through_the_chain_rule(specs: Path) -> None:
    """The example moves logits of a softmax; its derivative follows from ours."""
    case = examples(specs)["gradnorm_2"]
    inputs, expected = case["inputs"], case["expected"]
    norms = inputs["G"].norm(dim=1).numpy()
    losses, initial = inputs["losses"].numpy(), inputs["init_losses"].numpy()
    derivative, loss = norm_loss_derivative(np.ones(3), norms, losses, initial, inputs["alpha"])
    assert loss == pytest.approx(expected["L_grad"], rel=1e-9)
    share = torch.softmax(inputs["logits"], 0).numpy()
    chained = 3 * share * (derivative - share @ derivative)
    np.testing.assert_allclose(chained, expected["dL_dlogits"], rtol=1e-9)
    update = started(scale="sum").combine(inputs["G"], inputs["losses"])
    torch.testing.assert_close(update, expected["update_sum_form"], rtol=1e-9, atol=1e-12)


def test_derivative_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        w, norms, losses, initial = (torch.rand(4, generator=generator, dtype=torch.float64) + 0.1 for _ in range(4))
        w.requires_grad_()
        weighted = w * norms
        r = (losses / initial) / (losses / initial).mean()
        loss = (weighted - (weighted.mean() * r**1.5).detach()).abs().sum()
        loss.backward()
        got = norm_loss_derivative(w.detach().numpy(), norms.numpy(), losses.numpy(), initial.numpy(), 1.5)
        assert w.grad is not None
        np.testing.assert_allclose(got[0], w.grad, rtol=1e-12)
        assert got[1] == pytest.approx(loss.item())


@pytest.mark.parametrize("method", ["adam", "sgd"])
def test_weights_move_as_torch_moves_them(method: str) -> None:
    """Three steps of the ICML paper's algorithm with torch's own optimizers."""
    opt = started(size=40, weight_optimizer=method, lr=0.05)
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    kinds = {"adam": lambda: torch.optim.Adam([w], lr=0.05, eps=0), "sgd": lambda: torch.optim.SGD([w], lr=0.05)}
    torch_optimizer = kinds[method]()
    seen = torch.zeros(3, dtype=torch.float64)
    for step in range(1, 4):
        gradients, losses = random_gradients(3, 40, step), torch.rand(3, dtype=torch.float64) + 0.5
        update = opt.combine(gradients, losses)
        torch.testing.assert_close(update, (w.detach() / 3) @ gradients, rtol=1e-9, atol=1e-12)
        seen += losses
        norms = gradients.norm(dim=1)
        r = losses / (seen / step)
        weighted = w * norms
        loss = (weighted - (weighted.mean() * (r / r.mean()) ** 1.5).detach()).abs().sum()
        torch_optimizer.zero_grad()
        (loss / norms.mean() if method == "sgd" else loss).backward()
        torch_optimizer.step()
        with torch.no_grad():
            w.clamp_(min=1e-3).mul_(3 / w.sum())
        np.testing.assert_allclose(opt.task_weights, w.detach().numpy(), rtol=1e-9)


def test_pulls_the_norms_of_equally_fast_tasks_together() -> None:
    opt = started(2, weight_optimizer="sgd", lr=0.01)
    gradients = torch.zeros(2, 6, dtype=torch.float64)
    gradients[0, 0], gradients[1, 1] = 1.0, 3.0
    for _ in range(300):
        opt.combine(gradients, torch.ones(2))
    assert opt.task_weights == pytest.approx([1.5, 0.5], abs=0.05)
    assert opt.task_weights.sum() == pytest.approx(2.0)


def test_identical_tasks_stay_uniform() -> None:
    opt = started(3)
    for seed in range(20):
        row = random_gradients(1, 6, seed)
        torch.testing.assert_close(opt.combine(row.repeat(3, 1), torch.full((3,), 0.7)), row[0])


def test_initial_loss_is_the_mean_of_the_first_losses() -> None:
    opt = started(2, initial_loss_steps=2)
    for losses in ([1.0, 2.0], [3.0, 2.0], [100.0, 100.0]):
        opt.combine(random_gradients(2, 6, 0), torch.tensor(losses))
    assert (opt.first_losses / opt.first_counts).tolist() == [2.0, 2.0]


def test_compat_taco_is_the_sum_for_ever() -> None:
    opt = started(compat="taco")
    for seed in range(5):
        gradients = random_gradients(3, 6, seed)
        torch.testing.assert_close(opt.combine(gradients, torch.rand(3)), gradients.sum(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["adam", "sgd"])
@pytest.mark.parametrize("factor", [1e-10, 1e15])
def test_scale_of_the_gradients_does_not_matter(method: str, factor: float) -> None:
    plain, scaled = started(weight_optimizer=method), started(weight_optimizer=method)
    for seed in range(5):
        gradients, losses = random_gradients(3, 6, seed), torch.tensor([1.0, 2.0, 0.1 * seed + 0.1])
        expected = plain.combine(gradients, losses) * factor
        got = scaled.combine(gradients * factor, losses)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * factor)


def test_zeros_and_odd_losses_move_nothing_to_infinity() -> None:
    opt = started()
    for losses in ([0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [1e30, 1e-30, 1.0]):
        for gradients in (torch.zeros(3, 6, dtype=torch.float64), random_gradients(3, 6, 0)):
            opt.combine(gradients, torch.tensor(losses, dtype=torch.float64))
            assert np.isfinite(opt.task_weights).all() and opt.task_weights.min() > 0


def test_a_missing_task_keeps_its_weight() -> None:
    opt = started()
    gradients, out = random_gradients(3, 6, 0), torch.empty(6, dtype=torch.float64)
    opt.combine(gradients, torch.tensor([1.0, 2.0, 3.0]))
    before = opt.task_weights.copy()
    steps_of(opt, 1, {2: gradients[2], 0: gradients[0]}, out)
    assert opt.task_weights[1] == before[1] and opt.task_weights[0] != before[0]
    assert opt.task_weights.sum() == pytest.approx(3.0)


T5 = [
    "shared.weight",
    "encoder.block.0.layer.0.SelfAttention.q.weight",
    "encoder.block.1.layer.0.SelfAttention.q.weight",
    "encoder.final_layer_norm.weight",
    "decoder.block.0.layer.0.SelfAttention.q.weight",
    "decoder.block.10.layer.0.SelfAttention.q.weight",
    "decoder.block.10.layer.2.layer_norm.weight",
    "decoder.block.9.layer.0.SelfAttention.q.weight",
    "decoder.final_layer_norm.weight",
]
BERT = ["embeddings.LayerNorm.weight", "encoder.layer.0.output.dense.weight", "encoder.layer.11.output.dense.weight"]


def chosen(names: list[str]) -> list[str]:
    layout = [(name, 10 * i, 10 * i + 10) for i, name in enumerate(names)]
    return [names[a // 10] for a, _ in last_block(layout)]


@pytest.mark.parametrize("prefix", ["", "backbones.shared."])
def test_last_block_is_the_decoders_where_there_is_one(prefix: str) -> None:
    expected = [5, 6, 8]
    assert chosen([prefix + name for name in T5]) == [prefix + T5[i] for i in expected]
    assert chosen([prefix + name for name in T5[:4]]) == [prefix + T5[i] for i in (2, 3)]
    assert chosen([prefix + name for name in BERT]) == [prefix + BERT[2]]


def test_last_block_of_untied_encoders_is_that_of_each() -> None:
    names = [f"backbones.{side}.{name}" for side in ("query", "passage") for name in T5]
    assert len(chosen(names)) == 6


def test_a_model_without_numbered_blocks_counts_as_a_whole() -> None:
    opt = GradNorm()
    opt.start(torch.zeros(6), 2, 1, layout=[("weight", 0, 4), ("bias", 4, 6)])
    assert opt._segments == [(0, 6)]


def test_norms_are_those_of_the_layer() -> None:
    layout = [("layers.0.w", 0, 3), ("layers.1.w", 3, 5), ("head.w", 5, 6)]
    gradients = random_gradients(2, 6, 0)
    for layer, part in [("last_block", slice(3, 5)), ("all", slice(0, 6))]:
        opt = GradNorm(layer=layer)  # type: ignore[arg-type]
        opt.start(torch.zeros(6, dtype=torch.float64), 2, 1, layout=layout)
        opt.combine(gradients, torch.ones(2))
        assert opt.report()["norms"] == pytest.approx(gradients[:, part].norm(dim=1).tolist())


def test_a_frozen_task_takes_nearly_all_of_the_weight() -> None:
    opt = GradNorm()
    opt.start(torch.zeros(30, dtype=torch.float64), 3, 400)
    for seed in range(400):
        gradients = random_gradients(3, 30, seed)
        gradients[1] = 0
        update = opt.combine(gradients, torch.ones(3))
    assert opt.report()["weights"][1] > 0.99 and update.norm() < 0.01 * gradients.mean(0).norm()
    assert "nearly all weight" in GradNorm.frozen_task
