"""What a run's encoder brings along and what it allows: settled and checked before anything is computed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtbench.config import RATES, Config
from mtbench.data.tokenizing import ENCODER_PROMPT, TokenEncoder, query_prefix, separator
from mtbench.errors import ConfigError
from mtbench.model.choices import Choice, ChosenEncoder, choose
from mtbench.model.folder import OwnSettings, any_weights
from mtbench.suite import Suite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mtbench.model.validate import Longest

HIGHEST_RATE = 1e-3
"""Above it pre-trained weights are usually lost within a warm-up."""


@dataclass(frozen=True)
class Settled:
    """Configuration and suite as this encoder will be used, what was chosen for the user, and what is to be said."""

    config: Config
    suite: Suite
    choices: tuple[Choice, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    """Code and message."""


def settle(config: Config, suite: Suite, given: frozenset[str]) -> Settled:
    """Settle what the user left open (``given``: the settings that profile or user name, as ``section.key``).

    ``config.encoder.path`` is ``tiny`` or a folder. ConfigError for an encoder that cannot do what is asked of it.
    """
    rates = _rate_choices(config, given)
    if config.encoder.path == "tiny":
        return Settled(_with_scale(config), suite, rates)
    from mtbench.model.tokenizer import load_tokenizer

    chosen = choose(config.encoder, "encoder.sharing" in given)
    config = config.model_copy(update={"encoder": chosen.settings})
    config, lengths = _own_lengths(config, suite, chosen.facts.own, given)
    tokenizer = load_tokenizer(str(any_weights(Path(config.encoder.path))))
    suite = _with_prompts(config, suite, chosen)
    config, suite, is_cut = _cut(config, suite, tokenizer)
    _validate(config, suite, chosen, tokenizer)
    own_length = is_cut and "encoder.max_length" not in given
    cuts = (
        (Choice("encoder.max_length", config.encoder.max_length, chosen.facts.max_length_from),) if own_length else ()
    )
    scale = _scale_choice(config)
    config = _with_scale(config)
    return Settled(config, suite, (*chosen.choices, *lengths, *cuts, *rates, *scale), _warnings(config, chosen, given))


def unread(config: Config, suite: Suite, given: frozenset[str]) -> Settled:
    """The same without the encoder, whose files are not here: what it would decide stays open."""
    return Settled(_with_scale(config), suite, _rate_choices(config, given))


def _rate_choices(config: Config, given: frozenset[str]) -> tuple[Choice, ...]:
    named = {"train.warmup_lr": config.train.warmup_lr, "train.lr": config.train.lr}
    return tuple(Choice(k, v, f"{config.start} weights") for k, v in named.items() if k not in given)


def _with_scale(config: Config) -> Config:
    """What the loss multiplies scores by, as a number."""
    return config.model_copy(update={"train": config.train.model_copy(update={"logit_scale": config.logit_scale})})


def _scale_choice(config: Config) -> tuple[Choice, ...]:
    if config.train.logit_scale is not None or config.logit_scale == 1:
        return ()
    return (Choice("train.logit_scale", config.logit_scale, "vectors are normalised"),)


def _own_lengths(
    config: Config, suite: Suite, own: OwnSettings | None, given: frozenset[str]
) -> tuple[Config, tuple[Choice, ...]]:
    """Texts as in the run of ours that trained the encoder, and its tasks where each has a tower."""
    if own is None:
        return config, ()
    names = tuple(task.name for task in suite.tasks)
    if own.sharing == "per-task-query" and own.tasks and own.tasks != names:
        raise ConfigError(
            f"encoder {config.encoder.path!r} has a tower for each of the tasks {', '.join(own.tasks)}; suite "
            f"{suite.name} has {', '.join(names)}"
        )
    known = config.data.model_dump(mode="json")
    taken = {k: v for k, v in own.data.items() if k in known and f"data.{k}" not in given and v != known[k]}
    choices = tuple(Choice(f"data.{k}", v, "as the encoder was trained") for k, v in taken.items())
    return config.model_copy(update={"data": type(config.data).model_validate({**known, **taken})}), choices


def _with_prompts(config: Config, suite: Suite, chosen: ChosenEncoder) -> Suite:
    """The suite with the encoder's own prompts in the mode ``encoder``."""
    if config.data.prompt != "encoder":
        return suite
    query, passage = chosen.facts.query_prompt, chosen.facts.passage_prompt
    if not (query or passage):
        raise ConfigError(
            f"data.prompt=encoder, but {config.encoder.path!r} has no prompts for queries or passages "
            "(config_sentence_transformers.json)\n  Choose task, family or none."
        )
    tasks = [dataclasses.replace(t, options={**t.options, ENCODER_PROMPT: query or ""}) for t in suite.tasks]
    corpora = [dataclasses.replace(c, options={**c.options, ENCODER_PROMPT: passage or ""}) for c in suite.corpora]
    return dataclasses.replace(suite, tasks=tuple(tasks), corpora=tuple(corpora))


