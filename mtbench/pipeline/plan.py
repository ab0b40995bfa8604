"""The stages of a run as a graph: what each depends on, its fingerprint, and what it computes.

A stage's fingerprint is the hash of its inputs' fingerprints and of the part of the configuration that matters to it,
and of nothing else. Runs that agree on these share the stage. Before ``start_episode`` the combination is naive for
every optimizer, so that all of them, and every tau and beta, share the warm-up and the episodes before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mtbench.config import TrainConfig
from mtbench.data.rules import rules_of_stage
from mtbench.errors import ConfigError
from mtbench.pipeline.request import ResolvedRun, naive_optimizer
from mtbench.records.record import READERS, OptimizerSpec
from mtbench.records.values import JsonObject
from mtbench.registry import get_optimizer
from mtbench.storage.store import fingerprint

VERSIONS = {
    "prepare": 1,
    "bm25": 1,
    "warmup": 1,
    "train": 1,
    "encode": 1,
    "mine": 1,
    "evaluate": 2,
    "analyze": 2,
    "fuse": 1,
    "answers": 1,
    "retrieve": 1,
    "study": 1,
    "read": 1,
}
"""Raised when a stage computes something else from the same inputs."""
STAGES = tuple(VERSIONS)


LENGTHS = frozenset({"warmup_lr", "warmup_epochs", "warmup_steps", "lr", "epochs", "steps"})
NOT_OF_A_STAGE = LENGTHS | {"episodes", "start_episode", "start", "fusion"}
"""Settings of training that reach a stage in another form: its length, its method, its inputs."""
PART = frozenset({"tasks", "examples", "budget"})
"""Settings of training that choose a part of the data."""


@dataclass(frozen=True)
class Stage:
    """One node: its name, episode, what determines it, and the stages it reads."""

    name: str
    episode: int | None
    settings: JsonObject
    inputs: dict[str, Stage] = field(default_factory=dict)
    owner: ResolvedRun | None = field(default=None, compare=False, repr=False)
    """The run by whose settings it is computed; a run that starts from another one has stages of both."""

    @property
    def content(self) -> JsonObject:
        """What the fingerprint is made of; stands in the manifest."""
        return {
            "stage": self.name,
            "version": VERSIONS[self.name],
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
            "settings": self.settings,
        }

    @cached_property
    def key(self) -> str:
        """The fingerprint."""
        return fingerprint(self.content)

    @property
    def label(self) -> str:
        """Name and episode, for people."""
        return self.name if self.episode is None else f"{self.name} {self.episode}"

    def __hash__(self) -> int:
        return hash((self.name, self.key))


@dataclass(frozen=True)
class Plan:
    """A run's stages in the order in which they can be computed; ``final`` scores the finished model."""

    run: ResolvedRun
    stages: tuple[Stage, ...]
    final: Stage
    evaluations: tuple[Stage, ...]
    """After the warm-up and after each episode."""
    reading: Stage | None = None
    """Answers from what ``final`` ranks, where the run has a reader."""

    @property
    def ends(self) -> tuple[Stage, ...]:
        """The stages without which the run is not whole."""
        return (self.final,) if self.reading is None else (self.final, self.reading)

    def until(self, name: str | None) -> tuple[Stage, ...]:
        """The stages up to and including the last one called ``name`` (all for None)."""
        if name is None:
            return tuple(s for s in self.stages if s.name != "analyze")
        places = [i for i, s in enumerate(self.stages) if s.name == name]
        return self.stages[: places[-1] + 1] if places else self.stages


def make_plan(run: ResolvedRun) -> Plan:
    """The plan of one run, or of a baseline row (``bm25``, ``untrained``)."""
    builder = _Builder(run)
    if run.optimizer["name"] in READERS:
        return builder.reader_row()
    if run.optimizer["name"] == "bm25":
        return builder.bm25_row()
    if run.optimizer["name"] == "untrained":
        return builder.untrained_row()
    if run.parts:
        return builder.fused([make_plan(part) for part in run.parts])
    return builder.full() if run.parent is None else builder.from_parent(make_plan(run.parent))


