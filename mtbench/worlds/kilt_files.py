"""Writers of KILT's raw files: knowledge source, task files, passages of 100 words and DPR-style training files.

Formats: Petroni et al., NAACL 2021 (knowledge source, task files) and Maillard et al., ACL 2021 (passages, training
files). As in the real files some answers have no provenance, some records no provenance at all (train only), some
provenance matches its page badly (``bleu_score`` below 0.5: no positive passage), and entity linking names pages only.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mtbench.worlds.prose import Passage, Prose
from mtbench.worlds.queries import Evidence, Query
from mtbench.worlds.world import Fact, Page, World

MIN_BLEU = 0.5
Record = dict[str, Any]


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """One JSON object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def write_knowledge_source(path: Path, world: World, prose: Prose) -> None:
    """``kilt_knowledgesource.json``: one page per line, with paragraphs, anchors and Wikidata identity."""
    write_lines(path, (_page_record(page, prose.paragraphs[page.number]) for page in world.pages))


def _page_record(page: Page, paragraphs: list[str]) -> Record:
    revision = 800_000_000 + 7 * page.number
    url = f"https://en.wikipedia.org/w/index.php?title={page.title.replace(' ', '_')}&oldid={revision}"
    return {
        "_id": page.wikipedia_id,
        "wikipedia_id": page.wikipedia_id,
        "wikipedia_title": page.title,
        "text": paragraphs,
        "anchors": [_anchor(f, paragraphs) for f in page.facts if isinstance(f.value, Page)],
        "categories": f"{page.topic.name},Articles about a {page.kind}",
        "history": {
            "revid": revision,
            "timestamp": "2019-08-01T12:00:00Z",
            "parentid": revision - 3,
            "pre_dump": True,
            "pageid": int(page.wikipedia_id),
            "url": url,
        },
        "wikidata_info": {
            "wikidata_id": f"Q{1_000 + page.number}",
            "wikidata_label": page.title,
            "wikipedia_title": page.title,
            "description": f"{page.kind} ({page.topic.name.lower()})",
            "enwikiquote_title": "",
            "aliases": {"alias": [page.key]},
        },
    }


def _anchor(fact: Fact, paragraphs: list[str]) -> Record:
    start = paragraphs[fact.paragraph].index(fact.answer, fact.start)
    return {
        "text": fact.answer,
        "href": fact.answer.replace(" ", "%20"),
        "paragraph_id": fact.paragraph,
        "start": start,
        "end": start + len(fact.answer),
    }


