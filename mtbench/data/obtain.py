"""Bringing a registered suite's raw files together: what is there, what must be fetched, and the note that says so."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtbench.data.archives import missing_members, unpack
from mtbench.data.download import NoSourceError, Progress, check_file, fetch, remote_size
from mtbench.data.loading import SOURCE, raw_folder
from mtbench.data.reading import suite_files
from mtbench.errors import DataError, StoreError
from mtbench.storage.atomic import write_json
from mtbench.suite import Download, Suite, SuiteDefinition

State = Literal["there", "partial", "fetch", "missing", "unpack", "by hand", "optional"]


@dataclass(frozen=True)
class PlannedFile:
    """One official file and what has to be done for it: ``size`` bytes (None: unknown), ``have`` of them here."""

    download: Download
    state: State
    size: int | None
    have: int = 0


def plan_files(
    definition: type[SuiteDefinition], folder: Path, *, fetching: bool = True, ask: bool = False
) -> list[PlannedFile]:
    """The state of every official file in ``folder``; ``ask`` asks servers for sizes nobody published.

    Without ``fetching`` (the user's own folder) a file that is not there is ``missing``, whatever could be fetched.
    """
    plan = []
    for download in definition.downloads:
        path = folder / download.path
        part = path.with_name(f"{path.name}.part")
        there = path.is_file() or (folder / download.path.removesuffix(".gz")).is_file()
        size: int | None = download.size
        have = 0
        if download.members and not missing_members(download, folder):
            state: State = "there"
        elif there:
            state = "unpack" if download.unpack else "there"
        elif download.optional:
            state = "optional"
        elif not download.urls:
            state = "by hand"
        elif not fetching:
            state = "missing"
        else:
            have = part.stat().st_size if part.is_file() else 0
            state = "partial" if have else "fetch"
            size = remote_size(download) if ask else size
            ask = ask and size is not None  # one that does not answer: nor will the others, without a network
        plan.append(PlannedFile(download, state, size, have))
    return plan


def check_disk(plan: list[PlannedFile], folder: Path) -> None:
    """StoreError if what is to be fetched does not fit; an archive counts three times, for its members."""
    needed = sum(
        (item.size - item.have) * (3 if item.download.unpack else 1)
        for item in plan
        if item.state in ("fetch", "partial") and item.size is not None
    )
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise StoreError(
            f"{folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free\n"
            "  Choose another --store, or free space (mtbench clean)."
        )


def check_obtainable(definition: type[SuiteDefinition], raw: Path | None, note: Path) -> list[PlannedFile]:
    """What is to be done for each file in ``raw``, or else in ``note``, the suite's own folder in the store.

    DataError for a file that only a person can bring, StoreError if the rest does not fit on the disk.
    """
    folder = (raw or note).resolve()
    plan = plan_files(definition, folder, fetching=raw is None)
    for item in plan:
        path = folder / item.download.path
        if item.state == "missing":
            raise DataError("not found", path=path, remedy="Put the file there, or leave --raw out.")
        if item.state == "by hand":
            raise DataError("must be fetched by hand", path=path, remedy=item.download.manual)
    check_disk(plan, folder)
    return plan


def obtain_raw(
    definition: type[SuiteDefinition],
    profile: str,
    raw: Path | None,
    home: Path,
    progress: Progress | None = None,
) -> Suite:
    """The declared suite over files that were checked, and a note in ``home`` so that ``run`` finds them.

    With ``raw`` nothing is fetched: its files are checked and its archives unpacked. Otherwise what is missing is
    fetched. Raises DataError for a missing, wrong or damaged file, StoreError for a full disk.
    """
    note = raw_folder(definition, profile, home)
    folder = (raw or note).resolve()
    for item in check_obtainable(definition, raw, note):
        _bring(item, folder, progress)
    suite = definition().suite(folder, profile)
    files = suite_files(suite)
    note.mkdir(parents=True, exist_ok=True)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    write_json(note / SOURCE, {"raw": str(folder), "files": sizes})
    return suite


def _bring(item: PlannedFile, folder: Path, progress: Progress | None) -> None:
    download = item.download
    if download.optional:
        return
    if item.state in ("fetch", "partial"):
        try:
            fetch(download, folder, progress)
        except NoSourceError as error:
            _fetch_members(download, folder, progress, error)
    elif (folder / download.path).is_file():
        check_file(download, folder / download.path)
    if download.unpack and item.state in ("fetch", "partial", "unpack"):
        unpack(download, folder)


def _fetch_members(download: Download, folder: Path, progress: Progress | None, error: NoSourceError) -> None:
    """Fetch the archive's members one by one from elsewhere; raises ``error`` if that is not possible."""
    for piece in download.instead:
        try:
            fetch(piece, folder, progress)
        except NoSourceError as also:
            raise also from error
    if not download.instead:
        raise error
