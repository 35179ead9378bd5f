"""What a model's heads say of a task's examples, in the text forms that answers are read by."""

from typing import TYPE_CHECKING

from jaxlt.data.tasks.kind import kind_of
from jaxlt.inference import opening, trained
from jaxlt.inference.answers import Example, kinds_of

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.labelling import Labels
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Predictor


def objective_of(run: "RunConfig", vocabulary: "Vocabulary") -> "Labels":
    """How a run's heads read examples."""
    from jaxlt.data.labelling import Labels
    from jaxlt.data.objectives.build import build_objective

    found = build_objective(run.data, vocabulary, opening.inventory_of(run))
    assert isinstance(found, Labels)
    return found


def label_examples(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    vocabulary: "Vocabulary",
    split: str,
) -> list[Example]:
    """Labels every example of a pass."""
    from jaxlt.data.mixtures import examples_of
    from jaxlt.inference.labelling import label

    objective, kinds = objective_of(run, vocabulary), kinds_of(run.data)
    out: list[Example] = []
    left = 0
    for text, asked in examples_of(run.eval_data or run.data, split, source):
        head = text.task.partition(".")[0]
        kind = kind_of(kinds[head])
        route = [source.languages.index(text.source)] * len(asked)
        unlabelled = [one for _, one in asked]
        found = label(
            predictor,
            objective,
            head,
            unlabelled,
            languages=route if predictor.is_routed else None,
            batch_size=source.batch_size,
        )
        task = text.task.rpartition(".")[0]
        left += sum(not answer.labels for answer in found)
        for (inputs, one), answer in zip(asked, found, strict=True):
            gold = kind.answer(one, one.labels or (one.label,), one.heads)
            # Of an example that was left out there is no answer.
            said = kind.answer(one, answer.labels, answer.heads) if answer.labels else ""
            tags = ("", "")
            if one.shape == "entities":
                given = answer.labels or ("O",) * len(one.words)
                tags = (" ".join(one.labels), " ".join(given))
            out.append(Example(task, text.language, inputs, gold, said, text.language, tags))
    if left:
        trained.say(
            f"{left} of {len(out)} examples are longer than a row and were left out "
            "(DataConfig.overlength): they count as wrong. 'window' reads them in parts."
        )
    return out
