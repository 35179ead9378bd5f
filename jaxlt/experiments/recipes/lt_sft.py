"""LT-SFT: do sparse changes of the weights compose better than modules of the same size?

A language is fine-tuned in full, the entries that changed most are a mask, and from the start again
these alone are trained; a task likewise, on top of the source's changes. Then the target's changes
take the source's place: theta0 + phi_target + phi_task. Beside it masks drawn at random, masks
without embeddings, and MAD-X with as many parameters and as many steps.
"""

import dataclasses
from typing import Any

from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.recipes.mad_x import mad_x
from jaxlt.experiments.stage import Cell, Part, Stage
from jaxlt.experiments.verbs import DELTA
from jaxlt.modules.config import NORMS_AND_LOGITS

FULL, SPARSE = "runs/lt_sft_full.gin", "runs/lt_sft_sparse.gin"
BENEATH = "modules/language_delta.gin"
EMBEDDINGS = "params/token_embedder/.*"
MAD_X = {"target": "mad_x", "source": "mad_x_source"}  # its arms, as they are called here


@recipe("experiments/lt_sft.gin")
def lt_sft(
    at: Cell,
    lab: Laboratory,
    languages: int = 4,
    steps: int = 400,
    rate: float = 3e-3,
    epochs: int = 24,
    task_rate: float = 2e-3,
    share: float = 0.0,
    arms: tuple[str, ...] = ("lt_sft", "random"),
    beside: bool = True,
) -> list[Stage]:
    """languages: of pretraining. steps, epochs: of each of the two phases, of a language and of the
    task. share: of the entries that change, in both (0: as many as MAD-X has parameters). beside:
    MAD-X, in the base cell.
    """
    source, target = lab.source, lab.target
    base = lab.backbone(at, lab.pretrained(languages))
    square = lab.width**2
    equal = {"language": square * lab.layers + square // 2, "task": 2 * square * lab.layers}

    def cut(what: str, by: str) -> dict[str, Any]:
        how: dict[str, Any] = {"share": share} if share else {"count": equal[what]}
        return how | {"by": by}

    # A language's changes: in full, those that are the largest, these alone from the start.
    def changes(of: str, arm: str) -> Part:
        by = "random" if arm == "random" else "magnitude"
        own: dict[str, Any] = {
            "INIT_FROM": base,
            "TRAIN_STEPS": steps,
            "LEARNING_RATE": rate,
            "ScheduleConfig.name": "cosine",
            "lang/delta.leave_out": _left(arm),
        }
        kind = "-no_embeddings" if arm == "no_embeddings" else ""
        full = lab.mlm(at, f"full-{of}{kind}", [of], [FULL], own, shared=True)
        mask = at.stage(f"mask-{of}-{arm}", "sparsify", run=full, **cut("language", by))
        sparse = lab.mlm(
            at, f"sparse-{of}-{arm}", [of], [SPARSE], own | {"MASK": mask / DELTA}, method=arm
        )
        return at.stage(f"phi-{of}-{arm}", "sparsify", run=sparse, values=True) / DELTA

    # The task's, on top of the source's; at test the target's are in their place.
    stages: list[Stage] = [base]
    for arm in arms:
        phi = {of: changes(of, arm) for of in (source, target)}
        own: dict[str, Any] = {
            "LANGUAGE_DELTA": phi[source],
            "L1": 0,
            "LEARNING_RATE": task_rate,
            "EPOCHS": epochs,
            "lang/delta.leave_out": _left(arm),
        }
        by = "random" if arm == "random" else "magnitude"
        full = lab.tagger(at, f"task-full-{arm}", base, [target], [FULL, BENEATH], own)
        chosen: dict[str, Any] = {"run": full, "step": "best", "delta": "lang"}
        mask = at.stage(f"task-mask-{arm}", "sparsify", **chosen, **cut("task", by))
        masked = own | {"MASK": mask / DELTA}
        task = lab.tagger(at, f"task-{arm}", base, [target], [SPARSE, BENEATH], masked)
        stages += [phi[source].stage, phi[target].stage, full, mask, task]
        for method, beneath in {arm: target, f"{arm}_source": source}.items():
            asked: dict[str, Any] = {"run": task, "step": "best", "languages": [target]}
            asked["settings"] = {"LANGUAGE_DELTA": phi[beneath]}
            stages.append(at.stage(f"tags-{method}", "answers", method=method, **asked))
    if beside and not at.axes:
        made: Any = mad_x
        modules = made(
            languages=languages, steps=2 * steps, epochs=2 * epochs, task_reduction=1, beside=False
        )
        stages += [_renamed(stage) for stage in modules.stages(at, lab)]
    return stages


def _left(arm: str) -> list[str]:
    """What may not change: norms and logits; in an arm the embeddings neither."""
    return [NORMS_AND_LOGITS, EMBEDDINGS] if arm == "no_embeddings" else [NORMS_AND_LOGITS]


def _renamed(stage: Stage) -> Stage:
    """A stage of MAD-X, whose arms have names of their own here."""
    method = stage.config.get("method")
    if method is None or stage.verb != "answers":
        return stage
    name = MAD_X.get(method, f"mad_x_{method}")
    return dataclasses.replace(stage, name=f"tags-{name}", config={**stage.config, "method": name})
