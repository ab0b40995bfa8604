"""The dual encoder: queries and passages to vectors whose dot product is the score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from mtbench.config import EncoderConfig
from mtbench.errors import ConfigError, DataError
from mtbench.model.reparametrise import reparametrise_t5

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Side = Literal["query", "passage"]
SETTINGS_FILE = "mtbench.json"


class DualEncoder(nn.Module):
    """One or several transformer backbones with a pooling; ``encode`` gives float32 vectors ``(B, d)``.

    ``sharing``: ``shared`` has one backbone, ``untied`` one for each side (as DPR), ``per-task-query`` a query
    backbone for each task and one for passages (QSpec). Pooling ``t5`` is the first decoder state of T5's
    encoder-decoder (Ni et al., "Sentence-T5", 2022), the others act on the last hidden states.
    """

    def __init__(
        self, backbones: dict[str, PreTrainedModel], settings: EncoderConfig, pooling: str, num_tasks: int
    ) -> None:
        super().__init__()
        self.backbones = nn.ModuleDict(backbones)
        self.settings, self.pooling, self.num_tasks = settings, pooling, num_tasks

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        config = self.any_backbone.config
        return int(getattr(config, "d_model", None) or config.hidden_size)

    @property
    def any_backbone(self) -> PreTrainedModel:
        """One of the backbones, for questions about all of them."""
        return next(iter(self.backbones.values()))  # type: ignore[return-value]

    @property
    def owners(self) -> dict[str, int]:
        """Prefixes of the parameters that only one task uses, and that task."""
        if self.settings.sharing != "per-task-query":
            return {}
        return {f"backbones.query_{k}.": k for k in range(self.num_tasks)}

    def backbone(self, side: Side, task: int | None) -> nn.Module:
        """The backbone that encodes this side of this task."""
        if self.settings.sharing == "shared":
            return self.backbones["shared"]
        if side == "query" and self.settings.sharing == "per-task-query":
            assert task is not None, "per-task query encoders need the task"
            return self.backbones[f"query_{task}"]
        return self.backbones[side]

    def encode(self, ids: Tensor, mask: Tensor, side: Side, task: int | None = None) -> Tensor:
        """Vectors ``(B, d)`` float32 of token ids ``(B, L)`` with attention mask ``(B, L)``."""
        backbone = self.backbone(side, task)
        bf16 = self.settings.precision == "bf16"
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=bf16):
            vectors = self._pool(backbone, ids, mask)
        vectors = vectors.float()
        return nn.functional.normalize(vectors, dim=-1) if self.settings.normalize else vectors

    def _pool(self, backbone: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "t5":
            start = torch.zeros(ids.shape[0], 1, dtype=torch.long, device=ids.device)
            # an additive mask is taken as it is; from a plain one the library builds the same in every pass, and asks
            # the device each time whether anything is masked at all
            given = mask if self.settings.precision == "bf16" else _additive(mask)
            output = backbone(input_ids=ids, attention_mask=given, decoder_input_ids=start, use_cache=False)
            first: Tensor = output.last_hidden_state[:, 0]
            return first
        states: Tensor = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
            return states[torch.arange(len(states), device=states.device), last]
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    def save(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        prompts: dict[str, str],
        query_max_lengths: dict[str, int],
    ) -> None:
        """Write a folder that transformers loads: one backbone at its top, several in subfolders.

        ``prompts`` and ``query_max_lengths`` (tokens, prompt included) by task say how queries were encoded.
        """
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder.mkdir(parents=True, exist_ok=True)
        for name, backbone in self.backbones.items():
            target = folder if name == "shared" else folder / name
            backbone.save_pretrained(target)  # type: ignore[operator]
            tokenizer.save_pretrained(str(target))
        settings = {
            "encoder": self.settings.model_dump(mode="json"),
            "pooling": self.pooling,
            "normalize": self.settings.normalize,
            "num_tasks": self.num_tasks,
            "prompts": prompts,
            "query_max_lengths": query_max_lengths,
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> DualEncoder:
        """The encoder that :meth:`save` wrote. DataError if the folder is not one."""
        file = folder / SETTINGS_FILE
        if not file.is_file():
            raise DataError("not a trained mtbench encoder: no mtbench.json", path=folder)
        saved = json.loads(file.read_text(encoding="utf-8"))
        settings = EncoderConfig.model_validate(saved["encoder"])
        names = list(_backbone_names(settings, saved["num_tasks"]))
        backbones = {n: _load_backbone(str(folder if n == "shared" else folder / n), saved["pooling"]) for n in names}
        model = cls(backbones, settings, saved["pooling"], saved["num_tasks"])
        return model.prepare()

    def prepare(self) -> DualEncoder:
        """Set dropout and gradient checkpointing as configured, and evaluation mode."""
        for backbone in self.backbones.values():
            if self.settings.dropout is not None:
                for module in backbone.modules():
                    if isinstance(module, nn.Dropout):
                        module.p = self.settings.dropout
            if self.settings.gradient_checkpointing:
                backbone.gradient_checkpointing_enable()  # type: ignore[operator]
        return self.eval()


def _additive(mask: Tensor) -> Tensor:
    """Float32 ``(B, 1, 1, L)``: 0 where ``mask`` (B, L) is 1, the lowest number elsewhere."""
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(mask == 0, lowest)[:, None, None, :]


def build_encoder(
    settings: EncoderConfig, tokenizer: PreTrainedTokenizerBase, num_tasks: int, seed: int
) -> DualEncoder:
    """The encoder before training: a random tiny T5 (a pure function of ``seed``), or pre-trained weights."""
    names = list(_backbone_names(settings, num_tasks))
    pooling: str = settings.pooling
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.path == "tiny":
            backbones = {name: _tiny_t5(settings, tokenizer) for name in names}
            pooling = "t5" if pooling == "auto" else pooling
        else:
            pooling = _resolve_pooling(settings)
            backbones = {name: _load_backbone(settings.path, pooling) for name in names}
    if settings.reparametrise_t5 and settings.path != "tiny":
        for backbone in backbones.values():
            reparametrise_t5(backbone)
    return DualEncoder(backbones, settings, pooling, num_tasks).prepare()


def _backbone_names(settings: EncoderConfig, num_tasks: int) -> Iterator[str]:
    if settings.sharing == "shared":
        yield "shared"
    elif settings.sharing == "untied":
        yield from ("query", "passage")
    else:
        yield from (f"query_{k}" for k in range(num_tasks))
        yield "passage"


def _tiny_t5(settings: EncoderConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    from transformers import T5Config, T5Model

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
    return T5Model(config)


def _resolve_pooling(settings: EncoderConfig) -> str:
    config = _hub_call(settings.path, "AutoConfig")
    is_t5 = getattr(config, "model_type", "") in ("t5", "mt5", "umt5", "longt5")
    if settings.pooling == "auto":
        return "t5" if is_t5 else "cls"
    if settings.pooling == "t5" and not is_t5:
        raise ConfigError(f"encoder.pooling='t5' needs an encoder-decoder T5; {settings.path} is {config.model_type!r}")
    return settings.pooling


def _load_backbone(path: str, pooling: str) -> PreTrainedModel:
    config = _hub_call(path, "AutoConfig")
    only_encoder = pooling != "t5" and getattr(config, "model_type", "") == "t5"
    model: PreTrainedModel = _hub_call(path, "T5EncoderModel" if only_encoder else "AutoModel", dtype=torch.float32)
    return model


def _hub_call(path: str, loader: str, **options: Any) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        # what is missing is fetched by `mtbench prepare`, never by a run
        return getattr(transformers, loader).from_pretrained(path, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"encoder {path!r} cannot be loaded: {str(error).splitlines()[0]}\n"
            "  Give a folder with config.json and model.safetensors, or fetch a hub's encoder: "
            "mtbench prepare SUITE --encoder NAME"
        ) from None
