"""``mtbench score``: KILT's and trec_eval's figures of files, and outside systems for the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtbench.cli.options import Json, Plugins
from mtbench.errors import UsageError

if TYPE_CHECKING:
    from mtbench.records.record import RunRecord


def command(
    gold: Annotated[Path | None, typer.Option(help="KILT gold file (JSON lines).")] = None,
    guess: Annotated[Path | None, typer.Option(help="KILT prediction file; with --as also a folder.")] = None,
    ks: Annotated[str, typer.Option(help="Cut-offs of precision, recall and success rate.")] = "1,5,10,20",
    rank_keys: Annotated[str, typer.Option(help="Provenance keys that identify what is ranked.")] = "wikipedia_id",
    qrels: Annotated[Path | None, typer.Option(help="Judgements in TREC's or BEIR's form.")] = None,
    run: Annotated[Path | None, typer.Option(help="TREC run file; with --as also a folder.")] = None,
    metrics: Annotated[
        str, typer.Option(help="trec_eval's metrics: Rprec, map, recall@K, P@K, ndcg@K, mrr@K...")
    ] = "Rprec,recall@20,recall@100,mrr@10,ndcg@10",
    name: Annotated[str | None, typer.Option("--as", help="Enter the files as an outside system of this name.")] = None,
    suite: Annotated[str | None, typer.Option(help="With --as: suite or folder with a suite.toml.")] = None,
    task: Annotated[str | None, typer.Option(help="With --as: the task of a single file.")] = None,
    profile: Annotated[str, typer.Option(help="With --as: mini, paper or a TOML file.")] = "mini",
    seed: Annotated[int, typer.Option(help="With --as: seed of the system's run.", min=0)] = 0,
    results: Annotated[
        Path | None, typer.Option(help="With --as: where records are written; default: results.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="With --as: where per-query scores are kept.")] = None,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="With --gold and --guess: KILT's figures of the answers.")
    ] = False,
    plugin: Plugins = None,
    json_: Json = False,
) -> None:
    """Score a prediction or run file, or enter an outside system into the leaderboard.

    The files of an outside system are one file with --task, or a folder of TASK.trec (passage ids) and TASK.jsonl
    (KILT predictions).
    """
    if downstream:
        if not (gold and guess) or qrels or run or name or suite:
            raise UsageError("--downstream goes with --gold and --guess, two KILT files, and with nothing else")
        _score_downstream(gold, guess, json_)
    elif name is not None or suite is not None:
        if name is None or suite is None:
            raise UsageError("--as NAME and --suite S go together")
        if plugin:
            from mtbench.registry import add_plugin_files

            add_plugin_files(plugin)
        if gold or qrels or (run is None) == (guess is None):
            raise UsageError("--as takes its files from --run or --guess (one of them), its judgements from the suite")
        _enter(_System(name, suite, run or guess or Path(), task, profile, seed), results, store, json_)
    elif gold and guess and not (qrels or run):
        _score_kilt(gold, guess, ks, rank_keys, json_)
    elif qrels and run and not (gold or guess):
        _score_trec(qrels, run, metrics, json_)
    else:
        raise UsageError(
            "give --gold and --guess (KILT files), or --qrels and --run (TREC files), "
            "or --as NAME --suite S with --run or --guess"
        )


def _score_kilt(gold: Path, guess: Path, ks: str, rank_keys: str, json_: bool) -> None:
    from mtbench.evaluation.kilt_scores import parse_ks, score_files

    keys = [key.strip() for key in rank_keys.split(",") if key.strip()]
    if not keys:
        raise UsageError("--rank-keys needs at least one key, for instance wikipedia_id")
    scores = score_files(gold, guess, parse_ks(ks), keys)
    _note(scores.unused, f"predictions have ids that {gold} does not have and were left out")
    _show(scores.metrics, len(scores.ids), json_)


def _score_downstream(gold: Path, guess: Path, json_: bool) -> None:
    from mtbench.evaluation.downstream_scores import score_answers

    scores = score_answers(gold, guess)
    _note(scores.unused, f"predictions have ids that {gold} does not have and were left out")
    _show(scores.metrics, len(scores.ids), json_)


def _score_trec(qrels: Path, run: Path, metrics: str, json_: bool) -> None:
    from mtbench.evaluation.runfiles import read_qrels, read_run_for
    from mtbench.evaluation.trec import score_run

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise UsageError("--metrics needs at least one metric, for instance Rprec")
    judgements = read_qrels(qrels)
    scores = score_run(judgements, read_run_for(judgements, run), names)
    _note(scores.missing, "judged queries have no results; each counts 0")
    _note(scores.unused, f"queries of the run are not judged in {qrels} and were left out")
    _show(scores.metrics, len(scores.ids), json_)


@dataclass(frozen=True)
class _System:
    """An outside system: its name and seed, and the file or folder of its results on a suite's data."""

    name: str
    suite: str
    source: Path
    task: str | None
    profile: str
    seed: int


def _enter(system: _System, results: Path | None, store_root: Path | None, json_: bool) -> None:
    from mtbench.config import load_profile, profile_name
    from mtbench.data.loading import load_suite, suite_fingerprint
    from mtbench.data.rules import suite_facts
    from mtbench.pipeline.outside import OutsideSystem, check_name, enter_system, task_files
    from mtbench.registry import entries
    from mtbench.storage.places import default_results, default_root
    from mtbench.storage.store import Store

    check_name(system.name, entries("optimizer"))
    load_profile(system.profile)
    root = store_root or default_root()
    suite = load_suite(system.suite, system.profile, home=root)
    key, profile = suite_fingerprint(suite, root), profile_name(system.profile)
    rules = suite_facts(suite, key, root).rules(suite, key)
    entered = OutsideSystem(system.name, suite, key, profile, system.seed, rules)
    files = task_files(suite, system.source, system.task)
    record, path = enter_system(entered, files, results=results or default_results(), store=Store(root))
    _show_entry(record, path, [t.name for t in suite.tasks], json_)


def _show_entry(record: RunRecord, path: Path, tasks: list[str], json_: bool) -> None:
    from mtbench.cli.common import emit_json

    metric, average = record["metric"], record.get("average")
    values = {task: record["tasks"].get(task, {"metrics": {}})["metrics"].get(metric) for task in tasks}
    for task, given in record["inputs"].items():
        asked = record["tasks"][task]["num_queries"]
        _note(given.get("unanswered", 0), f"of {asked} queries of {task} have no results; each counts 0")
    missing = [task for task, value in values.items() if value is None]
    if missing:
        typer.echo(f"No {metric} for {', '.join(missing)}: the row has no average yet.", err=True)
    typer.echo(f"Entered {record['spec']['optimizer']['name']} into {path}", err=True)
    if json_:
        emit_json({"record": str(path), "run_id": path.stem, "tasks": record["tasks"], "average": average})
    else:
        _table(metric, {**values, "average": average})


def _note(count: int, text: str) -> None:
    if count:
        typer.echo(f"Note: {count} {text}.", err=True)


def _show(metrics: Mapping[str, float], num_queries: int, json_: bool) -> None:
    from mtbench.cli.common import emit_json

    if json_:
        emit_json({"metrics": dict(metrics), "num_queries": num_queries})
    else:
        _table(f"{num_queries} queries", metrics)


def _table(title: str, values: Mapping[str, float | None]) -> None:
    width = max(map(len, values))
    typer.echo(title)
    for name, value in values.items():
        typer.echo(f"{name:<{width}}  {'-' if value is None else f'{value:.4f}'}")
