"""Named entities, in mT5's form of WikiANN.

    tag: Ada lived in London     ->  PER: Ada $$ LOC: London

Heads learn the IOB2 tags, which say where each entity stands.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from jaxlt.data import text_forms
from jaxlt.data.head_example import HeadExample, labelled_words
from jaxlt.data.readers import iob2
from jaxlt.data.readers.iob2 import Span, Tagged, tags_of
from jaxlt.data.sources import corpora, files
from jaxlt.data.tasks.baselines import Answered
from jaxlt.data.tasks.examples import corpus_streams
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form, plain_spaces
from jaxlt.metrics.baselines import Names

_BETWEEN = " $$ "


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
        words = plain_spaces(text).split(" ")
        if not (colon and label and text):
            continue
        for start in range(after, len(tokens)):
            end = _match(tokens, start, words)
            if end:
                spans.append(Span(start, end, label))
                after = end
                break
    return tuple(spans)


def _match(tokens: Sequence[str], start: int, words: list[str]) -> int:
    """Returns where tokens from `start` on have spelled all the words, or 0."""
    place, end = 0, start
    while place < len(words) and end < len(tokens):
        inner = plain_spaces(tokens[end]).split(" ")
        if words[place : place + len(inner)] != inner:
            return 0
        place, end = place + len(inner), end + 1
    return end if place == len(words) else 0


def _has_hash_comments(path: str, memory: Path) -> bool:
    """Returns `iob2.has_hash_comments` of a file; remembered in the folder `memory`."""
    note = memory / f"{files.content_digest(path, memory)[:32]}.hash_comments.json"
    with suppress(OSError, ValueError):
        return bool(json.loads(note.read_text()))
    there = iob2.has_hash_comments(path)
    with suppress(OSError):  # only a memory, as that of digests
        files.write_atomically(note, json.dumps(there))
    return there


class Entities(Kind):
    """Entities of IOB2 files."""

    takes: ClassVar[tuple[str, ...]] = ("names", "orphans")
    shape = "entities"
    metrics = ("entity_f1",)
    blind = "all_O"
    task, columns, formats, nothing = "entities", (("words", "text"),), ("text", "iob2"), ()
    labels = "none"

    def streams(self, reading: Reading) -> list[Stream]:
        orphans = reading.task.orphans

        def records(path: str, problems: Any) -> Iterator[Tagged]:
            return iob2.read(path, problems, orphans)

        def newer(paths: Sequence[str]) -> list[str]:
            memory = reading.config.cache_root / "digests"
            return ["# O"] if any(_has_hash_comments(path, memory) for path in paths) else []

        return corpus_streams(self, reading, corpora.IOB2, "entities", records, [orphans], newer)

    def form(self, record: Tagged, wording: Wording) -> Form:
        """Returns the tokens, and the entities in order with their types."""
        named = (
            f"{span.label}: {' '.join(record.tokens[span.start : span.end])}"
            for span in record.spans()
        )
        return self.inputs(record.tokens, wording), _BETWEEN.join(named)

    def head_forms(self, record: Tagged, reading: Reading, split: str) -> Iterable[Form]:
        """Yields the tokens, as many as there are, and their IOB2 tags."""
        space = reading.wording.space
        tokens, tags = (text_forms.words_text(of, space) for of in (record.tokens, record.tags))
        yield f"tag: {tokens}", tags

    def inputs(self, asked: Sequence[str], wording: Wording = USUAL) -> str:
        """Returns the text that asks for the entities among words; their own spaces are plain."""
        return f"tag: {' '.join(asked)}"

    def read(self, answer: str, asked: Sequence[str]) -> tuple[Span, ...]:
        return entities_from(answer, asked)

    def cell(self, answer: Sequence[Span], asked: Any) -> list[str]:
        """Returns the IOB2 tags of the words."""
        return list(tags_of(answer, len(asked)))

    def example(self, inputs: str, targets: str) -> HeadExample:
        return labelled_words(self.shape, inputs, targets)

    def answer(self, example: HeadExample, labels: Sequence[str], heads: Sequence[int] = ()) -> str:
        return self.form(Tagged(example.words, tuple(labels)), USUAL)[1]

    def learner(self, heads: bool) -> "KnownNames":
        return KnownNames(self, heads)


class KnownNames:
    """No entity at all, and the names that training has, found again."""

    def __init__(self, kind: Entities, heads: bool):
        self._kind, self._heads, self._names = kind, heads, Names()

    def add(self, inputs: str, targets: str) -> None:
        example = self._kind.example(inputs, targets if self._heads else "")
        if self._heads:
            spans = Tagged(example.words, example.labels).spans()
        else:
            spans = entities_from(targets, example.words)
        for span in spans:
            self._names.add(example.words[span.start : span.end], span.label)

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        example = self._kind.example(inputs, "")
        count = len(example.words)
        known = tags_of((Span(*span) for span in self._names.spans(example.words)), count)
        return {
            name: Answered(self._kind.answer(example, tags), " ".join(tags))
            for name, tags in {"all_O": ("O",) * count, "known_names": known}.items()
        }
