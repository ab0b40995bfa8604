"""The exported folder loads in sentence-transformers and gives the encoder's own vectors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtbench.config import EncoderConfig
from mtbench.errors import DataError
from mtbench.model.encoder import DualEncoder, build_encoder
from mtbench.model.tokenizer import train_tokenizer
from mtbench.report.encoder_export import export_encoder

TEXTS = [
    "Title: Alpha Text: Alpha is the first letter of the alphabet.",
    "who wrote the first letter",
    "Text: a much longer passage " + "about letters and words " * 30,
]
PROMPTS = {"nq": "NQ </s> ", "fever": "FEVER </s> "}
SEPARATOR = "</s>"


def make_checkpoint(folder: Path, pooling: str, *, normalize: bool = False, sharing: str = "shared") -> DualEncoder:
    """A random encoder saved as training saves it: T5 for ``t5``, a small BERT otherwise."""
    tokenizer = train_tokenizer(TEXTS * 3, 300)
    path = "tiny"
    if pooling != "t5":
        path = str(folder.with_name(f"{folder.name}-bert"))
        _save_bert(path, tokenizer)
    settings = EncoderConfig(path=path, pooling=pooling, normalize=normalize, sharing=sharing, hidden=32)
    encoder = build_encoder(settings, tokenizer, num_tasks=2, seed=0)
    encoder.save(folder, tokenizer, {"nq": "NQ", "fever": ""}, {})
    return encoder


def _save_bert(path: str, tokenizer: Any) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


def own_vectors(checkpoint: Path, texts: list[str], max_length: int) -> np.ndarray:
    """Vectors by mtbench's encoder and tokenizer, padded together."""
    import torch
    from transformers import AutoTokenizer

    encoder = DualEncoder.load(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        return encoder.encode(batch["input_ids"], batch["attention_mask"], "passage").numpy()


needs_sentence_transformers = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (it is no dependency of mtbench)",
)


@needs_sentence_transformers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["t5", "cls", "mean", "last"])
def test_sentence_transformers_gives_the_same_vectors(pooling: str, normalize: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    make_checkpoint(tmp_path / "checkpoint", pooling, normalize=normalize)
    (folder,) = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR, max_length=24)
    model = SentenceTransformer(str(folder), trust_remote_code=pooling == "t5", device="cpu")
    expected = own_vectors(tmp_path / "checkpoint", TEXTS, 24)
    assert np.abs(model.encode(TEXTS) - expected).max() < 1e-5
    prompted = own_vectors(tmp_path / "checkpoint", [PROMPTS["nq"] + TEXTS[1]], 24)
    assert np.abs(model.encode([TEXTS[1]], prompt_name="nq") - prompted).max() < 1e-5
    assert model.similarity_fn_name == "dot"
    model.save(str(tmp_path / "again"))
    again = SentenceTransformer(str(tmp_path / "again"), trust_remote_code=pooling == "t5", device="cpu")
    assert np.abs(again.encode(TEXTS) - expected).max() < 1e-5


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("pooling", "key"), [("cls", "cls_token"), ("mean", "mean_tokens"), ("last", "lasttoken")])
def test_the_pooling_stands_in_the_folder(pooling: str, key: str, normalize: bool, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "checkpoint", pooling, normalize=normalize)
    (folder,) = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR, max_length=77)
    pooling_config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert [name for name, value in pooling_config.items() if value is True] == [f"pooling_mode_{key}"]
    assert pooling_config["word_embedding_dimension"] == 32
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 77
    modules = json.loads((folder / "modules.json").read_text())
    kinds = [module["type"].rsplit(".", 1)[1] for module in modules]
    assert kinds == ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    assert all((folder / module["path"]).is_dir() for module in modules)


