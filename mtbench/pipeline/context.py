"""What the stages of one run share while they are computed: store, device, opened inputs, and who is told."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from mtbench.computing import device
from mtbench.config import Config, EncoderConfig
from mtbench.data.prepared import PreparedCorpus, PreparedSuite
from mtbench.errors import ConfigError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.pipeline.plan import Stage
from mtbench.pipeline.request import ResolvedRun
from mtbench.records.values import JsonObject
from mtbench.storage.store import Store
from mtbench.training.ranks import current_ranks
from mtbench.training.streams import stream_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


WORKERS_VARIABLE = "MTBENCH_PREPARE_WORKERS"
"""Processes that tokenise where nobody says how many."""


class Listener(Protocol):
    """Who is told about progress. ``losses`` is empty outside training."""

    def stage_started(self, stage: Stage) -> None:
        """A stage is being computed (not called for one that is reused)."""

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        """``done`` of ``total`` steps, passages or queries."""

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        """A stage stands in the store."""


class Silent:
    """A listener that does nothing."""

    def stage_started(self, stage: Stage) -> None:
        pass

    def stage_advanced(self, stage: Stage, done: int, total: int | None, losses: dict[str, float]) -> None:
        pass

    def stage_finished(self, stage: Stage, reused: bool, seconds: float) -> None:
        pass


class Context:
    """Opens what stages need; one per run."""

    def __init__(
        self, run: ResolvedRun, store: Store, listener: Listener | None = None, prepare_workers: int | None = None
    ) -> None:
        self.run, self.store, self.listener = run, store, listener or Silent()
        self.device, self.ranks = device(), current_ranks()
        self.prepare_workers = prepare_workers or _workers_of_environment()
        self._prepared: dict[str, PreparedSuite] = {}

    def of(self, stage: Stage) -> Context:
        """The context of the run by whose settings ``stage`` is computed: this one, or that of a run it starts from."""
        if stage.owner is None or stage.owner is self.run:
            return self
        other = copy.copy(self)
        other.run = stage.owner
        return other

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.run.config

    def folder(self, stage: Stage) -> Path:
        """The folder of a finished input stage."""
        return self.store.folder(stage.name, stage.key)

    def prepared(self, stage: Stage) -> PreparedSuite:
        """The prepared suite of a ``prepare`` stage."""
        if stage.key not in self._prepared:
            self._prepared[stage.key] = PreparedSuite.open(self.folder(stage) / "data")
        return self._prepared[stage.key]

    def tokenizer(self, stage: Stage) -> PreTrainedTokenizerFast:
        """The tokenizer that a ``prepare`` stage used."""
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(self.folder(stage) / "tokenizer"))
        return cast("PreTrainedTokenizerFast", tokenizer)

    def initial_model(self, prepare: Stage, settings: EncoderConfig | None = None) -> DualEncoder:
        """The encoder before training; ``settings``: None for the run's own."""
        families = self.families(prepare)
        seed = stream_seed("initial weights", self.run.request.seed)
        chosen, tokenizer = settings or self.config.encoder, self.tokenizer(prepare)
        return build_encoder(chosen, tokenizer, len(families), seed, families).to(self.device)

    def families(self, prepare: Stage) -> list[str]:
        """The family of each task, in the suite's order."""
        return [task.family for task in self.prepared(prepare).tasks.values()]

    def model(self, stage: Stage | None, prepare: Stage) -> DualEncoder:
        """The encoder that a ``warmup`` or ``train`` stage left, or the initial one."""
        if stage is None:
            return self.initial_model(prepare)
        return DualEncoder.load(self.folder(stage) / "model").to(self.device)

    def query_settings(self, prepare: Stage) -> tuple[dict[str, str], dict[str, int]]:
        """The word that stands before each task's queries (none for ``prompt="none"``), and their length in tokens."""
        from mtbench.data.tokenizing import TokenEncoder, query_prefix, separator

        tokenizer, data = self.tokenizer(prepare), self.config.data
        encoder, sep = TokenEncoder.of(tokenizer), separator(tokenizer)
        prompts, lengths = {}, {}
        for task in self.run.suite.tasks:
            prefix = query_prefix(task, data.prompt, sep)
            if prefix:
                prompts[task.name] = prefix.removesuffix(f" {sep} ")
            lengths[task.name] = (data.query_max_length or task.query_max_length) + encoder.count(prefix)
        return prompts, lengths

    @property
    def text_settings(self) -> JsonObject:
        """How texts become token ids, for whoever uses the trained encoder: settings of the section ``data``, and the
        encoder's own prompts where they stand before texts."""
        from mtbench.data.tokenizing import ENCODER_PROMPT

        data, suite = self.config.data, self.run.suite
        found = data.model_dump(mode="json", include={"prompt", "passage_max_length", "query_max_length"})
        if data.prompt == "encoder":
            found["query_prompt"] = suite.tasks[0].options[ENCODER_PROMPT]
            found["passage_prompt"] = suite.corpora[0].options[ENCODER_PROMPT]
        return found

    def padding(self, prepare: Stage) -> int:
        """The id that fills up short sequences."""
        return int(self.tokenizer(prepare).pad_token_id or 0)


def _workers_of_environment() -> int:
    text = os.environ.get(WORKERS_VARIABLE, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{WORKERS_VARIABLE}={text!r}: it must be a whole number of at least 1, or unset")
    return int(text)


def searched_corpora(suite: PreparedSuite, tasks: list[str]) -> dict[str, PreparedCorpus]:
    """The corpora by name that ``tasks`` search in training or evaluation, each once."""
    names = {n for t in tasks for n in (suite.tasks[t].corpus, suite.tasks[t].dev_corpus)}
    return {name: corpus for name, corpus in suite.corpora.items() if name in names}
