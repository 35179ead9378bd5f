"""Premises and hypotheses, in mT5's form of XNLI: `xnli: premise: ... hypothesis: ...` -> `0`."""

from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers.tables import Inference
from jaxlt.data.tasks.examples import language_streams
from jaxlt.data.tasks.kind import USUAL, Reading, Stream, Wording
from jaxlt.data.tasks.topics import Classes
from jaxlt.data.text_forms import Form

_XNLI = {"entailment": "0", "neutral": "1", "contradiction": "2", "contradictory": "2"}


class Pairs(Classes):
    """What a text says of another: 0 entailment, 1 neutral, 2 contradiction, or other labels."""

    shape = "pair"
    task, columns, formats = "pairs", (("premise",), ("hypothesis",)), ()

    def streams(self, reading: Reading) -> list[Stream]:
        return language_streams(self, reading, "pairs", lambda r: r.id or r.premise)

    def form(self, record: Inference, wording: Wording) -> Form:
        return self.inputs((record.premise, record.hypothesis)), self.label(record.label)

    def inputs(self, asked: tuple[str, str], wording: Wording = USUAL) -> str:
        """Returns the text that asks about (premise, hypothesis)."""
        return f"xnli: premise: {asked[0]} hypothesis: {asked[1]}"

    def asked(self, one: tuple[str, str]) -> HeadExample:
        """Returns the two texts as they are: either may have the form's ' hypothesis: ' in it."""
        return HeadExample(self.shape, texts=tuple(one))

    def label(self, label: str) -> str:
        """Returns XNLI's names as their numbers; any other label is kept as a word."""
        return _XNLI.get(label, label)

    def example(self, inputs: str, targets: str) -> HeadExample:
        asked = inputs.partition(": ")[2].removeprefix("premise: ")
        one, _, two = asked.partition(" hypothesis: ")
        return HeadExample(self.shape, texts=(one, two), label=targets.strip(" "))
