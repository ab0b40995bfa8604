"""The transformers behind an encoder: a tiny T5 made anew, or pre-trained weights, complete and finite."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError
from mtbench.model.architecture import T5_ENCODERS, is_t5, load_configuration
from mtbench.model.folder import read_folder, weights_place
from mtbench.model.loading import from_pretrained
from mtbench.model.reparametrise import is_reparametrised, mark_reparametrised, reparametrise_t5

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers")
_DPR = {"DPRQuestionEncoder": "question_encoder", "DPRContextEncoder": "ctx_encoder"}
"""DPR's two encoders, each with what its weights' names begin with."""


def query_tower(sharing: str, task: int, families: Sequence[str]) -> str:
    """The backbone that encodes the queries of a task, by its place in the suite. ``families``: those of all tasks."""
    if sharing in ("shared", "untied"):
        return "shared" if sharing == "shared" else "query"
    return f"query_{task}" if sharing == "per-task-query" else f"query_{families[task]}"


def backbone_names(sharing: str, num_tasks: int, families: Sequence[str] = ()) -> list[str]:
    """Names of the backbones: one, one for each side, or one for passages and one for each task's or family's queries.

    ``families``: of each task, needed for ``per-family-query``.
    """
    towers = dict.fromkeys(query_tower(sharing, k, families) for k in range(max(1, num_tasks)))
    return [*towers] if sharing == "shared" else [*towers, "passage"]


def make_backbones(
    settings: EncoderConfig,
    pooling: str,
    tokenizer: PreTrainedTokenizerBase,
    num_tasks: int,
    families: Sequence[str] = (),
) -> dict[str, PreTrainedModel]:
    """All backbones before training. Where the folder has one, several start as copies of it.

    ConfigError if towers in the folder are not those of ``settings.sharing`` and ``num_tasks``.
    """
    names = backbone_names(settings.sharing, num_tasks, families)
    if settings.path == "tiny":
        return copies(tiny_t5(settings, tokenizer, pooling), names)
    folder = Path(settings.path)
    facts = read_folder(folder)
    scaled = facts.own is not None and facts.own.reparametrised
    if not facts.towers:
        return copies(_pretrained(weights_place(folder), settings, pooling, scaled), names)
    if set(facts.towers) != set(names):
        raise ConfigError(
            f"encoder {settings.path!r} has the towers {', '.join(sorted(facts.towers))}; encoder.sharing="
            f"{settings.sharing} over {num_tasks} tasks needs {', '.join(names)}"
        )
    return {name: _pretrained(facts.towers[name], settings, pooling, scaled) for name in names}


def copies(model: PreTrainedModel, names: list[str]) -> dict[str, PreTrainedModel]:
    """Towers begin as one encoder: from different random weights, equal texts on both sides would have nothing in
    common."""
    return {name: copy.deepcopy(model) if place else model for place, name in enumerate(names)}


def tiny_t5(settings: EncoderConfig, tokenizer: PreTrainedTokenizerBase, pooling: str = "t5") -> PreTrainedModel:
    """A small T5 of random weights; its encoder alone where nothing asks for the first decoder state."""
    from transformers import T5Config, T5EncoderModel, T5Model

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=settings.hidden,
        d_kv=settings.hidden // settings.heads,
        d_ff=settings.feed_forward,
        num_layers=settings.layers,
        num_decoder_layers=settings.layers,
        num_heads=settings.heads,
        relative_attention_num_buckets=16,
        dropout_rate=settings.dropout or 0.0,
        feed_forward_proj="relu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = 0
    return T5Model(config) if pooling == "t5" else T5EncoderModel(config)


def _pretrained(folder: Path, settings: EncoderConfig, pooling: str, scaled: bool) -> PreTrainedModel:
    model = load_backbone(folder, pooling, settings.keep_layers)
    if scaled:
        mark_reparametrised(model)
    if settings.reparametrise_t5 and not is_reparametrised(model):
        reparametrise_t5(model)
    return model


def load_backbone(folder: Path, pooling: str, keep_layers: int | None = None) -> PreTrainedModel:
    """The model in ``folder`` with float32 weights; of T5 the encoder alone unless ``pooling`` needs its decoder.

    ConfigError for weights that the vectors need and the files lack, or that are not finite.
    """
    configuration = load_configuration(folder)
    loader, options = "AutoModel", dict[str, Any]()
    if configuration.model_type == "dpr":
        options["key_mapping"] = {rf"^{_dpr_part(configuration, folder)}\.bert_model\.": ""}
        loader, configuration = "BertModel", _bert_of(configuration, folder)
    elif is_t5(configuration) and pooling != "t5":
        loader = T5_ENCODERS[configuration.model_type]
    if keep_layers is not None:
        _cut(configuration, keep_layers, folder)
    model, found = from_pretrained(
        loader, folder, config=configuration, dtype=torch.float32, output_loading_info=True, **options
    )
    # else the library writes the names of the DPR's file into what is now a BERT's folder
    if "key_mapping" in options:
        vars(model).pop("_weight_conversions", None)
    _check_complete(folder, found, pooling)
    _check_finite(folder, model)
    backbone: PreTrainedModel = model
    return backbone


def _dpr_part(configuration: Any, folder: Path) -> str:
    """What the weights of a DPR encoder begin with: its configuration is the same for both, the class is not."""
    names = configuration.architectures or []
    part = next((_DPR[name] for name in names if name in _DPR), None)
    if part is None:
        raise ConfigError(
            f"encoder {str(folder)!r} is {' or '.join(names) or 'of no named class'}, which is none of "
            "DPR's two encoders\n"
            f"  Give a folder whose config.json has the architectures {' or '.join(_DPR)}."
        )
    return part


def _bert_of(configuration: Any, folder: Path) -> Any:
    """DPR's encoders are a BERT of which the first state is the vector, unless they project it."""
    from transformers import BertConfig

    if getattr(configuration, "projection_dim", 0):
        raise ConfigError(
            f"encoder {str(folder)!r}: this DPR projects its vectors (projection_dim="
            f"{configuration.projection_dim}), which mtbench has not\n  Choose a DPR with projection_dim 0."
        )
    known = {k: v for k, v in configuration.to_dict().items() if k not in ("model_type", "architectures")}
    return BertConfig(**known)


