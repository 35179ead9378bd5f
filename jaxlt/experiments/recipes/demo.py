"""The demo: is a language tagged of which nobody has labelled a word?

Two encoders learn to read, one of them two languages and one the labelled language alone. A tagger
learns on each from 300 sentences, and one from nothing; all of them tag the language without
labels. Then a module learns that language on the encoder that has never met it.
"""

from typing import Any

from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import recipe
from jaxlt.experiments.stage import Cell, Stage


@recipe("experiments/demo.gin")
def demo(at: Cell, lab: Laboratory, steps: int = 300, module_steps: int = 200) -> list[Stage]:
    """steps: of reading a language. module_steps: of the language module."""
    source, sister = lab.pretrained(2)
    alone = lab.backbone(at, [source], steps=steps)
    both = lab.backbone(at, [source, sister], steps=2 * steps)

    stages = [both, alone]
    for name, base in {"both": both, "alone": alone, "neither": None}.items():
        tagger = lab.tagger(at, f"tagger-{name}", base, [sister])
        pair = [source, sister]
        tags = at.stage(
            f"tags-{name}", "answers", run=tagger, step="best", languages=pair, method=name
        )
        stages += [tagger, tags]

    adapting = {
        "INIT_FROM": alone,
        "TRAIN_STEPS": module_steps,
        "TrainConfig.trainable": ["modules/.*"],
        "lang/plug.reduction_factor": 2,
    }
    module = lab.mlm(at, "module", [sister], ["modules/pfeiffer.gin"], adapting)
    stages.append(module)
    for name, step in {"without": 0, "with": None}.items():
        asked: dict[str, Any] = {"step": step, "split": "validation", "languages": [sister]}
        stages.append(at.stage(f"reading-{name}", "evaluate", run=module, method=name, **asked))
    return stages
