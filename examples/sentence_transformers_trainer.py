"""Multitask optimizers in sentence-transformers' trainer, one after another on the same batches.

    python examples/sentence_transformers_trainer.py                        # made-up text, a tiny random encoder
    python examples/sentence_transformers_trainer.py --methods naive,pcgrad,tsage --steps 50 --batch 8 \\
        --data FOLDER --tasks scifact,fm2,stackfaq --encoder sentence-transformers/all-MiniLM-L6-v2

FOLDER holds one folder per task in BEIR's format: corpus.jsonl, queries.jsonl, qrels/train.tsv. Needs the extra ``st``:
``pip install 'mtbench[st]'``. Prints the mean loss of each task over each fifth of the training.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from mtbench.integrations.sentence_transformers import MultitaskTrainer

WORDS = (
    "amber birch cedar delta ember fjord grove heron inlet jasper kelp lotus maple north ocean pearl".split()  # noqa: SIM905
)


def main() -> None:
    """Train with each method from the same weights and print the loss curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="naive,pcgrad")
    parser.add_argument("--data", type=Path, help="folder of tasks in BEIR's format")
    parser.add_argument("--tasks", default="ask,claim", help="with --data: the names of folders in it")
    parser.add_argument("--encoder", default="", help="a folder or the name of a model on the hub")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="queries of a task in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a text at most")
    parser.add_argument("--lr", type=float, default=0.0, help="2e-5 if not given, 5e-3 for the tiny encoder")
    options = parser.parse_args()
    disable_progress_bar()
    names = options.tasks.split(",")
    data = {name: pairs(options.data / name) if options.data else made_up(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        encoder = options.encoder or tiny_encoder(Path(folder) / "encoder")
        for method in options.methods.split(","):
            print_curves(method, names, train(method, data, encoder, options, Path(folder)))


def train(
    method: str, data: dict[str, Dataset], encoder: str, options: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """The log of a training, one entry a step."""
    torch.manual_seed(0)
    model = SentenceTransformer(encoder)
    rate = options.lr or (2e-5 if options.encoder else 5e-3)
    model.max_seq_length = min(model.max_seq_length or options.length, options.length)
    arguments = SentenceTransformerTrainingArguments(
        str(folder / method), max_steps=options.steps, learning_rate=rate, warmup_steps=0.1, logging_steps=1,
        per_device_train_batch_size=options.batch, gradient_accumulation_steps=len(data),
        multi_dataset_batch_sampler="round_robin", dataloader_drop_last=True, save_strategy="no", report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = MultitaskTrainer(
        model,
        args=arguments,
        train_dataset=data,
        loss={name: MultipleNegativesRankingLoss(model) for name in data},
        multitask=method,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def print_curves(method: str, names: list[str], log: list[dict[str, Any]]) -> None:
    """The mean loss of each task over each fifth of the steps."""
    for name in names:
        losses = [entry[f"loss/{name}"] for entry in log]
        cuts = [i * len(losses) // 5 for i in range(6)]
        means = [sum(losses[a:b]) / max(1, b - a) for a, b in itertools.pairwise(cuts)]
        print(f"{method:10} {name:12} " + " ".join(f"{mean:7.4f}" for mean in means), flush=True)


def pairs(folder: Path) -> Dataset:
    """Each training query with one passage that answers it."""
    queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")}
    passages = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows(folder / "corpus.jsonl")}
    with (folder / "qrels" / "train.tsv").open(encoding="utf-8") as lines:
        relevant = {r["query-id"]: r["corpus-id"] for r in csv.DictReader(lines, delimiter="\t") if int(r["score"]) > 0}
    found = [(queries[q], passages[p]) for q, p in relevant.items()]
    return Dataset.from_dict({"anchor": [q for q, _ in found], "positive": [p for _, p in found]})


def rows(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def made_up(name: str) -> Dataset:
    """Pairs of words that belong together by a rule of the task's own, so that the tasks pull words apart."""
    shift = sum(name.encode()) % len(WORDS)
    partner = {word: WORDS[(3 * i + shift) % len(WORDS)] for i, word in enumerate(WORDS)}
    found = [(f"{a} {b}", f"{partner[a]} {partner[b]}") for a in WORDS for b in WORDS if a != b]
    return Dataset.from_dict({"anchor": [a for a, _ in found], "positive": [b for _, b in found]})


def tiny_encoder(folder: Path) -> str:
    """A random BERT of one layer that knows the words, written to ``folder``."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    main()
