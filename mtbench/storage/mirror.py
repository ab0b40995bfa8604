"""A second place for finished stages and records, at any address that fsspec knows (``s3://``, ``gs://``, ``file://``).

``MTBENCH_MIRROR=ADDRESS`` turns it on, for workers too. The store stays a folder: a finished stage is copied to the
mirror, and one that is missing in the folder is fetched instead of computed. An object store has no rename, so a
stage's manifest is copied last: where it stands, the stage is whole; its files are checked after fetching as always.
"""

from __future__ import annotations

import os
from pathlib import Path

from mtbench.errors import EnvironmentMismatchError, StoreError
from mtbench.storage.atomic import replacing
from mtbench.storage.manifest import MANIFEST, Manifest

VARIABLE = "MTBENCH_MIRROR"


class Mirror:
    """Stages below ``ADDRESS/stages``, records below ``ADDRESS/results``."""

    def __init__(self, address: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise EnvironmentMismatchError(f"{VARIABLE} needs fsspec: pip install fsspec") from None
        self.address = address
        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{VARIABLE}={address} cannot be used: {error}") from None
        self._root = str(root).rstrip("/")

    def _place(self, *parts: str) -> str:
        return "/".join([self._root, *parts])

    def fetch(self, name: str, key: str, target: Path) -> bool:
        """Copy a finished stage into the empty folder ``target``; False if the mirror has none that is whole."""
        source = self._place("stages", name, key)
        try:
            text = self._files.cat_file(f"{source}/{MANIFEST}")
        except FileNotFoundError:
            return False
        try:
            manifest = Manifest.parse(text)
        except ValueError:  # damaged there
            return False
        for file in manifest.files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{source}/{file}", str(target / file))
        (target / MANIFEST).write_bytes(text)
        return True

    def offer(self, name: str, key: str, folder: Path) -> None:
        """Copy the finished stage in ``folder``, its manifest last; nothing if it is there."""
        target = self._place("stages", name, key)
        if self._files.exists(f"{target}/{MANIFEST}"):
            return
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        for file in [*manifest.files, MANIFEST]:
            self._put(folder / file, f"{target}/{file}")

    def offer_results(self, results: Path) -> None:
        """Copy the records that the mirror has not, or has with other content."""
        for file in sorted((results / "runs").rglob("*.json")):
            place = self._place("results", file.relative_to(results).as_posix())
            if not self._files.exists(place) or self._files.cat_file(place) != file.read_bytes():
                self._put(file, place)

    def fetch_results(self, results: Path) -> None:
        """Copy the records that are missing here; those that are here stay."""
        top = self._place("results")
        if not self._files.exists(top):
            return
        for place in self._files.find(top):
            file = results / str(place).partition("/results/")[2]
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(file, f"{os.getpid()}.tmp") as beside:
                    self._files.get_file(place, str(beside))

    def _put(self, file: Path, place: str) -> None:
        self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(file), place)


def mirror_from_environment() -> Mirror | None:
    """The mirror that ``MTBENCH_MIRROR`` names, or None."""
    address = os.environ.get(VARIABLE)
    return Mirror(address) if address else None


def fetch_results(results: Path) -> None:
    """Copy the records that are missing in ``results`` from the mirror, if there is one."""
    mirror = mirror_from_environment()
    if mirror:
        mirror.fetch_results(results)


def offer_results(results: Path) -> None:
    """Copy the records in ``results`` to the mirror, if there is one."""
    mirror = mirror_from_environment()
    if mirror:
        mirror.offer_results(results)
