"""How long what is left of a study takes, by what stages like them took.

    estimate(survey, workers=2, before={"languages=4/pretrain": 31.0})
    # Estimate(seconds=840.0, known=118, unknown=2)

Like: of one cell and name (another seed), of one name, of one kind ('tagger' of 'tagger-target'),
of one verb. `before` has what an exported file of the study says. Workers take stages in order,
each as soon as its needs are done.
"""

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxlt.experiments.stage import SHARED, Stage, asked
from jaxlt.experiments.states import Survey


class Estimate(NamedTuple):
    """seconds: of the stages that something is known of; unknown: how many others there are."""

    seconds: float
    known: int
    unknown: int


def _keys(name: str, cell: str, verb: str = "") -> list[str]:
    """What a stage is like, the most like first."""
    kind = name.partition("-")[0]
    return [f"{cell or SHARED}/{name}", f"name {name}", f"kind {kind}", f"verb {verb}"]


def durations(
    survey: Survey, before: Mapping[str, float] | None = None
) -> Callable[[Stage], float | None]:
    """Returns a function that says what a stage takes, None where nothing like it was measured."""
    took: dict[str, list[float]] = defaultdict(list)
    old: dict[str, list[float]] = defaultdict(list)
    for state in survey.named("done"):
        stage = state.stage
        cell = "lab" if stage.lab else stage.cell
        for key in _keys(stage.name, cell, stage.verb):
            took[key].append(state.record["seconds"])
    for full, seconds in (before or {}).items():
        cell, _, name = full.partition("/")
        for key in _keys(name, cell)[:-1]:
            old[key].append(seconds)

    def of(stage: Stage) -> float | None:
        keys = _keys(stage.name, "lab" if stage.lab else stage.cell, stage.verb)
        for key in keys:
            for source in (took, old):
                if key in source:
                    return statistics.median(source[key])  # one may have been stopped
        return None

    return of


def estimate(survey: Survey, workers: int, before: Mapping[str, float] | None = None) -> Estimate:
    """Returns how long the stages that are not done take with so many workers."""
    of = durations(survey, before)
    states, blocked = survey.named("absent", "running"), survey.blocked
    stages = [state.stage for state in states if state.stage.path not in blocked]
    known = [(stage, seconds) for stage in stages if (seconds := of(stage)) is not None]
    free = [0.0] * max(1, workers)  # when each worker is
    ends: dict[str, float] = {}
    waiting, left = list(known), {stage.path for stage, _ in known}
    while waiting:
        now = heapq.heappop(free)
        ready = next(
            (
                at
                for at, (stage, _) in enumerate(waiting)
                if not any(
                    need.path in left or ends.get(need.path, 0) > now for need in stage.needs
                )
            ),
            None,
        )
        if ready is None:  # waits for what another has in hand
            heapq.heappush(free, min(end for end in ends.values() if end > now))
            continue
        stage, seconds = waiting.pop(ready)
        left.remove(stage.path)
        ends[stage.path] = now + seconds
        heapq.heappush(free, now + seconds)
    return Estimate(max(ends.values(), default=0.0), len(known), len(stages) - len(known))


_ROWS = ("objective", "inputs_length", "targets_length", "noise_density", "mean_span")


def flops_of(stage: Stage) -> float | None:
    """FLOPs of a run's training, had all its weights trained, and without its modules.

    None where data decides it (labelled examples, passes over the data), or it is no run.
    """
    if stage.verb != "train" or "files" not in stage.config:
        return None
    run = asked(stage)["config"]["run"]
    steps = run.get("TrainConfig.steps")
    if not isinstance(steps, int) or run.get("DataConfig.objective") == "heads":
        return None
    if run.get("TrainConfig.epochs") or run.get("run.model", "@T5Config()") != "@T5Config()":
        return None
    from jaxlt.data.config import DataConfig
    from jaxlt.data.objectives.build import build_objective
    from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
    from jaxlt.engine.log.flops import step_flops
    from jaxlt.models.config import T5Config

    def given(name: str, fields: Any) -> dict[str, Any]:
        return {f: run[f"{name}.{f}"] for f in fields if f"{name}.{f}" in run}

    rows = DataConfig(**given("DataConfig", (*_ROWS, "batch_size")), sources=("",))
    spec = build_objective(rows, open_vocabulary(VocabularyConfig())).spec()
    sizes = [n for n, f in T5Config.__dataclass_fields__.items() if f.type is int]
    model = T5Config(**given("T5Config", (*sizes, "mlp_activations")))
    inputs, targets, places = (
        math.prod(spec[name][0]) if name in spec else 0
        for name in ("encoder_input_tokens", "decoder_target_tokens", "encoder_target_places")
    )
    return steps * step_flops(model, rows.batch_size, inputs, targets or places)
