"""What a suite's data do not allow, told before any work: rankings too short for the metric, nothing to learn from."""

from __future__ import annotations

from mtbench.data.answer_match import SPAN_FAMILIES
from mtbench.data.answers import has_answers
from mtbench.errors import ConfigError
from mtbench.pipeline.request import ResolvedRun
from mtbench.pipeline.step_rules import check_steps
from mtbench.protocols.tasks import trainable_tasks, trained_tasks
from mtbench.records.record import BASELINES, READERS
from mtbench.registry import get_optimizer
from mtbench.suite import Task
from mtbench.training.batches import check_contrast
from mtbench.training.budget import task_budget


def check_feasible(run: ResolvedRun) -> None:
    """ConfigError if the run's settings cannot give what is asked for on this suite's data."""
    if run.reader is not None:
        _check_reader(run)
    if run.optimizer["name"] in READERS:
        return
    _check_depth(run)
    _check_negatives(run)
    if run.optimizer["name"] not in BASELINES:
        _check_batches(run)


def _check_depth(run: ResolvedRun) -> None:
    setting = "bm25.depth" if run.optimizer["name"] == "bm25" else "search.depth"
    depth = run.config.bm25.depth if setting == "bm25.depth" else run.config.search.depth
    needed, task = max((_needed(run, task), task.name) for task in run.suite.tasks)
    if depth < needed:
        raise ConfigError(
            f"{setting}={depth} is too few passages per query for {run.suite.metric}, which takes {needed} for task "
            f"{task} of suite {run.suite.label}\n  Set {setting}={needed} or more."
        )


def _check_negatives(run: ResolvedRun) -> None:
    negatives = run.config.negatives
    trained_tasks(negatives.tasks, run.suite, "negatives.tasks")
    spans = [t.name for t in run.suite.tasks if t.family in SPAN_FAMILIES and has_answers(t)]
    if negatives.exclude == "answer" and not spans:
        raise ConfigError(
            f"negatives.exclude=answer: suite {run.suite.label} has no questions or slots with answers\n"
            "  Leave it out, or use a suite in KILT's format."
        )


def _check_reader(run: ResolvedRun) -> None:
    answered = [task.name for task in run.suite.tasks if has_answers(task)]
    if not set(answered) & set(run.served):
        about = "has no task with answers" if not answered else f"has answers of {', '.join(answered)} alone"
        raise ConfigError(
            f"--reader: suite {run.suite.label} {about}, and the run serves {', '.join(run.served)}\n"
            "  Leave --reader out, or use a suite in KILT's format."
        )
    depth, setting = run.config.search.depth, "search.depth"
    if run.optimizer["name"] == "bm25":
        depth, setting = run.config.bm25.depth, "bm25.depth"
    if run.config.reader.passages > depth and run.optimizer["name"] not in READERS:
        raise ConfigError(
            f"reader.passages={run.config.reader.passages} is more than the {depth} passages of {setting}\n"
            f"  Raise {setting}, or set fewer passages."
        )


def _needed(run: ResolvedRun, task: Task) -> int:
    """Passages per dev query that the suite's metric looks at; never more than there are."""
    metric, facts = run.suite.metric, run.facts
    cut = metric.partition("@")[2]
    if cut:
        wanted = int(cut)
    elif metric == "rprecision_page":  # where there are no sets of pages, the pages of the relevant passages are one
        wanted = facts.most_pages[task.name] or facts.most_passages[task.name]
    else:
        wanted = facts.most_passages[task.name]
    return min(wanted, facts.passages[task.dev_corpus or task.corpus])


def _check_batches(run: ResolvedRun) -> None:
    train, names = run.config.train, trainable_tasks(run.suite)
    counts = []
    for name in names:
        count = run.facts.trainable[name] if run.request.limit is None else run.request.limit
        count = min(count, run.facts.trainable[name])
        count = max(1, count - min(run.config.data.selection_queries, count // 10))
        counts.append(min(count, train.examples or count))
    budget = task_budget(names, counts, run.trained, train)
    if train.mixing == "union":
        corpora = sorted({run.suite.task(name).corpus for name in run.trained})
        if len(corpora) > 1:
            raise ConfigError(
                f"train.mixing=union: the tasks search several corpora ({', '.join(corpora)}), and a passage of "
                "another corpus is no negative\n  Use mixing=tasks, or --set train.tasks with tasks of one corpus."
            )
    trained, union = [counts[names.index(t)] for t in run.trained], train.mixing == "union"
    check_contrast(run.trained, trained, budget.sizes, train.hard_negatives, union)
    check_steps(get_optimizer(run.optimizer["name"]), train, run.trained, budget.sizes, len(names))
