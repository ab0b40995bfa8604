"""What a run is: the request that a worker gets, and the specification that stands in the record.

A :class:`RunRequest` may name folders of this machine. Its :func:`specification` names content instead (hashes,
folder names), so that it is the same on every machine and can be committed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mtbench.config import Config, profile_file, profile_name
from mtbench.data.loading import suite_folder
from mtbench.data.rules import Rules, SuiteFacts
from mtbench.hyperparameters import hyperparameters
from mtbench.model.choices import Choice
from mtbench.pipeline.reader_spec import reader_content, specified_reader, study_content
from mtbench.records.record import BASELINES, EncoderSpec, OptimizerSpec, ProtocolSpec, RunSpec
from mtbench.records.values import JsonObject, Params, Settings
from mtbench.registry import get_optimizer
from mtbench.storage.places import expanded, for_libraries, settled
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
    tuned: JsonObject | None = None
    """How the settings were chosen, where ``mtbench tune`` chose them: stands in the specification as it is."""

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
    missing: tuple[str, ...] = ()
    """What is not here, each with the command that gets it; such a run can be planned and not be done."""

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
        """What of the reader matters to its answers, beside what it starts from."""
        return reader_content(self.config.reader, self.reader, self.optimizer["name"])

    @property
    def study_content(self) -> JsonObject:
        """What of the reader matters before it meets a retriever."""
        return study_content(self.config.reader, self.reader)

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
            found["reader"] = specified_reader(self.config.reader, self.reader, self.optimizer["name"])
        if self.request.tuned is not None:
            found["tuned"] = self.request.tuned
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
