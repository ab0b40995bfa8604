"""The pipeline's settings: typed sections, profiles in TOML, and ``--set KEY=VALUE``.

A profile is a TOML file with the sections below; ``extends = "mini"`` starts from another one. Settings that are not
given have the defaults that stand here. Hyperparameters of optimizers are not settings of the pipeline: they are
declared by the optimizers themselves (see ``mtbench.hyperparameters``). A profile may give them values of its own
(``[optimizer.NAME]``), which lie over the class's and below those of ``--set``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from mtbench.errors import ConfigError, UsageError, shown
from mtbench.reader_config import ReaderConfig as ReaderConfig
from mtbench.records.values import Params, Settings
from mtbench.sections import Section, is_late
from mtbench.storage.places import expanded
from mtbench.train_config import LOGIT_SCALE as LOGIT_SCALE
from mtbench.train_config import RATES as RATES
from mtbench.train_config import TrainConfig as TrainConfig


class EncoderConfig(Section):
    """Which encoder is trained. ``path="tiny"`` makes a small random T5 and a tokenizer from the suite's own text.

    What is ``auto`` here is read from the encoder's folder (``mtbench.model.choices``) before a run is specified.
    """

    path: str = Field("tiny", description="'tiny', a folder, package:MODULE/FOLDER, or a Hugging Face hub name")
    pooling: Literal["auto", "t5", "cls", "mean", "last"] = Field(
        "auto", description="auto: as the folder's modules.json says; else t5 for T5, last for a decoder, cls"
    )
    sharing: Literal["shared", "untied", "per-task-query", "per-family-query"] = Field(
        "shared", description="encoders of queries and passages; a folder of several that mtbench wrote has its own"
    )
    split_after: Literal["start", "warmup"] = Field(
        "start",
        description="when one encoder becomes several: at the start, or after a warm-up of one that all share",
        json_schema_extra={"since": 2},
    )
    normalize: bool | None = Field(
        None, description="scale vectors to length 1; auto: as the folder's modules.json says, else false"
    )
    max_length: int | None = Field(
        None,
        ge=8,
        description="longest text in tokens; auto: the folder's max_seq_length",
        json_schema_extra={"since": 2},
    )
    keep_layers: int | None = Field(
        None, ge=1, description="only the first N transformer layers; None: all", json_schema_extra={"since": 2}
    )
    reparametrise_t5: bool = Field(False, description="divide T5 v1.0's residual stream by 100, as the authors do")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of autocast; weights stay fp32")
    gradient_checkpointing: bool = False
    dropout: float | None = Field(None, ge=0, lt=1, description="None: the model's own")
    hidden: int = Field(64, ge=8, description="tiny: model dimension")
    layers: int = Field(1, ge=1, description="tiny: encoder and decoder layers")
    feed_forward: int = Field(128, ge=8, description="tiny: inner dimension")
    heads: int = Field(4, ge=1, description="tiny: attention heads")
    vocabulary: int = Field(4096, ge=64, le=65535, description="tiny: tokens of the trained tokenizer")

    @model_validator(mode="after")
    def _whole_heads(self) -> EncoderConfig:
        if self.path == "tiny" and self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}")
        if self.path == "tiny" and self.keep_layers is not None:
            raise ValueError("keep_layers is for pre-trained encoders; 'tiny' has encoder.layers")
        return self


class DataConfig(Section):
    """How texts become token ids."""

    prompt: Literal["task", "family", "encoder", "none"] = Field(
        "task", description="what stands before a query; encoder: the prompts of its folder, before passages too"
    )
    passage_max_length: int | None = Field(None, ge=8, description="None: the suite's own")
    query_max_length: int | None = Field(None, ge=4, description="None: each task's own")
    selection_queries: int = Field(64, ge=0, description="train queries a task kept for choosing settings (<= 10 %)")


def stemmers() -> list[str]:
    """The languages of Snowball, and none."""
    import Stemmer

    return ["none", *sorted(Stemmer.algorithms())]


class Bm25Config(Section):
    """First-stage retrieval: first negatives, and the BM25 row."""

    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)
    stemmer: str = Field("english", description="a Snowball language, or none")
    depth: int = Field(100, ge=1, description="passages per query")

    @field_validator("stemmer", mode="before")
    @classmethod
    def _known_stemmer(cls, value: Any) -> Any:
        value = "none" if value is None else value
        if value not in stemmers():
            raise ValueError(f"choose {', '.join(stemmers())}")
        return value


class NegativesConfig(Section):
    """Hard negatives, from BM25 for the warm-up and from the model's own ranking for the episodes."""

    depth: tuple[int, int] = Field((0, 110), description="ranks [first, last) that negatives are taken from")
    per_query: int = Field(32, ge=1, description="kept per query; training samples from these")
    exclude: Literal["passage", "page", "answer"] = Field(
        "passage",
        description="page: other passages of a gold page too; answer: passages that hold an answer, of questions and "
        "slots",
    )
    sampling: Literal["top", "random"] = "random"
    sources: Literal["model", "bm25", "bm25+model"] = Field(
        "model",
        description="of the episodes' negatives; bm25+model: the two rankings in turn",
        json_schema_extra={"since": 2},
    )
    tasks: str = Field(
        "all",
        description="whose episodes have negatives of these sources: all, nq,fever, or -nq; the others keep BM25's",
        json_schema_extra={"since": 2},
    )

    @field_validator("depth")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= value[0] < value[1]:
            raise ValueError("needs 0 <= first < last")
        return value


