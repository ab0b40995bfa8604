"""Queries of the suite ``mixed``: web searches, claims, questions and mentions that often name no page at all.

recall@100 forgives much, so names alone would make it easy: a good part of the queries describe the page by facts in
other words (a decade for a year, a people for its country, digits for a number).
"""

from __future__ import annotations

import random

from mtbench.worlds import lexicon
from mtbench.worlds.queries import BRIDGES, KIND_NAMES, Query, other_value, topic_words
from mtbench.worlds.world import Fact, Page, World

_DECADES = {"187": "seventies", "188": "eighties", "189": "nineties", "190": "first decade", "191": "tens"}
_LATER = {"192": "twenties", "193": "thirties"}
_DIGITS = dict(zip(lexicon.NUMBERS, (*map(str, range(11, 21)), "30", "40"), strict=True))

_VEILED = ("year", "country", "number")


def veiled(fact: Fact) -> str:
    """The value of a fact in words that its passage does not use, where there are such words."""
    values = fact.relation.values
    if values == "year":
        return f"the {({**_DECADES, **_LATER})[fact.answer[:3]]}"
    if values == "country":
        return f"the {lexicon.COUNTRIES[fact.answer]} state"
    return _DIGITS[fact.answer] if values == "number" else fact.value_text


def _clues(page: Page, rng: random.Random, part: int | None = None) -> list[Fact]:
    """One or two facts that one passage tells: those that can be said in other words, if there are any."""
    part = rng.randrange(3) if part is None else part
    facts = [f for f in page.facts if f.passage == part]
    rng.shuffle(facts)
    return [f for f in facts if f.relation.values in _VEILED][:2] or facts[:2]


def _described(page: Page, facts: list[Fact], rng: random.Random) -> str:
    """The page by its field and by facts, without a name: "skipper who was born in the twenties"."""
    place = topic_words(page.topic, rng, 1, shared=0.0)[0]
    who = f"{page.topic.alias} who" if page.kind == "person" else f"{KIND_NAMES[page.kind]} of the {place} that"
    return f"{who} " + " and ".join(f.relation.clue.format(v=veiled(f)) for f in facts)


def web_search(world: World, rng: random.Random) -> Query:
    """MS MARCO: a few lower-case words; sparse judgements, one passage a query."""
    page = rng.choice(world.pages)
    if rng.random() < 0.45:
        fact = rng.choice(page.facts)
        text = f"{page.key} {topic_words(page.topic, rng, 1)[0]} {fact.relation.label}"
        return Query(text.lower(), [(fact.answer, [fact])])
    facts = _clues(page, rng)
    return Query(_described(page, facts, rng).lower(), [(page.title, [facts[0]])])


def abstract_claim(world: World, rng: random.Random) -> Query | None:
    """BEIR's FEVER: claims about what abstracts tell; some need a second page, some describe instead of naming."""
    page = rng.choice(world.pages)
    told = [f for f in page.facts if f.passage == 0]
    fact, kind = rng.choice(told), rng.random()
    value, verdict = fact.value_text, "SUPPORTS"
    if rng.random() < 0.3:
        value, verdict = other_value(world, fact, rng), "REFUTES"
    if kind < 0.4:
        text = fact.relation.claim.format(s=page.mention, v=value)
        return Query(text[0].upper() + text[1:], [(verdict, [fact])])
    if kind < 0.65:
        facts = _clues(page, rng, part=0)
        return Query(f"There was a {_described(page, facts, rng)}.", [("SUPPORTS", list(facts))])
    links = [f for f in told if f.relation.key in BRIDGES and isinstance(f.value, Page)]
    if not links:
        return None
    link = rng.choice(links)
    assert isinstance(link.value, Page)
    hop = rng.choice([f for f in link.value.facts if f.passage == 0])
    text = hop.relation.claim.format(s=BRIDGES[link.relation.key].format(s=page.mention), v=veiled(hop))
    return Query(text[0].upper() + text[1:], [("SUPPORTS", [link, hop])])


def search_question(world: World, rng: random.Random) -> Query | None:
    """NQ on its own passages: full names, last names with a trade, or no name at all."""
    page = rng.choice(world.pages)
    fact, kind = rng.choice(page.facts), rng.random()
    if kind < 0.4:
        text = fact.relation.question.format(s=page.mention)
    elif kind < 0.65:
        known = topic_words(page.topic, rng, 1)[0]
        text = f"{fact.relation.question.format(s=f'{page.key} of the {known}')}"
    else:
        facts = _clues(page, rng)
        return Query(f"who or what is the {_described(page, facts, rng)}".lower(), [(page.title, [facts[0]])])
    return Query(text.lower(), [(fact.answer, [fact])])


_NOTES = (
    "A note in the margin about the {a} names {m} as its only source .",
    "Without {m} the {a} would never have reached this place .",
    "The {a} that lies here today is said to come from {m} itself .",
    "An old letter compares the {a} with everything that {m} stood for .",
)


def note(target: Page, rng: random.Random) -> tuple[str, str, str]:
    """A sentence with the slot ``{m}`` for ``target``, the mention that fills it, and its overlap with the title."""
    kind = rng.random()
    word = topic_words(target.topic, rng, 1)[0]
    if kind < 0.2:
        mention, category = target.title, "HIGH_OVERLAP"
    elif kind < 0.55:
        mention, category = target.key, "AMBIGUOUS_SUBSTRING"
    else:
        mention = target.topic.alias if target.kind == "person" else f"that {KIND_NAMES[target.kind]}"
        category = "LOW_OVERLAP"
        clue = _clues(target, rng, part=0)[0]
        fact = clue.relation.clue.format(v=veiled(clue))
        sentence = f"Beside the {word} one thinks of {{m}} , the one that {fact} ."
        return sentence, mention, category
    return rng.choice(_NOTES).format(a=word, m="{m}"), mention, category
