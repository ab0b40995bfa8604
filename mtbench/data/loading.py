"""From what the user names (a folder, a registered suite) to a declared suite whose raw files are there."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from pathlib import Path

from mtbench.config import profile_lineage
from mtbench.data.reading import suite_files
from mtbench.data.suite_file import FILE_NAME, check_settings, read_suite_folder
from mtbench.errors import DataError
from mtbench.records.values import Settings
from mtbench.registry import entries, get_suite
from mtbench.storage.atomic import move_folder, write_json
from mtbench.storage.disk import file_digest
from mtbench.storage.places import default_root, expanded
from mtbench.suite import Suite, SuiteDefinition

SOURCE = "source.json"
"""In a raw folder of the profile ``paper``: names where the files lie that ``prepare`` has checked."""


def load_suite(name_or_path: str | Path, profile: str, raw: Path | None = None, home: Path | None = None) -> Suite:
    """The suite over raw files that exist.

    A path (or a folder with ``suite.toml``) is read from there in any profile. A registered name with the profile
    ``mini`` has its raw files generated once below ``home/raw``; other profiles use ``raw``, or what ``mtbench
    prepare`` put there. Raises UnknownNameError, or DataError naming the missing file and the command that makes it.
    """
    folder = suite_folder(name_or_path)
    if folder is not None:
        suite = read_suite_folder(folder)
        suite_files(suite)
        return suite
    definition = get_suite(str(name_or_path))
    kind = data_profile(profile, definition)
    if kind == "mini" and raw is None:
        root = generate_raw(definition, home or default_root())
    else:
        root = raw if raw is not None else prepared_raw(definition, kind, home or default_root())
    suite = definition().suite(root, kind)
    suite_files(suite)
    return suite


def carried_settings(name_or_path: str | Path) -> Settings:
    """The settings of the pipeline that the suite carries for the profile ``mini``, checked; no data are read.

    Raises UnknownNameError, DataError for a folder's file that is wrong, ConfigError for settings that are.
    """
    folder = suite_folder(name_or_path)
    if folder is not None:
        return read_suite_folder(folder).settings
    definition = get_suite(str(name_or_path))
    check_settings(definition.settings, f"settings of suite {definition.name}")
    return definition.settings


def suite_folder(name_or_path: str | Path) -> Path | None:
    """The folder meant, or None if a registered name is meant.

    What is no path by its look is a registered name first, so that a folder that is called like one changes nothing.
    """
    path = expanded(name_or_path)
    if path.name == FILE_NAME:
        path = path.parent
    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or os.sep in text or text.startswith(".") or text.endswith(FILE_NAME)
    if is_path or ((path / FILE_NAME).is_file() and text not in entries("suite")):
        if not path.is_dir():
            raise DataError("no such folder", path=path, remedy=f"A suite is a folder with a {FILE_NAME}.")
        return path
    return None


def data_profile(profile: str, definition: type[SuiteDefinition]) -> str:
    """Which of the suite's data a profile uses: its own name, or the one it extends."""
    if profile not in definition.profiles:
        names = [name for name, _ in profile_lineage(profile)]
        profile = next((name for name in names if name in definition.profiles), "paper")
    if profile not in definition.profiles:
        raise DataError(
            f"suite {definition.name!r} has no data for the profile {profile!r}",
            remedy=f"It has: {', '.join(definition.profiles)}.",
        )
    return profile


def raw_folder(definition: type[SuiteDefinition], profile: str, home: Path) -> Path:
    """Where the raw files of a registered suite lie by default."""
    label = f"{definition.name}-{profile}-v{definition.version}"
    if profile == "mini":
        label += f"-{_generator_hash(definition)}"
    return home / "raw" / label


def prepared_raw(definition: type[SuiteDefinition], profile: str, home: Path) -> Path:
    """The raw folder that ``mtbench prepare`` checked; DataError naming that command if there is none."""
    folder = raw_folder(definition, profile, home)
    try:
        return Path(json.loads((folder / SOURCE).read_text("utf-8"))["raw"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the data of suite {definition.name!r} for the profile {profile!r} are not here",
            path=folder,
            remedy=f"Get them: mtbench prepare {definition.name} --profile {profile} [--raw DIR]",
        ) from error


def generate_raw(definition: type[SuiteDefinition], home: Path) -> Path:
    """Raw files of the profile ``mini``, generated once; written beside and renamed when whole."""
    if definition.generator is None:
        raise DataError(f"suite {definition.name!r} has no generator for the profile 'mini'")
    folder = raw_folder(definition, "mini", home)
    if folder.is_dir():
        return folder
    module, _, function = definition.generator.partition(":")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    getattr(importlib.import_module(module), function)(partial, definition.generator_seed)
    move_folder(partial, folder, stands=folder.is_dir)  # another process's bytes are the same
    return folder


def _generator_hash(definition: type[SuiteDefinition]) -> str:
    """Of the generator's source, so that files of an older generator are never taken for this one's."""
    module = importlib.import_module(str(definition.generator).partition(":")[0])
    digest = hashlib.sha256(str(definition.generator_seed).encode())
    for path in sorted(Path(str(module.__file__)).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def suite_fingerprint(suite: Suite, home: Path | None = None) -> str:
    """Hash of every file the suite names and of what its declaration determines, 64 hex digits; no path enters it.

    File hashes are kept in ``home`` and used again while size and modification time stay the same.
    """
    cache = (home or default_root()) / "raw" / "hashes.json"
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    digest = hashlib.sha256(json.dumps(suite.determinants, sort_keys=True).encode())
    changed = False
    for path in suite_files(suite):
        stat = path.stat()
        key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        if known.get(key, [None])[0] != state:
            known[key] = [state, file_digest(path)]
            changed = True
        digest.update(f"{path.relative_to(suite.root).as_posix()}\0{known[key][1]}\0".encode())
    if changed:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
    return digest.hexdigest()
