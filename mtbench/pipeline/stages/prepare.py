"""prepare: token ids of every corpus and query, memory-mapped; judgements as integer arrays; the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtbench.data.preparing import PrepareOptions, build_prepared
from mtbench.data.reading import iter_passages, read_task
from mtbench.data.rules import rules_of_stage
from mtbench.model.folder import any_weights
from mtbench.model.tokenizer import load_tokenizer, train_tokenizer
from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.storage.manifest import Results


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``tokenizer/`` and ``data/`` (see ``mtbench.data.prepared``)."""
    suite, config = context.run.suite, context.config
    if config.encoder.path == "tiny":
        tokenizer = train_tokenizer(_texts(context), config.encoder.vocabulary)
    else:
        tokenizer = load_tokenizer(str(any_weights(Path(config.encoder.path))))
    tokenizer.save_pretrained(str(work / "tokenizer"))
    build_prepared(
        suite,
        work / "data",
        tokenizer,
        PrepareOptions(
            config.data.prompt,
            config.data.passage_max_length,
            config.data.query_max_length,
            context.run.request.limit,
            rules_of_stage(context.run.rules, "prepare"),
        ),
        workers=context.prepare_workers,
        progress=lambda what, done, total: context.listener.stage_advanced(stage, done, total, {}),
    )
    return None


def _texts(context: Context) -> Iterator[str]:
    """What a tokenizer is trained on: passages, and training queries with their prompts."""
    suite = context.run.suite
    for corpus in suite.corpora:
        for passage in iter_passages(suite, corpus):
            yield f"Title: {passage.title} Text: {passage.text}"
    for task in suite.tasks:
        prompt = task.prompt
        for text in read_task(suite, task).train.texts:
            yield f"{prompt} {text.replace('[SEP]', ' ')}"
