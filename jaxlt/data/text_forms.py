"""Tasks as text to text: what goes in, what comes out, and the answer read back.

Named entities, XNLI and questions have mT5's own forms, so that its checkpoints and scores apply:

    tag: Ada Lovelace lived in London .     ->  PER: Ada Lovelace $$ LOC: London
    xnli: premise: ... hypothesis: ...      ->  0
    question: Who ? context: By Ada .       ->  Ada
    pos: the AP story                       ->  DET PROPN NOUN
    parse: the AP story                     ->  +2:det +1:compound 0:root
    languages: ona mbwa , please            ->  swh_Latn swh_Latn other eng_Latn

A word of several words (`en deus`) keeps its spaces as open boxes (`en\u2423deus`), so that words
can be counted: a no-break space would be a plain one to a vocabulary that normalises, as mT5's. In
entities they are plain.
"""

from collections.abc import Sequence

import regex

from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.readers.iob2 import Span, Tagged
from jaxlt.data.revisions import Rules
from jaxlt.errors import UserError

Form = tuple[str, str]  # inputs, targets
_BETWEEN = " $$ "
_XNLI = {"entailment": "0", "neutral": "1", "contradiction": "2", "contradictory": "2"}
NO_BREAK, INNER = "\u00a0", "\u2423"  # what stood for a space in a word, and what does
_SPACES = r"\t\n\f\r "  # what \s means to RE2, with which mT5 made its texts
_PUNCTUATION = regex.compile(rf"([^_{_SPACES}\p{{N}}\p{{L}}\p{{M}}])")
_RUN = regex.compile(rf"[{_SPACES}]+")
_BROKEN = regex.compile(r"\s")  # of any script, as normalisers take them: U+00A0, U+202F, U+3000
_HELD = str.maketrans({NO_BREAK: " ", INNER: " "})


def space_of(rules: Rules) -> str:
    """Returns what stands for a space within a word, in runs with these rules."""
    return INNER if rules.spaces_kept else NO_BREAK


def words_text(words: Sequence[str], space: str = INNER) -> str:
    """Returns a sentence of words with a space between them; `space` stands for those within."""
    if space == NO_BREAK:
        return " ".join(word.replace(" ", NO_BREAK) for word in words)
    return " ".join(_BROKEN.sub(space, word) for word in words)


def plain_spaces(text: str) -> str:
    """Returns a text whose spaces within words are plain ones."""
    return text.translate(_HELD)


def words_from(text: str) -> tuple[str, ...]:
    """Returns the words of `words_text`: what single spaces separate, with their own as spaces."""
    return tuple(map(plain_spaces, text.split(" "))) if text else ()


def tagging(sentence: Sentence, space: str = INNER) -> Form:
    """Returns the words, and their parts of speech in the same order."""
    return f"pos: {words_text(sentence.forms, space)}", " ".join(sentence.upos)


def tags_from(answer: str, count: int, default: str = "X") -> tuple[str, ...]:
    """Returns [count] tags of an answer: what is too much is cut, what lacks is `default`."""
    tags = answer.split()[:count]
    return (*tags, *[default] * (count - len(tags)))


def parsing(sentence: Sentence, space: str = INNER) -> Form:
    """Returns the words, and a word's way to its head (0: the root) with its relation."""
    if min(sentence.heads, default=0) < 0:
        raise UserError("A sentence without heads cannot be a parsing task.")
    arcs = arcs_text(sentence.heads, sentence.deprels)
    return f"parse: {words_text(sentence.forms, space)}", arcs


def arcs_text(heads: Sequence[int], relations: Sequence[str]) -> str:
    """Returns the way of each word to its head (0: the root) with its relation."""
    return " ".join(
        f"{head - place:+d}:{relation}" if head else f"0:{relation}"
        for place, (head, relation) in enumerate(zip(heads, relations, strict=True), start=1)
    )


