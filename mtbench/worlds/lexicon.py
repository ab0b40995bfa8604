"""The words of the mini worlds: few enough that a tokenizer of 4,096 entries keeps each of them whole.

Sequences stay short and a two-layer encoder can learn a word's use from the few hundred times it occurs. Every topic
has two sets of nouns, one that its passages use and one that only queries use, so that matching topics by equal
words (BM25) finds less than learning which words belong together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def articles(text: str) -> str:
    """``text`` with "an" for "a" before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


WOMEN = _words("Anna Clara Edith Greta Helen Irene Julia Laura Maria Nora Olga Paula Rosa Sofia Teresa Ursula Vera Zoë")
MEN = _words("Albert Bruno Carl David Emil Felix Georg Hugo Ivan Jakob Leo Martin Oscar Peter Robert Søren Viktor José")
SURNAMES = _words(
    "Abbott Becker Carver Dalton Ellison Fischer Gardiner Harlow Ibsen Jensen Keller Lambert Mercer Novak Osborne "
    "Palmer Quinn Reyes Sutton Thorne Underhill Vargas Walsh Yates Zimmer Andersen Bellini Conrad Duarte Engström "
    "Fontaine Grant Hoffmann Iversen Jordan Kowalski Lindgren Müller Norton Ortega"
)
PLACE_HEADS = _words("Port Lake Mount Saint New Upper Lower Castle Fort East")
PLACE_STEMS = _words(
    "Arden Brook Corwen Dunmore Elster Farrow Glenn Haven Inver Kestrel Lorne Marsh Nairn Orchard Preston Rowan "
    "Selby Tarn Vale Wick"
)
GROUP_HEADS = _words("Royal National Northern Southern Eastern Western Central United Imperial Coastal")
GROUP_KINDS = _words("Academy Company Institute Society")
WORK_HEADS = _words(
    "Silver Golden Broken Hidden Quiet Burning Frozen Distant Endless Crooked Empty Gentle Hollow Painted Restless "
    "Sleeping"
)
WORK_NOUNS = _words(
    "River Mirror Lantern Bridge Garden Shadow Letter Window Tower Island Forest Winter Harvest Candle Journey Secret "
    "Stranger Thunder Voyage Whisper"
)

# Passages name the country, queries may name its people: words that no stemmer brings together.
COUNTRIES = {
    "Norway": "Norse",
    "Denmark": "Danish",
    "Greece": "Hellenic",
    "Switzerland": "Swiss",
    "France": "French",
    "Spain": "Iberian",
    "Wales": "Welsh",
    "Poland": "Polish",
    "Netherlands": "Dutch",
    "Ireland": "Irish",
    "Scotland": "Gaelic",
    "Germany": "Teutonic",
}
YEARS = tuple(str(year) for year in range(1871, 1931))
AWARDS = tuple(
    f"{head} {tail}"
    for head, tail in zip(
        _words("Bronze Crystal Diamond Emerald Ivory Marble Pearl Platinum Ruby Sapphire Amber Copper"),
        _words("Medal Cup Star Ribbon Crown Prize Medal Cup Star Ribbon Crown Prize"),
        strict=True,
    )
)
LANGUAGES = _words("Latin Arabic Russian Turkish Persian Hebrew Italian Swedish Finnish Hungarian")
HOBBIES = _words("fishing archery knitting pottery juggling fencing carving cycling skating dancing riding swimming")
CITIES = _words("Vienna Lisbon Prague Oslo Boston Cairo Naples Geneva Dublin Madrid Athens Warsaw")
RIVERS = _words("Amsel Bure Clyde Derwent Erme Fal Isar Kennet Loire Moselle Neckar Tamar")
PRODUCTS = _words("cheese glass honey leather linen paper pepper salt silk soap wool wine")
NUMBERS = _words("eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty")
COLOURS = _words("blue red green yellow purple orange black white brown grey")
GENRES = _words("comedy tragedy satire romance fable mystery memoir ballad parody chronicle")


@dataclass(frozen=True, slots=True)
class Topic:
    """A field of life: its names, the nouns of its passages and the nouns that only queries use."""

    name: str
    profession: str
    alias: str
    passage_words: tuple[str, ...]
    query_words: tuple[str, ...]


def _topic(name: str, profession: str, alias: str, passage: str, query: str) -> Topic:
    return Topic(name, profession, alias, _words(passage), _words(query))


TOPICS = (
    _topic(
        "Chess",
        "chess player",
        "grandmaster",
        "tournament opening endgame rook knight match champion puzzle defence rating",
        "checkmate pawn gambit clock bishop stalemate castling blunder",
    ),
    _topic(
        "Music",
        "composer",
        "maestro",
        "orchestra symphony violin concert quartet piano opera sonata chorus organ",
        "melody rhythm tune flute harmony tenor trumpet drum",
    ),
    _topic(
        "Painting",
        "painter",
        "artist",
        "canvas portrait gallery brush studio exhibition landscape palette fresco sketch",
        "watercolour easel varnish still-life pigment mural frame chisel",
    ),
    _topic(
        "Sailing",
        "sailor",
        "skipper",
        "harbour regatta yacht anchor crew mast compass race cabin deck",
        "sail rudder tide schooner mooring keel lighthouse sextant",
    ),
    _topic(
        "Astronomy",
        "astronomer",
        "stargazer",
        "telescope comet observatory planet catalogue eclipse orbit galaxy nebula moon",
        "meteor sky lens constellation satellite sunspot asteroid zenith",
    ),
    _topic(
        "Cooking",
        "cook",
        "chef",
        "kitchen recipe restaurant oven sauce banquet menu spice pastry bakery",
        "stew dinner soup flavour dessert omelette roast dumpling",
    ),
    _topic(
        "Climbing",
        "climber",
        "mountaineer",
        "summit rope glacier ridge expedition camp peak avalanche cliff valley",
        "ascent altitude hut crampon boulder foothold sherpa icefall",
    ),
    _topic(
        "Cinema",
        "film maker",
        "director",
        "camera actor screen premiere script scene festival projector costume trailer",
        "movie usher sequel actress close-up stunt dialogue cartoon",
    ),
    _topic(
        "Botany",
        "botanist",
        "plant hunter",
        "orchid greenhouse seed herbarium fern meadow blossom nursery shrub leaf",
        "flower stem root tulip ivy bulb cactus stalk",
    ),
    _topic(
        "Railway",
        "engineer",
        "train builder",
        "locomotive station track signal tunnel carriage freight timetable platform boiler",
        "whistle wagon conductor passenger ticket junction sleeper viaduct",
    ),
)
