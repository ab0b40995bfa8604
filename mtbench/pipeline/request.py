"""What a run is: the request that a worker gets, and the specification that stands in the record.

A :class:`RunRequest` may name folders of this machine. Its :func:`specification` names content instead (hashes,
folder names), so that it is the same on every machine and can be committed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.config import Config, build_config, load_profile, merge, profile_file, profile_name
from mtbench.data.loading import carried_settings, load_suite, suite_fingerprint, suite_folder
from mtbench.data.rules import Rules, SuiteFacts, suite_facts
from mtbench.errors import ConfigError
from mtbench.hyperparameters import hyperparameters
from mtbench.model.choices import Choice
from mtbench.model.source import EncoderSource, find_encoder
from mtbench.pipeline.part import NO_PART, TrainedPart, settle_part
from mtbench.pipeline.reader_spec import reader_content, settle_reader
from mtbench.pipeline.settling import Settled, settle
from mtbench.pipeline.step_rules import step_warnings
from mtbench.protocols.spec import STARTS
from mtbench.records.identity import run_id
from mtbench.records.record import BASELINES, EncoderSpec, OptimizerSpec, ProtocolSpec, RunSpec
from mtbench.records.values import JsonObject, Params, Settings
from mtbench.registry import get_optimizer, lookup
from mtbench.storage.places import expanded, for_libraries, settled
from mtbench.storage.store import fingerprint
from mtbench.suite import Suite

if TYPE_CHECKING:
    from mtbench.registry import NamedOptimizer


@dataclass(frozen=True)
class RunRequest:
    """One combination of optimizer, suite and seed; plain values that survive JSON."""

    optimizer: str
    suite: str
    profile: str = "mini"
    seed: int = 0
    params: Params = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    """Settings of the pipeline laid over the profile."""
    encoder: str | None = None
    limit: int | None = None
    plugins: tuple[str, ...] = ()
    protocol: str | None = None
    """The protocol that the run was made for; None: what ``train.tasks`` says."""
    parent: RunRequest | None = None
    """The run whose id is ``train.start``, as whoever plans the run has found it among the records."""
    reader: bool = False
    """Whether a reader answers from what is retrieved."""

    def without_reader(self) -> RunRequest:
        """The same for a run behind or beside one with a reader."""
        kept = {section: values for section, values in self.settings.items() if section != "reader"}
        return dataclasses.replace(self, settings=kept, reader=False)

    def settled(self) -> RunRequest:
        """The same with absolute places, for a process that works in another folder."""
        folder, profile, encoder = suite_folder(self.suite), profile_file(self.profile), self.encoder
        named = self.settings.get("encoder", {}).get("path") if encoder is None else encoder
        # "" is no place, and the tiny encoder is not a folder that happens to be called so
        if isinstance(named, str) and named not in ("", "tiny") and expanded(named).is_dir():
            encoder = settled(for_libraries(expanded(named), "the encoder"))
        return dataclasses.replace(
            self,
            suite=self.suite if folder is None else settled(folder),
            profile=self.profile if profile is None else str(profile),
            encoder=encoder,
            plugins=tuple(settled(file) for file in self.plugins),
            parent=None if self.parent is None else self.parent.settled(),
        )

    def to_json(self) -> str:
        """For a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunRequest:
        """From :meth:`to_json`."""
        return cls._from_values(json.loads(text))

    @classmethod
    def _from_values(cls, values: JsonObject) -> RunRequest:
        parent = values["parent"]
        known = {"plugins": tuple(values["plugins"]), "parent": parent and cls._from_values(parent)}
        return cls(**{**values, **known})


@dataclass
class ResolvedRun:
    """A request whose names have been looked up and whose values have been checked."""

    request: RunRequest
    config: Config
    suite: Suite
    suite_key: str
    encoder: EncoderSpec
    optimizer: OptimizerSpec
    """``name``, ``params`` and, for a plugin, ``source``; the name alone for a baseline."""
    facts: SuiteFacts
    """What was counted in the suite's raw files."""
    trained: tuple[str, ...] = ()
    """The tasks that are trained on, in the suite's order."""
    protocol: ProtocolSpec | None = None
    """What the run is about, where it does not train on all tasks and serve all."""
    parent: ResolvedRun | None = None
    """The run from whose model this one starts, where it starts from one."""
    reader: EncoderSpec | None = None
    """The reader by content, where the run has one."""
    parts: tuple[ResolvedRun, ...] = ()
    """The runs on one task each whose models this one is made of, where it is made of some."""
    choices: tuple[Choice, ...] = ()
    """What mtbench chose because the user did not."""
    warnings: tuple[tuple[str, str], ...] = ()
    """Code and message of what was seen before any work."""

    @property
    def served(self) -> tuple[str, ...]:
        """The tasks whose figures the run is there for."""
        if self.protocol is None or self.parts:
            return tuple(task.name for task in self.suite.tasks)
        return self.trained if self.protocol["task"] is None else (self.protocol["task"],)

    @property
    def rules(self) -> Rules:
        """The rules that the suite's data call for; empty for most suites."""
        return self.facts.rules(self.suite, self.suite_key)

    @cached_property
    def specified_optimizer(self) -> OptimizerSpec:
        """``optimizer`` as specifications and fingerprints have it: without what came later and has its default."""
        return specified(self.optimizer)

    @property
    def combining(self) -> OptimizerSpec:
        """What acts while this run trains, as fingerprints have it: naive where one task alone is trained on."""
        alone = self.protocol is not None and len(self.trained) == 1
        return naive_optimizer() if alone else self.specified_optimizer

    @property
    def reader_content(self) -> JsonObject:
        """What of the reader matters to its answers."""
        return reader_content(self.config.reader, self.reader, self.optimizer["name"])

    @property
    def specification(self) -> RunSpec:
        """Everything that determines the run, without a place."""
        config = self.config.content(exclude={"analyze", "reader"})
        config["encoder"]["path"] = self.encoder["name"]
        found: RunSpec = {
            "optimizer": self.specified_optimizer,
            "suite": self.suite.name,
            "suite_version": self.suite.version,
            "suite_fingerprint": self.suite_key,
            "profile": profile_name(self.request.profile),
            "seed": self.request.seed,
            "encoder": self.encoder,
            "config": config,
            "limit": self.request.limit,
        }
        if self.protocol is not None:
            found["protocol"] = self.protocol
        if self.reader is not None:
            found["reader"] = self.reader_content
        return {**found, "rules": self.rules} if self.rules else found


