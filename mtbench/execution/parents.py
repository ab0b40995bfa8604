"""The run that another one starts from, by its id: found among the records and asked for again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mtbench.config import Config, profile_name
from mtbench.errors import ConfigError
from mtbench.pipeline.request import RunRequest
from mtbench.protocols.spec import STARTS
from mtbench.records.files import load_records
from mtbench.records.record import BASELINES, RunSpec, optimizer_params
from mtbench.records.values import Settings


def with_parent(request: RunRequest, config: Config, results: Path) -> RunRequest:
    """``request`` with the request of the run whose id ``config.train.start`` is, and so on for what that one starts
    from. ConfigError if no record has the id, or its run is none that this one could start from."""
    start = config.train.start
    if start in STARTS or request.parent is not None or request.optimizer in BASELINES:
        return request
    found = [i.record for i in load_records(results, summary=True) if i.usable and i.record["run_id"] == start]
    if not found:
        raise ConfigError(
            f"train.start={start!r}: not {', '.join(STARTS)}, and no record below {results} has this run id\n"
            "  Run ids: mtbench ls runs"
        )
    parent = _again(found[0]["spec"], request, config)
    return dataclasses.replace(request, parent=_with_own_parent(parent, results))


def _with_own_parent(parent: RunRequest, results: Path) -> RunRequest:
    start = parent.settings.get("train", {}).get("start", "encoder")
    if start in STARTS:
        return parent
    settings = Config.model_validate({"train": {"start": start}})
    return with_parent(parent, settings, results)


def _again(spec: RunSpec, request: RunRequest, config: Config) -> RunRequest:
    """The request whose run has ``spec``, on this machine's suite and encoder."""
    name = spec["optimizer"]["name"]
    if name in BASELINES:
        raise ConfigError(f"train.start={config.train.start}: a row of {name} has no trained model")
    settings: Settings = {section: dict(values) for section, values in spec["config"].items()}
    settings["encoder"].pop("path", None)
    protocol = spec.get("protocol")
    same_profile = profile_name(request.profile) == spec["profile"]
    return RunRequest(
        name,
        request.suite,
        profile=request.profile if same_profile else spec["profile"],
        seed=spec["seed"],
        params=optimizer_params(spec),
        settings=settings,
        encoder=config.encoder.path,
        limit=spec["limit"],
        plugins=request.plugins,
        protocol=None if protocol is None or protocol["name"] == "subset" else protocol["name"],
    )
