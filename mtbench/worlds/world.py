"""An invented world: pages about people, places, groups and works of ten topics, and the facts that join them.

A page's title is put together from words that many titles share, so that a name must be read whole; its last name
word alone is ambiguous and becomes unique only with the topic.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mtbench.worlds import lexicon
from mtbench.worlds.relations import LITERALS, Relation, relations_of

PER_TOPIC = {"person": 26, "place": 5, "group": 4, "work": 5}
_SHORT = {"place": "the town", "group": "the club", "work": "the book"}


@dataclass(slots=True)
class Page:
    """One page of the world. ``key`` is the ambiguous name: unique within a topic, shared across topics."""

    number: int
    wikipedia_id: str
    title: str
    kind: str
    topic: lexicon.Topic
    key: str
    mention: str
    """The title as it stands inside a sentence ("the Royal Chess Academy")."""
    short: str
    pronoun: str
    facts: list[Fact] = field(default_factory=list)

    def fact(self, key: str) -> Fact:
        """The fact of the relation ``key``; KeyError if this kind of page has none."""
        return {f.relation.key: f for f in self.facts}[key]


@dataclass(slots=True, eq=False)
class Fact:
    """One statement about a page; where it is told is filled in when the passages are written."""

    page: Page
    relation: Relation
    value: Page | str
    passage: int = 0
    """0, 1 or 2: the passage of the page."""
    paragraph: int = 0
    start: int = 0
    end: int = 0

    @property
    def value_text(self) -> str:
        """The value inside a sentence."""
        return self.value if isinstance(self.value, str) else self.value.mention

    @property
    def answer(self) -> str:
        """The value as an answer."""
        return self.value if isinstance(self.value, str) else self.value.title


@dataclass(slots=True)
class World:
    """All pages, and what is said of them."""

    pages: list[Page]

    def of_kind(self, kind: str) -> list[Page]:
        """Pages of one kind, in order of their number."""
        return [p for p in self.pages if p.kind == kind]

    @property
    def facts(self) -> list[Fact]:
        """Every fact, page by page."""
        return [fact for page in self.pages for fact in page.facts]


def build_world(
    rng: random.Random,
    topics: Sequence[lexicon.Topic] = lexicon.TOPICS,
    per_topic: Mapping[str, int] = PER_TOPIC,
    every: int = 1,
) -> World:
    """Draw a world of ``per_topic`` pages of each kind a topic; the same generator state gives the same world.

    ``every``: titles are made of every so-manieth name word alone. Each stands in more titles then, and is learned from
    fewer queries, while it says as little about which page is meant.
    """
    pages: list[Page] = []
    used: set[str] = set()
    for topic in topics:
        for kind, count in per_topic.items():
            for key in rng.sample(_keys(kind, every), count):
                pages.append(_page(rng, len(pages), kind, topic, key, used, every))
    rng.shuffle(pages)
    wikipedia_ids = sorted(rng.sample(range(1_000, 60_000_000), len(pages)))
    for number, (page, wikipedia_id) in enumerate(zip(pages, wikipedia_ids, strict=True)):
        page.number, page.wikipedia_id = number, str(wikipedia_id)
    world = World(pages)
    by_kind = {kind: world.of_kind(kind) for kind in per_topic}
    for page in pages:
        page.facts = [Fact(page, r, _value(rng, r, page, by_kind)) for r in relations_of(page.kind)]
    return world


def _keys(kind: str, every: int) -> list[str]:
    keys = {
        "person": lexicon.SURNAMES,
        "place": lexicon.PLACE_STEMS,
        "group": lexicon.GROUP_KINDS,  # few already
        "work": lexicon.WORK_NOUNS,
    }[kind]
    return list(keys if kind == "group" else keys[every - 1 :: every])


def _page(
    rng: random.Random, number: int, kind: str, topic: lexicon.Topic, key: str, used: set[str], every: int
) -> Page:
    heads = {
        "person": lexicon.WOMEN[every - 1 :: every] + lexicon.MEN[every - 1 :: every],
        "place": lexicon.PLACE_HEADS,
        "group": lexicon.GROUP_HEADS,
        "work": lexicon.WORK_HEADS,
    }[kind]
    middle = f" {topic.name}" if kind == "group" else ""
    free = [head for head in heads if f"{head}{middle} {key}" not in used]
    head = rng.choice(free)
    title = f"{head}{middle} {key}"
    used.add(title)
    pronoun = ("she" if head in lexicon.WOMEN else "he") if kind == "person" else "it"
    mention = f"the {title}" if kind == "group" else title
    return Page(number, "", title, kind, topic, key, mention, _SHORT.get(kind, key), pronoun)


def _value(rng: random.Random, relation: Relation, page: Page, by_kind: dict[str, list[Page]]) -> Page | str:
    if relation.literal:
        return rng.choice(LITERALS[relation.values])
    choices = by_kind[relation.values]
    taken = {f.value.number for f in page.facts if not isinstance(f.value, str)} | {page.number}
    free = [p for p in choices if p.number not in taken]
    # Half of the people and groups around a page are of its own topic, as in life.
    near = [p for p in free if p.topic is page.topic]
    return rng.choice(near if near and rng.random() < 0.5 else free)
