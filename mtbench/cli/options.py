"""Options that several verbs have, declared once: ``json: Json = False``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A file with an optimizer or a suite. Repeatable.", metavar="FILE.py"),
]

# of verbs that run something
Optimizers = Annotated[str, typer.Option("--optimizer", "-o", help="Names, separated by commas.")]
SuiteName = Annotated[str, typer.Option("--suite", "-s", help="A name, or a folder with a suite.toml.")]
Seeds = Annotated[str, typer.Option(help="0,1,2 or 0-4.")]
Profile = Annotated[str, typer.Option(help="mini, finetune, paper, dpr, taco-code, or a TOML file.")]
Encoder = Annotated[str | None, typer.Option(help="A folder or a hub name instead of the profile's encoder.")]
Limit = Annotated[int | None, typer.Option(help="At most N train and N dev queries a task; kept off leaderboards.")]
Address = Annotated[str | None, typer.Option(help="Ray's address: none for a local Ray, auto, or ray://HOST:PORT.")]
GpusPerRun = Annotated[float | None, typer.Option(help="GPUs of each run under Ray; may be a fraction.")]
MaxConcurrent = Annotated[int | None, typer.Option(help="Runs at the same time under Ray.")]
StorePlace = Annotated[
    str | None, typer.Option(help="Where stages are kept. Default: $MTBENCH_HOME or the user's cache folder.")
]
RecordsPlace = Annotated[
    str | None,
    typer.Option(help="Where records are written. Default: results; in a clone of mtbench results/local."),
]

# of verbs that read results
FinishedSuite = Annotated[
    str | None, typer.Option(help="Suite: a name, or NAME@VERSION; default: the only one with records, or kilt.")
]
FinishedProfile = Annotated[str, typer.Option(help="Profile of the runs.")]
Metric = Annotated[str | None, typer.Option(help="Metric; default: the suite's own.")]
Baseline = Annotated[str, typer.Option(help="Row that gains are measured against.")]
Results = Annotated[Path | None, typer.Option(help="Folder of the results. Default: results.")]