def described(method: NamedOptimizer) -> OptimizerSpec:
    """Name, hyperparameters and, above 1, version of a method."""
    found: OptimizerSpec = {"name": method.name, "params": method.params}
    version = method.version_used()
    return {**found, "version": version} if version > 1 else found


def specified(optimizer: OptimizerSpec) -> OptimizerSpec:
    """``optimizer`` without hyperparameters that came later than schema 1 and have their default."""
    if optimizer["name"] in BASELINES:
        return optimizer
    declared = hyperparameters(get_optimizer(optimizer["name"]))
    kept = {n: v for n, v in optimizer["params"].items() if not (declared[n].late and v == declared[n].default)}
    return {**optimizer, "params": kept}


def naive_optimizer() -> OptimizerSpec:
    """What every run combines with before its own optimizer acts, as fingerprints have it: naive by its defaults."""
    return specified(naive())


def naive() -> OptimizerSpec:
    """Naive by its defaults, with all of them."""
    return described(get_optimizer("naive")())


def _of_steps(optimizer: OptimizerSpec, config: Config, part: TrainedPart) -> list[tuple[str, str]]:
    """What the settings of a step do to the method."""
    if optimizer["name"] in BASELINES:
        return []
    return step_warnings(get_optimizer(optimizer["name"]), config.train, len(part.tasks))


class Resolver:
    """Resolves requests; suites and encoders are read and hashed once, however many runs use them."""

    def __init__(self, home: Path, raw: Path | None = None) -> None:
        self._home, self._raw = home, raw
        self._suites: dict[tuple[str, str], tuple[Suite, str, SuiteFacts]] = {}
        self._encoders: dict[str, EncoderSource] = {}
        self._configs: dict[str, tuple[Config, frozenset[str]]] = {}
        self._settled: dict[str, Settled] = {}

    def resolve(self, request: RunRequest) -> ResolvedRun:
        """Look up and check everything; raises the errors of a user's mistake before any work is done."""
        config, given = self._configured(request)
        method = self._method(request)
        encoder = self._encoder(config.encoder.path)
        suite, key, facts = self._suite(request)
        if request.limit is not None and request.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {request.limit}")
        if not encoder.is_here:
            named = f" --encoder {encoder.path}" if request.encoder is not None else ""
            raise ConfigError(
                f"encoder.path={encoder.path!r}: no such folder, and not fetched from the hub\n"
                f"  Fetch it: mtbench prepare {request.suite} --profile {request.profile}{named}"
            )
        settings, reader = settle_reader(
            config.reader, request.reader, request.optimizer, request.settings, self._encoder
        )
        config = config.model_copy(update={"reader": settings})
        found = self._settle(config, encoder, suite, given)
        part = settle_part(found.config, suite, request.protocol, method is None)
        config, parent = part.config, self._parent(request, part)
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
            reader=reader,
            parts=self._parts(request, part) if part.is_fused else (),
            choices=found.choices,
            warnings=(*found.warnings, *part.warnings, *facts.warnings(suite), *_of_steps(optimizer, config, part)),
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
            suite = load_suite(request.suite, request.profile, raw=self._raw, home=self._home)
            key = suite_fingerprint(suite, self._home)
            self._suites[request.suite, profile] = suite, key, suite_facts(suite, key, self._home)
        return self._suites[request.suite, profile]

    def _method(self, request: RunRequest) -> NamedOptimizer | None:
        """The optimizer with its hyperparameters, checked; None for a baseline."""
        if request.optimizer in BASELINES:
            return None
        cls = get_optimizer(request.optimizer)
        unknown = set(request.params) - set(hyperparameters(cls))
        if unknown:
            known = ", ".join(hyperparameters(cls))
            raise ConfigError(f"{request.optimizer} has no hyperparameter {sorted(unknown)[0]!r}; it has: {known}")
        return cls(**request.params)


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
