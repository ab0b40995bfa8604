"""The raw files of the suite ``kilt`` in the profile ``mini``: 400 pages, 1,200 passages, eight tasks.

Designed so that no single trick solves it (page R-precision of BM25 about 65 on average, below 30 on entity linking
and trivia) and a two-layer T5 learns it on a CPU in minutes.
"""

from __future__ import annotations

import random
from pathlib import Path

from mtbench.worlds import kilt_files
from mtbench.worlds.kilt_files import Record
from mtbench.worlds.prose import Prose, write_prose
from mtbench.worlds.queries import STYLES, Query, Style, draw
from mtbench.worlds.world import World, build_world

TRAIN_QUERIES, DEV_QUERIES = 1720, 140
_DPR_NAMES = {"structured_zeroshot": "zeroshot"}


def generate(folder: Path, seed: int = 0) -> None:
    """Write every raw file of the suite into ``folder``; the same seed gives the same bytes."""
    rng = random.Random(f"kilt-{seed}")
    world = build_world(rng)
    prose = write_prose(world, rng)
    kilt_files.write_knowledge_source(folder / "kilt_knowledgesource.json", world, prose)
    kilt_files.write_passages(folder / "psgs_w100.tsv", prose.passages)
    for task, style in STYLES.items():
        train = TRAIN_QUERIES // 4 if task == "aidayago2" else TRAIN_QUERIES
        write_task(folder, task, style, world, prose, random.Random(f"kilt-{seed}-{task}"), (train, DEV_QUERIES))


def write_task(
    folder: Path,
    task: str,
    style: Style,
    world: World,
    prose: Prose,
    rng: random.Random,
    counts: tuple[int, int],
) -> None:
    """Task files and DPR-style files of one task; ``counts``: train and dev queries, all with different texts."""
    queries = draw(style, world, rng, sum(counts))
    splits = {"dev": queries[: counts[1]], "train": queries[counts[1] :]}
    for split, chosen in splits.items():
        records = kilt_files.kilt_records(task, chosen, split, prose, rng)
        if task != "aidayago2" or split == "train":  # there is no dev file of entity linking
            rows = kilt_files.dpr_records(chosen, records, split, prose, rng)
            name = _DPR_NAMES.get(task, task)
            kilt_files.write_json(folder / f"{name}-{split}-multikilt.json", rows)
        if task == "triviaqa":
            _write_questions(folder, split, chosen, records)
            records = [{k: v for k, v in r.items() if k != "input"} for r in records]
        stem = f"triviaqa-{split}_id" if task == "triviaqa" else f"{task}-{split}"
        kilt_files.write_lines(folder / f"{stem}-kilt.jsonl", records)


def _write_questions(folder: Path, split: str, queries: list[Query], records: list[Record]) -> None:
    """TriviaQA's own file with the question texts, which KILT's file leaves out."""
    data = [
        {
            "Answer": _answer(query.outputs[0][0]),
            "EntityPages": [],
            "Question": query.text,
            "QuestionId": record["id"],
            "QuestionSource": "http://www.example.org/",
        }
        for query, record in zip(queries, records, strict=True)
    ]
    content = {"Data": data, "Domain": "Wikipedia", "Split": split, "VerifiedEval": False, "Version": 1.0}
    kilt_files.write_json(folder / "triviaqa-rc" / "qa" / f"wikipedia-{split}.json", content)


def _answer(value: str) -> Record:
    return {
        "Aliases": [value],
        "MatchedWikiEntityName": value,
        "NormalizedAliases": [value.lower()],
        "NormalizedMatchedWikiEntityName": value.lower(),
        "NormalizedValue": value.lower(),
        "Type": "WikipediaEntity",
        "Value": value,
    }
