"""MultitaskTrainer against the library's own trainer and against mtbench's contract."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.st_cases import STEPS, arguments, flat, model, rows, write_model

from mtbench.errors import ConfigError
from mtbench.optim.step import MultitaskStep

st = pytest.importorskip("sentence_transformers", reason="the extra 'st' (sentence-transformers) is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own

TASKS = ("ask", "claim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


def trained(folder: Path, out: Path, method: str | None, resume: bool = False, **more: Any) -> Any:
    """The trainer after its training; ``method`` None: the library's own."""
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers.utils import logging

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    logging.set_verbosity_error()
    net = model(folder)
    data = {task: rows(task) for task in TASKS}
    loss = {task: MultipleNegativesRankingLoss(net) for task in TASKS}
    common = {"model": net, "args": arguments(out, **more), "train_dataset": data, "loss": loss}
    if method is None:
        from datasets import DatasetDict

        trainer = SentenceTransformerTrainer(**{**common, "train_dataset": DatasetDict(data)})
    else:
        trainer = MultitaskTrainer(**common, multitask=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_naive_is_the_librarys_own_training(folder: Path, tmp_path: Path) -> None:
    ours, theirs = trained(folder, tmp_path / "a", "naive"), trained(folder, tmp_path / "b", None)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-6)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)
    norms = [[entry["grad_norm"] for entry in t.state.log_history if "loss" in entry] for t in (ours, theirs)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_weight_decay_leaves_alone_what_no_loss_depends_on(folder: Path, tmp_path: Path) -> None:
    """As in the library's own training: BERT's pooler, here."""
    ours = trained(folder, tmp_path / "a", "naive", weight_decay=0.5)
    theirs = trained(folder, tmp_path / "b", None, weight_decay=0.5)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-6)


