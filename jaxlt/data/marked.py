"""What heads label, read from a task's text form: words, trees, classes, pairs, questions.

    marked_of("tagging", "pos: the AP story", "DET PROPN NOUN")
    # Marked(shape="tags", words=("the", "AP", "story"), labels=("DET", "PROPN", "NOUN"))

So a head and an encoder-decoder learn the same tasks, and `answer_text` writes what a head says in
the form that the other would have written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxlt.data import text_forms
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.errors import UserError

_TAGS = ("tagging", "synthetic_tagging", "synthetic_mixed")
_TREES = ("parsing", "synthetic_parsing")
_ENTITIES = ("entities", "synthetic_entities")
_CLASSES = ("topics", "synthetic_sentiment")
_PAIRS = ("pairs", "synthetic_pairs")
_SPANS = ("questions", "synthetic_questions")
# What a head sees of each kind of task.
SHAPES = {
    **dict.fromkeys(_TAGS, "tags"),
    **dict.fromkeys(_TREES, "tree"),
    **dict.fromkeys(_ENTITIES, "entities"),
    **dict.fromkeys(_CLASSES, "class"),
    **dict.fromkeys(_PAIRS, "pair"),
    **dict.fromkeys(_SPANS, "span"),
}
WORDS = ("tags", "tree", "entities")  # shapes whose words are labelled


@dataclass(frozen=True)
class Marked:
    """An example for a head; what is unknown is empty.

    Of n `words`, `labels` [n] are tags, relations (universal ones, without what follows the colon)
    or IOB2 tags, and `heads` [n] numbers of words, 0 for the root. Else `texts` are one, or premise
    and hypothesis, or question and context; `label` is the class, or the answer, which
    begins at the character `place` of the context, or somewhere in it (-1).
    """

    shape: str
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    label: str = ""
    place: int = -1


def labelled_words(shape: str, inputs: str, targets: str) -> Marked:
    """Reads words behind a prefix, and a label for each of them; "" for unknown ones."""
    asked = inputs.partition(": ")[2]
    words, labels = text_forms.words_from(asked), text_forms.words_from(targets)
    if labels and len(labels) != len(words):
        shown = asked if len(asked) <= 60 else f"{asked[:57]}..."
        raise UserError(
            f"A word has one label: '{shown}' has {len(words)} words, and its labels are "
            f"{len(labels)}."
        )
    return Marked(shape, words, labels)


def shape_of(kind: str) -> str:
    """Returns what a head sees of a kind of task; a kind that no head is for is a UserError."""
    if kind not in SHAPES:
        raise UserError(
            f"There is no head for tasks of the kind '{kind}': its answers are free text. Heads "
            f"are for {', '.join(SHAPES)}; for others set DataConfig.objective = 'text_to_text'."
        )
    return SHAPES[kind]


def marked_of(kind: str, inputs: str, targets: str) -> Marked:
    """Reads a task's inputs and its targets (of entities: their IOB2 tags); "" for unknown ones."""
    shape = shape_of(kind)
    asked = inputs.partition(": ")[2]
    if shape in WORDS:
        words = text_forms.words_from(asked)
        if shape != "tree":
            labels = text_forms.words_from(targets)
            if labels and len(labels) != len(words):
                shown = asked if len(asked) <= 60 else f"{asked[:57]}..."
                raise UserError(
                    f"A word has one label: '{shown}' has {len(words)} words, and its labels are "
                    f"{len(labels)}."
                )
            return Marked(shape, words, labels)
        if not targets:
            return Marked(shape, words)
        heads, relations = text_forms.arcs_from(targets, len(words))
        return Marked(shape, words, tuple(universal(r) for r in relations), heads)
    if shape == "class":
        return Marked(shape, texts=(asked,), label=targets)
    first, between = ("premise: ", " hypothesis: ") if shape == "pair" else ("", " context: ")
    if shape == "span":
        asked = inputs.removeprefix("question: ")
    one, _, two = asked.removeprefix(first).partition(between)
    if shape == "pair":
        return Marked(shape, texts=(one, two), label=targets.strip(" "))
    answer, place = text_forms.answer_from(targets, two)
    return Marked(shape, texts=(one, two), label=answer, place=place)


def universal(relation: str) -> str:
    """Returns a relation without its language's own part: 'nsubj:pass' -> 'nsubj'."""
    return relation.partition(":")[0]


def answer_text(marked: Marked, labels: Sequence[str], heads: Sequence[int] = ()) -> str:
    """Writes what a head says of an example in the task's text form.

    labels: one a word, or [the class], or [the answer].
    """
    if marked.shape == "entities":
        return text_forms.entities(Tagged(marked.words, tuple(labels)))[1]
    if marked.shape == "tree":
        return text_forms.arcs_text(heads, labels)
    return " ".join(labels) if marked.shape == "tags" else labels[0]
