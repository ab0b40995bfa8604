"""A tiny BERT, data of words and arguments for the tests of MultitaskTrainer, in one process and in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jasper"]
TASKS = ("ask", "claim", "find", "ask2")
STEPS = 6


def write_model(folder: Path) -> Path:
    """A tiny BERT whose tokenizer knows the words."""
    from tiny_bert import write_bert

    from mtbench.model.tokenizer import train_tokenizer

    texts = [f"{a} {b}" for a in WORDS for b in WORDS]
    torch.manual_seed(0)
    return write_bert(folder, train_tokenizer(texts, 128))


def model(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    net = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(16)], device="cpu")
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


def rows(task: str, count: int = 24) -> Any:
    """Pairs of words; what belongs together differs by task."""
    from datasets import Dataset

    shift = TASKS.index(task)
    pairs = [(WORDS[i % 10], f"{WORDS[i % 10]} {WORDS[(i * 3 + shift) % 10]} {task}") for i in range(count)]
    return Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]})


def arguments(out: Path, **more: Any) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    given = {
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": STEPS, "learning_rate": 1e-2,
        "multi_dataset_batch_sampler": "round_robin", "dataloader_drop_last": True, "report_to": "none",
        "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "seed": 3,
        "max_grad_norm": 1.0, "warmup_steps": 0, "lr_scheduler_type": "constant",
    }  # fmt: skip
    return SentenceTransformerTrainingArguments(str(out), **{**given, **more})


def flat(trainer: Any) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in trainer.model.parameters()])
