"""What can be said of a page, and in which words: passages, claims, questions and trivia clues differ on purpose.

``{n}`` is the short name of the page ("Harlow", "the town"), ``{he}`` its pronoun, ``{s}`` its full name, ``{v}`` the
value. A passage never uses the words of the question about the same relation: that is the paraphrase gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtbench.worlds import lexicon


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation of one kind of page."""

    kind: str
    """Of the subject: ``person``, ``place``, ``group`` or ``work``."""
    key: str
    values: str
    """Kind of page of the value, or the name of a word list of :data:`LITERALS`."""
    label: str
    """As slot filling names it."""
    passage: str
    claim: str
    question: str
    clue: str
    """Trivia: what follows "which painter ..."; ``{v}`` is the only slot."""
    slot_task: str
    """``trex`` or ``structured_zeroshot``: the two slot tasks share no relation of one kind."""

    @property
    def literal(self) -> bool:
        """Whether the value is a word and not a page."""
        return self.values in LITERALS


LITERALS: dict[str, tuple[str, ...]] = {
    "year": lexicon.YEARS,
    "country": tuple(lexicon.COUNTRIES),
    "award": lexicon.AWARDS,
    "language": lexicon.LANGUAGES,
    "hobby": lexicon.HOBBIES,
    "city": lexicon.CITIES,
    "river": lexicon.RIVERS,
    "product": lexicon.PRODUCTS,
    "number": lexicon.NUMBERS,
    "colour": lexicon.COLOURS,
    "genre": lexicon.GENRES,
}

