"""What is known of a sentence's words, in the formats of the field: CoNLL-U and IOB2."""

from collections.abc import Sequence

from jaxlt.data.synth.realise import Said, Word

_FEATS = {
    "PL": ("Number", "Plur"),
    "ACC": ("Case", "Acc"),
    "GEN": ("Case", "Gen"),
    "LOC": ("Case", "Loc"),
    "ABL": ("Case", "Abl"),
    "COM": ("Case", "Com"),
    "PST": ("Tense", "Past"),
    "FUT": ("Tense", "Fut"),
    "NEG": ("Polarity", "Neg"),
    "LIV": ("Animacy", "Anim"),
    "THG": ("Animacy", "Inan"),
}
_PERSONS = {
    "1SG": ("1", "Sing"),
    "2SG": ("2", "Sing"),
    "3SG": ("3", "Sing"),
    "3PL": ("3", "Plur"),
}


def heads(words: Sequence[Word]) -> list[int]:
    """Returns for each word the number of its head, counted from 1; 0 for the root."""
    places = {id(word): i for i, word in enumerate(words, 1)}
    return [places[id(word.head)] if word.head else 0 for word in words]


def features(word: Word) -> str:
    """Returns the FEATS column of a word."""
    found: dict[str, str] = {}
    for feature in word.features:
        if feature in _PERSONS:
            found["Person"], found["Number"] = _PERSONS[feature]
        else:
            name, value = _FEATS[feature]
            found[name] = value
    return "|".join(f"{name}={found[name]}" for name in sorted(found)) or "_"


def conllu(said: Said, identity: str) -> str:
    """Returns the sentence as a CoNLL-U block, its gloss and language in MISC."""
    lines = [f"# sent_id = {identity}", f"# text = {said.text}"]
    words, parents = said.words, heads(said.words)
    for i, (word, head) in enumerate(zip(words, parents, strict=True), 1):
        misc = [f"Gloss={word.gloss}"]
        if word.language:
            misc.append(f"Lang={word.language}")
        if i < len(words) and words[i].upos == "PUNCT":
            misc.append("SpaceAfter=No")
        columns = (
            str(i), word.form, word.lemma, word.upos, "_", features(word), str(head), word.deprel,
            "_", "|".join(misc),
        )  # fmt: skip
        lines.append("\t".join(columns))
    return "\n".join(lines) + "\n\n"


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


def iob2(said: Said, identity: str) -> str:
    """Returns the sentence as tab-separated tokens and tags, with comments and a blank line."""
    rows = (f"{w.form}\t{t}" for w, t in zip(said.words, entity_tags(said.words), strict=True))
    return f"# sent_id = {identity}\n# text = {said.text}\n" + "\n".join(rows) + "\n\n"
