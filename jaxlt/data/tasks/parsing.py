"""Dependency trees of treebanks: `parse: the AP story` -> `+2:det +1:compound 0:root`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxlt.data import text_forms
from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers import conllu
from jaxlt.data.sources import corpora
from jaxlt.data.tasks.baselines import Answered
from jaxlt.data.tasks.examples import corpus_streams
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError
from jaxlt.metrics.baselines import Neighbour
from jaxlt.metrics.trees import Parse

Tree = tuple[tuple[int, ...], tuple[str, ...]]  # heads [n] from 1, 0 the root; relations [n]


def arcs_text(heads: Sequence[int], relations: Sequence[str]) -> str:
    """Returns the way of each word to its head (0: the root) with its relation."""
    return " ".join(
        f"{head - place:+d}:{relation}" if head else f"0:{relation}"
        for place, (head, relation) in enumerate(zip(heads, relations, strict=True), start=1)
    )


def arcs_from(answer: str, count: int) -> Tree:
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


def universal(relation: str) -> str:
    """Returns a relation without its language's own part: 'nsubj:pass' -> 'nsubj'."""
    return relation.partition(":")[0]


class Parsing(Kind):
    """Trees in CoNLL-U: the way of each word to its head, and its relation."""

    takes: ClassVar[tuple[str, ...]] = ("names",)
    shape = "tree"
    metrics = ("uas", "las", "clas")
    blind = "neighbour"
    task, columns, formats, nothing = "parse", (("words", "text"),), ("text", "conllu"), ((), ())
    labels = "none"

    def streams(self, reading: Reading) -> list[Stream]:
        return corpus_streams(self, reading, corpora.CONLLU, "treebank", conllu.read)

    def form(self, record: conllu.Sentence, wording: Wording) -> Form:
        """Returns the words, and a word's way to its head (0: the root) with its relation."""
        if min(record.heads, default=0) < 0:
            raise UserError("A sentence without heads cannot be a parsing task.")
        return self.inputs(record.forms, wording), arcs_text(record.heads, record.deprels)

    def inputs(self, asked: Sequence[str], wording: Wording = USUAL) -> str:
        return f"parse: {text_forms.words_text(asked, wording.space)}"

    def read(self, answer: str, asked: Sequence[str]) -> Tree:
        return arcs_from(answer, len(asked))

    def filled(self, answer: Tree) -> dict[int, Sequence[str]]:
        """Heads and relations are HEAD and DEPREL."""
        return {6: [str(head) for head in answer[0]], 7: answer[1]}

    def cell(self, answer: Tree, asked: Any) -> dict[str, list[Any]]:
        """Returns the tree as an object."""
        return {"heads": list(answer[0]), "relations": list(answer[1])}

    def example(self, inputs: str, targets: str) -> HeadExample:
        """Reads words, their heads, and their relations without a language's own part."""
        words = text_forms.words_from(inputs.partition(": ")[2])
        if not targets:
            return HeadExample(self.shape, words)
        heads, relations = arcs_from(targets, len(words))
        return HeadExample(self.shape, words, tuple(map(universal, relations)), heads)

    def answer(self, example: HeadExample, labels: Sequence[str], heads: Sequence[int] = ()) -> str:
        return arcs_text(heads, labels)

    def judged(self, examples: Sequence[tuple[str, str, str]]) -> tuple[list[Parse], list[Parse]]:
        """Trees over the words of the inputs."""

        def tree(inputs: str, text: str) -> Parse:
            words = inputs.split(" ")[1:]  # after the task's prefix
            return Parse(words, *arcs_from(text, len(words)))

        predicted = [tree(inputs, answer) for inputs, answer, _ in examples]
        return predicted, [tree(inputs, target) for inputs, _, target in examples]

    def learner(self, heads: bool) -> "Neighbours":
        return Neighbours(self)


class Neighbours:
    """Words that hang on the word before them, or after, as training has it more often."""

    def __init__(self, kind: Parsing):
        self._kind, self._trees = kind, Neighbour()

    def add(self, inputs: str, targets: str) -> None:
        example = self._kind.example(inputs, targets)
        self._trees.add(example.words, example.heads, example.labels)

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        tree = self._trees.tree(self._kind.example(inputs, "").words)
        return {"neighbour": Answered(arcs_text(*tree))}
