"""What is known of a sentence's words, as the readers of CoNLL-U and IOB2 have it."""

from collections.abc import Sequence

from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.data.synth.realise import Said, Word

_FEATS: dict[str, dict[str, str]] = {
    "PL": {"Number": "Plur"},
    **{case: {"Case": case.capitalize()} for case in ("ACC", "GEN", "LOC", "ABL", "COM")},
    "PST": {"Tense": "Past"},
    "FUT": {"Tense": "Fut"},
    "NEG": {"Polarity": "Neg"},
    "LIV": {"Animacy": "Anim"},
    "THG": {"Animacy": "Inan"},
    **{f"{person}SG": {"Person": person, "Number": "Sing"} for person in "123"},
    "3PL": {"Person": "3", "Number": "Plur"},
}


def heads(words: Sequence[Word]) -> list[int]:
    """Returns for each word the number of its head, counted from 1; 0 for the root."""
    places = {id(word): i for i, word in enumerate(words, 1)}
    return [places[id(word.head)] if word.head else 0 for word in words]


def features(word: Word) -> str:
    """Returns the FEATS column of a word."""
    values: dict[str, str] = {}
    for feature in word.features:
        values |= _FEATS[feature]
    return "|".join(f"{name}={values[name]}" for name in sorted(values)) or "_"


def tree(spoken: Said, identity: str = "") -> Sentence:
    """Returns the sentence of a treebank; MISC has glosses, and languages of mixed words."""
    words, empty = spoken.words, ("_",) * len(spoken.words)
    misc = []
    for word, after in zip(words, [*words[1:], None], strict=True):
        language = f"|Lang={word.language}" if word.language else ""
        joined = "|SpaceAfter=No" if after and after.upos == "PUNCT" else ""
        misc.append(f"Gloss={word.gloss}{language}{joined}")
    return Sentence(
        forms=tuple(w.form for w in words),
        lemmas=tuple(w.lemma for w in words),
        upos=tuple(w.upos for w in words),
        xpos=empty,
        feats=tuple(map(features, words)),
        heads=tuple(heads(words)),
        deprels=tuple(w.deprel for w in words),
        deps=empty,
        misc=tuple(misc),
        comments=_comments(spoken, identity),
    )


def tagged(spoken: Said, identity: str = "") -> Tagged:
    """Returns the sentence of an entity file."""
    tokens = tuple(w.form for w in spoken.words)
    return Tagged(tokens, tuple(entity_tags(spoken.words)), _comments(spoken, identity))


def _comments(spoken: Said, identity: str) -> tuple[str, ...]:
    return (f"# sent_id = {identity}", f"# text = {spoken.text}") if identity else ()


def entity_tags(words: Sequence[Word]) -> list[str]:
    """Returns an IOB2 tag a word; two names side by side are two spans."""
    tags, before = [], None
    for word in words:
        mention = word.head if word.deprel == "flat" else word if word.entity else None
        if word.entity is None:
            tags.append("O")
        else:
            tags.append(f"{'I' if mention is before else 'B'}-{word.entity.kind}")
        before = mention
    return tags
