"""What distinguishes two runs: the optimizer's setting, and everything else in the specification.

Runs that differ in anything but optimizer and seed are never averaged together; they become rows of their own that
name the difference.
"""

from __future__ import annotations

import json
import shlex
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from mtbench.config import LOGIT_SCALE, Config, build_config, late_defaults, load_profile, merge, profile_params
from mtbench.data.loading import carried_settings
from mtbench.errors import MtbenchError
from mtbench.records.record import BASELINES, RunSpec, RunSummary, optimizer_params
from mtbench.records.values import JsonObject, Params, Settings

Flat: TypeAlias = JsonObject
"""Settings by dotted keys: ``train.lr``."""

RunKind = Literal["optimizer", "baseline", "external"]

_NOT_VARIANT = frozenset({"optimizer", "seed", "suite", "suite_version", "profile", "limit", "protocol"})
_NOT_RETRIEVAL = _NOT_VARIANT | {"reader"}
"""What a reader does behind a retriever says nothing of the retriever; boards of answers have it among the settings."""


def kind_of(record: RunSummary) -> RunKind:
    """``baseline``, ``external`` or ``optimizer``."""
    if record.get("external"):
        return "external"
    return "baseline" if record["spec"]["optimizer"]["name"] in BASELINES else "optimizer"


def default_params(names: Iterable[str]) -> dict[str, Params]:
    """Name -> defaults of the registered optimizers ``names``, read from their sources (a table needs no torch).

    Empty for one that is not installed any more; a default that is not written as a literal is left out.
    """
    from mtbench.registry import entries

    try:
        known = entries("optimizer")
    except MtbenchError:  # a broken plugin must not hide the results of the others
        known = {}
    return {name: dict(known[name].defaults) if name in known else {} for name in names}


def changed_params(spec: RunSpec, defaults: Mapping[str, Params]) -> Params:
    """The hyperparameters that differ from the optimizer's defaults (``defaults``: name -> defaults)."""
    known = defaults.get(spec["optimizer"]["name"], {})
    return {k: v for k, v in sorted(optimizer_params(spec).items()) if k not in known or known[k] != v}


def variant_of(spec: RunSpec) -> Flat:
    """Everything in ``spec`` that must be equal for two runs to be comparable, flattened to dotted keys."""
    rest, config = _compared(spec)
    return flatten({**rest, **config})


def _compared(spec: RunSpec) -> tuple[JsonObject, JsonObject]:
    """The part of ``spec`` that belongs to the configuration, without and with its settings."""
    rest = {k: v for k, v in spec.items() if k not in _NOT_RETRIEVAL and k != "config"}
    config = {k: v for k, v in (spec.get("config") or {}).items() if k not in _NOT_VARIANT}
    return rest, config


class VariantKeys:
    """Gives a string that is equal for comparable runs.

    Ten thousand are asked for and few differ: comparing with the last ones is much cheaper than writing JSON anew.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[tuple[JsonObject, JsonObject], str]] = deque(maxlen=8)

    def __call__(self, spec: RunSpec) -> str:
        """The key of one specification."""
        parts = _compared(spec)
        for known, key in self._recent:
            if known == parts:
                return key
        key = json.dumps(parts, sort_keys=True)
        self._recent.appendleft((parts, key))
        return key


def flatten(value: JsonObject, prefix: str = "") -> Flat:
    """Nested dictionaries as one dictionary with dotted keys."""
    flat: Flat = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat.update(flatten(inner, name) if isinstance(inner, dict) else {name: inner})
    return flat


def describe_params(params: Params) -> str:
    """``tau=4, beta=0.9``; empty for no parameters."""
    return ", ".join(f"{k}={show_value(v)}" for k, v in params.items())


def rerun_command(spec: RunSpec) -> str:
    """The command that computes a run anew, with every setting in which it differs from its profile."""
    name = "naive" if spec["optimizer"]["name"] in BASELINES else spec["optimizer"]["name"]
    words = ["mtbench", "run", "--rerun", "all", "--optimizer", name, "--suite", spec["suite"]]
    words += ["--profile", spec["profile"], "--seeds", str(spec["seed"])]
    changed = changed_params(spec, default_params([name])) if name == spec["optimizer"]["name"] else {}
    settings = flatten(spec.get("config") or {})
    path = settings.pop("encoder.path", "tiny")
    try:
        if path != load_profile(spec["profile"]).get("encoder", {}).get("path", "tiny"):
            words += ["--encoder", path]
        profile = merge(load_profile(spec["profile"], path, _carried(spec["suite"])), {"encoder": {"path": path}})
        settings = _told_apart(settings, build_config(profile, "profile"))
        if name == spec["optimizer"]["name"]:
            usual = profile_params(spec["profile"], path, _carried(spec["suite"])).get(name, {})
            known = default_params([name])
            changed = changed_params(spec, {name: {**known[name], **usual}})
    except MtbenchError:  # a file that is not here
        words += [] if path == "tiny" else ["--encoder", path]
    for key, value in {**changed, **settings}.items():
        text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
        words += ["--set", f"{key}={text}"]
    if spec.get("limit") is not None:
        words += ["--limit", str(spec["limit"])]
    return shlex.join(words)


def _carried(suite: str) -> Settings:
    """What a registered suite carries; a folder is not known by its suite's name."""
    from mtbench.registry import entries

    return carried_settings(suite) if suite in entries("suite") else {}


def _told_apart(settings: Flat, usual: Config) -> Flat:
    """What has to be said so that ``usual`` becomes ``settings``, in which later settings are absent at default."""
    scale = LOGIT_SCALE if settings.get("encoder.normalize") else 1.0
    chosen = {**late_defaults(), "train.logit_scale": 1.0, **settings}
    known = {**flatten(usual.model_dump(mode="json")), "train.logit_scale": usual.train.logit_scale or scale}
    return {key: value for key, value in chosen.items() if known.get(key, value) != value}


def show_value(value: Any) -> str:
    """A setting as a user would type it: 2.0 as ``2``, a hash by its first characters."""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    is_hash = len(text) > 24 and ":" not in text  # numbers per task, such as nq:2,fever:0.5, are not
    return text[:12] + "…" if is_hash else text
