"""The protocols by name, as ``mtbench ls protocols`` and ``mtbench info NAME`` tell them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """One protocol of a suite with K tasks, in words."""

    name: str
    summary: str
    runs: str
    starts: tuple[str, ...]
    """What ``--start`` may say of it; empty: it has one start."""
    trained: str
    serves: str
    row: str
    description: str
    by_task: bool = True
    """Whether it has a run for each task, so that ``--tasks`` may choose among them."""
    alone: bool = False
    """Whether every run trains one task alone, so that there is nothing for a method to combine."""


_ALL = (
    Protocol(
        "multitask",
        "one run on all tasks: the default",
        "1 for each optimizer and seed",
        (),
        "all tasks",
        "all tasks",
        "tsage",
        "Every table of the papers that compares methods is of this protocol.",
        by_task=False,
    ),
    Protocol(
        "per-task",
        "a run for each task alone, which multitask training has to beat",
        "K for each seed; naive by rule, --optimizer does not multiply them",
        ("encoder", "warmup"),
        "one task",
        "that task",
        "per-task; per-task (batch), from warm-up",
        "Its row has each task's figure from the run on that task, and the cost of all K. How long a task trains is "
        "train.budget: the steps and the own share of a batch that it has in the multitask run (steps, the default), "
        "as many queries in whole batches (queries), or as many steps with whole batches (batch). An encoder from "
        "random weights may learn nothing from one task alone: --start warmup begins with the shared warm-up of all.",
        alone=True,
    ),
    Protocol(
        "leave-one-out",
        "a run for each task on all the others: what is learnt about a task that was never seen",
        "K for each optimizer and seed",
        (),
        "all tasks but one",
        "the task left out",
        "naive, leave-one-out",
        "The slice of train that settings are chosen on is that of the tasks trained on. A prompt that names the task "
        "is an unknown word for the task left out: data.prompt=family is the better one there.",
    ),
    Protocol(
        "few-shot",
        "a run for each task on a few of its examples, from the run that left it out or from the encoder",
        "K for each start, number of examples and seed",
        ("leave-one-out", "encoder"),
        "N examples of one task",
        "that task",
        "naive, leave-one-out + 128; encoder + 128",
        "--examples 128,1024 says how many; 128 lie inside 1,024. From leave-one-out it is that run and one stage of "
        "training more, on BM25's negatives and of the warm-up's length and rate; from the encoder it is a whole run "
        "on N examples, for which --optimizer does not multiply.",
    ),
    Protocol(
        "fused",
        "one model merged of the runs on one task each, at no training: the natural rival of multitask training",
        "1 for each way to merge and seed, beside the runs of per-task that it is made of",
        ("encoder", "warmup"),
        "nothing: the models of per-task are merged",
        "all tasks",
        "fused (uniform); fused (deviation), from warm-up",
        "theta = start + sum_k w_k (theta_k - start). --fusion uniform takes w_k = 1/K, deviation weighs each "
        "parameter by how far each run moved it (after CoDiEmb). All runs must have one start.",
        by_task=False,
        alone=True,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
