"""What a sentence means, in plain English: the free translation under a linguist's example."""

from jaxlt.data.synth.concepts import TRADES
from jaxlt.data.synth.grammar import Clause, Phrase, Sentence

_PLURALS = {
    "wolf": "wolves", "thief": "thieves", "child": "children", "knife": "knives", "leaf": "leaves",
    "sheaf": "sheaves", "ox": "oxen", "deer": "deer", "bread": "breads",
}  # fmt: skip
_PAST = {
    "feed": "fed", "sell": "sold", "catch": "caught", "see": "saw", "lose": "lost", "buy": "bought",
    "steal": "stole", "weigh": "weighed", "hear": "heard", "find": "found", "cut": "cut",
    "break": "broke", "read": "read", "write": "wrote", "teach": "taught", "know": "knew",
    "draw": "drew", "leave": "left", "bring": "brought", "sleep": "slept", "come": "came",
    "fall": "fell", "say": "said", "think": "thought", "sit": "sat", "lead": "led",
}  # fmt: skip
_PLACES = {"LOC": "at", "ABL": "from", "COM": "with"}
_OBJECTS = {"I": "me", "she": "her", "they": "them"}


def english(sentence: Sentence) -> str:
    """Returns the sentence in English, capital and mark included."""
    clause = sentence.clause
    words = _question(clause) if sentence.question and clause.subject else _clause(clause)
    text = " ".join([sentence.link, *words] if sentence.link else words)
    return text[0].upper() + text[1:] + ("?" if sentence.question else ".")


def _clause(clause: Clause) -> list[str]:
    """Words of a clause: a gap's 'which' in the place of what it stands for."""
    subject = ["which"] if clause.gap == "S" else _phrase(clause.subject)
    words = ["which", *subject] if clause.gap == "O" else subject
    return [*words, *_verb(clause), *_rest(clause)]


def _rest(clause: Clause) -> list[str]:
    words: list[str] = []
    if clause.object:
        words += _phrase(clause.object, True)
    for case, place in clause.places:
        words += [_PLACES[case], *_phrase(place, True)]
    if clause.adverb:
        words.append(clause.adverb)
    if clause.content:
        words += ["that", *_clause(clause.content)]
    if clause.reason:
        words += [clause.reason[0], *_clause(clause.reason[1])]
    return words


def _person(subject: Phrase | None) -> str:
    """'I', 'many' (also 'you') or 'one'."""
    if subject is None or subject.entity:
        return "many" if subject and subject.other else "one"
    if subject.head == "I":
        return "I"
    return "many" if subject.plural or subject.other or subject.head in ("you", "they") else "one"


def _be(tense: str, person: str) -> str:
    if tense == "PST":
        return "were" if person == "many" else "was"
    return {"I": "am", "many": "are", "one": "is"}[person]


def _verb(clause: Clause) -> list[str]:
    person, no = _person(clause.subject), ["not"] * clause.negated
    if clause.predicate:
        kind = ["a"] if clause.predicate in TRADES else []
        be = ["will", *no, "be"] if clause.tense == "FUT" else [_be(clause.tense, person), *no]
        return [*be, *kind, clause.predicate]
    if clause.tense == "FUT":
        return ["will", *no, clause.verb]
    if clause.negated:
        return [_do(clause.tense, person), "not", clause.verb]
    if clause.tense == "PST":
        return [_past(clause.verb)]
    return [_with_s(clause.verb) if person == "one" else clause.verb]


def _question(clause: Clause) -> list[str]:
    """Words of a yes-or-no question: the auxiliary comes first."""
    person, subject = _person(clause.subject), _phrase(clause.subject)
    no = ["not"] * clause.negated
    if clause.predicate and clause.tense != "FUT":
        return [_be(clause.tense, person), *subject, *no, clause.predicate, *_rest(clause)]
    helper = "will" if clause.tense == "FUT" else _do(clause.tense, person)
    what = ["be", clause.predicate] if clause.predicate else [clause.verb]
    return [helper, *subject, *no, *what, *_rest(clause)]


def _do(tense: str, person: str) -> str:
    return "did" if tense == "PST" else "does" if person == "one" else "do"


def _past(verb: str) -> str:
    if verb in _PAST:
        return _PAST[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _with_s(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _phrase(phrase: Phrase | None, object_: bool = False) -> list[str]:
    """Words of a phrase; pronouns change in the object."""
    if phrase is None:
        return []
    if phrase.entity:
        words = [phrase.entity.label]
    elif phrase.head in ("I", "you", "she", "they"):
        words = [_OBJECTS.get(phrase.head, phrase.head) if object_ else phrase.head]
    else:
        noun = _PLURALS.get(phrase.head, _with_s(phrase.head)) if phrase.plural else phrase.head
        words = [*filter(None, [str(phrase.count or ""), phrase.quality]), noun]
        if phrase.owner and phrase.owner.entity:
            words.insert(0, f"{phrase.owner.entity.label}'s")
        elif phrase.definite:
            words.insert(0, "the")
        elif not phrase.plural:
            words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    if phrase.relative:
        words += _clause(phrase.relative)
    if phrase.other:
        words += ["and", *_phrase(phrase.other, object_)]
    return words