class SearchConfig(Section):
    """Nearest passages of queries."""

    backend: Literal["exact", "flat", "ivf", "hnsw"] = "exact"
    depth: int = Field(200, ge=1, description="passages per dev query")
    shard_size: int = Field(500_000, ge=1, description="passages per shard of vectors")
    encode_tokens: int = Field(16_384, ge=256, description="tokens per encoding batch")


class AnalyzeConfig(Section):
    """The analysis of a trained encoder (``--until analyze``)."""

    batches: int = Field(20, ge=1, description="batches per task that sensitivities are averaged over")
    distribution: Literal["softmax", "shares"] = Field(
        "softmax", description="over tasks, of a parameter: softmax of I / tau, as in the papers, or I by its sum"
    )
    tau: float = Field(2.0, gt=0, description="temperature of the softmax, whatever the method's own")
    task_specific: float = Field(0.3, ge=0, description="entropy in nats under which a parameter is task specific")
    not_activated: float = Field(0.1, ge=0, description="largest median-normalised sensitivity of an idle parameter")
    committed: float = Field(0.95, gt=0, lt=1, description="share of one task in a committed parameter")


class StoreConfig(Section):
    """What the store keeps. It changes no result, and so no id."""

    keep_vectors: bool = Field(True, description="false: a model's vectors go when no planned stage will read them")


class Config(Section):
    """All settings of the pipeline."""

    without_effect = frozenset({"store"})

    encoder: EncoderConfig = EncoderConfig()
    data: DataConfig = DataConfig()
    bm25: Bm25Config = Bm25Config()
    negatives: NegativesConfig = NegativesConfig()
    train: TrainConfig = TrainConfig()
    search: SearchConfig = SearchConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    reader: ReaderConfig = ReaderConfig()
    store: StoreConfig = StoreConfig()

    @model_validator(mode="after")
    def _follow_the_start(self) -> Config:
        """Put values for what follows from the kind of start, so that nobody below has to ask."""
        if self.train.keep == "best" and not (self.train.evaluate_every and self.data.selection_queries):
            raise ValueError(
                "train.keep=best needs looks: set train.evaluate_every, and data.selection_queries above 0"
            )
        # a run from another run has no episodes of its own: there the setting is that run's
        if self.train.restart and (self.train.start == "warmup" or self.encoder.split_after == "warmup"):
            raise ValueError(
                "train.restart trains every episode anew from the encoder: it goes neither with train.start=warmup nor "
                "with encoder.split_after=warmup; set train.restart=false"
            )
        if self.encoder.path == "tiny" and self.encoder.normalize is None:
            object.__setattr__(self, "encoder", self.encoder.model_copy(update={"normalize": False}))
        rate = RATES[self.start]
        rates = {name: rate for name in ("warmup_lr", "lr") if getattr(self.train, name) is None}
        object.__setattr__(self, "train", self.train.model_copy(update=rates))
        return self

    @property
    def start(self) -> Literal["random", "cut", "pre-trained"]:
        """What weights training starts from: random ones, the first layers of a trained encoder, or all of one."""
        if self.encoder.path == "tiny":
            return "random"
        return "pre-trained" if self.encoder.keep_layers is None else "cut"

    @property
    def logit_scale(self) -> float:
        """What scores are multiplied by in the loss."""
        if self.train.logit_scale is not None:
            return self.train.logit_scale
        return LOGIT_SCALE if self.encoder.normalize else 1.0

    @property
    def first_acting_episode(self) -> int:
        """The number of the first episode in which the optimizer acts; 0 is the warm-up."""
        start = self.train.start_episode
        if start == "warmup":
            return 0
        return self.train.episodes if start == "last" else int(start)