def _prompt_tokens(config: Config, suite: Suite, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Tokens that stand before the queries of each task, on top of their length."""
    encoder, sep = TokenEncoder.of(tokenizer), separator(tokenizer)
    return {t.name: encoder.count(query_prefix(t, config.data.prompt, sep).strip()) for t in suite.tasks}


def _cut(config: Config, suite: Suite, tokenizer: PreTrainedTokenizerFast) -> tuple[Config, Suite, bool]:
    """Lengths of the suite cut to ``encoder.max_length``, which is let go where it cuts nothing, and whether it does.

    Lengths of the section ``data`` were set for this run and stay.
    """
    limit, data = config.encoder.max_length, config.data
    if limit is None:
        return config, suite, False
    prompts = _prompt_tokens(config, suite, tokenizer)
    corpora, tasks = suite.corpora, suite.tasks
    if data.passage_max_length is None:
        corpora = tuple(
            dataclasses.replace(c, passage_max_length=min(c.passage_max_length, limit)) for c in suite.corpora
        )
    if data.query_max_length is None:
        tasks = tuple(
            dataclasses.replace(t, query_max_length=min(t.query_max_length, limit - prompts[t.name]))
            for t in suite.tasks
        )
    short = next((t for t in tasks if t.query_max_length < 1), None)
    if short is not None:
        raise ConfigError(
            f"encoder.max_length={limit} leaves no room for a query of task {short.name} behind its prompt of "
            f"{prompts[short.name]} tokens\n  Raise it, or --set data.prompt=none"
        )
    if (corpora, tasks) == (suite.corpora, suite.tasks):
        encoder = config.encoder.model_copy(update={"max_length": None})
        return config.model_copy(update={"encoder": encoder}), suite, False
    return config, dataclasses.replace(suite, corpora=corpora, tasks=tasks), True


def _validate(config: Config, suite: Suite, chosen: ChosenEncoder, tokenizer: PreTrainedTokenizerFast) -> None:
    from mtbench.model.validate import validate_encoder

    longest = [_longest_passages(config, suite), _longest_queries(config, suite, tokenizer)]
    validate_encoder(config.encoder, chosen.facts, tokenizer, longest, [task.family for task in suite.tasks])


def _longest_passages(config: Config, suite: Suite) -> Longest:
    from mtbench.model.validate import Longest

    corpus = max(suite.corpora, key=lambda c: c.passage_max_length)
    own = config.data.passage_max_length
    whose = "passages" if own else f"passages of corpus {corpus.name}"
    tokens = own or corpus.passage_max_length
    return Longest(tokens, f"{whose} (passage_max_length {tokens})", "data.passage_max_length")


def _longest_queries(config: Config, suite: Suite, tokenizer: PreTrainedTokenizerFast) -> Longest:
    from mtbench.model.validate import Longest

    prompts, own = _prompt_tokens(config, suite, tokenizer), config.data.query_max_length
    task = max(suite.tasks, key=lambda t: (own or t.query_max_length) + prompts[t.name])
    length, prompt = own or task.query_max_length, prompts[task.name]
    whose = f"queries of task {task.name} (query_max_length {length} and {prompt} of the prompt)"
    return Longest(length + prompt, whose, "data.query_max_length", prompt)


def _warnings(config: Config, chosen: ChosenEncoder, given: frozenset[str]) -> tuple[tuple[str, str], ...]:
    facts, found = chosen.facts, list[tuple[str, str]]()
    name = Path(config.encoder.path).name
    prompts = {"queries": facts.query_prompt, "passages": facts.passage_prompt}
    if config.data.prompt != "encoder" and any(prompts.values()):
        texts = " and ".join(f"{text!r} before {side}" for side, text in prompts.items() if text)
        found.append(
            (
                "encoder-prompts",
                f"encoder {name} was made for {texts}; data.prompt={config.data.prompt} puts other words there. "
                "Its own: --set data.prompt=encoder",
            )
        )
    if facts.lower_case:
        found.append(
            ("lower-case", f"encoder {name} asks for lower-cased texts (do_lower_case), which its tokenizer has to do")
        )
    for key in ("warmup_lr", "lr"):
        rate = getattr(config.train, key)
        if rate > HIGHEST_RATE:
            found.append(
                (
                    "high-learning-rate",
                    f"train.{key}={rate:g} is for random weights and usually destroys pre-trained ones, which this "
                    f"encoder has; their default is {RATES['pre-trained']:g}",
                )
            )
    return tuple(found)
