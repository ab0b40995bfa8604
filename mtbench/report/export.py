"""Taking results elsewhere: the trained encoder, rankings as run files, figures as a flat table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias, get_args

from mtbench.data.tokenizing import separator
from mtbench.errors import DataError, UnknownNameError, UsageError
from mtbench.records.files import Loaded, load_records, read_record
from mtbench.records.record import READERS, CostName, RunRecord, optimizer_params
from mtbench.report.settings import rerun_command
from mtbench.storage.store import Store

FORMATS = ("sentence-transformers", "trec", "kilt", "csv", "parquet")
ALL = "all"
COLUMNS = (
    "run_id", "status", "suite", "suite_version", "profile", "optimizer", "params", "seed", "external",
    "task", "metric", "value", "num_queries", "average", "step_ms", "peak_memory_bytes",
    "optimizer_state_bytes", "total_seconds", "tuning_trials", "git_commit", "finished",
)  # fmt: skip
_COSTS: tuple[CostName, ...] = get_args(CostName)
Line: TypeAlias = dict[str, bool | int | float | str | None]
"""One line of a table: a value for each of :data:`COLUMNS`."""
_TEXT = {
    "run_id",
    "status",
    "suite",
    "profile",
    "optimizer",
    "params",
    "task",
    "metric",
    "git_commit",
    "finished",
}
_WHOLE = {
    "suite_version",
    "seed",
    "num_queries",
    "peak_memory_bytes",
    "optimizer_state_bytes",
    "tuning_trials",
}


def export(
    run: str,
    form: str,
    target: Path,
    *,
    results: Path,
    store: Store,
    split: str = "dev",
    suite: str | None = None,
) -> list[Path]:
    """Export ``run`` (a run id, the beginning of one, a record's path, or ``all`` for tables) in one of the formats.

    ``split``: ``dev``, or ``test`` for rankings of the queries without judgements that the suite declares; then
    ``suite`` is its folder, where it is none of the registered ones.

    Returns what was written. Raises :class:`UsageError` for what does not fit together, :class:`UnknownNameError` for
    an unknown run, :class:`DataError` if the store no longer has what is needed.
    """
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}: one of {', '.join(FORMATS)}")
    if split not in ("dev", "test") or (split == "test" and form not in ("trec", "kilt")):
        raise UsageError(f"--split {split}: dev, or test with --format trec or kilt")
    if form in ("csv", "parquet"):
        loaded = [item for item in load_records(results) if item.usable] if run == ALL else [find_run(results, run)]
        if not loaded:
            raise DataError("there are no runs here", path=results)
        return [write_table(flat_rows(item.record for item in loaded), target, form)]
    if run == ALL:
        raise UsageError(f"'all' is for the formats csv and parquet; {form} takes one run (mtbench ls runs)")
    record = find_run(results, run).record
    if split == "test":
        from mtbench.report.unjudged import export_test

        return export_test(record, form, target, store, suite, lambda name: _stage_folder(record, name, store))
    if form == "sentence-transformers":
        return export_model(record, target, store)
    return export_rankings(record, form, target, store)


def find_run(results: Path, run: str) -> Loaded:
    """The record with the id ``run``, the only one whose id starts with it, or the file ``run``."""
    if run.endswith(".json") and Path(run).is_file():
        loaded = read_record(Path(run))
        if not loaded.usable:
            raise DataError(str(loaded.problem), path=run)
        return loaded
    known = {item.record["run_id"]: item.path for item in load_records(results, summary=True) if item.usable}
    found = [run] if run in known else [identifier for identifier in known if identifier.startswith(run)]
    if len(found) > 1:
        raise UsageError(f"{run!r} is the beginning of several run ids: {', '.join(sorted(found))}")
    if not found:
        raise UnknownNameError("run", run, known, "mtbench ls runs")
    return read_record(known[found[0]])


def export_model(record: RunRecord, target: Path, store: Store) -> list[Path]:
    """The encoder after the last episode as sentence-transformers folders."""
    from mtbench.model.tokenizer import load_tokenizer
    from mtbench.report.encoder_export import export_encoder

    trained = [stage for stage in record["stages"] if stage["name"] in ("warmup", "train", "fuse")]
    if not trained:
        raise UsageError(f"run {record['run_id']} trained no encoder, so there is none to export")
    checkpoint = _stage_folder(record, trained[-1]["name"], store) / "model"
    data = _stage_folder(record, "prepare", store) / "data"
    limits = [
        json.loads(f.read_text(encoding="utf-8"))["passage_max_length"] for f in data.glob("corpora/*/corpus.json")
    ]
    backbone = next((f.parent for f in sorted(checkpoint.rglob("tokenizer_config.json"))), checkpoint)
    title = f"{record['spec']['optimizer']['name']} on {record['spec']['suite']}, seed {record['spec']['seed']}"
    sep = separator(load_tokenizer(str(backbone)))
    return export_encoder(checkpoint, target, separator=sep, max_length=max(limits), title=title)


def export_rankings(record: RunRecord, form: str, target: Path, store: Store) -> list[Path]:
    """Rankings of the dev queries, one file a task: ``TASK.trec``, or ``TASK.jsonl`` where the task has gold pages,
    with the answers of a run that has a reader."""
    from mtbench.data.prepared import PreparedSuite
    from mtbench.evaluation.runfiles import write_kilt_predictions, write_lines, write_trec_run
    from mtbench.retrieval.ranking import Ranking

    if record.get("external"):
        raise UsageError(f"run {record['run_id']} is an outside system: its files were given by its makers")
    if "per_query" not in record:
        raise UsageError(f"run {record['run_id']} has no rankings (status: {record['status']})")
    if form == "kilt" and "downstream" in record:
        reference = record["downstream"]["per_query"]
        guesses = sorted((_open(record, reference["stage"], reference["fingerprint"], store) / "guess").glob("*.jsonl"))
        return [write_lines(target / f.name, [f.read_text(encoding="utf-8")]) for f in guesses]
    if record["spec"]["optimizer"]["name"] in READERS:
        raise UsageError(f"run {record['run_id']} ranks nothing; export its answers instead: --format kilt")
    rankings = _open(record, record["per_query"]["stage"], record["per_query"]["fingerprint"], store) / "rankings"
    suite = PreparedSuite.open(_stage_folder(record, "prepare", store) / "data")
    written = []
    for name, task in suite.tasks.items():
        if name not in record["tasks"]:
            continue
        ranking, corpus = Ranking.load(rankings / name), suite.corpora[task.dev_corpus]
        if form == "trec":
            written.append(write_trec_run(target / f"{name}.trec", ranking, task.dev.ids, corpus, record["run_id"]))
        elif task.dev.gold_pages(0) is not None:
            written.append(write_kilt_predictions(target / f"{name}.jsonl", ranking, task.dev, corpus))
    if not written:
        raise UsageError(f"no task of suite {suite.name} has gold pages; export TREC runs instead: --format trec")
    return written


def flat_rows(records: Iterable[RunRecord]) -> Iterator[Line]:
    """One row per run, task and metric, keys as in :data:`COLUMNS`; a run without results has one row without value."""
    for record in records:
        spec, cost = record["spec"], record["cost"]
        head: Line = {
            "run_id": record["run_id"],
            "status": record["status"],
            "suite": spec["suite"],
            "suite_version": spec.get("suite_version"),
            "profile": spec["profile"],
            "optimizer": spec["optimizer"]["name"],
            "params": json.dumps(optimizer_params(spec), sort_keys=True),
            "seed": spec["seed"],
            "external": bool(record.get("external")),
            "average": record.get("average"),
            **{key: cost.get(key) for key in _COSTS},
            "tuning_trials": record["tuning"]["trials"] if "tuning" in record else None,
            "git_commit": record["environment"].get("git_commit"),
            "finished": record.get("finished"),
        }
        scores: list[Line] = [
            {"task": task, "metric": metric, "value": value, "num_queries": scored.get("num_queries")}
            for task, scored in record["tasks"].items()
            for metric, value in scored["metrics"].items()
        ]
        for row in scores or [{}]:
            merged = {**head, **row}
            yield {name: merged.get(name) for name in COLUMNS}


def write_table(rows: Iterable[Line], target: Path, form: str) -> Path:
    """Write ``rows`` to ``target``, or to ``results.csv`` / ``results.parquet`` below it if it has no such ending.

    Numbers are written in full: reading the file gives the same floats.
    """
    path = target if target.suffix == f".{form}" else target / f"results.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    if form == "csv":
        with open(draft, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        _write_parquet(draft, list(rows))
    draft.replace(path)
    return path


def _write_parquet(path: Path, rows: list[Line]) -> None:
    import pyarrow
    import pyarrow.parquet

    def kind(name: str) -> pyarrow.DataType:
        if name == "external":
            return pyarrow.bool_()
        return pyarrow.string() if name in _TEXT else pyarrow.int64() if name in _WHOLE else pyarrow.float64()

    schema = pyarrow.schema([(name, kind(name)) for name in COLUMNS])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)


def _stage_folder(record: RunRecord, name: str, store: Store) -> Path:
    """The folder of the run's last stage called ``name``."""
    keys = [stage["fingerprint"] for stage in record["stages"] if stage["name"] == name]
    if not keys:
        raise UsageError(f"run {record['run_id']} has no stage {name!r} (status: {record['status']})")
    return _open(record, name, keys[-1], store)


def _open(record: RunRecord, name: str, key: str, store: Store) -> Path:
    built = store.open(name, key)
    if built is None:
        raise DataError(
            f"the store no longer has the stage {name!r} ({key}) of run {record['run_id']}",
            path=store.root,
            remedy=f"Name the right one with --store, or compute it again:\n    {rerun_command(record['spec'])}",
        )
    return built.folder
