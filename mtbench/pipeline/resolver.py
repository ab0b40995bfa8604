"""From requests to runs that have been looked up and checked; suites and encoders are read and hashed once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.config import Config, build_config, load_profile, merge, profile_name
from mtbench.data.declared import NOT_HERE, declared_suite, to_fetch
from mtbench.data.loading import carried_settings, load_suite, suite_fingerprint
from mtbench.data.rules import SuiteFacts, suite_facts
from mtbench.errors import ConfigError, DataError
from mtbench.hyperparameters import hyperparameters
from mtbench.model.source import EncoderSource, find_encoder
from mtbench.pipeline.method_params import checked_profile_params
from mtbench.pipeline.part import NO_PART, TrainedPart, settle_part
from mtbench.pipeline.reader_spec import settle_reader
from mtbench.pipeline.request import ResolvedRun, RunRequest, described, naive
from mtbench.pipeline.settling import Settled, settle, unread
from mtbench.pipeline.step_rules import step_warnings
from mtbench.protocols.spec import STARTS
from mtbench.protocols.tasks import ALL, tasks_text, trained_tasks
from mtbench.records.identity import run_id
from mtbench.records.record import BASELINES, OptimizerSpec
from mtbench.records.values import Params
from mtbench.registry import get_optimizer, lookup
from mtbench.storage.store import fingerprint
from mtbench.suite import Suite

if TYPE_CHECKING:
    from mtbench.registry import NamedOptimizer


class Resolver:
    """Resolves requests; suites and encoders are read and hashed once, however many runs use them."""

    def __init__(self, home: Path, raw: Path | None = None, declared: bool = False) -> None:
        """``declared``: where data or encoder are not here, what the suite declares stands in for them."""
        self._home, self._raw, self._declared = home, raw, declared
        self._suites: dict[tuple[str, str], tuple[Suite, str, SuiteFacts]] = {}
        self._encoders: dict[str, EncoderSource] = {}
        self._configs: dict[str, tuple[Config, frozenset[str]]] = {}
        self._settled: dict[str, Settled] = {}
        self._profile_params: dict[tuple[str, str, str | None], dict[str, Params]] = {}

    def resolve(self, request: RunRequest) -> ResolvedRun:
        """Look up and check everything; raises the errors of a user's mistake before any work is done."""
        config, given = self._configured(request)
        method = self._method(request)
        encoder = self._encoder(config.encoder.path)
        suite, key, facts = self._suite(request)
        if request.limit is not None and request.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {request.limit}")
        missing = [remedy] if (remedy := self._not_here(request)) else []
        if not encoder.is_here:
            named = f" --encoder {encoder.path}" if request.encoder is not None else ""
            remedy = f"mtbench prepare {request.suite} --profile {request.profile}{named}"
            if not self._declared:
                raise ConfigError(
                    f"encoder.path={encoder.path!r}: no such folder, and not fetched from the hub\n  Fetch it: {remedy}"
                )
            missing.append(f"the encoder {encoder.path}: {remedy}")
        settings, reader = settle_reader(
            config.reader, request.reader, request.optimizer, request.settings, self._encoder
        )
        config = config.model_copy(update={"reader": settings})
        if reader is not None and not reader.is_here:
            remedy = f"mtbench prepare {request.suite} --profile {request.profile} --reader {reader.path}"
            if not self._declared:
                raise ConfigError(
                    f"reader.path={reader.path!r}: no such folder, and not fetched from the hub\n  Fetch it: {remedy}"
                )
            missing.append(f"the reader {reader.path}: {remedy}")
        found = self._settle(config, encoder, suite, given)
        part = settle_part(found.config, suite, request.protocol, method is None)
        config, parent = _one_way(part.config, suite), self._parent(request, part)
        if parent is not None and config.train.start == "leave-one-out":
            optimizer = parent.optimizer
        else:
            optimizer = naive() if part.has_rule else _specification_of(request, method, suite, part.tasks)
        content = encoder.content
        if config.encoder.path == "tiny" and config.encoder.sharing != "shared":
            content = {**content, "towers": "copies"}  # until November 2026 each tower drew weights of its own
        return ResolvedRun(
            request,
            config,
            found.suite,
            key,
            content,
            optimizer,
            facts,
            trained=part.tasks,
            protocol=part.protocol,
            parent=parent,
            reader=None if reader is None else reader.content,
            parts=self._parts(request, part) if part.is_fused else (),
            choices=found.choices,
            warnings=(*found.warnings, *part.warnings, *facts.warnings(suite), *_of_steps(optimizer, config, part)),
            missing=tuple(missing),
        )

    def _parts(self, request: RunRequest, part: TrainedPart) -> tuple[ResolvedRun, ...]:
        """The runs on one task each whose models are fused."""
        found = []
        for task in part.tasks:
            settings = merge(request.settings, {"train": {"tasks": task, "fusion": "none"}})
            part_request = dataclasses.replace(request, settings=settings, protocol="per-task")
            found.append(self.resolve(part_request.without_reader()))
        return tuple(found)

    def _parent(self, request: RunRequest, part: TrainedPart) -> ResolvedRun | None:
        """The run that this one starts from, resolved; ConfigError where it cannot be one."""
        start = part.config.train.start
        if start in ("encoder", "warmup"):
            return None
        if start == "leave-one-out":
            over = {"train": {"tasks": f"-{part.tasks[0]}", "examples": None, "start": "encoder"}}
            settings = merge(request.settings, over)
            without = dataclasses.replace(request, settings=settings, protocol="leave-one-out", parent=None)
            return self.resolve(without.without_reader())
        if request.parent is None:
            raise ConfigError(f"train.start={start!r}: not {', '.join(STARTS)}, and no run of this id is known")
        parent = self.resolve(request.parent)
        if run_id(parent.specification) != start:
            raise ConfigError(
                f"train.start={start}: that run was made with another version of the suite, the encoder or mtbench: "
                f"today its settings are those of {run_id(parent.specification)}\n  Start from a run of today."
            )
        return parent

    def _settle(self, config: Config, encoder: EncoderSource, suite: Suite, given: frozenset[str]) -> Settled:
        """Once for all runs that differ in nothing that an encoder sees: the part of the tasks is none of it."""
        settings = config.encoder.model_copy(update={"path": encoder.path})
        part = {name: getattr(config.train, name) for name in NO_PART}
        neutral = config.train.model_copy(update=NO_PART)
        config = config.model_copy(update={"encoder": settings, "train": neutral})
        given -= {f"train.{name}" for name in NO_PART}
        kind = fingerprint([config.model_dump(mode="json"), sorted(given), suite.determinants])
        if not encoder.is_here:  # nothing is known of it
            return unread(config.model_copy(update={"train": config.train.model_copy(update=part)}), suite, given)
        if kind not in self._settled:
            self._settled[kind] = settle(config, suite, given)
        found = self._settled[kind]
        if found.suite.root != suite.root:  # the suite's folder is no determinant
            found = settle(config, suite, given)
        train = found.config.train.model_copy(update=part)
        return dataclasses.replace(found, config=found.config.model_copy(update={"train": train}))

    def config(self, request: RunRequest) -> Config:
        """The settings of the request's profile with those of the request laid over, checked."""
        return self._configured(request)[0]

    def suite(self, request: RunRequest) -> Suite:
        """The suite of the request, read and checked."""
        return self._suite(request)[0]

    def _configured(self, request: RunRequest) -> tuple[Config, frozenset[str]]:
        """The settings, and which of them profile and request name, as ``section.key``."""
        over = dict(request.settings)
        if request.encoder is not None:
            over = merge(over, {"encoder": {"path": request.encoder}})
        cache_key = json.dumps([request.suite, request.profile, over], sort_keys=True)
        if cache_key not in self._configs:
            path = over.get("encoder", {}).get("path")
            carried = carried_settings(request.suite)
            profile = load_profile(request.profile, path if isinstance(path, str) else None, carried)
            values = merge(profile, over)
            try:
                config = build_config(values, "--set")
            except ConfigError:
                build_config(profile, f"profile {request.profile}")  # the profile's own mistake is named as such
                raise
            start = config.train.start_episode
            if isinstance(start, int) and start > config.train.episodes:
                raise ConfigError(f"train.start_episode={start} but there are {config.train.episodes} episodes")
            given = frozenset(f"{section}.{key}" for section, own in values.items() for key in own)
            self._configs[cache_key] = config, given
        return self._configs[cache_key]

    def _encoder(self, path: str, setting: str = "encoder.path") -> EncoderSource:
        if path not in self._encoders:
            self._encoders[path] = find_encoder(path, setting)
        return self._encoders[path]

    def _suite(self, request: RunRequest) -> tuple[Suite, str, SuiteFacts]:
        profile = profile_name(request.profile)
        if (request.suite, profile) not in self._suites:
            self._suites[request.suite, profile] = self._read_suite(request)
        return self._suites[request.suite, profile]

    def _read_suite(self, request: RunRequest) -> tuple[Suite, str, SuiteFacts]:
        try:
            suite = load_suite(request.suite, request.profile, raw=self._raw, home=self._home)
        except DataError:
            found = declared_suite(request.suite, request.profile) if self._declared else None
            if found is None:
                raise
            return found[0], f"{NOT_HERE}: {found[0].label} {request.profile}", found[1]
        key = suite_fingerprint(suite, self._home)
        return suite, key, suite_facts(suite, key, self._home)

    def _not_here(self, request: RunRequest) -> str:
        """What to say of a suite whose data are not here; empty where they are."""
        if not self._suite(request)[1].startswith(NOT_HERE):
            return ""
        command = f"mtbench prepare {request.suite} --profile {request.profile}"
        return f"the data of suite {request.suite} ({to_fetch(request.suite)}): {command}"

    def _method(self, request: RunRequest) -> NamedOptimizer | None:
        """The optimizer with its hyperparameters, checked; None for a baseline."""
        if request.optimizer in BASELINES:
            return None
        cls = get_optimizer(request.optimizer)
        unknown = set(request.params) - set(hyperparameters(cls))
        if unknown:
            known = ", ".join(hyperparameters(cls))
            raise ConfigError(f"{request.optimizer} has no hyperparameter {sorted(unknown)[0]!r}; it has: {known}")
        return cls(**{**self._params(request).get(request.optimizer, {}), **request.params})

    def _params(self, request: RunRequest) -> dict[str, Params]:
        """The hyperparameters, by method, that the request's profile and its suite set."""
        own = request.settings.get("encoder", {}).get("path")
        path = request.encoder if request.encoder is not None else own if isinstance(own, str) else None
        key = (request.suite, request.profile, path)
        if key not in self._profile_params:
            carried = carried_settings(request.suite)
            self._profile_params[key] = checked_profile_params(request.profile, path, carried)
        return self._profile_params[key]


