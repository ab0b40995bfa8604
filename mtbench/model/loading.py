"""transformers' loaders, quiet, from folders alone, and with errors that a user can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtbench.errors import ConfigError

_REMEDY = (
    "Give a folder with config.json and model.safetensors, or fetch a hub's encoder: "
    "mtbench prepare SUITE --encoder NAME"
)


def from_pretrained(
    loader: str, path: str | Path, *, what: str = "model", remedy: str = _REMEDY, **options: Any
) -> Any:
    """``transformers.LOADER.from_pretrained(path)``; ConfigError if that fails, whatever the reason.

    What is missing is fetched by ``mtbench prepare``, never here.
    """
    import transformers

    with quiet():
        try:
            return getattr(transformers, loader).from_pretrained(str(path), local_files_only=True, **options)
        except Exception as error:  # noqa: BLE001 (what a foreign file can cause has no common class)
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(f"encoder {str(path)!r}: no {what} could be loaded: {lines[0]}\n  {remedy}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars and reports: what they would say is checked and said here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
