"""What kind of model a configuration describes, as far as pooling has to know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError
from mtbench.model.loading import from_pretrained

T5_ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}
"""The kinds of T5, each with the class of its encoder alone."""


def load_configuration(folder: Path) -> Any:
    """The model's configuration; ConfigError if transformers cannot read it."""
    return from_pretrained("AutoConfig", folder)


def vector_size(configuration: Any) -> int:
    """Length of the hidden states, under whatever name a configuration has it (``d_model``, ``n_embd``)."""
    return int(configuration.hidden_size)


def is_t5(configuration: Any) -> bool:
    """Whether it is any kind of T5."""
    return configuration.model_type in T5_ENCODERS


def has_t5_decoder(configuration: Any, folder: Path) -> bool:
    """Whether it is a T5 whose weights have a decoder; sentence encoders made of T5 often have none."""
    if not is_t5(configuration):
        return False
    names = configuration.architectures or []
    if any(name.endswith("EncoderModel") for name in names):
        return False
    stored = _stored_names(folder)
    return stored is None or any("decoder." in name for name in stored)


def is_causal(configuration: Any) -> bool:
    """Whether a token sees only those before it, so that the first state is the same for every text."""
    from transformers.models.auto import modeling_auto

    if configuration.is_encoder_decoder:
        return False
    if getattr(configuration, "is_decoder", False):
        return True
    if getattr(configuration, "use_bidirectional_attention", False) or configuration.model_type == "bert-generation":
        return False
    kind = configuration.model_type
    causal, masked = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in causal and kind not in masked


def _stored_names(folder: Path) -> list[str] | None:
    """Names of the stored weights, from the headers alone; None where they are not safetensors."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            return list(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        with (folder / "model.safetensors").open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ConfigError(f"encoder {str(folder)!r}: its safetensors are damaged: {error}") from None
    return [name for name in header if name != "__metadata__"]
