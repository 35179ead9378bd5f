"""How long what is left of a study takes, by what stages like them took.

    estimate(survey, workers=2, before={"languages=4/pretrain": 31.0})
    # Estimate(seconds=840.0, known=118, unknown=2)

Like: of one cell and name (another seed), of one name, of one kind ('tagger' of 'tagger-target'),
of one verb. `before` has what an exported file of the study says. Workers take stages in order,
each as soon as its needs are done.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxlt.experiments.stage import SHARED, Stage
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
                    return sum(source[key]) / len(source[key])
        return None

    return of


def estimate(survey: Survey, workers: int, before: Mapping[str, float] | None = None) -> Estimate:
    """Returns how long the stages that are not done take with so many workers."""
    of = durations(survey, before)
    stages = [state.stage for state in survey.named("absent", "running")]
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
