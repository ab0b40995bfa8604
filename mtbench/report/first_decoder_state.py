"""The vector of a text is the first decoder state of T5's encoder-decoder (Ni et al., "Sentence-T5", 2022).

A module for sentence-transformers, which has no such pooling of its own. ``mtbench export`` copies this file into the
exported folder, so it imports nothing of mtbench. Load the folder with ``SentenceTransformer(folder,
trust_remote_code=True)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

SETTINGS_FILE = "first_decoder_state.json"


class FirstDecoderState(nn.Module):
    """Tokenizer, any kind of T5 and pooling: texts to ``sentence_embedding`` float ``(B, d)``, not normalised."""

    save_in_root = True
    """Where sentence-transformers puts it when it saves the model: beside modules.json, as this folder has it."""

    def __init__(
        self, model: Any, tokenizer: Any, max_seq_length: int, separator: str, queries: dict[str, int]
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_seq_length = model, tokenizer, max_seq_length
        self.separator, self.queries = separator, queries

    @property
    def modalities(self) -> list[str]:
        """What it takes."""
        return ["text"]

    def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Token ids and mask of ``inputs``, with ``prompt`` before each.

        A text that begins with a query prompt is cut at that task's length, and ``[SEP]`` in it is the tokenizer's
        separator; every other text is cut at ``max_seq_length``.
        """
        ids = [self._token_ids((prompt or "") + text) for text in inputs]
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}

    def _token_ids(self, text: str) -> list[int]:
        length = self.max_seq_length
        for prompt, query_length in self.queries.items():
            if text.startswith(prompt):
                text, length = text.replace("[SEP]", self.separator), query_length
                break
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=length)["input_ids"]
        return ids

    tokenize = preprocess

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` to the features."""
        ids = features["input_ids"]
        start = torch.zeros(len(ids), 1, dtype=torch.long, device=ids.device)
        output = self.model(
            input_ids=ids,
            attention_mask=features["attention_mask"],
            decoder_input_ids=start,
            use_cache=False,
        )
        return {**features, "sentence_embedding": output.last_hidden_state[:, 0]}

    def get_embedding_dimension(self) -> int:
        """Length of the vectors."""
        return int(self.model.config.d_model)

    get_sentence_embedding_dimension = get_embedding_dimension

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write model, tokenizer and settings into ``output_path``."""
        self.model.save_pretrained(output_path)
        self.tokenizer.save_pretrained(output_path)
        settings = {"max_seq_length": self.max_seq_length, "separator": self.separator, "queries": self.queries}
        Path(output_path, SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        Path(output_path, Path(__file__).name).write_bytes(Path(__file__).read_bytes())

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> FirstDecoderState:
        """Read what :meth:`save` wrote from a folder or from the hub."""
        known = ("token", "revision", "local_files_only", "cache_folder")
        given = {key: options[key] for key in known if options.get(key) is not None}
        if "cache_folder" in given:
            given["cache_dir"] = given.pop("cache_folder")
        where = {"subfolder": subfolder, **given}
        config = AutoConfig.from_pretrained(model_name_or_path, **where)
        model = AutoModel.from_pretrained(model_name_or_path, config=config, dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(model_name_or_path, **where)
        return cls(model, tokenizer, **_settings(model_name_or_path, subfolder, given)).eval()


def _settings(model_name_or_path: str, subfolder: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    from transformers.utils import cached_file

    file = cached_file(model_name_or_path, SETTINGS_FILE, subfolder=subfolder, **options)
    return dict(json.loads(Path(str(file)).read_text(encoding="utf-8")))
