"""The curse of multilinguality: what do more languages cost those that were there?

One model of 1, 2, 4, 8, 16 languages, nested around a core of one, of which every update reads as
much; with one bottleneck for all languages (shared) or one for each (x_mod), which makes them of
equal active parameters. Then the base point is left in one respect at a time.
"""

import dataclasses
from typing import Any, Literal

from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell, Stage
from jaxlt.experiments.verbs import LIBRARY

MODULES, BODY = "modules/x_mod.gin", "runs/x_mod_finetune.gin"
ONE: dict[str, Any] = {"LANGUAGES": 0, "lang/plug.key": None}
IT, EACH = {"run.modules": ["lang=one"]}, {"run.modules": ["lang=*"]}  # of a library
NONE: dict[str, Any] = {**ONE, "T5Config.plugs": []}
How = Literal["", "post_hoc", "fixed", "proportional", "scarce", "pieces", "decay"]


@recipe("experiments/curse.gin")
def curse(
    at: Cell,
    lab: Laboratory,
    languages: int = 4,
    width: int = 48,
    how: How = "",
    reduction: int = 2,
    decay: float = 0.2,
    dose: float = 0.05,
    pieces: int = 1_000,
) -> list[Stage]:
    """languages: laboratory.steps updates, in each of which a language has laboratory.batch rows.
    width: of the body; its MLP is 2.5 times as wide. how: the base point is left so: `post_hoc`
    modules of a quarter of the steps on a model without; updates of `fixed` size; the n-th
    language has 1/n of the core's rows (proportional); the core has a `dose` of its text (scarce);
    a frozen vocabulary of `pieces` in place of bytes; all but the core come in the last part of the
    steps, `decay`, in which the rate comes down.
    """
    known, core, new = lab.pretrained(languages), lab.source, lab.target
    lab = dataclasses.replace(lab, width=width, mlp=width * 5 // 2)
    if how == "pieces":
        lab = dataclasses.replace(lab, pieces=pieces, length=lab.length // 2)
    last = max(1, round(lab.steps * decay))
    slots = {
        "LANGUAGES": len(known) + 1,
        "DataConfig.languages": [*known, new],
        "lang/plug.reduction_factor": reduction,
    }

    # Who has which part of an update's rows.
    shares = {name: 1.0 / (n if how == "proportional" else 1) for n, name in enumerate(known, 1)}
    rows = lab.batch if how == "fixed" else round(lab.batch * sum(shares.values()))

    def trained(name: str, steps: int, settings: Any, **how_: Any) -> Stage:
        many: dict[str, Any] = {
            "TRAIN_STEPS": steps,
            "BATCH_SIZE": rows,
            "DataConfig.rates": shares,
            "ScheduleConfig.name": "wsd",
            "ScheduleConfig.decay_steps": last,
        }
        if how == "scarce":
            many["DataConfig.amounts"] = {core: dose}
        return lab.mlm(at, name, known, [MODULES], slots | many | settings, **how_)

    # Models of equal active parameters; beside the base point, the shared one alone.
    stages: list[Stage] = []
    if how == "post_hoc":
        plain = trained("plain", lab.steps, NONE)
        alone = {
            "INIT_FROM": plain,
            "TrainConfig.trainable": ["modules/.*"],
            "LossConfig.normalize": "languages",
            "ScheduleConfig.decay_steps": max(1, lab.steps // 20),
        }
        run = trained("post_hoc", lab.steps // 4, alone, method="post_hoc")
        arms = [(run, plain, EACH)]
        stages.append(plain)
    elif how == "decay":
        before, library = _before(at, lab, slots | ONE, lab.steps - last)
        late = {
            "INIT_FROM": before,
            "run.library": library / LIBRARY,
            "ScheduleConfig.name": "linear",
            "ScheduleConfig.warmup_steps": 0,
            "ScheduleConfig.decay_steps": None,
        }
        run = trained("shared", last, ONE | IT | late, method="shared")
        arms = [(run, run, ONE | IT)]
        stages += [before, library]
    else:
        run = trained("shared", lab.steps, ONE, method="shared")
        arms = [(run, run, ONE | IT)]
        if len(at.axes) < 2:
            run = trained("x_mod", lab.steps, {}, method="x_mod")
            arms.append((run, run, EACH))

    # The core is labelled, and a relative of it that no model has met is tagged.
    for run, body, modules in arms:
        arm = run.name
        library = at.stage(f"library-{arm}", "save_modules", runs=[run], name="lang/one")
        given = slots | {"run.library": library / LIBRARY} | modules
        tagger = lab.tagger(at, f"tagger-{arm}", body, [new], [MODULES, BODY], given)
        asked: dict[str, Any] = {"run": tagger, "step": "best", "languages": [core, new]}
        if modules is EACH:  # the relative has none, and goes through the core's
            asked |= {"modules": f"lang={core}", "library": library / LIBRARY}
            asked |= {"settings": {"run.force_modules": True}}
        stages += [run, library, tagger, at.stage(f"tags-{arm}", "answers", method=arm, **asked)]
    return stages


def _before(at: Cell, lab: Laboratory, slots: dict[str, Any], steps: int) -> tuple[Stage, Stage]:
    """The core alone, at the full rate; cells of any number of languages go on from there."""
    settings = slots | {
        "DataConfig.languages": [lab.source],
        "TRAIN_STEPS": steps,
        "BATCH_SIZE": lab.batch,
        "ScheduleConfig.name": "constant",
    }
    run = lab.mlm(at, "before", [lab.source], [MODULES], settings, shared=True)
    library = at.stage("library-before", "save_modules", shared=True, runs=[run], name="lang/one")
    return run, library