_TREX, _ZSRE = "trex", "structured_zeroshot"
# kind, key, values, label, passage, claim, question, clue, slot task
_ROWS = (
    ("person", "birthplace", "place", "place of birth", "{n} spent an early childhood in {v}",
     "{s} was born in {v}.", "where was {s} born", "was born in {v}", _TREX),
    ("person", "birthyear", "year", "date of birth", "the family register mentions {n} since {v}",
     "{s} was born in {v}.", "when was {s} born", "was born in {v}", _ZSRE),
    ("person", "employer", "group", "employer", "{he} joined the staff of {v}",
     "{s} worked for {v}.", "who did {s} work for", "worked for {v}", _TREX),
    ("person", "teacher", "person", "student of", "{he} learned the craft from {v}",
     "{s} was taught by {v}.", "who did {s} study with", "was taught by {v}", _ZSRE),
    ("person", "masterpiece", "work", "notable work", "{n} became famous through {v}",
     "{s} is best known for {v}.", "what is {s} best known for", "is best known for {v}", _TREX),
    ("person", "country", "country", "country of citizenship", "{he} carried a passport of {v}",
     "{s} was a citizen of {v}.", "which nationality did {s} have", "was a citizen of {v}", _ZSRE),
    ("person", "award", "award", "award received", "a jury honoured {n} with the {v}",
     "{s} won the {v}.", "which trophy did {s} win", "won the {v}", _TREX),
    ("person", "language", "language", "language spoken", "{he} wrote letters in {v}",
     "{s} spoke {v}.", "what language did {s} speak", "spoke {v}", _ZSRE),
    ("person", "hobby", "hobby", "interested in", "on quiet evenings {n} relaxed with {v}",
     "{s} enjoyed {v}.", "what did {s} do for fun", "enjoyed {v}", _TREX),
    ("person", "residence", "city", "residence", "{he} kept a small house in {v}",
     "{s} lived in {v}.", "where did {s} live", "lived in {v}", _ZSRE),
    ("place", "founder", "person", "founded by", "settlers led by {v} raised the first houses",
     "{s} was founded by {v}.", "who founded {s}", "was founded by {v}", _TREX),
    ("place", "inception", "year", "inception", "the oldest map of {n} was drawn in {v}",
     "{s} was founded in {v}.", "when was {s} founded", "was founded in {v}", _ZSRE),
    ("place", "country", "country", "country", "{he} pays taxes to the treasury of {v}",
     "{s} belongs to {v}.", "which state does {s} belong to", "belongs to {v}", _TREX),
    ("place", "river", "river", "located next to", "the water of the {v} drives the mills",
     "{s} lies on the {v}.", "which stream flows through {s}", "lies on the {v}", _ZSRE),
    ("place", "product", "product", "product", "merchants come to {n} for {v}",
     "{s} exports {v}.", "what does {s} export", "exports {v}", _TREX),
    ("place", "mayor", "person", "head of government", "{v} leads the town council",
     "{v} is the mayor of {s}.", "who is the mayor of {s}", "has {v} as its mayor", _ZSRE),
    ("place", "population", "number", "population", "about {v} thousand households share the market",
     "{s} has {v} thousand inhabitants.", "how many people live in {s}", "has {v} thousand inhabitants", _TREX),
    ("place", "twin", "place", "twinned with", "{he} keeps a friendly partnership with {v}",
     "{s} is a sister town of {v}.", "what is the sister town of {s}", "is a sister town of {v}", _ZSRE),
    ("group", "founder", "person", "founded by", "the first members gathered around {v}",
     "{s} was founded by {v}.", "who founded {s}", "was founded by {v}", _TREX),
    ("group", "inception", "year", "inception", "the charter of {n} was signed in {v}",
     "{s} was founded in {v}.", "when was {s} founded", "was founded in {v}", _ZSRE),
    ("group", "headquarters", "place", "headquarters location", "the main building of {n} stands in {v}",
     "{s} is based in {v}.", "where is {s} based", "is based in {v}", _TREX),
    ("group", "chair", "person", "chairperson", "{v} presides over all meetings",
     "{v} is the head of {s}.", "who is the head of {s}", "has {v} as its head", _ZSRE),
    ("group", "members", "number", "member count", "{n} counts {v} hundred subscribers",
     "{s} has {v} hundred members.", "how many members does {s} have", "has {v} hundred members", _TREX),
    ("group", "colour", "colour", "official color", "a {v} flag flies over the roof",
     "{s} uses the color {v}.", "what color does {s} use", "uses the color {v}", _ZSRE),
    ("group", "country", "country", "country", "{he} receives money from the treasury of {v}",
     "{s} belongs to {v}.", "which state does {s} belong to", "belongs to {v}", _TREX),
    ("group", "prize", "award", "confers", "every spring a jury of {n} hands out the {v}",
     "{s} gives the {v}.", "which trophy does {s} give", "gives the {v}", _ZSRE),
    ("work", "author", "person", "author", "it came from the pen of {v}",
     "{s} was created by {v}.", "who created {s}", "was created by {v}", _TREX),
    ("work", "year", "year", "publication date", "shops sold the first copies in {v}",
     "{s} was published in {v}.", "when was {s} published", "was published in {v}", _ZSRE),
    ("work", "setting", "place", "narrative location", "the story of {n} unfolds in {v}",
     "{s} is set in {v}.", "where is {s} set", "is set in {v}", _TREX),
    ("work", "publisher", "group", "publisher", "the costs were carried by {v}",
     "{s} was published by {v}.", "who published {s}", "was published by {v}", _ZSRE),
    ("work", "language", "language", "original language", "the manuscript of {n} is in {v}",
     "{s} is written in {v}.", "what language is {s} written in", "is written in {v}", _TREX),
    ("work", "genre", "genre", "genre", "critics call {n} a {v}",
     "{s} is a {v}.", "what type of work is {s}", "is a {v}", _ZSRE),
    ("work", "dedicatee", "person", "dedicated to", "the first page thanks {v}",
     "{s} is dedicated to {v}.", "who is {s} dedicated to", "is dedicated to {v}", _TREX),
    ("work", "length", "number", "number of parts", "{n} is divided into {v} chapters",
     "{s} has {v} parts.", "how many parts does {s} have", "has {v} parts", _ZSRE),
)  # fmt: skip

RELATIONS = tuple(Relation(*row) for row in _ROWS)
KINDS = ("person", "place", "group", "work")


def relations_of(kind: str) -> tuple[Relation, ...]:
    """The relations of one kind of page, in the order in which its passages tell them."""
    return tuple(r for r in RELATIONS if r.kind == kind)
