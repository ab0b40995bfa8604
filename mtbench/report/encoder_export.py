"""A trained encoder as a folder that sentence-transformers loads and that gives the same vectors.

``cls``, ``mean`` and ``last`` pooling are modules that sentence-transformers has. T5's first decoder state is not:
its module, :mod:`mtbench.report.first_decoder_state`, goes into the folder, which is then loaded with
``trust_remote_code=True``. sentence-transformers itself is not needed to write the folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from mtbench.errors import DataError
from mtbench.model.architecture import load_configuration, vector_size
from mtbench.model.folder import SETTINGS_FILE

POOLING = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
_POOLING_MODES = (*POOLING.values(), "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")
_MODULES = "sentence_transformers.models"
_USAGE = """---
library_name: sentence-transformers
tags: [sentence-transformers, dense-retrieval, mtbench]
---
# {title}

Dense retrieval encoder trained with mtbench; similarity is the dot product.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH-OF-THIS-FOLDER"{trust})
queries = model.encode(["who wrote it"]{prompt})
passages = model.encode(["Title: Alpha Text: Alpha was written by Ann."])
scores = queries @ passages.T
```

{prompts} A passage is `Title: <title> Text: <text>`, and `Text: <text>` without
a title.
"""


class EncoderSettings(TypedDict):
    """What ``mtbench.json`` in a trained encoder's folder says, as far as it is needed here."""

    pooling: str
    normalize: NotRequired[bool]
    separator: str
    prompts: dict[str, str]
    query_max_lengths: NotRequired[dict[str, int]]
    data: NotRequired[dict[str, Any]]


def export_encoder(
    checkpoint: Path,
    target: Path,
    *,
    separator: str,
    max_length: int = 160,
    title: str = "mtbench encoder",
) -> list[Path]:
    """Write the encoder in ``checkpoint`` (a folder with ``mtbench.json``) as sentence-transformers folders.

    A shared encoder gives ``target`` itself; several (``untied``, ``per-task-query``) give one subfolder each, named
    as the backbones are (``query``, ``passage``, ``query_0``...). ``separator`` is the tokenizer's; texts are cut at
    ``max_length`` tokens, queries of a T5 encoder at ``query_max_lengths`` of ``mtbench.json`` where it has them.
    ``mtbench.json`` stays beside them, so that ``--encoder`` takes the folder as it was trained. Returns the folders.
    Raises :class:`DataError` if ``checkpoint`` is no trained encoder or
    ``target`` holds other things.
    """
    settings = _settings(checkpoint)
    settings["prompts"] = _prompts(settings, separator)
    settings["separator"] = separator
    if (checkpoint / "config.json").is_file():
        backbones = {target: checkpoint}
    else:
        backbones = {target / d.name: d for d in sorted(checkpoint.iterdir()) if (d / "config.json").is_file()}
    if not backbones:
        raise DataError("no config.json: the weights of this encoder are missing", path=checkpoint)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError("the target exists and is not an empty folder", path=target, remedy="Choose another --to.")
    for folder, backbone in backbones.items():
        draft = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(backbone, draft, ignore=shutil.ignore_patterns("manifest.json", ".*"))
        _write_modules(draft, settings, max_length)
        (draft / "README.md").write_text(_card(settings, title, max_length), encoding="utf-8")
        if (draft / SETTINGS_FILE).is_file():
            _write(draft / SETTINGS_FILE, _without_place(checkpoint))
        _give_usual_mode(draft)
        if folder.is_dir():
            folder.rmdir()
        draft.rename(folder)
    if target not in backbones:  # by it mtbench knows the towers
        _write(target / SETTINGS_FILE, _without_place(checkpoint))
    return list(backbones)


def _prompts(settings: EncoderSettings, separator: str) -> dict[str, str]:
    """What stands before texts, by the names that sentence-transformers knows (``query``, ``document``) where the
    encoder's own prompts did, else before the queries of each task: there the checkpoint has the words alone."""
    data = settings.get("data") or {}
    if data.get("prompt") == "encoder":
        own = {"query": data.get("query_prompt"), "document": data.get("passage_prompt")}
        return {name: prompt for name, prompt in own.items() if prompt}
    words: dict[str, str] = settings.get("prompts") or {}
    return {task: f"{prompt or task.upper()} {separator} " for task, prompt in words.items()}


def _without_place(checkpoint: Path) -> dict[str, Any]:
    """``mtbench.json`` without the folder where the encoder came from, which is of no use elsewhere."""
    saved: dict[str, Any] = json.loads((checkpoint / SETTINGS_FILE).read_text(encoding="utf-8"))
    if "path" in saved.get("encoder", {}):
        saved["encoder"]["path"] = Path(saved["encoder"]["path"]).name
    return saved


def _give_usual_mode(folder: Path) -> None:
    """The mode of a file that is simply written: the weights' library makes its own for the user alone."""
    usual = (folder / "README.md").stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(usual)


def _settings(checkpoint: Path) -> EncoderSettings:
    try:
        settings = json.loads((checkpoint / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"not a trained mtbench encoder: no readable {SETTINGS_FILE}", path=checkpoint) from error
    if settings.get("pooling") not in ("t5", *POOLING):
        raise DataError(f"unknown pooling {settings.get('pooling')!r}", path=checkpoint / SETTINGS_FILE)
    return cast("EncoderSettings", settings)


def _write_modules(folder: Path, settings: EncoderSettings, max_length: int) -> None:
    if settings["pooling"] == "t5":
        from mtbench.report import first_decoder_state

        source = Path(str(first_decoder_state.__file__))
        shutil.copyfile(source, folder / source.name)
        lengths = settings.get("query_max_lengths", {})
        queries = {prompt: lengths.get(task, max_length) for task, prompt in settings["prompts"].items()}
        module = {"max_seq_length": max_length, "separator": settings["separator"], "queries": queries}
        _write(folder / first_decoder_state.SETTINGS_FILE, module)
        modules = [("", f"{source.stem}.{first_decoder_state.FirstDecoderState.__name__}")]
    else:
        # The keys of every version since 2; the newest reads them too.
        pooling = {f"pooling_mode_{mode}": mode == POOLING[settings["pooling"]] for mode in _POOLING_MODES}
        dimension = vector_size(load_configuration(folder))
        _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension, **pooling})
        _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
        modules = [("", f"{_MODULES}.Transformer"), ("1_Pooling", f"{_MODULES}.Pooling")]
    if settings.get("normalize"):
        (folder / f"{len(modules)}_Normalize").mkdir()
        modules.append((f"{len(modules)}_Normalize", f"{_MODULES}.Normalize"))
    _write(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)],
    )
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": settings["prompts"], "default_prompt_name": None, "similarity_fn_name": "dot"},
    )


def _card(settings: EncoderSettings, title: str, max_length: int) -> str:
    prompts = settings["prompts"]
    t5 = settings["pooling"] == "t5"
    listing = ", ".join(f"`{name}` is `{text}`" for name, text in prompts.items())
    sides = "queries and passages" if "document" in prompts else "queries only"
    return _USAGE.format(
        title=title,
        separator="" if t5 else f"In a query, write `[SEP]` as `{settings['separator']}`. ",
        trust=", trust_remote_code=True" if t5 else "",
        prompt=f', prompt_name="{next(iter(prompts))}"' if prompts else "",
        prompts=f"Prompts stand before {sides}: {listing}." if prompts else "This encoder has no prompts.",
        max_length=max_length,
    )


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
