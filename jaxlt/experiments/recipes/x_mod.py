"""X-MOD: are modules that are there from pretraining on better than those that come after it?

Models of the same languages and of equal active parameters: a bottleneck a language from
pretraining on (x_mod), one for all of them (shared), or one a language on a model that was
pretrained without (post_hoc). A language is added to the first by its module alone, and is the last
of its languages from the start in another (met). Then the bodies learn to tag.
"""

from collections.abc import Sequence
from typing import Any

from jaxlt.experiments.laboratory import EPOCHS, Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell, Stage
from jaxlt.experiments.verbs import LIBRARY

MODULES, BODY = "modules/x_mod.gin", "runs/x_mod_finetune.gin"


@recipe("experiments/x_mod.gin")
def x_mod(
    at: Cell,
    lab: Laboratory,
    languages: int = 8,
    steps: int = 200,
    rate: float = 3e-3,
    reduction: int = 2,
    taught: tuple[int, ...] = (1, 2, 4, 8),
) -> list[Stage]:
    """languages: of pretraining, laboratory.steps each. steps: of a module after it, a language, on
    top of the model's own. rate: of those. reduction: of all modules. taught: from how many
    languages a tagger learns, in as many updates.
    """
    known, new = lab.pretrained(languages), lab.target
    slots = {
        "LANGUAGES": languages + 1,
        "DataConfig.languages": [*known, new],
        "lang/plug.reduction_factor": reduction,
    }
    whole = {"TRAIN_STEPS": lab.steps * languages}
    alone = {
        "TrainConfig.trainable": ["modules/.*"],
        "LEARNING_RATE": rate,
        "LossConfig.normalize": "languages",
    }

    def trained(name: str, of: Sequence[str], **settings: Any) -> Stage:
        some = {"DataConfig.rates": dict.fromkeys(of, 1.0)}  # of those that have slots
        return lab.mlm(at, name, of, [MODULES], slots | some | settings, method=name)

    # The three models, of the same steps; modules after the fact have more of them.
    one: dict[str, Any] = {"LANGUAGES": 0, "lang/plug.key": None}
    shared = trained("shared", known, **whole, **one)
    own = trained("x_mod", known, **whole)
    plain = lab.backbone(at, known)
    late = {"INIT_FROM": plain, "TRAIN_STEPS": steps * (languages + 1)}
    post_hoc = trained("post_hoc", [*known, new], **alone, **late)

    # One language more: its module alone, or among as many languages from the start.
    added = trained("added", [new], **alone, **one, INIT_FROM=own, TRAIN_STEPS=steps)
    met = trained("met", [*known[:-1], new], **whole)

    def kept(name: str, *runs: Stage, called: str = "lang/one") -> Stage:
        return at.stage(f"library-{name}", "save_modules", runs=list(runs), name=called)

    library = kept("x_mod", own, added, called=f"lang/{new}")
    stages = [shared, own, plain, post_hoc, added, met, library]

    # Bodies learn to tag one language, or several in as many updates; modules stay as they are.
    def tagger(name: str, base: Stage, modules: Stage, of: int = 1, **settings: Any) -> Stage:
        epochs = max(1, EPOCHS // of)
        given = slots | {"EPOCHS": epochs, "TrainConfig.eval_epochs": -(-epochs // 4)}
        given |= {"run.library": modules / LIBRARY, "run.modules": ["lang=*"]} | settings
        if of > 1:
            given |= {"SETTING": "multi_source", "SOURCES": list(known[:of])}
        return lab.tagger(at, name, base, [*known[of:], new], [MODULES, BODY], given)

    def tags(method: str, run: Stage, of: Sequence[str], **how: Any) -> Stage:
        return at.stage(
            f"tags-{method}", "answers", run=run, step="best", languages=of, method=method, **how
        )

    tuned = tagger("tagger", own, library)
    everywhere = [*known[1:], new]
    stages += [tuned, tags("x_mod", tuned, everywhere)]
    for method, base, of in (
        ("shared", shared, shared),
        ("post_hoc", plain, post_hoc),
        ("met", met, met),
    ):
        modules = kept(method, of)
        bare = {**one, "run.modules": ["lang=one"]} if of is shared else {}
        run = tagger(f"tagger-{method}", base, modules, **bare)
        stages += [modules, run, tags(method, run, everywhere)]

    # The new language never met the task: without its module, with the source's, taught by more.
    for method, module in (("none", "none"), ("source", lab.source)):
        beneath = {"modules": f"lang={module}", "library": library / LIBRARY}
        force = {"run.force_modules": True}
        stages.append(tags(method, tuned, [new], settings=force, **beneath))
    for many in taught:
        if 1 < many <= languages:
            run = tagger(f"tagger-{many}", own, library, many)
            stages += [run, tags(f"taught_{many}", run, [new])]
    return stages
