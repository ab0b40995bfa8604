"""mtbench ls: what there is. Names are read from source, nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtbench.cli import common
from mtbench.cli.options import Json, Plugins
from mtbench.errors import UsageError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mtbench.records.record import RunRecord

KINDS = ("optimizers", "suites", "runs", "profiles", "protocols", "settings")

SORTS = ("name", "date", "score")
STATUSES = ("complete", "failed", "interrupted", "running")
_COST_CLASSES = ("losses", "norms", "gram", "elementwise")
"""What a method asks of a step, cheapest first."""


def command(
    what: Annotated[
        str, typer.Argument(help="optimizers, suites, runs, profiles, protocols or settings.")
    ] = "optimizers",
    results: Annotated[Path | None, typer.Option(help="Where records stand (for runs); default: results.")] = None,
    suite: Annotated[str | None, typer.Option(help="Of runs: on this suite alone, NAME or NAME@VERSION.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Of runs: of this method alone.")] = None,
    status: Annotated[str | None, typer.Option(help="Of runs: complete, failed, interrupted or running.")] = None,
    sort: Annotated[str, typer.Option(help="Of runs: name, date (latest last) or score (best last).")] = "name",
    profile: Annotated[str | None, typer.Option(help="Of settings: their values in this profile.")] = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """List optimizers, suites, runs, profiles, protocols or settings."""
    if what not in KINDS:
        raise UsageError(f"ls {what!r}: choose {', '.join(KINDS)}")
    if what == "runs":
        rows = _runs(results, RunFilter(suite, optimizer, status, sort))
    else:
        rows = _settings(profile) if what == "settings" else _static(what, plugin or [])
    if json:
        common.emit_json({what: rows})
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        cost = f"{row['cost'] or '?':<{len('elementwise')}}  " if "cost" in row else ""
        typer.echo(f"{row['name']:<{width}}  {cost}{row['summary']}")
    if not rows:
        typer.echo(f"no {what}", err=True)


def _static(what: str, plugin: list[str]) -> list[dict[str, str]]:
    if what == "profiles":
        return _profiles()
    if what == "protocols":
        from mtbench.protocols.catalogue import PROTOCOLS

        return [{"name": name, "summary": protocol.summary} for name, protocol in PROTOCOLS.items()]
    from mtbench.registry import Kind, add_plugin_files, entries

    add_plugin_files(plugin)
    kind: Kind = "optimizer" if what == "optimizers" else "suite"
    found = entries(kind)
    rows = [{"name": name, "summary": found[name].summary, "file": found[name].place} for name in sorted(found)]
    if kind == "suite":
        return rows + _folder_suites(set(found))
    costed = [{**row, "cost": found[row["name"]].cost} for row in rows]
    places = {name: place for place, name in enumerate(_COST_CLASSES)}
    return sorted(costed, key=lambda row: places.get(row["cost"], len(places)))


def _folder_suites(taken: set[str]) -> list[dict[str, str]]:
    """Folders with a suite.toml in the working directory, which other verbs take by their names."""
    import tomllib

    rows = []
    for file in sorted(Path().glob("*/suite.toml")):
        try:
            declared = tomllib.loads(file.read_text(encoding="utf-8"))
            told = f"folder: suite {declared.get('name')!r}, {len(declared.get('task', []))} tasks"
        except (ValueError, OSError) as error:
            told = f"folder: suite.toml cannot be read ({str(error).splitlines()[0]})"
        name = file.parent.name if file.parent.name not in taken else f"./{file.parent.name}"
        rows.append({"name": name, "summary": told, "file": str(file.parent)})
    return rows


def _profiles() -> list[dict[str, str]]:
    from mtbench.config import PROFILE_FOLDER, profiles

    first = {n: (PROFILE_FOLDER / f"{n}.toml").read_text(encoding="utf-8").split("\n")[0] for n in profiles()}
    return [{"name": name, "summary": line.lstrip("# ")} for name, line in first.items()]


def _settings(profile: str | None) -> list[dict[str, str]]:
    from mtbench.config import Config, profile_settings

    rows, chosen = [], profile_settings(profile) if profile is not None else {}
    for section, outer in Config.model_fields.items():
        assert outer.annotation is not None
        for key, inner in outer.annotation.model_fields.items():
            told = [f"default {inner.default!r}", _allowed(inner), inner.description]
            if f"{section}.{key}" in chosen:
                told.insert(0, f"{profile}: {chosen[f'{section}.{key}']!r}")
            rows.append({"name": f"{section}.{key}", "summary": "; ".join(text for text in told if text)})
    return rows


def _allowed(field: FieldInfo) -> str:
    """The words and the bounds that a setting has, in a few characters."""
    from typing import Literal, get_args, get_origin

    kinds = (field.annotation, *get_args(field.annotation))
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if words and int in kinds:
        words.insert(0, "a whole number")
    elif float in kinds and words:
        words.insert(0, "a number")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [f"{signs[n]} {getattr(m, n):g}" for m in field.metadata for n in signs if hasattr(m, n)]
    return ", ".join([" | ".join(words), *bounds] if words else bounds)


@dataclass(frozen=True)
class RunFilter:
    """Which runs are listed, and in which order. UsageError for a word that is none of them."""

    suite: str | None = None
    optimizer: str | None = None
    status: str | None = None
    sort: str = "name"

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise UsageError(f"--sort {self.sort}: choose {', '.join(SORTS)}")
        if self.status is not None and self.status not in STATUSES:
            raise UsageError(f"--status {self.status}: choose {', '.join(STATUSES)}")

    def takes(self, record: RunRecord) -> bool:
        """Whether a record is listed; its suite has been chosen before."""
        by_method = self.optimizer in (None, record["spec"]["optimizer"]["name"])
        return by_method and self.status in (None, record["status"])


def _runs(results: Path | None, wanted: RunFilter) -> list[dict[str, str]]:
    from mtbench.protocols.labels import run_label
    from mtbench.records.files import load_records
    from mtbench.report.settings import changed_params, default_params, describe_params
    from mtbench.storage.places import committed_results

    rows, found = [], load_records(results or committed_results(), suite=wanted.suite, summary=True)
    if wanted.sort == "date":
        found.sort(key=lambda item: str(item.record.get("finished") or ""))
    elif wanted.sort == "score":
        found.sort(key=lambda item: item.record.get("average", -1.0) if item.usable else -2.0)
    defaults = default_params({r.record["spec"]["optimizer"]["name"] for r in found if not r.problem})
    for loaded in found:
        record = loaded.record
        if loaded.problem:
            rows.append({"name": loaded.path.stem, "summary": f"{loaded.kind}: {loaded.problem}"})
            continue
        if not wanted.takes(record):
            continue
        spec, average = record["spec"], record.get("average")
        score = "-" if average is None else f"{100 * average:.2f}"
        place = f"{spec['suite']}@{spec.get('suite_version', '?')} {spec['profile']} seed {spec['seed']}"
        changed = describe_params(changed_params(spec, defaults))
        if "protocol" in spec:
            changed = f"{run_label(spec['protocol'], spec['optimizer']['name'])} {changed}".strip()
        date = str(record.get("finished") or "")[:10]
        text = f"{record['status']:<11} {score:>6}  {date:10}  {place}" + (f"  {changed}" if changed else "")
        rows.append({"name": record["run_id"], "summary": text})
    return rows
