"""Trivial answers to a task's examples, from the training data of a run, beside a model's.

    found = baselines(run.data, inventory, examples, kinds)      # {"tag_by_word": [Example, ...]}
    judged = judge(found, judged, kinds, judging)                # model and baselines, with chance

A language that trains learns from its own examples, any other from those of all that train: the
sources. The first baseline of a kind knows no input; its score is the chance of a metric.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from jaxlt.data.inventory import Inventory
from jaxlt.data.tasks.baselines import Learner
from jaxlt.data.tasks.kind import kind_of
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example, Judged, score_examples
from jaxlt.inference.judging import Judging
from jaxlt.metrics.scores import METRICS

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig

MOST = 100_000  # examples of a task and language that are learnt from


def baselines(
    config: "DataConfig",
    inventory: Inventory,
    examples: Sequence[Example],
    kinds: Mapping[str, str],
) -> dict[str, list[Example]]:
    """Returns the examples as each baseline answers them, by its name.

    inventory: of the labels of heads. A baseline that has nothing to learn from is left out.
    """
    heads = config.objective == "heads"
    learnt = _learnt(config, inventory, examples, kinds)
    out: dict[str, list[Example]] = {}
    for example in examples:
        label = example.task.partition(".")[0]
        kind = kind_of(kinds[label])
        learner = learnt.get((label, example.language)) or learnt.get((label, ""))
        if learner is None and not kind.blind:  # a copy learns nothing
            learner = learnt[label, ""] = kind.learner(heads)
        tag = config.tag.format(source=example.source, target=example.language)
        for name, answer in (learner.answers(example.inputs, tag) if learner else {}).items():
            tags = (example.tags[0], answer.tags) if example.tags[0] else ("", "")
            answered = dataclasses.replace(example, answer=answer.text, tags=tags)
            out.setdefault(name, []).append(answered)
    return out


def _learnt(
    config: "DataConfig",
    inventory: Inventory,
    examples: Sequence[Example],
    kinds: Mapping[str, str],
) -> dict[tuple[str, str], Learner]:
    """Learners by (task, language that trains and is asked), and by (task, "") over all."""
    asked = {(e.task.partition(".")[0], e.language) for e in examples}
    labels = {label: kind_of(kinds[label]) for label, _ in asked}
    if not any(kind.blind for kind in labels.values()):
        return {}
    from jaxlt.data.mixtures import training_forms

    found: dict[tuple[str, str], Learner] = {}
    for text, forms in training_forms(config, inventory, MOST):
        label = text.task.partition(".")[0] or config.objective
        if label not in labels:
            continue
        keys = [key for key in ((label, text.target), (label, "")) if not key[1] or key in asked]
        for _, form in forms:
            for key in keys:
                if key not in found:
                    found[key] = labels[label].learner(config.objective == "heads")
                found[key].add(*form)
    if not found:
        raise UserError(f"there are no examples of {', '.join(sorted(labels))} in what trains.")
    return found


def judge(
    found: Mapping[str, Sequence[Example]],
    judged: Sequence[Judged],
    kinds: Mapping[str, str],
    judging: Judging | None = None,
) -> list[Judged]:
    """Returns the judged scores with the chance of each, and those of the baselines behind them."""
    lines: dict[str, list[Judged]] = {}
    for name, examples in found.items():
        scores = score_examples(examples, kinds, judging=judging)
        lines[name] = [dataclasses.replace(one, method=f"baseline/{name}") for one in scores]
    chance: dict[tuple[str, ...], float] = {}
    blind = {kind_of(kind).blind for kind in kinds.values()}
    for name in [name for name in lines if name in blind]:
        chance |= {one.what: one.score.value for one in lines[name]}
    every = [*judged, *(one for of in lines.values() for one in of)]
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
    said: dict[tuple[str, str], set[str]] = {}
    for example in examples:
        shape = kind_of(kinds[example.task.partition(".")[0]]).shape
        if shape in ("tags", "entities"):
            given = set((example.tags[1] or example.answer).split()) or {"(nothing)"}
        elif shape in ("class", "pair"):
            given = {example.answer}
        else:
            continue
        said.setdefault((example.task, example.language), set()).update(given)
    for (task, language), labels in said.items():
        if len(labels) == 1:
            yield f"{task} {language}: every answer is '{labels.pop()}'"
