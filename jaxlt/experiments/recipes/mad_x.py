"""MAD-X: does the target language's own module help a task that was learnt in another language?

A backbone of several languages; on it, frozen, a module for the source, for an unseen relative of
it (the target) and for another language; a task module learnt on the source's; then the target is
tagged with five language modules beneath the task's.
"""

from typing import Any

from jaxlt.errors import UserError
from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell, Part, Stage
from jaxlt.experiments.verbs import DELTA, LIBRARY

MODULES, TASK = "modules/mad_x.gin", "modules/mad_x_task.gin"
Trio = tuple[str, str, str]  # source, target, another
NEW = {"T5Config.deltas": "[@new/delta()]", "new/delta.params": ["params/token_embedder/.*"]}
FILE, RESTS = "new/delta.file", ["params/.*", "deltas/.*", "modules/.*/(embedding|lang)/.*"]


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
    embeddings: bool = False,
    tokens: int = 0,
    beside: bool = True,
) -> list[Stage]:
    """languages: of pretraining. steps, rate: of a language module. together: one run for all
    languages' modules. turns: language modules take turns beneath the task's (TLR). leave_out:
    layers without language modules (MAD-X 2.0 leaves out the last). embeddings: a language's are
    trained with its module. tokens: of the target's text (0: all). beside: full fine-tuning, with
    and without the target's text, and from scratch, in the base cell and where tokens vary.
    """
    if embeddings and (together or turns):
        raise UserError("mad_x.embeddings is of modules that are trained and used apart.")
    trio = (lab.source, lab.target, lab.pretrained(3)[-1])
    source, target, _ = trio
    base = lab.backbone(at, lab.pretrained(languages))
    plugged: dict[str, Any] = {"STACKS": ["encoder"], "REDUCTION": reduction}
    plugged["lang/plug.leave_out"] = list(leave_out)
    kind = f"{base.name}-rf{reduction}x{steps}" + ("" if invertible else "-no_nice")
    kind += "".join(f"-out{layer}" for layer in leave_out) + ("-embeddings" if embeddings else "")

    # A language's module, by masked language modelling on its text alone.
    how = plugged | {"INIT_FROM": base, "TRAIN_STEPS": steps, "LEARNING_RATE": rate}
    how |= {} if invertible else {"T5Config.plugs": "[@lang/plug()]"}
    how |= NEW | {"TrainConfig.trainable": ["modules/.*", "deltas/.*"]} if embeddings else {}
    each = [trio] if together else [(one,) for one in trio]
    runs = [_module(at, lab, of, kind, how, tokens) for of in each]
    library = at.stage("library", "save_modules", runs=runs, shuffled=target)
    own = runs[0 if together else 1]
    heard: dict[str, Any] = {"run": own, "split": "validation", "languages": [target]}
    before = at.stage("before", "evaluate", step=0, method="without", **heard)
    after = at.stage("after", "evaluate", method="with", **heard)

    # The task's module, above the source's.
    plugs = ["embedding", "lang"] if invertible else ["lang"]
    beneath: dict[str, Any] = {
        "LIBRARY": library / LIBRARY,
        "run.modules": [f"{plug}={'*' if turns else source}" for plug in plugs],
        "LANGUAGES": len(trio) if turns else 0,
        "task/plug.reduction_factor": task_reduction,
        "TrainConfig.cycle": list(trio) if turns else [],
        "EPOCHS": epochs,
    }
    if not turns:
        beneath |= {"embedding/plug.key": None, "lang/plug.key": None}
    if not invertible:
        beneath["T5Config.plugs"] = "[@lang/plug(), @task/plug()]"
    changed: dict[str, Part] = {}
    for of, run in zip(trio, runs, strict=True) if embeddings else ():
        changed[of] = at.stage(f"new-{of}", "sparsify", run=run, delta="new", values=True) / DELTA
        beneath |= NEW | {FILE: changed[source], "TrainConfig.frozen": RESTS}
    task = lab.tagger(at, "task", base, trio[1:], [MODULES, TASK], plugged | beneath)

    asked = {"run": task, "step": "best", "languages": [target], "library": library / LIBRARY}
    stages = [base, *runs, before, after, library, task]
    stages += _arms(at, trio, asked, plugs, changed)
    if beside and (tokens or not at.axes):
        stages += _beside(at, lab, base, steps, _dose(lab, tokens))
    return stages


def _dose(lab: Laboratory, tokens: int) -> dict[str, Any]:
    """So much of the target's text."""
    return {"DataConfig.amounts": {lab.target: f"{tokens} tokens"}} if tokens else {}


def _module(
    at: Cell, lab: Laboratory, of: tuple[str, ...], kind: str, how: dict[str, Any], tokens: int
) -> Stage:
    """The modules of some languages on a backbone, which cells share."""
    dosed = _dose(lab, tokens) if lab.target in of else {}
    own = {
        "BATCH_SIZE": lab.batch * len(of),
        "LANGUAGES": len(of),
        "LossConfig.normalize": "languages",
        "TrainConfig.trainable": ["modules/.*"],
    }
    name = f"{'+'.join(of)}-{kind}" + (f"-{tokens}" if dosed else "")
    return lab.mlm(at, name, of, [MODULES], own | how | dosed, shared=True, method="module")


def _arms(
    at: Cell, trio: Trio, asked: dict[str, Any], plugs: list[str], changed: dict[str, Part]
) -> list[Stage]:
    """The target's tags, each with another language's modules beneath the same task module."""
    source, target, other = trio
    arms = {"target": target, "source": source, "none": "none", "another": other}
    stages = []
    for method, name in {**arms, "shuffled": "shuffled"}.items():
        own = asked | {"modules": ",".join(f"{plug}={name}" for plug in plugs)}
        if changed:  # without a module those of the backbone
            file = changed.get(name, changed[target])
            own["settings"] = {"new/delta.scale": 0} if name == "none" else {FILE: file}
        stages.append(at.stage(f"tags-{method}", "answers", method=method, **own))
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
