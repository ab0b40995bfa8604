"""Where an encoder's weights come from: made anew (``tiny``), a folder, or the local cache of a hub.

Only :func:`fetch_encoder` (``mtbench prepare``) goes to the network; a run loads from a folder.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_CONTENT = (".json", ".safetensors", ".bin", ".model", ".txt")
_WEIGHTS = ("*.safetensors", "*.bin")
"""In the order of preference: the second kind is fetched only where there is none of the first."""


@dataclass(frozen=True)
class EncoderSource:
    """``path`` for the loaders: ``tiny``, a folder, or a hub name whose files are not here.

    ``content`` identifies the encoder without naming a place: folder name and content hash, or hub name and revision.
    """

    path: str
    content: dict[str, Any]

    @property
    def is_here(self) -> bool:
        """Whether nothing has to be fetched."""
        return self.path == "tiny" or Path(self.path).is_dir()


def find_encoder(path: str) -> EncoderSource:
    """The encoder meant by the setting ``encoder.path``; ConfigError for what can be none.

    A path that names a place (``./x``, ``~/x``, ``/x``, ``a/b/c``) is never taken for a hub name.
    """
    remedy = "\n  Give 'tiny', a folder with config.json and model.safetensors, or a hub name such as owner/model."
    if path == "tiny":
        return EncoderSource(path, {"name": path})
    try:
        folder = Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ConfigError(f"encoder.path={path!r}: {error}{remedy}") from None
    if path and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"encoder.path={path!r} is a folder without config.json{remedy}")
        return EncoderSource(str(folder), {"name": folder.resolve().name, "sha256": _hash(folder)})
    if not _HUB_NAME.fullmatch(path):
        raise ConfigError(f"encoder.path={path!r}: no such folder, and no name on a hub{remedy}")
    snapshot = _cached(path)
    if snapshot is None:
        return EncoderSource(path, {"name": path})
    return EncoderSource(str(snapshot), {"name": path, "revision": snapshot.name})


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
            snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"])
            folder = _cached(name)
            if folder is not None:
                return folder
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"encoder {name!r} could not be fetched from the hub: {reason}\n"
            "  Check the name and the network, or fetch it elsewhere and give its folder with --encoder."
        ) from None
    raise ConfigError(f"encoder {name!r}: the hub has no config.json with weights (safetensors or bin) of this name")


def _cached(name: str) -> Path | None:
    """The snapshot folder in the hub's local cache, if configuration and weights are there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    return folder if any(file.is_file() for kind in _WEIGHTS for file in folder.glob(kind)) else None


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.iterdir() if f.suffix in _CONTENT):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