CARRYING = "mini"
"""The profile over which a suite may carry settings of its own."""
OWN_ENCODER, PRE_TRAINED, METHODS = "own_encoder", "pre_trained", "optimizer"
PROFILE_FOLDER = Path(__file__).parent / "profiles"


def profiles() -> list[str]:
    """The names of the profiles that come with mtbench."""
    return sorted(f.stem for f in PROFILE_FOLDER.glob("*.toml"))


def profile_file(name: str) -> Path | None:
    """The absolute path of the TOML file that ``name`` means; None for a profile that comes with mtbench, or for none
    that there is."""
    path = expanded(name)
    return path.absolute() if name not in profiles() and path.is_file() else None


def profile_name(profile: str) -> str:
    """The profile's name; of a file, its stem."""
    return Path(profile).stem if profile.endswith(".toml") else profile


def load_profile(name: str, encoder: str | None = None, carried: Settings | None = None) -> dict[str, Any]:
    """The settings of a profile by name or of a TOML file, as nested plain values; ConfigError if it is unknown.

    ``carried`` are the settings that a suite carries for the profile ``mini`` and its tiny encoder (lengths, rates):
    they lie right above that profile's own, below those of a file that extends it.
    A profile's table ``own_encoder`` belongs to the section ``encoder`` as long as the encoder is the one that the
    same profile names: to cut a model to two layers says nothing about another, which may be given as ``encoder``.
    The sections below ``pre_trained`` hold wherever the encoder is not the tiny one of random weights.
    """
    values = _laid_over_each_other(name, encoder, carried)
    values.pop(METHODS, None)
    return values


def profile_params(name: str, encoder: str | None = None, carried: Settings | None = None) -> dict[str, Params]:
    """The hyperparameters that a profile sets, by method: its tables ``[optimizer.NAME]``, and those that the suite
    carries for ``mini``; the arguments are those of :func:`load_profile`.

    ConfigError for what is no table. Whether there are such methods, and they allow such values, is for whoever runs
    them to check.
    """
    found = _laid_over_each_other(name, encoder, carried).get(METHODS, {})
    check_method_tables(found, f"profile {name}")
    return found


def check_method_tables(found: object, place: str) -> None:
    """ConfigError unless ``found`` holds tables by method; ``place`` says whose they are."""
    if not isinstance(found, dict):
        raise ConfigError(f"{place}: {METHODS} = {shown(found)}: expected tables of methods, as [{METHODS}.tsage]")
    for method, table in found.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{place}: {METHODS}.{method} = {shown(table)}: expected a table of hyperparameters, as "
                f"[{METHODS}.tsage] with beta = 0.9"
            )


def _laid_over_each_other(name: str, encoder: str | None, carried: Settings | None) -> dict[str, Any]:
    """Settings of the pipeline and, under ``optimizer``, of methods: of the profile and all that it extends."""
    named = profile_lineage(name)
    lineage = [dict(own) for _, own in named]
    paths = [own.get("encoder", {}).get("path") for own in lineage]
    path = encoder or next((path for path in paths if path), None)
    values: dict[str, Any] = {}
    for (base, _), own, its in zip(named, lineage, paths, strict=True):
        if base == CARRYING and path in (None, "tiny"):
            values = merge(carried or {}, values)
        belongings, fine = own.pop(OWN_ENCODER, {}), own.pop(PRE_TRAINED, {})
        if not isinstance(fine, dict):
            raise ConfigError(
                f"profile {name}: {PRE_TRAINED} = {shown(fine)}: expected sections, as [{PRE_TRAINED}.train]"
            )
        if path not in (None, "tiny"):
            own = merge(own, fine)
        values = merge(merge(own, {"encoder": belongings}) if its == path and belongings else own, values)
    return values


def profile_settings(name: str) -> dict[str, Any]:
    """What a profile says, with those that it extends: ``section.key`` (``method.hyperparameter``) -> value."""
    tables = {**load_profile(name), **profile_params(name)}
    return {f"{table}.{key}": value for table, own in tables.items() for key, value in own.items()}


