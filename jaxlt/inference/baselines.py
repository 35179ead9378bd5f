"""Trivial answers to a task's examples, from the training data of a run, beside a model's.

    baselines(run.data, inventory, examples, kinds)              # {"tag_by_word": [Example, ...]}

A language that trains learns from its own examples, any other from those of all that train: the
sources. The first baseline of a kind knows no input; its score is the chance of a metric.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxlt.data.inventory import Inventory
from jaxlt.data.sources.translation import mark
from jaxlt.data.tasks.baselines import Learner
from jaxlt.data.tasks.kind import kind_of
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example

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
        tag = mark(config.tag, (example.source, example.language)).decode()
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

    learners: dict[tuple[str, str], Learner] = {}
    for text, forms in training_forms(config, inventory, MOST):
        label = text.task.partition(".")[0] or config.objective
        if label not in labels:
            continue
        keys = [key for key in ((label, text.target), (label, "")) if not key[1] or key in asked]
        for _, form in forms:
            for key in keys:
                if key not in learners:
                    learners[key] = labels[label].learner(config.objective == "heads")
                learners[key].add(*form)
    if not learners:
        raise UserError(f"there are no examples of {', '.join(sorted(labels))} in what trains.")
    return learners
