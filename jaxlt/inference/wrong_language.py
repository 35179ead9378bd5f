"""In which language a model answers: the wrong-language rate of tasks that generate sentences.

judged = list(wrong_language(examples, kinds, "lid/", tag))
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from jaxlt.data.sources.translation import mark
from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.tasks.registry import OWN_FILES
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example
from jaxlt.inference.scoring import Judged, by_direction
from jaxlt.metrics.scores import score

if TYPE_CHECKING:
    from jaxlt.data.text.lid import LidModel

_FEWEST = 20  # lines of a language that an identifier is trained on at the least


@dataclasses.dataclass(frozen=True)
class Identifier:
    """A language identifier; `doubt` is how often it takes references for another language."""

    model: "LidModel"
    origin: str
    doubt: Mapping[str, float]


def generated(examples: Sequence[Example], kinds: Mapping[str, str], asked: bool) -> list[Example]:
    """Returns the examples whose answers are sentences; of a user's own files only if `asked`."""

    def wanted(kind: str) -> bool:  # a user's own files may hold anything, labels too
        return kind_of(kind).sentences or (asked and kind == OWN_FILES)

    return [e for e in examples if wanted(kinds[e.task.partition(".")[0]])]


def open_identifier(examples: Sequence[Example], folder: str | None, tag: str) -> Identifier:
    """Opens the identifier in a folder, or trains one on what the examples hold.

    That is every other reference of a language and, of languages that answers are asked from but
    not in, the inputs: a model that does not translate answers in those. `tag` is what stands
    before the inputs (DataConfig.tag). The other references tell how far it can be trusted.
    """
    from jaxlt.data.text import lid

    targets = _by_language((e.language, e.target) for e in examples)
    if folder:
        model, origin, unseen = lid.load(folder), folder, targets
    else:
        texts = {name: lines[::2] for name, lines in targets.items()}
        tagged = ((e, mark(tag, (e.source, e.language)).decode()) for e in examples)
        inputs = _by_language((e.source, e.inputs.removeprefix(t)) for e, t in tagged if e.source)
        texts = {**inputs, **texts}
        texts = {name: lines for name, lines in texts.items() if len(lines) >= _FEWEST}
        if len(texts) < 2:
            raise UserError(
                f"an identifier needs two languages of {_FEWEST} lines or more to learn from, and "
                f"the examples have {len(texts)}. Name one with --lid (`jaxlt data lid train`)."
            )
        unseen = {name: lines[1::2] for name, lines in targets.items() if name in texts}
        model, origin = lid.train(texts), "trained on half of the references"
    doubt = {}
    for name, lines in unseen.items():
        if name in model.languages and lines:
            predicted = model.predict(lines)
            doubt[name] = sum(language != name for language, _ in predicted) / len(lines)
    return Identifier(model, origin, doubt)


def wrong_language(examples: Sequence[Example], identifier: Identifier) -> Iterator[Judged]:
    """Yields the wrong-language rate of each task and direction into what the identifier knows."""
    known = [e for e in examples if e.language in identifier.model.languages]
    for (task, source, language), group in by_direction(known).items():
        answers = [example.answer for example in group]
        rate = score(
            "wrong_language", answers, [language] * len(group), identify=identifier.model.predict
        )
        more = {"identifier": identifier.origin, "of_references": identifier.doubt.get(language)}
        yield Judged(
            task,
            language,
            "wrong_language",
            dataclasses.replace(rate, details={**rate.details, **more}),
            source,
        )


def _by_language(lines: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Returns the different lines of each language, in their order."""
    texts: dict[str, dict[str, None]] = {}
    for language, line in lines:
        if line.strip():
            texts.setdefault(language, {})[line] = None
    return {language: list(of) for language, of in texts.items()}