def profile_lineage(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The profile and those that it extends, nearest first: name or path of each, and what it says itself.

    ``extends`` names a profile that comes with mtbench, or a TOML file by its place as seen from the folder of the one
    that names it: what a profile means does not depend on where a run is started.
    ConfigError for one that is unknown, no TOML, or extends itself.
    """
    lineage: list[tuple[str, dict[str, Any]]] = []
    files: list[Path] = []
    base: str | None = name
    while base is not None:
        path = _profile_file(base, files[-1] if files else None)
        if path in files:
            raise ConfigError(f"{files[-1]}: extends: {base!r} extends this profile in turn")
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from None
        files.append(path)
        lineage.append((base, values))
        base = values.pop("extends", None)
        if base is not None and (not isinstance(base, str) or not base):
            raise ConfigError(
                f"{path}: extends = {shown(base)}: expected a profile ({', '.join(profiles())}) or a TOML file"
            )
    return lineage


def _profile_file(name: str, extended_by: Path | None) -> Path:
    if name in profiles():
        return PROFILE_FOLDER / f"{name}.toml"
    path = expanded(name)
    place = path if extended_by is None else extended_by.parent / path
    if place.is_file():
        return place.resolve()
    close = difflib.get_close_matches(name, profiles(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    named_by = f"{extended_by}: extends: " if extended_by else ""
    beside = ", as seen from its own folder" if extended_by else ""
    known = f"Profiles: {', '.join(profiles())}, or the path of a TOML file{beside}."
    raise ConfigError(f"{named_by}no profile {shown(name)}.{hint} {known}")


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` laid on top, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def build_config(values: dict[str, Any], place: str) -> Config:
    """A checked :class:`Config`; ConfigError naming every wrong setting, its range and the value."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            # of several allowed types the place names each
            kinds = ("int", "float", "str")
            key = ".".join(p for p in map(str, item["loc"]) if p not in kinds and not p.startswith("literal["))
            if item["type"] == "extra_forbidden":
                close = difflib.get_close_matches(key, setting_names(), n=1, cutoff=0.5)
                lines.append(f"unknown setting {key!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
            else:
                hint = " (0 switches it off)" if key == "train.clip_norm" and item["type"] == "finite_number" else ""
                lines.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{hint}, got {shown(item['input'])}")
        raise ConfigError(f"{place}: " + "; ".join(dict.fromkeys(lines))) from None


def setting_names() -> list[str]:
    """All settings as ``section.key``."""
    return [f"{s}.{k}" for s, f in Config.model_fields.items() for k in f.annotation.model_fields]  # type: ignore[union-attr]


def late_defaults() -> dict[str, Any]:
    """Defaults, in JSON's types, of the settings that specifications leave out at their default: ``section.key``."""
    plain = Config().model_dump(mode="json")
    return {
        f"{name}.{key}": plain[name][key]
        for name in Config.model_fields
        for key, field in type(getattr(Config(), name)).model_fields.items()
        if is_late(field) or is_late(Config.model_fields[name])
    }


def split_assignments(items: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Split ``--set`` items into settings of the pipeline (nested) and hyperparameters (name to text).

    ``train.lr=5e-6`` is a setting; ``tau=2`` or ``tsage.tau=2`` a hyperparameter. UsageError for ``KEY=VALUE`` that
    is not one.
    """
    settings: dict[str, Any] = {}
    hyperparameters: dict[str, str] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set {item!r}: expected KEY=VALUE, such as tau=2 or train.lr=5e-6")
        section, dot, field = key.partition(".")
        if dot and section in Config.model_fields:
            if key not in setting_names():
                close = difflib.get_close_matches(key, setting_names(), n=3, cutoff=0.4)
                raise ConfigError(
                    f"unknown setting {key!r}; close: {', '.join(close) or 'none'}. All: mtbench ls settings"
                )
            is_word = text.strip() == "none" and "none" in allowed_words(Config.model_fields[section], field)
            settings.setdefault(section, {})[field] = "none" if is_word else parse_value(text)
        else:
            hyperparameters[key] = text.strip()
    return settings, hyperparameters


def allowed_words(section: FieldInfo, field: str) -> tuple[Any, ...]:
    """The words that the setting ``field`` of a section may be, empty where any value of its type will do."""
    kinds: Any = section.annotation.model_fields[field].annotation  # type: ignore[union-attr]
    return tuple(w for kind in (kinds, *get_args(kinds)) if get_origin(kind) is Literal for w in get_args(kind))


def parse_value(text: str) -> Any:
    """A value as TOML reads it (numbers, true, lists, quoted strings), a bare word as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return None if text.strip().lower() == "none" else text.strip()
