"""What ``auto`` means for the encoder at hand: its folder's own words first, then its architecture.

``auto`` that means what it meant before folders were read (``cls``, ``t5``, no normalisation) stays as it is, so that
such runs keep their ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError
from mtbench.model.architecture import has_t5_decoder, is_causal, is_t5, load_configuration
from mtbench.model.folder import MODULES_FILE, SETTINGS_FILE, EncoderFolder, any_weights, read_folder


@dataclass(frozen=True)
class Choice:
    """A value that the user did not give, and why it is this one."""

    setting: str
    value: Any
    reason: str


@dataclass(frozen=True)
class ChosenEncoder:
    """Settings of which only ``pooling`` may still be ``auto`` (``t5`` or ``cls`` by architecture)."""

    settings: EncoderConfig
    facts: EncoderFolder
    choices: tuple[Choice, ...] = ()


def choose(settings: EncoderConfig, sharing_given: bool = False) -> ChosenEncoder:
    """Settle what is left to the encoder's folder; ``settings.path`` is ``tiny`` or a folder.

    An ``encoder.pooling`` that is set by hand stands for the whole of ``modules.json``: normalisation and length are
    then not read from there either. ``sharing_given``: the user chose ``encoder.sharing``, which a folder of several
    towers otherwise does. ConfigError for a pooling that the architecture cannot have, and for a folder whose vectors
    cannot be had here.
    """
    if settings.path == "tiny":
        return ChosenEncoder(settings, EncoderFolder())
    folder = Path(settings.path)
    facts = read_folder(folder)
    weights = any_weights(folder)
    configuration = load_configuration(weights)
    update, choices = dict[str, Any](), list[Choice]()
    by_hand = settings.pooling != "auto"
    if by_hand:
        _check_pooling(settings.pooling, configuration, weights, settings.path)
    else:
        pooling, reason = _pooling(facts, configuration, weights, settings.path)
        choices.append(Choice("encoder.pooling", pooling, reason))
        if pooling != pooling_of("auto", configuration):
            update["pooling"] = pooling
    if settings.normalize is None:
        update["normalize"] = facts.normalize and not by_hand
        if update["normalize"]:
            choices.append(Choice("encoder.normalize", True, SETTINGS_FILE if facts.own else MODULES_FILE))
    if settings.max_length is None and facts.max_length is not None and not by_hand:
        update["max_length"] = facts.max_length
    if facts.towers and facts.own is not None:
        if sharing_given and settings.sharing != facts.own.sharing:
            raise ConfigError(
                f"encoder {settings.path!r} has several towers (encoder.sharing={facts.own.sharing}); "
                f"encoder.sharing={settings.sharing} was asked for\n  Leave encoder.sharing out, or give one tower: "
                f"{', '.join(str(f) for f in facts.towers.values())}"
            )
        update["sharing"] = facts.own.sharing
        choices.append(Choice("encoder.sharing", facts.own.sharing, "the folder's towers"))
    return ChosenEncoder(settings.model_copy(update=update), facts, tuple(choices))


def pooling_of(pooling: str, configuration: Any) -> str:
    """The pooling that is meant by a settled setting."""
    if pooling != "auto":
        return pooling
    return "t5" if is_t5(configuration) else "cls"


def _pooling(facts: EncoderFolder, configuration: Any, weights: Path, path: str) -> tuple[str, str]:
    if facts.foreign:
        raise ConfigError(
            f"encoder {path!r}: {facts.foreign}, so its own vectors cannot be had\n"
            "  To use it without, say how to pool: --set encoder.pooling=mean --set encoder.normalize=true"
        )
    if facts.pooling is not None:
        _check_pooling(facts.pooling, configuration, weights, path)
        return facts.pooling, facts.pooling_from
    if is_t5(configuration):
        if has_t5_decoder(configuration, weights):
            return "t5", "a T5"
        return "mean", "the encoder of a T5 alone"
    if is_causal(configuration):
        return "last", f"a decoder ({configuration.model_type}): only its last token has seen the whole text"
    return "cls", f"{configuration.model_type}, no modules.json"


def _check_pooling(pooling: str, configuration: Any, weights: Path, path: str) -> None:
    kind = configuration.model_type
    if pooling == "t5" and not is_t5(configuration):
        raise ConfigError(
            f"encoder.pooling='t5' needs an encoder-decoder T5; {path} is {kind!r}\n"
            "  Leave encoder.pooling out, or choose cls, mean or last."
        )
    if pooling == "t5" and not has_t5_decoder(configuration, weights):
        raise ConfigError(
            f"encoder.pooling='t5' needs a T5's decoder; {path} has the encoder alone\n"
            "  Leave encoder.pooling out, or --set encoder.pooling=mean"
        )
    if pooling == "cls" and is_causal(configuration):
        raise ConfigError(
            f"encoder.pooling='cls' takes the first token, which in a decoder ({path} is {kind!r}) has seen no other: "
            "all vectors would be equal\n  Leave encoder.pooling out, or --set encoder.pooling=last"
        )
