"""Every meaning that a made language has a word for, by topic and by part of speech."""

import functools
from dataclasses import dataclass

# Topic -> (things, deeds, qualities), the frequent first. The first LIVING things act.
TOPICS: dict[str, tuple[str, str, str]] = {
    "farm": (
        "farmer goat horse hen herder ox field seed plough fence barn wheat sheaf pail hay",
        "plant feed sell carry count",
        "fat brown young dry ripe",
    ),
    "sea": (
        "fisher whale crab gull sailor diver boat net wave island anchor salt oar shell reef",
        "catch see follow lose pull",
        "deep cold blue fast calm",
    ),
    "market": (
        "trader buyer thief child baker porter coin basket cloth bread price scale spice knife pot",
        "buy steal weigh want offer",
        "cheap new red heavy rare",
    ),
    "forest": (
        "hunter wolf deer owl fox guide tree path leaf river stone mushroom root moss nest",
        "hear chase find fear cut",
        "dark old green quiet wild",
    ),
    "house": (
        "mother father cat guest aunt neighbour door table fire lamp soup bed roof chair wall",
        "clean cook open warm break",
        "small tidy bright soft round",
    ),
    "school": (
        "teacher pupil writer singer clerk friend book letter song lesson map story pen word rule",
        "read write teach learn draw",
        "wise long short true hard",
    ),
    "road": (
        "driver rider guard beggar mule dog cart wheel bridge gate bag rope stick boot coat",
        "push mend lift leave load",
        "wide slow lost strong tired",
    ),
    "feast": (
        "drummer dancer bride groom cook king cup cake drum mask ring flag wine candle table",
        "bring praise greet watch share",
        "loud sweet proud rich gold",
    ),
}
LIVING = 6
# Deeds without an object.
ACTS = ["sleep", "walk", "laugh", "wait", "come", "fall", "rest", "dance"]
SAYINGS = ["say", "think", "hope", "see"]
PLACES = ["town", "hill", "well", "garden", "tower", "shore", "valley", "camp", "lake", "mill"]
TRADES = [
    "smith", "potter", "weaver", "miller", "mason", "healer", "scribe", "judge", "tailor",
    "shepherd",
]  # fmt: skip
LIKED = ["good", "lovely", "fine", "great", "splendid", "pleasant"]
DISLIKED = ["bad", "awful", "poor", "ugly", "dreadful", "rotten"]
LOVES, HATES = ["love", "enjoy", "admire"], ["hate", "despise", "resent"]
ADVERBS = ["often", "now", "today", "again", "slowly", "gladly"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CONJUNCTIONS = ["and", "but"]
REASONS = ["because", "when", "if"]
PRONOUNS = ["I", "you", "she", "they"]
# Said of facts alone, so that no other sentence states one.
RELATION_VERBS = ["live", "hail", "lead", "marry", "sit"]
FUNCTION = {
    **dict.fromkeys(CONJUNCTIONS, "CCONJ"),
    **dict.fromkeys(REASONS, "SCONJ"),
    **dict.fromkeys(PRONOUNS, "PRON"),
    **dict.fromkeys(NUMBERS, "NUM"),
    "that": "SCONJ",
    "which": "PRON",
    "the": "DET",
    "a": "DET",
    "be": "AUX",
    "whether": "PART",
}
# Grammar that may be said by an affix, or by the same morph as a word of its own: its UPOS then.
GRAMMAR = {
    "PL": "DET",
    **dict.fromkeys(("ACC", "GEN", "LOC", "ABL", "COM"), "ADP"),
    **dict.fromkeys(("PST", "FUT"), "AUX"),
    "NEG": "PART",
}
AGREEMENT = ("1SG", "2SG", "3SG", "3PL", "LIV", "THG")


@dataclass(frozen=True)
class Concept:
    """A meaning: its name (an English gloss), part of speech, and noun class."""

    name: str
    upos: str
    living: bool = False


@functools.cache
def concepts() -> dict[str, Concept]:
    """Returns every meaning that needs a root, by name, in a fixed order."""
    named: dict[str, Concept] = {}

    def add(names: list[str], upos: str, living: int = 0) -> None:
        for i, name in enumerate(names):
            named.setdefault(name, Concept(name, upos, i < living))

    for things, deeds, qualities in TOPICS.values():
        add(things.split(), "NOUN", LIVING)
        add(deeds.split(), "VERB")
        add(qualities.split(), "ADJ")
    add(ACTS + SAYINGS + RELATION_VERBS + LOVES + HATES, "VERB")
    add(PLACES, "NOUN")
    add(TRADES, "NOUN", len(TRADES))
    add(LIKED + DISLIKED, "ADJ")
    add([*ADVERBS, "then"], "ADV")
    for name, upos in FUNCTION.items():
        add([name], upos)
    return named


@functools.cache
def fused_endings() -> tuple[str, ...]:
    """Returns the endings of a fusing language, one for each bundle of features."""
    nouns = [f"{n}.{c}" for n in ("SG", "PL") for c in ("NOM", "ACC", "GEN", "LOC", "ABL", "COM")]
    verbs = [
        f"{t}.{p}{n}"
        for t in ("PRS", "PST", "FUT")
        for p in ("1SG", "2SG", "3SG", "3PL")
        for n in ("", ".NEG")
    ]
    qualities = [f"{k}.{n}" for k in ("LIV", "THG") for n in ("SG", "PL")]
    return (*nouns[1:], *verbs, *qualities)


@functools.cache
def affixes() -> tuple[str, ...]:
    """Returns the glosses of all grammatical morphs, plain and fused."""
    return (*GRAMMAR, *AGREEMENT, *fused_endings())
