"""Writes the pages' passages: readable sentences, each fact in one of them, between sentences about the topic."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mtbench.worlds.lexicon import articles
from mtbench.worlds.world import Fact, Page, World

_SECTIONS = {
    "person": ("Early life", "Later years"),
    "place": ("History", "Economy"),
    "group": ("History", "Organisation"),
    "work": ("Contents", "Reception"),
}
_OPENINGS = {
    "person": (
        "{t} was a {p} whose name is linked to every {a} and {b}.",
        "{t} was a {p} who understood the {a} as well as the {b}.",
        "{t} was a {p} and an authority on the {a} and the {b}.",
    ),
    "place": (
        "{t} is a small town that every {p} knows because of its {a} and its {b}.",
        "{t} is a quiet town where the {a} and the {b} matter more than anything.",
    ),
    "group": (
        "{t} is an association for people who care about the {a} and the {b}.",
        "{t} brings every {p} together who works with a {a} or a {b}.",
    ),
    "work": (
        "{t} is a book about a {p}, a lost {a} and a strange {b}.",
        "{t} is a book in which a {p} finds a {a} behind an old {b}.",
    ),
}
_RETURNS = (
    "The {a} and the {b} remain the best known part of the story of {t}.",
    "Much of what is written on {t} begins with the {a} or the {b}.",
    "Even today the {a} and the {b} remind visitors of {t}.",
)
_FILLERS = (
    "Several old newspapers praised the {a}, while the {b} was almost forgotten.",
    "The {a} needed careful work, and nobody could move the {b} alone.",
    "For many months the {a} stood next to the {b} in a dark room.",
    "A long report explains how the {a} changed the {b} and later the {c}.",
    "Some friends preferred the {a}, others talked only of the {b} and the {c}.",
    "After the war the {a} had to be repaired together with the {b}.",
    "Young people still come to see the {a}, the {b} and the {c}.",
    "It is said that the {a} was worth more than the {b}.",
    "During the summer the {a} and the {b} drew large crowds.",
    "No other {a} was ever compared with this {b} so often.",
    'One visitor called the {a} "a wonder" and forgot the {b}.',
)


@dataclass(slots=True)
class Passage:
    """One row of the passage file."""

    number: int
    page: Page
    part: int
    text: str
    paragraph: int


@dataclass(slots=True)
class Prose:
    """The passages of a world and each page's paragraphs in the knowledge source's form."""

    passages: list[Passage]
    paragraphs: dict[int, list[str]]
    """By page number: title line, text paragraphs and section marks."""
    pages_by_key: dict[str, list[int]]
    """By ambiguous name: the numbers of the pages that share it."""

    def of(self, page: Page, part: int) -> Passage:
        """Passage ``part`` (0, 1, 2) of a page."""
        return self.passages[3 * page.number + part]


def write_prose(world: World, rng: random.Random, fillers: int = 3) -> Prose:
    """Three passages a page, each with so many sentences about the topic alone beside its first; sets ``passage``,
    ``paragraph``, ``start``, ``end`` of every fact."""
    passages: list[Passage] = []
    paragraphs: dict[int, list[str]] = {}
    for page in world.pages:
        facts = list(page.facts)
        rng.shuffle(facts)
        cut = (len(facts) + 2) // 3
        groups = [facts[:cut], facts[cut : (cut + len(facts) + 1) // 2], facts[(cut + len(facts) + 1) // 2 :]]
        lines = [f"{page.title}\n"]
        for part, group in enumerate(groups):
            if part:
                lines.append(f"Section::::{_SECTIONS[page.kind][part - 1]}.\n")
            text = _passage(page, part, group, len(lines), rng, fillers)
            passages.append(Passage(len(passages), page, part, text, len(lines)))
            lines.append(f"{text}\n")
        lines += ["Section::::See also.\n", f"BULLET::::- {_other(page, rng).title}\n"]
        paragraphs[page.number] = lines
    by_key: dict[str, list[int]] = {}
    for page in world.pages:
        by_key.setdefault(page.key, []).append(page.number)
    return Prose(passages, paragraphs, by_key)


def _other(page: Page, rng: random.Random) -> Page:
    linked = [f.value for f in page.facts if isinstance(f.value, Page)]
    return rng.choice(linked)


def _passage(page: Page, part: int, facts: list[Fact], paragraph: int, rng: random.Random, count: int) -> str:
    """One paragraph: an opening that names the page, then facts and ``count`` sentences about the topic in turn."""
    words = list(page.topic.passage_words)
    rng.shuffle(words)
    fill = {"t": page.mention, "p": page.topic.profession, "a": words[0], "b": words[1]}
    opening = rng.choice(_OPENINGS[page.kind] if part == 0 else _RETURNS).format(**fill)
    fillers = rng.sample(_FILLERS, count)
    sentences: list[tuple[str, Fact | None]] = [(opening, None)]
    for i, filler in enumerate(fillers):
        if i < len(facts):
            sentences.append((fact_sentence(facts[i]), facts[i]))
        a, b, c = words[2 + 2 * i : 5 + 2 * i]
        sentences.append((filler.format(a=a, b=b, c=c), None))
    sentences += [(fact_sentence(fact), fact) for fact in facts[count:]]
    return _join(sentences, part, paragraph)


def _join(sentences: list[tuple[str, Fact | None]], part: int, paragraph: int) -> str:
    text = ""
    for sentence, fact in sentences:
        sentence = articles(sentence[0].upper() + sentence[1:])
        start = len(text) + bool(text)
        text = f"{text} {sentence}" if text else sentence
        if fact:
            fact.passage, fact.paragraph, fact.start, fact.end = part, paragraph, start, len(text)
    return text


def fact_sentence(fact: Fact) -> str:
    """The sentence that tells a fact in a passage, without the capital letter."""
    page = fact.page
    return fact.relation.passage.format(n=page.short, he=page.pronoun, v=fact.value_text) + "."
