"""What the files beside an encoder's weights say about its use.

A sentence-transformers folder names its modules (``modules.json``: transformer, pooling, normalisation), its longest
text (``sentence_bert_config.json``) and its prompts (``config_sentence_transformers.json``). A folder that mtbench
wrote has ``mtbench.json``, which says the same more exactly: towers, prompts and lengths of the run that trained it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError, shown

SETTINGS_FILE = "mtbench.json"
MODULES_FILE = "modules.json"
SENTENCE_FILE, DECODER_FILE = "sentence_bert_config.json", "first_decoder_state.json"
POOLINGS = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
"""sentence-transformers' name of a pooling -> ours. The others have none here."""
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_QUERY_NAMES, _PASSAGE_NAMES = ("query",), ("document", "passage", "corpus")


@dataclass(frozen=True)
class OwnSettings:
    """What mtbench wrote beside weights that it trained: how their run encoded texts."""

    sharing: str
    reparametrised: bool
    tasks: tuple[str, ...]
    """In the order of the towers of ``per-task-query``; empty where an older version wrote the file."""
    data: dict[str, Any]
    """``prompt``, ``passage_max_length`` and ``query_max_length`` as they were set, and the encoder's own prompts where
    they stood before texts; empty where nothing is known."""


@dataclass(frozen=True)
class EncoderFolder:
    """``pooling``, ``normalize``, ``max_length`` (tokens) and prompts as the folder has them; None: it says nothing."""

    pooling: str | None = None
    pooling_from: str = ""
    """The file that says so."""
    normalize: bool = False
    max_length: int | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    lower_case: bool = False
    """The folder's own code lower-cases texts before its tokenizer sees them."""
    foreign: str = ""
    """Why its vectors cannot be had here: a module or a pooling that mtbench has not."""
    own: OwnSettings | None = None
    towers: dict[str, Path] = field(default_factory=dict)
    """Folders of the weights of several backbones by name; empty for one."""

    @property
    def max_length_from(self) -> str:
        """The file that says ``max_length``."""
        return SETTINGS_FILE if self.own else DECODER_FILE if self.pooling == "t5" else SENTENCE_FILE


def read_folder(folder: Path) -> EncoderFolder:
    """The facts of an encoder's folder; ConfigError for a file in it that is not what its name says."""
    if (folder / SETTINGS_FILE).is_file():
        return _own(folder)
    if not (folder / MODULES_FILE).is_file():
        return EncoderFolder()
    modules = read_modules(folder)
    found: dict[str, Any] = {"pooling_from": MODULES_FILE}
    for kind, place in modules:
        if kind == "Pooling":
            found |= _pooling(folder, f"{place}/config.json")
        elif kind == "Normalize":
            found["normalize"] = True
        elif kind == "FirstDecoderState":  # a tower that mtbench exported, without the others
            found |= {"pooling": "t5", "max_length": _first_decoder_length(folder)}
        elif kind != "Transformer":
            found["foreign"] = f"its modules.json has {shown(place or kind)} of type {kind}, which mtbench has not"
    if not found.get("foreign") and not found.get("pooling"):
        found["foreign"] = "its modules.json names no pooling"
    return EncoderFolder(**{**_sentence_settings(folder), **found}, **_prompts(folder))


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """Type (without its package) and subfolder of each module of ``modules.json``, in order; empty without the file."""
    if not (folder / MODULES_FILE).is_file():
        return []
    listed = _read(folder / MODULES_FILE, list)
    try:
        return [(str(m["type"]).rpartition(".")[2], str(m["path"]).strip("/")) for m in listed]
    except (TypeError, KeyError):
        raise ConfigError(f"{folder / MODULES_FILE}: expected a list of modules with type and path") from None


def weights_place(folder: Path) -> Path:
    """Where configuration, tokenizer and weights stand: older sentence-transformers wrote them into a subfolder."""
    place = next((place for kind, place in read_modules(folder) if kind == "Transformer"), "")
    return folder / place if place and (folder / place / "config.json").is_file() else folder


def any_weights(folder: Path) -> Path:
    """A folder with the configuration and the tokenizer: the encoder's own, or that of one of its towers."""
    return next(iter(read_folder(folder).towers.values()), None) or weights_place(folder)


def _pooling(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise ConfigError(
            f"encoder {str(folder)!r}: modules.json names {name}, which is not there\n"
            "  Complete the folder (a hub's encoder: mtbench prepare SUITE --encoder NAME), or say it yourself: "
            "--set encoder.pooling=mean --set encoder.normalize=true"
        )
    values = _read(folder / name, dict)
    modes = values.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _FLAGS.items() if values.get(flag)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) == 1 and modes[0] in POOLINGS:
        return {"pooling": POOLINGS[modes[0]], "pooling_from": name}
    return {"foreign": f"{name} asks for the pooling {' + '.join(map(str, modes))}, which mtbench has not"}


def _sentence_settings(folder: Path) -> dict[str, Any]:
    path = weights_place(folder) / SENTENCE_FILE
    if not path.is_file():
        return {}
    values = _read(path, dict)
    return {"max_length": _length(values.get("max_seq_length")), "lower_case": values.get("do_lower_case") is True}


def _first_decoder_length(folder: Path) -> int | None:
    path = folder / DECODER_FILE
    return _length(_read(path, dict).get("max_seq_length")) if path.is_file() else None


def _length(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _prompts(folder: Path) -> dict[str, Any]:
    path = folder / "config_sentence_transformers.json"
    values = _read(path, dict) if path.is_file() else {}
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ConfigError(f"{path}: prompts: expected names and texts, got {shown(prompts)}")
    usual = prompts.get(values.get("default_prompt_name"))

    def named(names: tuple[str, ...]) -> str | None:
        return next((str(prompts[name]) for name in names if prompts.get(name)), usual) or None

    return {"query_prompt": named(_QUERY_NAMES), "passage_prompt": named(_PASSAGE_NAMES)}


def _own(folder: Path) -> EncoderFolder:
    file = folder / SETTINGS_FILE
    saved = _read(file, dict)
    try:
        encoder = dict(saved["encoder"])
        own = OwnSettings(
            sharing=str(encoder["sharing"]),
            reparametrised=bool(saved.get("reparametrised", encoder.get("reparametrise_t5", False))),
            tasks=tuple(saved.get("tasks") or ()),
            data=dict(saved.get("data") or {}),
        )
        pooling, normalize = str(saved["pooling"]), bool(saved["normalize"])
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{file}: not what mtbench writes beside an encoder: {error} is missing or wrong") from None
    towers = {}
    if own.sharing != "shared":
        towers = {d.name: d for d in sorted(folder.iterdir()) if (d / "config.json").is_file()}
    return EncoderFolder(
        pooling=pooling,
        pooling_from=SETTINGS_FILE,
        normalize=normalize,
        max_length=_length(encoder.get("max_length")),
        query_prompt=own.data.get("query_prompt"),
        passage_prompt=own.data.get("passage_prompt"),
        own=own,
        towers=towers,
    )


def _read(path: Path, kind: type) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(values, kind):
        raise ConfigError(f"{path}: expected a JSON {'object' if kind is dict else 'list'}, got {shown(values)}")
    return values
