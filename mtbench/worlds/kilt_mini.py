"""The raw files of the suite ``kilt`` in the profile ``mini``: 300 pages, 900 passages, eight tasks.

Designed so that no single trick solves it (page R-precision of BM25 between 25 and 80 by task), no task is learned to
the ceiling or not at all, and a small T5 learns nearly all that it can on a CPU in minutes.
"""

from __future__ import annotations

import random
from pathlib import Path

from mtbench.worlds import kilt_files
from mtbench.worlds.kilt_files import Record
from mtbench.worlds.prose import Prose, write_prose
from mtbench.worlds.queries import STYLES, Query, draw
from mtbench.worlds.world import build_world

TRAIN_QUERIES, DEV_QUERIES = 1200, 1000
PER_TOPIC = {"person": 18, "place": 4, "group": 4, "work": 4}
FILLERS = 2
"""Sentences about the topic alone in a passage, beside its first: short passages train fast."""
_DPR_NAMES = {"structured_zeroshot": "zeroshot"}


def generate(folder: Path, seed: int = 0) -> None:
    """Write every raw file of the suite into ``folder``; the same seed gives the same bytes."""
    rng = random.Random(f"kilt-{seed}")
    world = build_world(rng, per_topic=PER_TOPIC, every=2)
    prose = write_prose(world, rng, FILLERS)
    kilt_files.write_knowledge_source(folder / "kilt_knowledgesource.json", world, prose)
    kilt_files.write_passages(folder / "psgs_w100.tsv", prose.passages)
    for task, style in STYLES.items():
        train = TRAIN_QUERIES // 3 if task == "aidayago2" else TRAIN_QUERIES
        own = random.Random(f"kilt-{seed}-{task}")
        queries = draw(style, world, own, train + DEV_QUERIES)
        own.shuffle(queries)  # what a style has few of is drawn early: both splits shall have their share
        write_task(folder, task, queries, DEV_QUERIES, prose, own)


def write_task(folder: Path, task: str, queries: list[Query], dev: int, prose: Prose, rng: random.Random) -> None:
    """Task files and DPR-style files of one task; the first ``dev`` of its queries are dev queries."""
    splits = {"dev": queries[:dev], "train": queries[dev:]}
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
