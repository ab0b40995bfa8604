"""The dual encoder: queries and passages to vectors whose dot product is the score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from mtbench.config import EncoderConfig
from mtbench.errors import DataError
from mtbench.model.architecture import is_causal, load_configuration, vector_size
from mtbench.model.backbones import backbone_names, copies, load_backbone, make_backbones, query_tower
from mtbench.model.choices import choose, pooling_of
from mtbench.model.folder import SETTINGS_FILE, any_weights
from mtbench.model.reparametrise import is_reparametrised

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Side = Literal["query", "passage"]


class DualEncoder(nn.Module):
    """One or several transformer backbones with a pooling; ``encode`` gives float32 vectors ``(B, d)``.

    ``sharing``: ``shared`` has one backbone, ``untied`` one for each side (as DPR), ``per-task-query`` a query
    backbone for each task and one for passages (QSpec), ``per-family-query`` one for the queries of each family of
    tasks. Pooling ``t5`` is the first decoder state of T5's encoder-decoder (Ni et al., "Sentence-T5", 2022), the
    others act on the last hidden states.
    """

    def __init__(
        self,
        backbones: dict[str, PreTrainedModel],
        settings: EncoderConfig,
        pooling: str,
        num_tasks: int,
        families: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbones = nn.ModuleDict(backbones)
        self.settings, self.pooling, self.num_tasks = settings, pooling, num_tasks
        self.families = tuple(families)
        """Of each task, by its place in the suite."""
        configuration = self.any_backbone.config
        self._without_cache = {"use_cache": False} if is_causal(configuration) else {}
        # an additive mask is taken as it is; from a plain one the library builds the same in every pass, and asks
        # the device each time whether anything is masked at all
        self._additive_mask = configuration.model_type == "t5" and settings.precision != "bf16"

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return vector_size(self.any_backbone.config)

    @property
    def any_backbone(self) -> PreTrainedModel:
        """One of the backbones, for questions about all of them."""
        return next(iter(self.backbones.values()))  # type: ignore[return-value]

    @property
    def owners(self) -> dict[str, frozenset[int]]:
        """Prefixes of the parameters that some tasks alone use, and the places of these tasks."""
        if self.settings.sharing in ("shared", "untied"):
            return {}
        users: dict[str, set[int]] = {}
        for task in range(self.num_tasks):
            users.setdefault(query_tower(self.settings.sharing, task, self.families), set()).add(task)
        return {f"backbones.{name}.": frozenset(tasks) for name, tasks in users.items()}

    def backbone(self, side: Side, task: int | None) -> nn.Module:
        """The backbone that encodes this side of this task."""
        sharing = self.settings.sharing
        if side == "passage" and sharing != "shared":
            return self.backbones["passage"]
        assert task is not None or sharing in ("shared", "untied"), "query encoders of their own need the task"
        return self.backbones[query_tower(sharing, task or 0, self.families)]

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
            given = _additive(mask) if self._additive_mask else mask
            output = backbone(input_ids=ids, attention_mask=given, decoder_input_ids=start, use_cache=False)
            first: Tensor = output.last_hidden_state[:, 0]
            return first
        states: Tensor = backbone(input_ids=ids, attention_mask=mask, **self._without_cache).last_hidden_state
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
        data: dict[str, Any] | None = None,
    ) -> None:
        """Write a folder that transformers loads: one backbone at its top, several in subfolders.

        ``prompts`` and ``query_max_lengths`` (tokens, prompt included; in the order of the tasks) by task say how
        queries were encoded, ``data`` which settings of texts did that (:attr:`Context.text_settings`).
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
            **({"families": list(self.families)} if self.settings.sharing == "per-family-query" else {}),
            "prompts": prompts,
            "query_max_lengths": query_max_lengths,
            "tasks": list(query_max_lengths),
            "data": data or {},
            "reparametrised": is_reparametrised(self.any_backbone),
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
        families = saved.get("families", ())
        names = backbone_names(settings.sharing, saved["num_tasks"], families)
        backbones = {n: load_backbone(folder if n == "shared" else folder / n, saved["pooling"]) for n in names}
        model = cls(backbones, settings, saved["pooling"], saved["num_tasks"], families)
        return model.prepare()

    def split(self, settings: EncoderConfig, families: Sequence[str]) -> DualEncoder:
        """Several towers by ``settings.sharing``, each a copy of this encoder, which has one. ``families``: of each
        task."""
        backbones = copies(self.any_backbone, backbone_names(settings.sharing, len(families), families))
        return DualEncoder(backbones, settings, self.pooling, len(families), families).prepare()

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
    settings: EncoderConfig,
    tokenizer: PreTrainedTokenizerBase,
    num_tasks: int,
    seed: int,
    families: Sequence[str] = (),
) -> DualEncoder:
    """The encoder before training: a random tiny T5 (a pure function of ``seed``), or pre-trained weights.

    ``families``: of each task, needed for ``per-family-query``.
    """
    settings = choose(settings).settings
    if settings.path == "tiny":
        pooling = "t5" if settings.pooling == "auto" else str(settings.pooling)
    else:
        pooling = pooling_of(settings.pooling, load_configuration(any_weights(Path(settings.path))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbones = make_backbones(settings, pooling, tokenizer, num_tasks, families)
    return DualEncoder(backbones, settings, pooling, num_tasks, families).prepare()