def with_classifier(net: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and losses of two tasks, of which one has a classifier of its own, the other none."""
    from datasets import Dataset
    from sentence_transformers.losses import MultipleNegativesRankingLoss, SoftmaxLoss

    pairs = rows("claim")
    labelled = Dataset.from_dict({**pairs[:], "label": [i % 3 for i in range(len(pairs))]})
    torch.manual_seed(7)
    classifier = SoftmaxLoss(net, sentence_embedding_dimension=16, num_labels=3)
    return {"ask": rows("ask"), "claim": labelled}, {"ask": MultipleNegativesRankingLoss(net), "claim": classifier}


def test_parameters_of_a_loss_train_as_in_the_library(folder: Path, tmp_path: Path) -> None:
    from datasets import DatasetDict
    from sentence_transformers import SentenceTransformerTrainer

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    found = []
    for kind, more in ((MultitaskTrainer, {"multitask": "naive"}), (SentenceTransformerTrainer, {})):
        net = model(folder)
        data, losses = with_classifier(net)
        before = losses["claim"].classifier.weight.detach().clone()
        options = {"args": arguments(tmp_path, optim="sgd", learning_rate=0.5, max_grad_norm=0.0), **more}
        kind(net, train_dataset=DatasetDict(data), loss=losses, **options).train()
        assert (losses["claim"].classifier.weight - before).abs().max() > 1e-3
        found.append([*net.parameters(), *losses["claim"].classifier.parameters()])
    for p, q in zip(*found, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**126])
def test_under_a_scaler_steps_count_once_its_scale_fits(folder: Path, tmp_path: Path, scale: float) -> None:
    """What fp16 does on a GPU: accelerate scales the losses and the scaler steps."""
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    class Scaled(MultitaskTrainer):
        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            accelerator = self.accelerator
            accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            accelerator.unscale_gradients = lambda optimizer=None: [
                accelerator.scaler.unscale_(wrapped.optimizer) for wrapped in accelerator._optimizers
            ]

    plain = {"optim": "sgd", "learning_rate": 0.05}
    net = model(folder)
    before = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    losses = {task: MultipleNegativesRankingLoss(net) for task in TASKS}
    data = {task: rows(task) for task in TASKS}
    trainer = Scaled(net, args=arguments(tmp_path / "a", **plain), train_dataset=data, loss=losses, multitask="pcgrad")
    trainer.train()
    assert flat(trainer).isfinite().all()
    assert (flat(trainer) - before).abs().max() > 1e-4
    if scale == 2.0**10:
        unscaled = trained(folder, tmp_path / "b", "pcgrad", **plain)
        torch.testing.assert_close(flat(trainer), flat(unscaled), rtol=0, atol=1e-6)
    else:
        assert trainer.multitask.optimizer.skipped_steps > 0
        assert trainer.accelerator.scaler.get_scale() < scale


def test_one_task_alone(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    net = model(folder)
    trainer = MultitaskTrainer(
        net,
        args=arguments(tmp_path, gradient_accumulation_steps=1),
        train_dataset={"ask": rows("ask")},
        loss={"ask": MultipleNegativesRankingLoss(net)},
        multitask="tsage",
    )
    trainer.train()
    assert trainer.multitask.report()["weights"] == {"ask": 1.0}


def test_a_second_training_begins_anew(folder: Path, tmp_path: Path) -> None:
    trainer = trained(folder, tmp_path, "gradnorm")
    first = trainer.multitask
    trainer.train()
    assert trainer.multitask is not first and trainer.multitask.state_dict()["steps"] == STEPS


@pytest.mark.parametrize("method", ["pcgrad", "tsage", "gradnorm"])
def test_equals_a_hand_made_loop(folder: Path, tmp_path: Path, method: str) -> None:
    """The same batches through MultitaskStep, clipping and plain descent by hand.

    (Adam would divide gradients that are 0 but for rounding, such as those of attention's key biases, by themselves.)
    """
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    seen: list[tuple[str, Any]] = []
    trainer = trained(folder, tmp_path / "a", method, optim="sgd", learning_rate=0.5)
    net = model(folder)
    loss = MultipleNegativesRankingLoss(net)
    again = batches_of_a_training(folder, tmp_path / "b", seen)
    assert len(again) == 2 * STEPS
    step = MultitaskStep(method, net.named_parameters(), TASKS, STEPS, seed=3, task_sizes=[24, 24])
    descent = torch.optim.SGD(net.parameters(), lr=0.5)
    net.train()
    for first in range(0, len(again), 2):
        with step.step():
            for task, features in again[first : first + 2]:
                step.backward(task, loss(features, None))
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        descent.step()
    torch.testing.assert_close(
        flat(trainer), torch.cat([p.detach().reshape(-1) for p in net.parameters()]), rtol=0, atol=1e-6
    )
    naive = trained(folder, tmp_path / "c", "naive", optim="sgd", learning_rate=0.5)
    assert (flat(trainer) - flat(naive)).abs().max() > 1e-5


def batches_of_a_training(folder: Path, out: Path, seen: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The batches of a training, as its loss gets them."""
    from mtbench.integrations import sentence_transformers as module

    collect = module.MultitaskTrainer.training_step

    def recorded(self: Any, net: Any, inputs: dict[str, Any], count: Any = None) -> Any:
        features, _ = self.collect_features({k: v for k, v in inputs.items() if k != "dataset_name"})
        seen.append((module._name_of(inputs["dataset_name"]), [dict(f) for f in features]))
        return collect(self, net, inputs, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.MultitaskTrainer, "training_step", recorded)
        trained(folder, out, "naive")
    return seen


def test_logs_have_losses_and_weights_by_task(folder: Path, tmp_path: Path) -> None:
    trainer = trained(folder, tmp_path, "gradnorm", logging_steps=2)
    entries = [entry for entry in trainer.state.log_history if "loss/ask" in entry]
    assert len(entries) == STEPS // 2
    for entry in entries:
        assert entry["loss"] == pytest.approx((entry["loss/ask"] + entry["loss/claim"]) / 2, abs=1e-3)
        assert entry["weight/ask"] + entry["weight/claim"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("method", ["tsage", "gradnorm", "pcgrad", "moco"])
def test_a_resumed_training_is_the_same_training(folder: Path, tmp_path: Path, method: str) -> None:
    saving = {"save_strategy": "steps", "save_steps": 3, "optim": "sgd", "learning_rate": 0.5}
    whole = trained(folder, tmp_path, method, **saving)
    shutil.rmtree(tmp_path / f"checkpoint-{STEPS}")
    resumed = trained(folder, tmp_path, method, resume=True, **saving)
    torch.testing.assert_close(flat(resumed), flat(whole), rtol=0, atol=1e-6)


def test_a_checkpoint_without_the_methods_state_is_refused(folder: Path, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 3}
    trained(folder, tmp_path, None, **saving)
    with pytest.raises(ConfigError, match="not a checkpoint of this trainer"):
        trained(folder, tmp_path, "naive", resume=True, **saving)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"gradient_accumulation_steps": 1}, "one per task"),
        ({"multi_dataset_batch_sampler": "proportional"}, "round_robin"),
        ({"dataloader_drop_last": False}, "dataloader_drop_last"),
    ],
)
def test_arguments_that_do_not_fit_are_named(folder: Path, tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        trained(folder, tmp_path, "pcgrad", **changed)


def test_methods_that_look_at_the_batch_again_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="famo needs the losses"):
        trained(folder, tmp_path, "famo")
