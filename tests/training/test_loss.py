from __future__ import annotations

import torch

from mtbench.training.loss import batch_loss, nce


def test_nce_is_the_log_likelihood_of_the_target() -> None:
    queries, passages = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    excluded = torch.zeros(1, 3, dtype=torch.bool)
    loss = nce(queries, passages, torch.tensor([0]), excluded)
    expected = -2.0 + torch.log(torch.exp(torch.tensor([2.0, 0.0, 1.0])).sum())
    assert torch.allclose(loss, expected.reshape(1))


def test_an_excluded_passage_neither_counts_nor_gets_a_gradient() -> None:
    torch.manual_seed(0)
    queries, passages = torch.randn(2, 4), torch.randn(4, 4, requires_grad=True)
    excluded = torch.zeros(2, 4, dtype=torch.bool)
    excluded[:, 3] = True
    loss = nce(queries, passages, torch.tensor([0, 2]), excluded)
    assert torch.allclose(loss, nce(queries, passages[:3], torch.tensor([0, 2]), excluded[:, :3]))
    loss.sum().backward()
    assert passages.grad is not None and passages.grad[3].abs().max() == 0


def test_the_batch_loss_divides_by_the_whole_batch() -> None:
    torch.manual_seed(0)
    queries, passages = torch.randn(4, 3), torch.randn(8, 3)
    targets, excluded = torch.arange(4) * 2, torch.zeros(4, 8, dtype=torch.bool)
    whole = batch_loss(queries, passages, targets, excluded, 4)
    halves = [batch_loss(queries[s], passages, targets[s], excluded[s], 4) for s in (slice(0, 2), slice(2, 4))]
    assert torch.allclose(whole, sum(halves))


def test_a_rank_without_queries_contributes_zero_and_still_has_a_gradient() -> None:
    passages = torch.randn(3, 2, requires_grad=True)
    loss = batch_loss(torch.zeros(0, 2, requires_grad=True), passages, torch.zeros(0), torch.zeros(0, 3), 4)
    loss.backward()
    assert loss.item() == 0 and passages.grad is not None and passages.grad.abs().max() == 0
