"""Which encoder a setting means, and what identifies it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from mtbench.errors import ConfigError, UsageError
from mtbench.model.source import find_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "tokenizer.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def test_content_names_the_folder_and_its_weights_not_its_place(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, copy)
    assert find_encoder(str(folder)).content == find_encoder(str(copy)).content
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert find_encoder(str(folder)).content != find_encoder(str(copy)).content


def test_a_folder_that_is_called_tiny_is_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    folder.rename("tiny")
    assert find_encoder("tiny").content == {"name": "tiny"}
    for path in ("./tiny", "tiny/"):
        assert find_encoder(path).path == str(folder.parent / "tiny") and "sha256" in find_encoder(path).content


def test_a_home_folder_is_resolved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find_encoder("~/model").path == str(folder)


@pytest.mark.parametrize(
    "path",
    [
        "~/absent",
        "./absent",
        "/absent",
        "../x",
        "a/b/c",
        "a\\b",
        "",
        " ",
        "a b",
        "ü/x",
        "foo..bar",
        "a--b",
        "foo-",
        "x.git",
        "x" * 97,
    ],
)
def test_a_place_is_never_taken_for_a_hub_name(path: str) -> None:
    with pytest.raises(ConfigError, match="no such folder, and not a hub name"):
        find_encoder(path)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder without config\.json"):
        find_encoder(str(tmp_path))
    with pytest.raises(UsageError, match="'~nobody-here/x': "):
        find_encoder("~nobody-here/x")


def test_a_hub_name_is_here_when_configuration_tokenizer_and_all_weights_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("t5-base", "google/t5-v1_1-base"):
        found = find_encoder(name)
        assert (found.path, found.content, found.is_here) == (name, {"name": name}, False)
    cached = tmp_path / "hub" / "models--some--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc123")
    shutil.copytree(folder, cached / "snapshots" / "abc123")
    found = find_encoder("some/model")
    assert found.is_here and found.path == str(cached / "snapshots" / "abc123")
    assert found.content == {"name": "some/model", "revision": "abc123"}
    snapshot = cached / "snapshots" / "abc123"
    (snapshot / "tokenizer.json").rename(snapshot / "vocab.txt")
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00002.safetensors")
    assert not find_encoder("some/model").is_here
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert not find_encoder("some/model").is_here
    (snapshot / "model-00002-of-00002.safetensors").write_bytes(b"more weights")
    assert find_encoder("some/model").is_here
    (snapshot / "vocab.txt").unlink()
    (snapshot / "training_args.bin").write_bytes(b"no weights")
    assert not find_encoder("some/model").is_here
