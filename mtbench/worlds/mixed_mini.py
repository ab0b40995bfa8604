"""The raw files of the suite ``mixed`` in the profile ``mini``: MS MARCO, ZESHEL, BEIR's FEVER and KILT NQ.

Each task has a world and a corpus of its own, about 1,000 documents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from mtbench.worlds import kilt_files
from mtbench.worlds.kilt_mini import write_task
from mtbench.worlds.mixed_queries import abstract_claim, search_question, web_search
from mtbench.worlds.mixed_zeshel import write_zeshel
from mtbench.worlds.prose import Passage, Prose, write_prose
from mtbench.worlds.queries import Query, draw
from mtbench.worlds.world import Fact, build_world

TRAIN_QUERIES, DEV_QUERIES = 1200, 150
_FEVER_PAGES = {"person": 40, "place": 20, "group": 4, "work": 20}


def generate(folder: Path, seed: int = 0) -> None:
    """Write the four data sets into ``folder``; the same seed gives the same bytes."""
    for name, write in (
        ("msmarco", _msmarco),
        ("fever", _fever),
        ("nq", _nq),
        ("zeshel", write_zeshel),
    ):
        write(folder / name, random.Random(f"mixed-{seed}-{name}"))


def _splits(queries: list[Query], test: int = 0) -> dict[str, list[Query]]:
    return {
        "dev": queries[:DEV_QUERIES],
        "test": queries[DEV_QUERIES : DEV_QUERIES + test],
        "train": queries[DEV_QUERIES + test :],
    }


def _write_rows(path: Path, rows: Sequence[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8", newline="\n")


def _evidence(query: Query, prose: Prose) -> list[Passage]:
    facts = [e for _, evidence in query.outputs for e in evidence if isinstance(e, Fact)]
    return list({p.number: p for p in (prose.of(f.page, f.passage) for f in facts)}.values())


def _msmarco(folder: Path, rng: random.Random) -> None:
    """MS MARCO passage ranking with the titles of RocketQA's ``para.title.txt``."""
    world = build_world(rng)
    prose = write_prose(world, rng)
    _write_rows(folder / "collection.tsv", [(p.number, p.text) for p in prose.passages])
    _write_rows(folder / "para.title.txt", [(p.number, p.page.title) for p in prose.passages])
    queries = draw(web_search, world, rng, TRAIN_QUERIES + DEV_QUERIES)
    ids = rng.sample(range(2, 1_200_000), len(queries))
    number = {query.text: i for query, i in zip(queries, ids, strict=True)}
    for split, name in (("train", "train"), ("dev", "dev.small")):
        chosen = _splits(queries)[split]
        _write_rows(folder / f"queries.{name}.tsv", [(number[q.text], q.text) for q in chosen])
        rows = [(number[q.text], 0, p.number, 1) for q in chosen for p in _evidence(q, prose)]
        _write_rows(folder / f"qrels.{name}.tsv", rows)


def _fever(folder: Path, rng: random.Random) -> None:
    """FEVER as BEIR gives it: one document a page (its abstract), ids are titles."""
    world = build_world(rng, per_topic=_FEVER_PAGES)
    prose = write_prose(world, rng)
    abstracts = [p for p in prose.passages if p.part == 0]
    kilt_files.write_lines(
        folder / "corpus.jsonl",
        ({"_id": _beir_id(p), "title": p.page.title, "text": p.text, "metadata": {}} for p in abstracts),
    )
    queries = draw(abstract_claim, world, rng, TRAIN_QUERIES + 2 * DEV_QUERIES)
    ids = {query.text: str(3 * i + 75) for i, query in enumerate(queries)}
    kilt_files.write_lines(
        folder / "queries.jsonl", ({"_id": ids[q.text], "text": q.text, "metadata": {}} for q in queries)
    )
    for split, chosen in _splits(queries, test=DEV_QUERIES).items():
        rows = [(ids[q.text], _beir_id(p), 1) for q in chosen for p in _evidence(q, prose)]
        _write_rows(folder / "qrels" / f"{split}.tsv", [("query-id", "corpus-id", "score"), *rows])


def _beir_id(passage: Passage) -> str:
    return passage.page.title.replace(" ", "_")


def _nq(folder: Path, rng: random.Random) -> None:
    """NQ in KILT's files, with its own knowledge source and passages."""
    world = build_world(rng)
    prose = write_prose(world, rng)
    kilt_files.write_knowledge_source(folder / "kilt_knowledgesource.json", world, prose)
    kilt_files.write_passages(folder / "psgs_w100.tsv", prose.passages)
    queries = draw(search_question, world, rng, TRAIN_QUERIES + DEV_QUERIES)
    write_task(folder, "nq", queries, DEV_QUERIES, prose, rng)
