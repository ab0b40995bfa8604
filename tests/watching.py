"""Looking for files below a folder that another process is working in."""

from __future__ import annotations

import os
from pathlib import Path


def files_named(folder: Path, name: str) -> list[Path]:
    """Every file of that name; folders that vanish during the search are passed over (``rglob`` would raise)."""
    return [Path(place) / name for place, _, files in os.walk(folder) if name in files]
