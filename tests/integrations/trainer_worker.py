"""What each of several processes does in ``test_sentence_transformers_ranks.py``: train with MultitaskTrainer.

RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python trainer_worker.py FOLDER MODEL
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from integrations.st_cases import STEPS, TASKS, arguments, flat, model, rows

METHODS = ["naive", "pcgrad", "tsage", "gradnorm", "dbmtl"]
SIZES = {"ask": 40, "claim": 24, "find": 37, "ask2": 56}


def trainer_of(folder: Path, out: Path, method: str, **more: Any) -> Any:
    """Four tasks of different sizes; plain descent, so that rounding is not divided by itself."""
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from mtbench.integrations.sentence_transformers import MultitaskTrainer

    net = model(folder)
    given = {"optim": "sgd", "learning_rate": 0.5, "gradient_accumulation_steps": len(TASKS), "max_steps": STEPS}
    return MultitaskTrainer(
        net,
        args=arguments(out, **{**given, "ddp_backend": "gloo", **more}),
        train_dataset={task: rows(task, SIZES[task]) for task in TASKS},
        loss={task: MultipleNegativesRankingLoss(net) for task in TASKS},
        multitask=method,
    )


def train(trainer: Any, **more: Any) -> list[tuple[str, Any]]:
    """Train; the batches that this process saw, in order."""
    seen: list[tuple[str, Any]] = []
    collect = trainer.compute_loss

    def noted(net: Any, inputs: dict[str, Any], *others: Any, **options: Any) -> Any:
        features, _ = trainer.collect_features({k: v for k, v in inputs.items() if k != "dataset_name"})
        seen.append((inputs["dataset_name"], [dict(f) for f in features]))
        return collect(net, inputs, *others, **options)

    trainer.compute_loss = noted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(**more)
    return seen


def main(folder: Path, bert: Path) -> None:
    torch.set_num_threads(1)
    for method in METHODS:
        out = folder / method
        trainer = trainer_of(bert, out, method, save_strategy="steps", save_steps=3)
        seen = train(trainer)
        rank = trainer.args.process_index
        torch.save({"seen": seen, "theta": flat(trainer)}, folder / f"{method}-{rank}.pt")
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        (folder / f"{method}-{rank}.json").write_text(json.dumps(logs))
        trainer.accelerator.wait_for_everyone()
        if rank == 0:
            shutil.rmtree(out / f"checkpoint-{STEPS}")
        trainer.accelerator.wait_for_everyone()
        again = trainer_of(bert, out, method, save_strategy="steps", save_steps=3)
        train(again, resume_from_checkpoint=True)
        torch.save(flat(again), folder / f"{method}-{rank}-resumed.pt")
    mixed_up(folder, bert)
    torch.distributed.destroy_process_group()


def mixed_up(folder: Path, bert: Path) -> None:
    """In the library's own order the processes have different tasks at a time."""
    from sentence_transformers.base.sampler import RoundRobinBatchSampler

    from mtbench.errors import UsageError

    trainer = trainer_of(bert, folder / "mixed", "naive")
    trainer.get_multi_dataset_batch_sampler = RoundRobinBatchSampler
    try:
        train(trainer)
    except UsageError as error:
        (folder / f"mixed-{trainer.args.process_index}.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
