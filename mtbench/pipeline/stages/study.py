"""study: a reader's first lessons, before it meets a retriever and so the same for all: queries alone, then with the
first of their relevant passages."""

from __future__ import annotations

from pathlib import Path

from mtbench.pipeline.context import Context
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.reader_training import STUDIED, remove_notes, train_reader
from mtbench.pipeline.reading import model_folder, read_tasks
from mtbench.storage.manifest import Results

ALONE = 0.25
"""Share of the steps without passages: a reader of random weights learns to read a query before it learns where to
look."""


def compute(context: Context, stage: Stage, work: Path) -> Results | None:
    """Writes ``readers/reader/``."""
    reader = context.config.reader
    settings = reader.model_copy(update={"lr": reader.start_lr})
    told = train_reader(
        context,
        stage,
        model_folder(work, STUDIED),
        list(read_tasks(context, stage).values()),
        settings,
        lambda count: reader.start_steps,
        lambda share: 0 if share < ALONE else 1,
    )
    if context.ranks.rank:
        return None
    remove_notes(work)
    return {"study": told}
