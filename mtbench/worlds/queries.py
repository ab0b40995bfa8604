"""Eight ways to ask: one generator a task, each in the style of its KILT data set.

Every function draws one query from a world; :func:`draw` collects unique ones. An *evidence* is a fact (page,
paragraph and characters) or a page alone; an answer may have several alternative evidence lists, and an evidence
list may name several pages.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtbench.worlds import lexicon
from mtbench.worlds.relations import LITERALS
from mtbench.worlds.world import Fact, Page, World

Evidence = Fact | Page


@dataclass(slots=True)
class Query:
    """A query with its answers; each answer has one evidence list, which may be empty."""

    text: str
    outputs: list[tuple[str, list[Evidence]]]
    meta: dict[str, Any] = field(default_factory=dict)


Style = Callable[[World, random.Random], "Query | None"]


def draw(style: Style, world: World, rng: random.Random, count: int) -> list[Query]:
    """``count`` queries with different texts; fewer if the style runs out (attempts are capped)."""
    queries: dict[str, Query] = {}
    for _ in range(60 * count):
        query = style(world, rng)
        if query is not None:
            query.text = lexicon.articles(query.text)
            queries.setdefault(query.text, query)
        if len(queries) == count:
            break
    return list(queries.values())


def claim(world: World, rng: random.Random) -> Query:
    """FEVER: a claim about one page, 40 % of them false."""
    fact = rng.choice(rng.choice(world.pages).facts)
    value, verdict = fact.value_text, "SUPPORTS"
    if rng.random() < 0.4:
        value, verdict = other_value(world, fact, rng), "REFUTES"
    text = fact.relation.claim.format(s=fact.page.mention, v=value)
    return Query(text[0].upper() + text[1:], [(verdict, [fact])])


def other_value(world: World, fact: Fact, rng: random.Random) -> str:
    choices: list[str] = (
        list(LITERALS[fact.relation.values])
        if fact.relation.literal
        else [p.mention for p in world.of_kind(fact.relation.values) if p is not fact.page]
    )
    return rng.choice([c for c in choices if c != fact.value_text])


_CONTEXTS = (
    (
        "The {a} and the {b} were late on Monday , but",
        "spoke about the {c} for an hour .  Nobody left the room .",
    ),
    (
        "Two days after the {a} was found ,",
        "was asked about the {b} .  The {c} stayed a secret , officials said .",
    ),
    ("Critics of the {a} blamed", "for the missing {b} on Friday .  A new {c} was promised ."),
    ("Everybody in the hall looked at", "when the {a} was shown .  Then the {b} and the {c} followed ."),
    ("A dispute over the {a} reached", "last week .  Experts on the {b} and the {c} gave evidence ."),
)


def mention(world: World, rng: random.Random) -> Query:
    """AIDA: an ambiguous name in context; only the topic of the context tells which page is meant."""
    page = rng.choice(world.pages)
    left, right = rng.choice(_CONTEXTS)
    words = dict(zip("abc", topic_words(page.topic, rng, 3), strict=True))
    left, right = left.format(**words), right.format(**words)
    meta = {"left_context": left, "mention": page.key, "right_context": right}
    return Query(f"{left} [START_ENT] {page.key} [END_ENT] {right}", [(page.title, [page])], meta)


def topic_words(topic: lexicon.Topic, rng: random.Random, count: int, shared: float = 0.06) -> list[str]:
    """Nouns of a topic as queries use them; with probability ``shared`` one that passages use, too."""
    words = rng.sample(topic.query_words, count)
    return [rng.choice(topic.passage_words) if rng.random() < shared else word for word in words]


ABBREVIATED = 0.6
"""Share of the names in slot filling and questions of which only the initial of the first word is given."""


def abbreviated(title: str) -> str:
    """A title with its first word as an initial: "C. Harlow". Equal words then find every page of that last name."""
    first, _, rest = title.partition(" ")
    return f"{first[0]}. {rest}"


def slot(task: str) -> Style:
    """T-REx and zero-shot RE: ``subject [SEP] relation``; the two tasks ask for different relations."""

    def style(world: World, rng: random.Random) -> Query | None:
        page = rng.choice(world.pages)
        subject = abbreviated(page.title) if rng.random() < ABBREVIATED else page.title
        fact = rng.choice([f for f in page.facts if f.relation.slot_task == task])
        asked = f"{fact.relation.question.format(s=page.mention)}?"
        meta: dict[str, Any] = (
            {"subj_aliases": [page.short], "sub_surface": [page.title], "obj_surface": [fact.answer]}
            if task == "trex"
            else {"template_questions": [asked[0].upper() + asked[1:]]}
        )
        return Query(f"{subject} [SEP] {fact.relation.label}", [(fact.answer, [fact])], meta)

    return style


_ASIDES = ("{q}", "{q}", "quick question {q}", "{q} in real life", "{q} according to the encyclopedia")


def question(world: World, rng: random.Random) -> Query:
    """Natural Questions: lower-case questions about one page."""
    fact = rng.choice(rng.choice(world.pages).facts)
    name, title = fact.page.mention, fact.page.title
    if rng.random() < ABBREVIATED:
        name = name.replace(title, abbreviated(title))
    asked = fact.relation.question.format(s=name)
    text = rng.choice(_ASIDES).format(q=asked).lower()
    return Query(text, [(fact.answer, [fact])])


_COMPARED = {
    "birthyear": "Who was born first, {a} or {b}?",
    "inception": "Which was founded first, {a} or {b}?",
    "country": "Do {a} and {b} share a country?",
    "language": "Do {a} and {b} share a language?",
    "award": "Did {a} and {b} win the same trophy?",
    "year": "Which was published first, {a} or {b}?",
}
BRIDGES = {
    "teacher": "the person who taught {s}",
    "birthplace": "the town where {s} was born",
    "employer": "the association that {s} worked for",
    "masterpiece": "the work that {s} is best known for",
    "founder": "the founder of {s}",
    "mayor": "the mayor of {s}",
    "chair": "the head of {s}",
    "headquarters": "the town where {s} is based",
    "author": "the creator of {s}",
    "setting": "the town where {s} is set",
    "publisher": "the publisher of {s}",
}


def multi_hop(world: World, rng: random.Random) -> Query | None:
    """HotpotQA: comparison of two pages, or a bridge through the value of a fact; two pages to find."""
    return _comparison(world, rng) if rng.random() < 0.5 else _bridge(world, rng)


def _comparison(world: World, rng: random.Random) -> Query | None:
    key = rng.choice(list(_COMPARED))
    first = rng.choice(world.pages)
    if key not in {f.relation.key for f in first.facts}:
        return None
    second = rng.choice([p for p in world.of_kind(first.kind) if p is not first])
    one, two = first.fact(key), second.fact(key)
    if "first" in _COMPARED[key]:
        if one.answer == two.answer:
            return None
        answer = min(one, two, key=lambda f: f.answer).page.title
    else:
        answer = "yes" if one.answer == two.answer else "no"
    return Query(_COMPARED[key].format(a=first.mention, b=second.mention), [(answer, [one, two])])


def _bridge(world: World, rng: random.Random) -> Query | None:
    fact = rng.choice(rng.choice(world.pages).facts)
    if fact.relation.key not in BRIDGES or isinstance(fact.value, str):
        return None
    hop = rng.choice(fact.value.facts)
    asked = hop.relation.question.format(s=BRIDGES[fact.relation.key].format(s=fact.page.mention))
    return Query(f"{asked[0].upper()}{asked[1:]}?", [(hop.answer, [fact, hop])])


KIND_NAMES = {"place": "town", "group": "association", "work": "book"}


def trivia(world: World, rng: random.Random) -> Query | None:
    """TriviaQA: inverse look-up, from two values of one passage to the page; every page that fits is alternative
    evidence."""
    page = rng.choice(world.pages)
    part = rng.randrange(3)
    told = [f for f in page.facts if f.passage == part]
    pairs = [pair for pair in itertools.combinations(told, 2) if any(f.relation.literal for f in pair)]
    if not pairs:
        return None
    facts = rng.choice(pairs)
    known = topic_words(page.topic, rng, 2)
    who = page.topic.alias if page.kind == "person" else KIND_NAMES[page.kind]
    clues = " and ".join(f.relation.clue.format(v=_demonym(f)) for f in facts)
    text = f"Which {who} from the world of the {known[0]} and the {known[1]} {clues}?"
    fitting = [p for p in world.of_kind(page.kind) if p.topic is page.topic and _fits(p, facts)]
    return Query(text, [(p.title, [p.fact(f.relation.key) for f in facts]) for p in fitting])


def _demonym(fact: Fact) -> str:
    if fact.relation.values != "country":
        return fact.value_text
    return f"the {lexicon.COUNTRIES[fact.answer]} state"


def _fits(page: Page, facts: Sequence[Fact]) -> bool:
    return all(page.fact(f.relation.key).answer == f.answer for f in facts)


_FIRST = (
    "I spent the whole weekend with a {a} and a {b}.",
    "My sister cannot stop talking about the {a} and the {b}.",
    "Lately I dream about the {a} or the {b} every night.",
    "Do you like the {a} as much as the {b}?",
)
_SECOND = (
    "That sounds lovely! Have you ever heard of {k}?",
    "Oh yes, I love it. I think {k} is wonderful.",
    "Not really, but I read something about {k}.",
    "Me too! It always reminds me of {k}.",
)
_THIRD = (
    "No, please tell me more. {q}?",
    "Really? That makes me curious. {q}?",
    "Interesting! Let me ask you one thing. {q}?",
    "I forgot almost everything. {q}?",
)


def dialogue(world: World, rng: random.Random) -> Query:
    """Wizard of Wikipedia: three turns that give the topic, an incomplete name and what is asked."""
    page = rng.choice(world.pages)
    fact = rng.choice(page.facts)
    a, b = topic_words(page.topic, rng, 2)
    asked = fact.relation.question.format(s=page.pronoun)
    asked = asked[0].upper() + asked[1:]
    turns = (
        rng.choice(_FIRST).format(a=a, b=b),
        rng.choice(_SECOND).format(k=page.key),
        rng.choice(_THIRD).format(q=asked),
    )
    told = fact.relation.claim.format(s=page.mention, v=fact.value_text)
    return Query("\n".join(turns), [(f"I am quite sure. {told[0].upper()}{told[1:]}", [fact])])


STYLES: dict[str, Style] = {
    "fever": claim,
    "aidayago2": mention,
    "trex": slot("trex"),
    "structured_zeroshot": slot("structured_zeroshot"),
    "nq": question,
    "hotpotqa": multi_hop,
    "triviaqa": trivia,
    "wow": dialogue,
}
