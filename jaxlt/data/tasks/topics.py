"""Classes of texts, from tables: `topic: it rains` -> `weather`."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers.tables import Labelled
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.examples import language_streams
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form


class Classes(Kind):
    """Kinds whose answer is a class: a symbol, however a vocabulary spells its name."""

    metrics = ("accuracy", "macro_f1")
    blind = "commonest_class"

    def judged(self, examples: Sequence[tuple[str, str, str]]) -> tuple[list[Any], list[Any]]:
        """Names of classes in one spelling."""
        predicted = [_symbol(answer) for _, answer, _ in examples]
        return predicted, [_symbol(target) for *_, target in examples]

    def learner(self, heads: bool) -> baselines.Usual:
        return baselines.Usual("commonest_class", lambda i, t: self.example(i, t).label)


def _symbol(text: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(text.split()))


class Topics(Classes):
    """Texts with their classes as words."""

    shape = "class"
    task = "classify"

    def streams(self, reading: Reading) -> list[Stream]:
        return language_streams(self, reading, "labelled", lambda r: r.id or r.text)

    def form(self, record: Labelled, wording: Wording) -> Form:
        return self.inputs(record.text), record.label

    def inputs(self, asked: str, wording: Wording = USUAL) -> str:
        return f"topic: {asked}"

    def example(self, inputs: str, targets: str) -> HeadExample:
        return HeadExample(self.shape, texts=(inputs.partition(": ")[2],), label=targets)
