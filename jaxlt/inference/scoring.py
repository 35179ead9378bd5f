"""How good answers are: scores by task and direction, of a model and of baselines beside it.

judged = list(score_examples(examples, kinds))
judged = with_baselines(baselines(...), judged, kinds)       # behind the model's, with chance
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxlt.data.tasks.kind import kind_of
from jaxlt.inference.answers import Example
from jaxlt.inference.judging import Judging
from jaxlt.metrics.scores import METRICS, Score, score

Direction = tuple[str, str, str]  # a task, the language of its inputs and of its answers


@dataclasses.dataclass(frozen=True)
class Judged:
    """A score of one task in one language, of translation in one direction."""

    task: str
    language: str  # of the targets
    metric: str
    score: Score
    source: str = ""  # language of the inputs
    method: str = ""  # 'baseline/copy': no model's
    chance: float | None = None  # the score of answers that know no input

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What is measured, whoever answered."""
        return self.task, self.source, self.language, self.metric

    @property
    def direction(self) -> str:
        """Its language, or both where they differ."""
        if self.source in ("", self.language):
            return self.language
        return f"{self.source} > {self.language}"


def by_direction(examples: Iterable[Example]) -> dict[Direction, list[Example]]:
    """The examples of each task and direction, in the order of their first ones."""
    groups: dict[Direction, list[Example]] = {}
    for one in examples:
        key = one.task, one.source or one.language, one.language
        groups.setdefault(key, []).append(one)
    return groups


def references_of(examples: Iterable[Example]) -> dict[Direction, str]:
    """A hash of the inputs and right answers of each task and direction, in their order."""
    out = {}
    for key, group in by_direction(examples).items():
        texts = "".join(json.dumps([one.inputs, one.target]) for one in group)
        out[key] = hashlib.sha256(texts.encode()).hexdigest()[:16]
    return out


def score_examples(
    examples: Sequence[Example],
    kinds: Mapping[str, str],
    judging: Judging | None = None,
) -> Iterator[Judged]:
    """Yields each score of each task and direction, in the order of their first examples.

    Examples of a task belong together where both their languages are the same.
    """
    rules = judging or Judging()
    for (task, source, language), group in by_direction(examples).items():
        kind = kind_of(kinds[task.partition(".")[0]])
        predictions, references = kind.judged([(e.inputs, e.answer, e.target) for e in group])
        for metric in kind.metrics:
            own = rules.settings(metric, task, language) if kind.by_language else {}
            scored = score(rules.metric(metric), predictions, references, **own)
            yield Judged(task, language, rules.metric(metric), scored, source)
        if all(example.tags[0] for example in group):  # then they have places, as conlleval wants
            gold, predicted = zip(*([tags.split() for tags in e.tags] for e in group), strict=True)
            scored = score("span_f1", predicted, gold)
            yield Judged(task, language, "span_f1", scored, source)


def with_baselines(
    answered: Mapping[str, Sequence[Example]],
    judged: Sequence[Judged],
    kinds: Mapping[str, str],
    judging: Judging | None = None,
) -> list[Judged]:
    """Returns the judged scores with the chance of each, and those of the baselines behind them.

    answered: the examples as each baseline answers them, by its name.
    """
    every, chance = list(judged), {}
    for name, examples in answered.items():
        for one in score_examples(examples, kinds, judging=judging):
            every.append(dataclasses.replace(one, method=f"baseline/{name}"))
            if kind_of(kinds[one.task.partition(".")[0]]).blind == name:
                chance[one.what] = one.score.value
    return [dataclasses.replace(one, chance=chance.get(one.what)) for one in every]


def remarks(judged: Sequence[Judged]) -> Iterator[str]:
    """Yields what is to be said of scores that a trivial answer attains too."""
    best: dict[tuple[str, ...], Judged] = {}
    for one in judged:
        if one.method and (one.what not in best or one.score.value > best[one.what].score.value):
            best[one.what] = one
    for one in judged:
        other = best.get(one.what)
        if one.method or other is None or not METRICS[one.metric].scale:
            continue
        where = f"{one.task} {one.direction}: {one.metric} {one.score.value:.4g}"
        name = other.method.removeprefix("baseline/")
        if one.chance is not None and one.score.value <= one.chance:
            yield f"{where} is at chance ({one.chance:.4g})"
        elif one.score.value < other.score.value:
            yield f"{where} is below {name} ({other.score.value:.4g})"


def one_answer(examples: Sequence[Example], kinds: Mapping[str, str]) -> Iterator[str]:
    """Yields what is to be said of tasks whose answers are one label everywhere."""
    labels_of: dict[tuple[str, str], set[str]] = {}
    for example in examples:
        shape = kind_of(kinds[example.task.partition(".")[0]]).shape
        if shape in ("tags", "entities"):
            labels = set((example.tags[1] or example.answer).split()) or {"(nothing)"}
        elif shape in ("class", "pair"):
            labels = {example.answer}
        else:
            continue
        labels_of.setdefault((example.task, example.language), set()).update(labels)
    for (task, language), labels in labels_of.items():
        if len(labels) == 1:
            yield f"{task} {language}: every answer is '{labels.pop()}'"