def arcs_from(answer: str, count: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Returns (heads [count], relations [count]) of an answer; what cannot be read hangs on 0.

    Heads lie within the sentence; the answer of a model need not be a tree.
    """
    heads, relations = [0] * count, ["dep"] * count
    for place, arc in enumerate(answer.split()[:count]):
        way, colon, relation = arc.partition(":")
        digits = way.lstrip("+-")
        if not (colon and digits.isascii() and digits.isdecimal() and len(digits) < 7):
            continue
        head = place + 1 + int(digits) * (-1 if way.startswith("-") else 1)
        if int(digits) and 1 <= head <= count:
            heads[place] = head
        relations[place] = relation or "dep"
    return tuple(heads), tuple(relations)


def languages(words: Sequence[str], codes: Sequence[str], space: str = INNER) -> Form:
    """Returns words of mixed speech, and the language of each: 'other' where it has no letter.

    `tags_from` reads an answer back.
    """
    said = (
        code if any(map(str.isalpha, word)) else "other"
        for word, code in zip(words, codes, strict=True)
    )
    return f"languages: {words_text(words, space)}", " ".join(said)


def entities(sentence: Tagged) -> Form:
    """Returns mT5's form of WikiANN: the tokens, and the entities in order with their types."""
    found = (
        f"{span.label}: {' '.join(sentence.tokens[span.start : span.end])}"
        for span in sentence.spans()
    )
    return f"tag: {' '.join(sentence.tokens)}", _BETWEEN.join(found)


def entity_tags(sentence: Tagged, space: str = INNER) -> Form:
    """Returns the tokens, as many as there are, and their IOB2 tags: what a head learns."""
    return f"tag: {words_text(sentence.tokens, space)}", words_text(sentence.tags, space)


def entities_from(answer: str, tokens: Sequence[str]) -> tuple[Span, ...]:
    """Returns the entities that an answer names, each at its next place among the tokens.

    What is not in the tokens is left out; answers come in the order of the text. A name whose
    words stand in the text earlier, untagged, is taken to be there: the form does not say. Spaces
    that do not break are as good as others.
    """
    spans: list[Span] = []
    after = 0
    for item in answer.split(_BETWEEN):
        label, colon, text = item.strip(" ").partition(": ")
        words = text.translate(_HELD).split(" ")
        if not (colon and label and text):
            continue
        for start in range(after, len(tokens)):
            end = _match(tokens, start, words)
            if end:
                spans.append(Span(start, end, label))
                after = end
                break
    return tuple(spans)


def names_from(answer: str) -> tuple[tuple[str, str], ...]:
    """Returns the (label, text) of an answer's entities, as mT5's span F1 counts them.

    It knows no places: equal names are worth as many points as there are. Whatever has not
    exactly one colon is no entity to it, in the target as little as in the answer.
    """
    items = (item.split(":") for item in answer.split(_BETWEEN))
    return tuple((item[0].strip(), item[1].strip()) for item in items if len(item) == 2)


def _match(tokens: Sequence[str], start: int, words: list[str]) -> int:
    """Returns where tokens from `start` on have spelled all the words, or 0."""
    place, end = 0, start
    while place < len(words) and end < len(tokens):
        inner = tokens[end].translate(_HELD).split(" ")
        if words[place : place + len(inner)] != inner:
            return 0
        place, end = place + len(inner), end + 1
    return end if place == len(words) else 0


def inference(premise: str, hypothesis: str, label: int | str) -> Form:
    """Returns mT5's form of XNLI; labels are 0 entailment, 1 neutral, 2 contradiction.

    XNLI's names become those numbers; any other label is kept as a word.
    """
    said = _XNLI.get(str(label), str(label))
    return f"xnli: premise: {premise} hypothesis: {hypothesis}", said


def question(asked: str, context: str, answer: str) -> Form:
    """Returns mT5's form of XQuAD, MLQA and TyDi QA: spaces around all punctuation.

    Where a text begins or ends with punctuation its space stays, as in the texts mT5 learned from.
    """
    joined = f"question: {_spaced(asked)} context: {_spaced(context)}"
    return _RUN.sub(" ", joined), _spaced(answer)


def _spaced(text: str) -> str:
    return str(_RUN.sub(" ", _PUNCTUATION.sub(r" \1 ", text)))


def placed_answer(context: str, answer: str, start: int) -> str:
    """Returns what a head learns of a question: the answer, and where it stands in the context.

    The place, of the answer that begins at character `start`, is counted from the end of the
    context as `question` writes it: `answer_from` reads both back.
    """
    spaced, places = _spaced_places(context)
    before = _RUN.match(answer)
    if before and before.end() < len(answer):  # the spaces that it begins with are not kept
        start += before.end()
    return f"{_spaced(answer).strip(' ')}\t{len(spaced) - places[start]}"


def answer_from(said: str, context: str) -> tuple[str, int]:
    """Returns (answer, where it begins in the context or -1 where that is not said)."""
    answer, tab, left = said.partition("\t")
    return answer.strip(" "), len(context) - int(left) if tab else -1


def _spaced_places(text: str) -> tuple[str, list[int]]:
    """Returns (_spaced(text), where each character of the text stands in that)."""
    out: list[str] = []
    places: list[int] = []
    for char in text:
        wide = _spaced(char)
        parts = list(wide[1:] if out and out[-1] == " " and wide[0] == " " else wide)
        # A space that was there already is the last one; punctuation follows its own.
        places.append(len(out) - 1 if not parts else len(out) + parts.index(wide.strip(" ") or " "))
        out += parts
    return "".join(out), places


def topic(text: str, label: str) -> Form:
    """Returns a text and its class as a word."""
    return f"topic: {text}", label


def translation(text: str, target: str, target_language: str, tag: str = "<2{target}> ") -> Form:
    """Returns a text behind the tag of the language asked for, and its translation."""
    return f"{tag.format(target=target_language)}{text}", target


def fact(asked: str, answer: str) -> Form:
    """Returns a sentence with [Y] for what is asked, and the answer."""
    return f"fact: {asked}", answer
