"""``mtbench export``: the trained encoder, the rankings or the figures of a run, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtbench.cli.options import Json, Results


def command(
    run: Annotated[str, typer.Argument(help="Run id, its beginning, a record's path, or 'all' (csv, parquet).")],
    to: Annotated[Path, typer.Option(help="Folder to write into; for csv and parquet also a file.")],
    format: Annotated[
        str, typer.Option(help="sentence-transformers, trec, kilt, csv or parquet.")
    ] = "sentence-transformers",
    split: Annotated[str, typer.Option(help="trec, kilt: dev, or test for queries without judgements.")] = "dev",
    suite: Annotated[str | None, typer.Option(help="For test: the suite's folder, if it is your own.")] = None,
    results: Results = None,
    store: Annotated[Path | None, typer.Option(help="Where stages are kept.")] = None,
    json: Json = False,
) -> None:
    """Export a run: its encoder for sentence-transformers, TREC and KILT files, or a flat table of figures."""
    from mtbench.cli.common import emit_json
    from mtbench.report.export import export
    from mtbench.storage.places import committed_results, default_root
    from mtbench.storage.store import Store

    where, kept = results or committed_results(), Store(store or default_root())
    written = export(run, format, to, results=where, store=kept, split=split, suite=suite)
    if json:
        emit_json({"format": format, "written": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")
