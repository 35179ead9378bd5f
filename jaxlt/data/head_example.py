"""What heads label of an example: words, trees, classes, pairs, questions.

    kind_of("tagging").example("pos: the AP story", "DET PROPN NOUN")
    # HeadExample(shape="tags", words=("the", "AP", "story"), labels=("DET", "PROPN", "NOUN"))

So a head and an encoder-decoder learn the same tasks.
"""

from dataclasses import dataclass, field

from jaxlt.data import text_forms
from jaxlt.data.vocabulary.alignment import Cut
from jaxlt.errors import UserError

WORDS = ("tags", "tree", "entities")  # shapes whose words are labelled


@dataclass(frozen=True)
class HeadExample:
    """An example for a head; what is unknown is empty.

    Of n `words`, `labels` [n] are tags, relations (universal ones, without what follows the colon)
    or IOB2 tags, and `heads` [n] numbers of words, 0 for the root. Else `texts` are one, or premise
    and hypothesis, or question and context; `label` is the class, or the answer, which
    begins at the character `place` of the context, or somewhere in it (-1). `cut` finds its pieces,
    where they are not the best.
    """

    shape: str
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    label: str = ""
    place: int = -1
    cut: Cut | None = field(default=None, compare=False, repr=False)


def labelled_words(shape: str, inputs: str, targets: str) -> HeadExample:
    """Reads words behind a prefix, and a label for each of them; "" for unknown ones."""
    asked = inputs.partition(": ")[2]
    words, labels = text_forms.words_from(asked), text_forms.words_from(targets)
    if labels and len(labels) != len(words):
        shown = asked if len(asked) <= 60 else f"{asked[:57]}..."
        raise UserError(
            f"A word has one label: '{shown}' has {len(words)} words, and its labels are "
            f"{len(labels)}."
        )
    return HeadExample(shape, words, labels)
