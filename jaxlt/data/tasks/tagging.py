"""Parts of speech: a tag for each word of a treebank, `pos: the AP story` -> `DET PROPN NOUN`."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from jaxlt.data import text_forms
from jaxlt.data.head_example import HeadExample, labelled_words
from jaxlt.data.readers import conllu
from jaxlt.data.sources import corpora
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.examples import corpus_streams
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form


class Words(Kind):
    """Kinds whose every word has a tag; `prefix` tells them apart in the text form."""

    prefix = "pos"
    shape = "tags"
    metrics = ("accuracy",)
    blind = "commonest_tag"
    task, columns, formats, nothing = "tag", (("words", "text"),), ("text", "conllu"), ()
    labels = "word"

    def form(self, record: Any, wording: Wording) -> Form:
        return self.inputs(record.forms, wording), " ".join(record.upos)

    def inputs(self, asked: Sequence[str], wording: Wording = USUAL) -> str:
        return f"{self.prefix}: {text_forms.words_text(asked, wording.space)}"

    def read(self, answer: str, asked: Sequence[str]) -> tuple[str, ...]:
        """Returns a tag a word: what is too much is cut, what lacks is X."""
        tags = answer.split()[: len(asked)]
        return (*tags, *["X"] * (len(asked) - len(tags)))

    def filled(self, answer: Sequence[str]) -> dict[int, Sequence[str]]:
        """Tags are UPOS."""
        return {3: answer}

    def example(self, inputs: str, targets: str) -> HeadExample:
        return labelled_words(self.shape, inputs, targets)

    def answer(self, example: HeadExample, labels: Sequence[str], heads: Sequence[int] = ()) -> str:
        return " ".join(labels)

    def judged(self, examples: Sequence[tuple[str, str, str]]) -> tuple[list[Any], list[Any]]:
        """Tags, as many as there are right ones."""
        references = [tuple(target.split()) for *_, target in examples]
        predicted = [self.read(e[1], tags) for e, tags in zip(examples, references, strict=True)]
        return predicted, references

    def learner(self, heads: bool) -> baselines.Tags:
        return baselines.Tags(self.example)


class Tagging(Words):
    """Parts of speech of treebanks in CoNLL-U."""

    takes: ClassVar[tuple[str, ...]] = ("names",)

    def streams(self, reading: Reading) -> list[Stream]:
        def records(path: str, problems: Any) -> Iterator[conllu.Sentence]:
            return conllu.read(path, problems, trees=False)

        return corpus_streams(self, reading, corpora.CONLLU, "treebank", records)