def write_passages(path: Path, passages: list[Passage]) -> None:
    """``psgs_w100.tsv``: six columns, the text always in quotes, ids counted from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("id\ttext\ttitle\twikipedia_id\tstart_paragraph_id\tend_paragraph_id\n")
        for p in passages:
            text = p.text.replace('"', '""')
            file.write(f'{p.number}\t"{text}"\t{p.page.title}\t{p.page.wikipedia_id}\t{p.paragraph}\t{p.paragraph}\n')


def kilt_records(task: str, queries: list[Query], split: str, prose: Prose, rng: random.Random) -> list[Record]:
    """The queries as KILT records; ids in the style of the data set, unique within task and split."""
    bare = 0.02 if split == "train" else 0.0
    records = []
    for i, query in enumerate(queries):
        outputs = [_output(task, answer, evidence, prose, rng) for answer, evidence in query.outputs]
        if rng.random() < bare:
            outputs = [{"answer": answer} for answer, _ in query.outputs]
        elif task in ("nq", "trex", "triviaqa") and rng.random() < 0.2:
            outputs.append({"answer": query.outputs[0][0].lower()})
        record: Record = {"id": _identifier(task, split, i, rng), "input": query.text, "output": outputs}
        if query.meta:
            record["meta"] = query.meta
        records.append(record)
    return records


def _identifier(task: str, split: str, i: int, rng: random.Random) -> str:
    number = 2 * i + (split == "train")
    digits = f"{rng.getrandbits(48):012x}{number:08x}"
    if task == "fever":
        return str(100 + 3 * number)
    if task == "nq":
        return f"{rng.randrange(10**13, 10**14)}{number:05d}"
    if task == "hotpotqa":
        return f"5a7f{digits}"
    if task == "triviaqa":
        return f"{rng.choice(('tc', 'sfq', 'qw', 'bb'))}_{number}"
    if task == "aidayago2":
        return f"{digits}_{number} REPORT:0"
    return f"{digits[:8]}-{digits[8:12]}-11ea-aa09-{digits[12:]}" + ("_2" if task == "wow" else "")


def _output(task: str, answer: str, evidence: list[Evidence], prose: Prose, rng: random.Random) -> dict[str, Any]:
    bleu = round(rng.uniform(0.2, 0.49) if rng.random() < 0.06 else rng.choice((1.0, rng.uniform(0.6, 1.0))), 4)
    return {"answer": answer, "provenance": [_provenance(task, e, prose, bleu) for e in evidence]}


def _provenance(task: str, evidence: Evidence, prose: Prose, bleu: float) -> Record:
    if isinstance(evidence, Page):
        return {"wikipedia_id": evidence.wikipedia_id, "title": evidence.title}
    page, lines = evidence.page, prose.paragraphs[evidence.page.number]
    section = "Section::::Abstract." if evidence.paragraph == 1 else lines[evidence.paragraph - 1].rstrip("\n")
    item: Record = {
        "wikipedia_id": page.wikipedia_id,
        "title": page.title,
        "section": section,
        "start_paragraph_id": evidence.paragraph,
        "start_character": evidence.start,
        "end_paragraph_id": evidence.paragraph,
        "end_character": evidence.end,
        "bleu_score": bleu,
    }
    if task == "fever":
        item["meta"] = {
            "fever_page_id": page.title.replace(" ", "_"),
            "fever_sentence_id": evidence.paragraph,
        }
    elif task == "structured_zeroshot":
        item["meta"] = {}
    return item


def dpr_records(
    queries: list[Query], records: list[Record], split: str, prose: Prose, rng: random.Random
) -> list[Record]:
    """DPR-style rows; train leaves out rows without a positive passage, dev keeps the task file's order."""
    rows = []
    for query, record in zip(queries, records, strict=True):
        positives = _positives(query, record, prose)
        if split == "train" and not positives:
            continue
        negative = _negative(query, prose, rng)
        rows.append(
            {
                "question": query.text,
                "answers": list(dict.fromkeys(answer for answer, _ in query.outputs)),
                "positive_ctxs": [_context(p, 1000) for p in positives],
                "negative_ctxs": [],
                "hard_negative_ctxs": [_context(negative, round(rng.uniform(9.0, 25.0), 2))],
            }
        )
    return rows


def _positives(query: Query, record: Record, prose: Prose) -> list[Passage]:
    """Passages of the provenance that matches well; of a page without a paragraph all three."""
    found: dict[int, Passage] = {}
    for (_, evidence), output in zip(query.outputs, record["output"], strict=False):
        for item, source in zip(output.get("provenance", []), evidence, strict=False):
            if item.get("bleu_score", 1.0) < MIN_BLEU:
                continue
            page = source if isinstance(source, Page) else source.page
            for part in range(3) if isinstance(source, Page) else [source.passage]:
                passage = prose.of(page, part)
                found[passage.number] = passage
    return list(found.values())


def _negative(query: Query, prose: Prose, rng: random.Random) -> Passage:
    """A passage of a page with the same ambiguous name, or of any other page: words in common, not evidence."""
    gold = {(e if isinstance(e, Page) else e.page).number for _, evidence in query.outputs for e in evidence}
    first = query.outputs[0][1][0]
    key = (first if isinstance(first, Page) else first.page).key
    others = [n for n in prose.pages_by_key[key] if n not in gold]
    if not others:
        others = [n for n in prose.paragraphs if n not in gold]
    return prose.passages[3 * rng.choice(others) + rng.randrange(3)]


def _context(passage: Passage, score: float) -> Record:
    return {"psg_id": passage.number, "title": passage.page.title, "text": passage.text, "score": score}


def write_json(path: Path, content: Any) -> None:
    """One JSON value, as the DPR-style arrays are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8", newline="\n")