def test_the_t5_module_alone_gives_the_encoders_vectors(tmp_path: Path) -> None:
    """The shipped file needs neither mtbench nor sentence-transformers: it is loaded from the folder by its path."""
    import torch

    make_checkpoint(tmp_path / "checkpoint", "t5")
    (folder,) = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR, max_length=24)
    kind = json.loads((folder / "modules.json").read_text())[0]["type"]
    module_name, _, class_name = kind.partition(".")
    source = folder / f"{module_name}.py"
    imports = [line for line in source.read_text().splitlines() if line.startswith(("import ", "from "))]
    assert not any("mtbench" in line for line in imports)
    spec = importlib.util.spec_from_file_location("shipped", source)
    assert spec is not None and spec.loader is not None
    shipped = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shipped)
    module = getattr(shipped, class_name).load(str(folder))
    with torch.no_grad():
        vectors = module(module.preprocess(TEXTS))["sentence_embedding"].numpy()
        prompted = module(module.preprocess([TEXTS[1]], prompt=PROMPTS["nq"]))["sentence_embedding"].numpy()
    assert np.abs(vectors - own_vectors(tmp_path / "checkpoint", TEXTS, 24)).max() < 1e-6
    expected = own_vectors(tmp_path / "checkpoint", [PROMPTS["nq"] + TEXTS[1]], 24)
    assert np.abs(prompted - expected).max() < 1e-6
    assert module.get_sentence_embedding_dimension() == vectors.shape[1]
    module.save(str(tmp_path / "out"))
    assert module.load(str(folder)).max_seq_length == 24


def test_the_t5_module_treats_queries_as_mtbench_does(tmp_path: Path) -> None:
    """``[SEP]`` in a query becomes the separator, and a query has its own length; passages stay as they are."""
    from mtbench.report.first_decoder_state import FirstDecoderState

    make_checkpoint(tmp_path / "checkpoint", "t5")
    file = tmp_path / "checkpoint" / "mtbench.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"query_max_lengths": {"nq": 6}}))
    (folder,) = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR, max_length=24)
    module = FirstDecoderState.load(str(folder))
    end = module.tokenizer.convert_tokens_to_ids(SEPARATOR)

    def ids(text: str, prompt: str | None = None) -> list[int]:
        return module.preprocess([text], prompt=prompt)["input_ids"][0].tolist()

    assert ids("alpha [SEP] letter", PROMPTS["fever"]).count(end) == 3
    assert ids("alpha [SEP] letter").count(end) == 1
    assert len(ids(TEXTS[2])) == len(ids(TEXTS[2], PROMPTS["fever"])) == 24
    assert ids(TEXTS[2], PROMPTS["nq"]) == ids(PROMPTS["nq"] + TEXTS[2])
    assert len(ids(TEXTS[2], PROMPTS["nq"])) == 6


def test_several_backbones_give_a_folder_each(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "checkpoint", "t5", sharing="untied")
    folders = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR)
    assert [folder.name for folder in folders] == ["passage", "query"]
    assert all((folder / "modules.json").is_file() for folder in folders)


def test_prompts_and_dot_product_stand_in_the_folder(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "checkpoint", "t5")
    (folder,) = export_encoder(tmp_path / "checkpoint", tmp_path / "out", separator=SEPARATOR)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert config["prompts"] == PROMPTS
    assert config["similarity_fn_name"] == "dot"
    assert "`NQ </s> `" in (folder / "README.md").read_text()


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "checkpoint", "t5")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("keep me")
    with pytest.raises(DataError, match="not an empty folder"):
        export_encoder(tmp_path / "checkpoint", tmp_path / "full", separator=SEPARATOR)
    with pytest.raises(DataError, match=r"not a trained mtbench encoder: no readable mtbench\.json"):
        export_encoder(tmp_path / "full", tmp_path / "new", separator=SEPARATOR)
    (tmp_path / "checkpoint" / "config.json").unlink()
    with pytest.raises(DataError, match="weights of this encoder are missing"):
        export_encoder(tmp_path / "checkpoint", tmp_path / "new", separator=SEPARATOR)
    assert not (tmp_path / "new").exists()