def _cut(configuration: Any, keep: int, folder: Path) -> None:
    """Make the configuration describe the first ``keep`` layers."""
    present = [name for name in _LAYER_COUNTS if name in configuration.to_dict()]
    if not present:
        raise ConfigError(f"encoder.keep_layers={keep}: the configuration of {str(folder)!r} counts no layers")
    layers = max(int(getattr(configuration, name)) for name in present)
    if keep > layers:
        raise ConfigError(f"encoder.keep_layers={keep}, but encoder {str(folder)!r} has {layers} layers")
    for name in present:
        setattr(configuration, name, min(keep, int(getattr(configuration, name))))
    if getattr(configuration, "layer_types", None):
        configuration.layer_types = configuration.layer_types[:keep]


def _check_complete(folder: Path, found: dict[str, Any], pooling: str) -> None:
    """A pooler may be missing, since no pooling here uses it; nothing else may."""
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name.split("."))
    if not missing:
        return
    place = f"encoder {str(folder)!r}: its file lacks {len(missing)} weights of the model, such as {missing[0]}"
    if pooling == "t5" and all(name.startswith("decoder.") for name in missing):
        raise ConfigError(
            f"{place}: it is the encoder of a T5 without a decoder, and encoder.pooling=t5 needs one\n"
            "  Use another pooling: --set encoder.pooling=mean"
        )
    prefix = _foreign_prefix(missing, sorted(found["unexpected_keys"]))
    if prefix:
        raise ConfigError(
            f"{place}; the file's own names begin with {prefix!r}, such as {prefix}{missing[0]}\n"
            f"  Save the model again with names that do not begin with {prefix!r}, and give that folder."
        )
    raise ConfigError(
        f"{place}; they would be random\n"
        "  Give a folder whose config.json belongs to its weights (model.safetensors or pytorch_model.bin)."
    )


def _foreign_prefix(missing: list[str], unexpected: list[str]) -> str:
    """What stands before all missing names in the file; empty if that is not what is wrong."""
    candidates = [name[: -len(missing[0])] for name in unexpected if name.endswith(missing[0])]
    stored = set(unexpected)
    return next((c for c in candidates if c and all(c + name in stored for name in missing)), "")


def _check_finite(folder: Path, model: Any) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ConfigError(
                f"encoder {str(folder)!r}: its weights are not finite ({name} has NaN or infinite numbers), so no "
                "vector can be\n  Fetch or train it again; no learning rate helps here."
            )
