"""Asking a model whose heads label: the answers of the Python API, without any text between.

heads = Labeller(run, predictor, vocabulary)
heads.tags([["Habari", "yako", "?"]], Routes(), Settings())        # [("NOUN", "PRON", "PUNCT")]
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxlt.data import text_forms
from jaxlt.data.marked import Marked, marked_of
from jaxlt.data.readers.iob2 import Span, Tagged
from jaxlt.errors import UserError
from jaxlt.inference.answers_heads import objective_of

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.labelling import Labels
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.asking import Routes, Settings, Words
    from jaxlt.inference.labelling import Answer
    from jaxlt.inference.predictor import Predictor

_DOES = {
    "tags": "tags words",
    "tree": "parses",
    "entities": "finds entities",
    "class": "classifies texts",
    "pair": "classifies pairs",
    "span": "answers questions",
}


@dataclasses.dataclass(frozen=True)
class Labeller:
    """A run whose model has heads."""

    run: "RunConfig"
    predictor: "Predictor"
    vocabulary: "Vocabulary"

    def tags(
        self, sentences: Sequence["Words"], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        """Returns a tuple of tags a sentence."""
        found = self._asked([Marked("tags", tuple(words)) for words in sentences], routes, how)
        return [answer.labels for answer in found]

    def trees(
        self, sentences: Sequence["Words"], routes: "Routes", how: "Settings"
    ) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
        """Returns (heads, relations) a sentence; the words make a tree with one root."""
        found = self._asked([Marked("tree", tuple(words)) for words in sentences], routes, how)
        return [(answer.heads, answer.labels) for answer in found]

    def entities(
        self, sentences: Sequence["Words"], routes: "Routes", how: "Settings"
    ) -> list[tuple[Span, ...]]:
        """Returns the entities of each sentence."""
        asked = [Marked("entities", tuple(words)) for words in sentences]
        found = self._asked(asked, routes, how)
        return [
            Tagged(one.words, answer.labels).spans()
            for one, answer in zip(asked, found, strict=True)
        ]

    def classes(
        self, texts: Sequence[str], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        """Returns (the class,) of each text."""
        asked = [Marked("class", texts=(text,)) for text in texts]
        return [answer.labels for answer in self._asked(asked, routes, how)]

    def pairs(
        self, pairs: Sequence[tuple[str, str]], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        """Returns (the class,) of each pair."""
        asked = [Marked("pair", texts=tuple(pair)) for pair in pairs]
        return [answer.labels for answer in self._asked(asked, routes, how)]

    def answers(
        self, questions: Sequence[tuple[str, str]], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        """Returns (the answer,) to each question, as it stands in the spaced context."""
        forms = [text_forms.question(asked, context, "")[0] for asked, context in questions]
        asked = [marked_of("questions", form, "") for form in forms]
        return [answer.labels for answer in self._asked(asked, routes, how)]

    def _objective(self, overlength: Any) -> "Labels":
        data = dataclasses.replace(self.run.data, overlength=overlength)
        return objective_of(dataclasses.replace(self.run, data=data), self.vocabulary)

    def _asked(self, asked: Sequence[Marked], routes: "Routes", how: "Settings") -> "list[Answer]":
        from jaxlt.inference.labelling import label

        if not asked:
            return []
        if how.labels or how.force:
            raise UserError(
                "Labels and forced beginnings are for models that write text: this one's heads "
                "have the labels that they learnt."
            )
        if how.overlength == "truncate":
            raise UserError(
                "Heads do not cut what is longer than a row: --overlength=window reads it in parts."
            )
        objective = self._objective(how.overlength)
        heads = [task.name for task in objective.tasks if task.shape == asked[0].shape]
        if not heads:
            there = ", ".join(f"{task.name} ({_DOES[task.shape]})" for task in objective.tasks)
            raise UserError(
                f"No head of this model {_DOES[asked[0].shape]}: its heads are {there}."
            )
        return label(
            self.predictor,
            objective,
            heads[0],
            asked,
            languages=routes.languages,
            batch_size=how.batch_size,
            called=how.name,
        )
