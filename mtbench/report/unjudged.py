"""Rankings of a suite's test queries, for whoever knows their answers: searched when they are asked for.

Nothing of a run depends on these queries, so no stage reads them: the run's last model encodes them, and its stored
vectors are searched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtbench.computing import computing, device
from mtbench.config import Config, build_config
from mtbench.data.loading import load_suite
from mtbench.data.prepared import PreparedCorpus, PreparedSuite
from mtbench.data.query_files import PreparedQueries, write_judgements, write_texts
from mtbench.data.tokenizing import ENCODER_PROMPT, TokenEncoder, query_prefix, separator
from mtbench.data.types import QuerySplit
from mtbench.data.unjudged import read_test
from mtbench.errors import DataError, UsageError
from mtbench.evaluation.runfiles import write_kilt_predictions, write_trec_run
from mtbench.model.encoder import DualEncoder
from mtbench.model.folder import SETTINGS_FILE
from mtbench.model.tokenizer import load_tokenizer
from mtbench.records.record import RunRecord
from mtbench.records.values import JsonObject
from mtbench.retrieval.encode import Encoder, open_shards
from mtbench.retrieval.ranking import Ranking
from mtbench.retrieval.search import search
from mtbench.retrieval.vectors import Vectors
from mtbench.storage.manifest import MANIFEST
from mtbench.storage.store import Store
from mtbench.suite import Task

StageFolder = Callable[[str], Path]
"""The folder of the run's last stage of a name, its files checked."""


def export_test(
    record: RunRecord, form: str, target: Path, store: Store, suite: str | None, of: StageFolder
) -> list[Path]:
    """Rank the test queries of every task that declares some and write ``TASK.trec``, or ``TASK.jsonl`` as KILT's
    server wants it. ``suite``: the folder, where it is none of the registered ones.

    UsageError where nothing declares test queries; DataError for a missing or malformed file, and for vectors that the
    store no longer has.
    """
    declared = load_suite(suite or record["spec"]["suite"], record["spec"]["profile"], home=store.root)
    tasks = [task for task in declared.tasks if task.test]
    if not tasks:
        raise UsageError(
            f"no task of suite {declared.label} declares test queries\n  Name their file in suite.toml: "
            'test = "TASK/test.jsonl" in the [[task]] table.'
        )
    splits = {task.name: read_test(declared, task) for task in tasks}
    searching = _Searching.of(record, of)
    written = []
    with computing(searching.config), tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            queries = searching.prepare(task, splits[task.name], Path(folder) / task.name)
            ranking, corpus = searching.rank(task, queries), searching.corpus(task)
            if form == "trec":
                file = target / f"{task.name}.trec"
                written.append(write_trec_run(file, ranking, queries.ids, corpus, record["run_id"]))
            else:
                written.append(write_kilt_predictions(target / f"{task.name}.jsonl", ranking, queries, corpus))
    return written


@dataclass
class _Searching:
    """A run's last model, its prepared suite and its vectors."""

    suite: PreparedSuite
    config: Config
    encoder: Encoder
    tokens: TokenEncoder
    separator: str
    saved: JsonObject
    """What the model's ``mtbench.json`` says of texts."""
    vectors: Path

    @classmethod
    def of(cls, record: RunRecord, folder: StageFolder) -> _Searching:
        stages = [stage for stage in record["stages"] if stage["name"] in ("warmup", "train", "fuse")]
        trained = [stage["name"] for stage in stages]
        if not trained:
            raise UsageError(f"run {record['run_id']} trained no encoder that could rank test queries")
        vectors = folder("encode")
        made = json.loads((vectors / MANIFEST).read_text(encoding="utf-8"))["content"]["inputs"].get("model")
        if made != stages[-1]["fingerprint"]:
            raise UsageError(
                f"run {record['run_id']} (status: {record['status']}) has no vectors of its last model\n"
                "  Give its command again without --until."
            )
        config = build_config(record["spec"]["config"], f"run {record['run_id']}")
        place, prepared = folder(trained[-1]) / "model", folder("prepare")
        tokenizer, model = load_tokenizer(str(prepared / "tokenizer")), DualEncoder.load(place).to(device())
        encoder = Encoder(model, int(tokenizer.pad_token_id or 0), config.search.encode_tokens, trained=True)
        saved = json.loads((place / SETTINGS_FILE).read_text(encoding="utf-8"))
        suite, tokens = PreparedSuite.open(prepared / "data"), TokenEncoder.of(tokenizer)
        return cls(suite, config, encoder, tokens, separator(tokenizer), saved, vectors)

    def corpus(self, task: Task) -> PreparedCorpus:
        """The passages that the task's dev queries search."""
        return self.suite.corpora[self.suite.tasks[task.name].dev_corpus]

    def prepare(self, task: Task, split: QuerySplit, folder: Path) -> PreparedQueries:
        """Token ids as those of the dev queries were made."""
        corpus = self.corpus(task)
        if corpus.groups is not None:
            raise DataError(
                f"task {task.name!r}: its queries search parts of the corpus, which a test file does not name"
            )
        data = self.saved["data"]
        if "query_prompt" in data:
            task = replace(task, options={**task.options, ENCODER_PROMPT: data["query_prompt"]})
        prefix = query_prefix(task, data["prompt"], self.separator)
        length = self.saved["query_max_lengths"][task.name] - self.tokens.count(prefix)
        write_texts(folder, split, self.tokens, prefix, self.separator, length)
        write_judgements(folder, split, corpus.index_of, corpus.page_of, {}, None)
        return PreparedQueries(folder, self.tokens.dtype.name)

    def rank(self, task: Task, queries: PreparedQueries) -> Ranking:
        """As deep as the dev queries were ranked."""
        place, corpus = list(self.suite.tasks).index(task.name), self.corpus(task)
        own, depth = self.suite.tasks[task.name].unranked(queries, corpus), self.config.search.depth
        vectors = self.encoder.vectors(queries, np.arange(len(queries)), "query", place)
        passages = Vectors(open_shards(self.vectors / corpus.name), corpus.id_rank, None)
        deeper = depth if own is None else depth + 1
        found = search(vectors, passages, deeper, backend=self.config.search.backend, device=device().type)
        return found if own is None else found.without(own)