def _specification_of(
    request: RunRequest, method: NamedOptimizer | None, suite: Suite, tasks: tuple[str, ...]
) -> OptimizerSpec:
    """Name and hyperparameters; a number per task by the names of the suite's tasks, of which ``tasks`` are trained,
    however it was written."""
    if method is None:
        return {"name": request.optimizer, "params": {}}
    resolved, names = described(method), [task.name for task in suite.tasks]
    params = resolved["params"]
    for field_name, declared in hyperparameters(type(method)).items():
        if declared.per_task:
            params[field_name] = declared.by_task(params[field_name], names, request.optimizer, suite.weights, tasks)
    entry = lookup("optimizer", request.optimizer)
    if not entry.builtin:
        resolved["source"] = entry.source_hash()
    return resolved


def _of_steps(optimizer: OptimizerSpec, config: Config, part: TrainedPart) -> list[tuple[str, str]]:
    """What the settings of a step do to the method."""
    if optimizer["name"] in BASELINES:
        return []
    return step_warnings(get_optimizer(optimizer["name"]), config.train, len(part.tasks))


def _one_way(config: Config, suite: Suite) -> Config:
    """``negatives.tasks`` as specifications write it; ``all`` where nothing is mined."""
    negatives = config.negatives
    if negatives.tasks == ALL:
        return config
    text = tasks_text(trained_tasks(negatives.tasks, suite, "negatives.tasks"), suite)
    text = ALL if negatives.sources == "bm25" else text
    return config.model_copy(update={"negatives": negatives.model_copy(update={"tasks": text})})