class _Builder:
    def __init__(self, run: ResolvedRun) -> None:
        self.run, self.config = run, run.config
        self.stages: list[Stage] = []
        self.prepare = self._add("prepare", None, self._prepare_settings())

    def _add(self, name: str, episode: int | None, settings: JsonObject, **inputs: Stage) -> Stage:
        rules = rules_of_stage(self.run.rules, name)
        stage = Stage(name, episode, {**settings, "rules": rules} if rules else settings, inputs, self.run)
        self.stages.append(stage)
        return stage

    def _prepare_settings(self) -> JsonObject:
        data = self.config.data.content(exclude={"selection_queries"})
        tiny = self.config.encoder.path == "tiny"
        tokenizer = {"trained": self.config.encoder.vocabulary} if tiny else self.run.encoder
        limit = self.config.encoder.max_length
        return {
            "suite": self.run.suite_key,
            "tokenizer": tokenizer,
            "data": data,
            "limit": self.run.request.limit,
            **({} if limit is None else {"max_length": limit}),
        }

    def _encoder_settings(self) -> JsonObject:
        # lengths are those of the prepared texts
        settings = self.config.encoder.content(exclude={"path", "max_length"})
        if self.config.encoder.path != "tiny":
            for field_name in ("hidden", "layers", "feed_forward", "heads", "vocabulary"):
                del settings[field_name]
        return {**settings, "content": self.run.encoder}

    def _unsplit(self) -> JsonObject:
        """The encoder of a warm-up after which it becomes several: one, as in a run with ``encoder.sharing=shared``."""
        settings = {**self._encoder_settings(), "sharing": "shared"}
        del settings["split_after"]
        settings["content"] = {k: v for k, v in self.run.encoder.items() if k != "towers"}
        return settings

    def _bm25(self) -> Stage:
        negatives = self.config.negatives.content(exclude={"sampling", "sources", "tasks"})
        settings = {"bm25": self.config.bm25.content(), "negatives": negatives}
        return self._add("bm25", None, settings, prepare=self.prepare, **self._excluded())

    def _answers(self) -> Stage:
        found = next((stage for stage in self.stages if stage.name == "answers"), None)
        return found or self._add("answers", None, {}, prepare=self.prepare)

    def _excluded(self) -> dict[str, Stage]:
        """What mining needs beside rankings."""
        return {"answers": self._answers()} if self.config.negatives.exclude == "answer" else {}

    def _mined(self, episode: int, bm25: Stage, encoded: Stage) -> Stage:
        """The stage whose negatives an episode trains on."""
        negatives = self.config.negatives
        if negatives.sources == "bm25":
            return bm25
        both = negatives.sources == "bm25+model" or negatives.tasks != "all"
        inputs = {**({"bm25": bm25} if both else {}), **self._excluded()}
        return self._add("mine", episode, self._mine_settings(), prepare=self.prepare, source=encoded, **inputs)

    def _encode(self, episode: int | None, model: JsonObject | Stage) -> Stage:
        search = self.config.search.content(include={"shard_size", "encode_tokens"})
        if isinstance(model, Stage):
            return self._add("encode", episode, search, prepare=self.prepare, model=model)
        return self._add("encode", episode, {**search, "initial": model}, prepare=self.prepare)

    def _evaluate(self, episode: int | None, source: Stage) -> Stage:
        settings = {
            "search": self.config.search.content(include={"backend", "depth"}),
            "selection_queries": self.config.data.selection_queries,
        }
        return self._add("evaluate", episode, settings, prepare=self.prepare, source=source)

    def bm25_row(self) -> Plan:
        source = self._bm25()
        final = self._evaluate(None, source)
        reading = None if self.run.reader is None else self._read(source, final)
        return Plan(self.run, tuple(self.stages), final, (), reading)

    def reader_row(self) -> Plan:
        """Answers from the relevant passages, or from none."""
        reading = self._read(None, None)
        return Plan(self.run, tuple(self.stages), reading, (), reading)

    def _read(self, source: Stage | None, evaluated: Stage | None) -> Stage:
        """The reader behind ``source``, a ranking of BM25 or vectors of a model, whose dev rankings are ``evaluated``;
        without it the reader of a row that retrieves nothing."""
        reader, seed = self.config.reader, self.run.request.seed
        inputs = {"prepare": self.prepare, "answers": self._answers()}
        common: JsonObject = {"seed": seed, "selection_queries": self.config.data.selection_queries}
        if reader.start_steps:
            first = {"reader": self.run.study_content, **common, "passages_of": "gold"}
            inputs["start"] = self._add("study", None, first, **inputs)
        settings: JsonObject = {"reader": self.run.reader_content, **common}
        if len(self.run.served) != len(self.run.suite.tasks):
            settings["tasks"] = list(self.run.served)
        if source is not None and evaluated is not None:
            chosen = {"depth": reader.passages, "search": self.config.search.content(include={"backend"})}
            inputs["passages"] = self._add("retrieve", None, chosen, prepare=self.prepare, source=source)
            inputs["ranked"] = evaluated
        else:
            settings["passages_of"] = self.run.optimizer["name"]
        return self._add("read", None, settings, **inputs)

    def untrained_row(self) -> Plan:
        initial = {"encoder": self._encoder_settings(), "seed": self._initial_seed()}
        final = self._evaluate(None, self._encode(None, initial))
        return Plan(self.run, tuple(self.stages), final, ())

    def _initial_seed(self) -> int | None:
        """Pre-trained weights do not depend on the run's seed."""
        return self.run.request.seed if self.config.encoder.path == "tiny" else None

    def full(self) -> Plan:
        config = self.config
        bm25 = self._bm25()
        first = config.first_acting_episode
        before, acting = naive_optimizer(), self.run.combining
        shared = config.train.start == "warmup"
        settings = self._train_settings(0, acting if first == 0 else before, PART if shared else ())
        splits = config.encoder.split_after == "warmup"
        settings["encoder"] = self._unsplit() if splits else self._encoder_settings()
        model = self._add("warmup", 0, settings, prepare=self.prepare, negatives=bm25)
        encoded = self._encode(0, model)
        evaluations = [self._evaluate(0, encoded)]
        for episode in range(1, config.train.episodes + 1):
            mined = self._mined(episode, bm25, encoded)
            settings = self._train_settings(episode, acting if episode >= first else before)
            if splits and episode == 1:
                settings["split"] = config.encoder.sharing
            before_it = {"model": model}
            if config.train.restart:
                settings["encoder"], before_it = self._encoder_settings(), {}
            model = self._add("train", episode, settings, prepare=self.prepare, **before_it, negatives=mined)
            encoded = self._encode(episode, model)
            evaluations.append(self._evaluate(episode, encoded))
        return self._plan(model, config.train.episodes, evaluations)

    def from_parent(self, parent: Plan) -> Plan:
        """One stage of training on BM25's negatives, of the warm-up's length, from another run's last model."""
        self._check_parent(parent)
        model = next(s for s in reversed(parent.stages) if s.name in ("warmup", "train"))
        bm25 = self._bm25()  # the parent's own, or another for other settings of negatives
        known = {stage.key for stage in parent.stages}
        self.stages = [*parent.until(None), *(s for s in self.stages if s.key not in known)]
        assert model.episode is not None
        episode = model.episode + 1
        settings = {**self._train_settings(0, self.run.combining), "episode": episode}
        trained = self._add("train", episode, settings, prepare=self.prepare, model=model, negatives=bm25)
        evaluations = [*parent.evaluations, self._evaluate(episode, self._encode(episode, trained))]
        return self._plan(trained, episode, evaluations)

    def fused(self, parts: Sequence[Plan]) -> Plan:
        """One model of those of the runs on one task each, scored; their evaluations are their own."""
        stages = {s.key: s for part in parts for s in part.until(None) if s.name != "evaluate"}
        models = {
            f"model_{part.run.trained[0]}": next(s for s in reversed(part.stages) if s.name in ("warmup", "train"))
            for part in parts
        }
        scored = {m.key for m in models.values()}
        kept = [s for s in stages.values() if s.name != "encode" or s.inputs["model"].key not in scored]
        self.stages = [self.prepare, *(s for s in kept if s.key != self.prepare.key)]
        settings: JsonObject = {"fusion": self.config.train.fusion}
        if self.config.train.start == "warmup":
            models["start"] = next(s for s in kept if s.name == "warmup")
        else:
            settings["initial"] = {"encoder": self._encoder_settings(), "seed": self._initial_seed()}
        episode = self.config.train.episodes
        model = self._add("fuse", episode, settings, prepare=self.prepare, **models)
        encoded = self._encode(episode, model)
        final = self._evaluate(episode, encoded)
        reading = None if self.run.reader is None else self._read(encoded, final)
        return Plan(self.run, tuple(self.stages), final, (final,), reading)

    def _check_parent(self, parent: Plan) -> None:
        """ConfigError where the other run's model is none for this run's texts, or is no trained model at all."""
        start, theirs = self.config.train.start, parent.run
        if not parent.evaluations:
            raise ConfigError(f"train.start={start}: a row of {theirs.optimizer['name']} has no trained model")
        mine = (self.prepare.key, self._encoder_settings())
        if mine != (parent.stages[0].key, _Builder(theirs)._encoder_settings()):
            raise ConfigError(
                f"train.start={start}: that run has other texts, prompts, lengths or another encoder\n"
                "  Start from it with the same suite, --encoder, --limit and settings of data and encoder."
            )

    def _plan(self, model: Stage, episode: int, evaluations: list[Stage]) -> Plan:
        """The plan that ends with this model; its analysis is one stage further."""
        final = evaluations[-1]
        reading = None if self.run.reader is None else self._read(final.inputs["source"], final)
        self._add("analyze", episode, self.config.analyze.content(), prepare=self.prepare, model=model)
        return Plan(self.run, tuple(self.stages), final, tuple(evaluations), reading)

    def _mine_settings(self) -> JsonObject:
        negatives = self.config.negatives.content(exclude={"sampling"})
        part = self.config.train.content(include={"tasks"})
        return {"negatives": negatives, "search": self.config.search.content(include={"backend"}), **part}

    def _train_settings(self, episode: int, optimizer: OptimizerSpec, without: Collection[str] = ()) -> JsonObject:
        """``without``: settings that runs have apart which share this stage."""
        train = self.config.train
        if get_optimizer(optimizer["name"]).draws == 1:  # a setting of methods with more
            without = {*without, "draws"}
        return {
            "train": train.content(exclude={*NOT_OF_A_STAGE, *without}),
            **episode_length(train, episode),
            "sampling": self.config.negatives.sampling,
            "selection_queries": self.config.data.selection_queries,
            "optimizer": optimizer,
            "seed": self.run.request.seed,
            "episode": episode,
        }


def episode_length(train: TrainConfig, episode: int) -> JsonObject:
    """Learning rate and length of the warm-up (0) or of an episode: ``lr`` and ``steps`` or ``epochs``."""
    if episode == 0:
        rate, steps, epochs = train.warmup_lr, train.warmup_steps, train.warmup_epochs
    else:
        rate, steps, epochs = train.lr, train.steps, train.epochs
    return {"lr": rate, "steps": steps} if steps is not None else {"lr": rate, "epochs": epochs}
