"""MAD-X: does the target language's own module help a task that was learnt in another language?

A backbone of several languages; on it, frozen, a module for the source, for an unseen relative of
it (the target) and for another language; a task module learnt on the source's; then the target is
tagged with five language modules beneath the task's.
"""

from typing import Any

from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell, Stage
from jaxlt.experiments.verbs import LIBRARY

MODULES, TASK = "modules/mad_x.gin", "modules/mad_x_task.gin"


@recipe("experiments/mad_x.gin")
def mad_x(
    at: Cell,
    lab: Laboratory,
    languages: int = 4,
    steps: int = 400,
    rate: float = 3e-3,
    reduction: int = 2,
    task_reduction: int = 4,
    epochs: int = 48,
    together: bool = False,
    turns: bool = False,
    leave_out: tuple[int, ...] = (),
    invertible: bool = True,
    tokens: int = 0,
    beside: bool = True,
) -> list[Stage]:
    """languages: of pretraining. steps, rate: of a language module. together: one run for all
    languages' modules. turns: language modules take turns beneath the task's (TLR). leave_out:
    layers without language modules (MAD-X 2.0 leaves out the last). tokens: of the target's text
    (0: all). beside: full fine-tuning, with and without the target's text, and from scratch, in
    the base cell and where tokens vary.
    """
    source, target, other = lab.source, lab.target, lab.pretrained(3)[-1]
    base = lab.backbone(at, lab.pretrained(languages))
    plugged: dict[str, Any] = {
        "STACKS": ["encoder"],
        "REDUCTION": reduction,
        "lang/plug.leave_out": list(leave_out),
    }
    dose = {"DataConfig.amounts": {target: f"{tokens} tokens"}} if tokens else {}
    kind = f"{base.name}-rf{reduction}x{steps}" + ("" if invertible else "-no_nice")
    kind += "".join(f"-out{layer}" for layer in leave_out)

    # A language's module, by masked language modelling on its text alone.
    def module(*of: str) -> Stage:
        dosed = dose if target in of else {}
        own = {
            "INIT_FROM": base,
            "TRAIN_STEPS": steps,
            "BATCH_SIZE": lab.batch * len(of),
            "LEARNING_RATE": rate,
            "LANGUAGES": len(of),
            "LossConfig.normalize": "languages",
            "TrainConfig.trainable": ["modules/.*"],
        }
        own |= {} if invertible else {"T5Config.plugs": "[@lang/plug()]"}
        name = f"{'+'.join(of)}-{kind}" + (f"-{tokens}" if dosed else "")
        return lab.mlm(at, name, of, [MODULES], plugged | own | dosed, shared=True, method="module")

    trio = [source, target, other]
    runs = [module(*trio)] if together else [module(of) for of in trio]
    library = at.stage("library", "save_modules", runs=runs, shuffled=target)
    own = runs[0 if together else 1]
    heard: dict[str, Any] = {"run": own, "split": "validation", "languages": [target]}
    before = at.stage("before", "evaluate", step=0, method="without", **heard)
    after = at.stage("after", "evaluate", method="with", **heard)

    # The task's module, above the source's.
    plugs = ["embedding", "lang"] if invertible else ["lang"]
    beneath = {
        "LIBRARY": library / LIBRARY,
        "run.modules": [f"{plug}={'*' if turns else source}" for plug in plugs],
        "LANGUAGES": len(trio) if turns else 0,
        "task/plug.reduction_factor": task_reduction,
        "TrainConfig.cycle": trio if turns else [],
        "EPOCHS": epochs,
    }
    if not turns:
        beneath |= {"embedding/plug.key": None, "lang/plug.key": None}
    if not invertible:
        beneath["T5Config.plugs"] = "[@lang/plug(), @task/plug()]"
    task = lab.tagger(at, "task", base, trio[1:], [MODULES, TASK], plugged | beneath)

    # Each arm has another language's modules beneath the same task module.
    stages = [base, *runs, before, after, library, task]
    arms = {"target": target, "source": source, "none": "none", "another": other}
    for method, name in {**arms, "shuffled": "shuffled"}.items():
        stages.append(
            at.stage(
                f"tags-{method}", "answers", run=task, step="best", languages=[target],
                modules=",".join(f"{plug}={name}" for plug in plugs), library=library / LIBRARY,
                method=method,
            )
        )  # fmt: skip
    if beside and (tokens or not at.axes):
        stages += _beside(at, lab, base, steps, dose)
    return stages


def _beside(
    at: Cell, lab: Laboratory, base: Stage, steps: int, dose: dict[str, Any]
) -> list[Stage]:
    """Without modules: fine-tuned in full, after more pretraining on the target, from scratch."""
    pair = [lab.source, lab.target]
    more = dose | {"TRAIN_STEPS": 2 * steps, "INIT_FROM": base, "LEARNING_RATE": lab.rate / 3}
    adapted = lab.mlm(at, "adapted", pair, (), more)
    alone = lab.mlm(at, "scratch", pair, (), dose | {"TRAIN_STEPS": 2 * (lab.steps + steps)})
    arms: dict[str, Stage | None] = {"adapted": adapted, "scratch": alone}
    arms |= {} if dose else {"full": base, "untrained": None}
    stages: list[Stage] = [adapted, alone]
    for method, start in arms.items():
        tagger = lab.tagger(at, f"tagger-{method}", start, [lab.target])
        rows: dict[str, Any] = {"step": "best", "languages": pair, "method": method}
        stages += [tagger, at.stage(f"tags-{method}", "answers", run=tagger, **rows)]
        if lab.data and start is base:
            asked: dict[str, Any] = {"run": tagger, "step": "best", "method": "zero_shot"}
            stages.append(at.stage("zero-shot", "answers", **asked))  # in all treebanks
    return stages
