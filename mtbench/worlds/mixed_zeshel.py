"""ZESHEL in its own files (Logeswaran et al., ACL 2019): documents of sixteen worlds, mentions, candidates.

The worlds of the training mentions are apart from those of the validation and test mentions; they are named as the
real ones, so that one declaration serves both profiles. Mention positions count white-space tokens, both ends
included.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench.worlds import lexicon
from mtbench.worlds.kilt_files import write_lines
from mtbench.worlds.mixed_queries import note
from mtbench.worlds.prose import Prose, write_prose
from mtbench.worlds.world import Page, World, build_world

WORLDS = {
    "train": (
        "american_football", "doctor_who", "fallout", "final_fantasy",
        "military", "pro_wrestling", "starwars", "world_of_warcraft",
    ),
    "val": ("coronation_street", "muppets", "ice_hockey", "elder_scrolls"),
    "test": ("forgotten_realms", "lego", "star_trek", "yugioh"),
}  # fmt: skip
COUNTS = {"train": 1200, "heldout_train_seen": 80, "heldout_train_unseen": 80, "val": 150, "test": 150}
_PAGES = {
    "train": {"person": 16, "place": 5, "group": 4, "work": 5},
    "val": {"person": 26, "place": 10, "group": 4, "work": 10},
}
CANDIDATES = 64


@dataclass(slots=True)
class _Mention:
    record: dict[str, Any]
    label: str


def write_zeshel(folder: Path, rng: random.Random) -> None:
    """Documents, mentions and candidates of every split."""
    mentions: dict[str, list[_Mention]] = {}
    titles: dict[str, dict[str, str]] = {}
    for split, names in WORLDS.items():
        mentions[split] = []
        for name in names:
            documents, found = _world(name, split, rng)
            write_lines(folder / "documents" / f"{name}.json", documents)
            titles[name] = {d["document_id"]: d["title"] for d in documents}
            mentions[split] += found
        rng.shuffle(mentions[split])
    train, seen, unseen = _hold_out(mentions["train"])
    chosen = {"train": train, "heldout_train_seen": seen, "heldout_train_unseen": unseen}
    for split, found in (chosen | {"val": mentions["val"], "test": mentions["test"]}).items():
        records = [m.record for m in found[: COUNTS[split]]]
        write_lines(folder / "mentions" / f"{split}.json", records)
        candidates = [_candidates(r, titles[r["corpus"]], rng) for r in records]
        write_lines(folder / "tfidf_candidates" / f"{split}.json", candidates)


def _hold_out(mentions: list[_Mention]) -> tuple[list[_Mention], list[_Mention], list[_Mention]]:
    """Train mentions, further mentions of their entities, and mentions of entities that train never names."""
    labels = list(dict.fromkeys(m.label for m in mentions))
    kept_out = set(labels[: len(labels) // 12])
    unseen = [m for m in mentions if m.label in kept_out]
    rest = [m for m in mentions if m.label not in kept_out]
    train = rest[: COUNTS["train"]]
    known = {m.label for m in train}
    return train, [m for m in rest[COUNTS["train"] :] if m.label in known], unseen


def _world(name: str, split: str, rng: random.Random) -> tuple[list[dict[str, str]], list[_Mention]]:
    topics = rng.sample(lexicon.TOPICS, 5) if split == "train" else lexicon.TOPICS
    world = build_world(rng, topics, _PAGES.get(split, _PAGES["val"]))
    prose = write_prose(world, rng)
    ids = {page.number: f"{rng.getrandbits(64):016X}" for page in world.pages}
    documents, mentions = [], []
    for page in world.pages:
        tokens, found = _document(page, world, prose, rng)
        documents.append({"document_id": ids[page.number], "title": page.title, "text": " ".join(tokens)})
        for target, start, end, category in found:
            record = {
                "mention_id": f"{rng.getrandbits(64):016X}",
                "context_document_id": ids[page.number],
                "corpus": name,
                "start_index": start,
                "end_index": end,
                "text": " ".join(tokens[start : end + 1]),
                "label_document_id": ids[target.number],
                "category": category,
            }
            mentions.append(_Mention(record, ids[target.number]))
    return documents, mentions


def _document(
    page: Page, world: World, prose: Prose, rng: random.Random
) -> tuple[list[str], list[tuple[Page, int, int, str]]]:
    """Tokens of a page (title, opening, facts, notes on other pages) and where the others are mentioned."""
    text = prose.of(page, 0).text
    told = [text[: text.index(".") + 1], *(text[f.start : f.end] for f in page.facts if f.passage == 0)]
    tokens = [*page.title.split(), *_tokens(" ".join(told))]
    mentions = []
    for target in _targets(page, world, rng):
        sentence, mention, category = note(target, rng)
        before, after = sentence.split("{m}")
        tokens += _tokens(before)
        start = len(tokens)
        tokens += _tokens(mention)
        mentions.append((target, start, len(tokens) - 1, category))
        tokens += _tokens(after)
    return tokens, mentions


def _targets(page: Page, world: World, rng: random.Random) -> list[Page]:
    """Pages that a document mentions: one of its own topic, so that the document itself is a hint, one of any."""
    near = rng.choice([p for p in world.pages if p.topic is page.topic and p is not page])
    far = rng.choice([p for p in world.pages if p is not page and p is not near])
    return [near, far]


def _tokens(text: str) -> list[str]:
    return re.findall(r"[\w-]+|[^\w\s]", text)


def _candidates(record: dict[str, Any], titles: dict[str, str], rng: random.Random) -> dict[str, Any]:
    """Documents whose titles share words with the mention, then others of the world."""
    words = set(record["text"].lower().split())
    order = rng.sample(list(titles), len(titles))
    order.sort(key=lambda i: -len(words & set(titles[i].lower().split())))
    return {"mention_id": record["mention_id"], "tfidf_candidates": order[:CANDIDATES]}
