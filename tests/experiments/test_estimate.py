"""How long what is left takes, by what stages like it took."""

from types import SimpleNamespace

import pytest

from jaxlt.experiments.estimate import durations, estimate
from jaxlt.experiments.stage import Cell, Stage


def survey(done: dict[Stage, float], left: list[Stage]) -> SimpleNamespace:
    """What an estimate reads of a Survey."""
    states = [SimpleNamespace(stage=s, record={"seconds": t}) for s, t in done.items()]
    absent = [SimpleNamespace(stage=stage) for stage in left]
    return SimpleNamespace(named=lambda *names: states if names == ("done",) else absent)


def test_the_most_like_stages_say_it() -> None:
    one, four = Cell("n=1", 0), Cell("n=4", 0)
    done = {
        one.stage("base", "train"): 10.0,
        four.stage("base", "train"): 40.0,
        one.stage("tagger-a", "train"): 4.0,
        one.stage("score", "answers"): 1.0,
    }
    of = durations(survey(done, []), {"n=4/score": 2.0, "n=8/base": 90.0})
    assert of(Cell("n=4", 1).stage("base", "train")) == 40.0  # another seed
    assert of(Cell("n=8", 0).stage("base", "train")) == 90.0  # as exported
    assert of(Cell("n=2", 0).stage("base", "train")) == 25.0  # other cells
    assert of(one.stage("tagger-b", "train")) == 4.0  # of the kind
    assert of(one.stage("else", "train")) == pytest.approx(18.0)  # of the verb
    assert of(four.stage("score", "answers")) == 2.0
    assert of(one.stage("merge", "sparsify")) is None


def test_workers_wait_for_needs() -> None:
    at = Cell("n=1", 1)
    base = at.stage("base", "train")
    tags = [at.stage(f"tags-{n}", "answers", run=base) for n in range(3)]
    before = {"n=1/base": 10.0, "n=1/tags-0": 4.0}
    stages = [base, *tags, at.stage("odd", "merge")]
    assert estimate(survey({}, stages), 2, before) == (18.0, 4, 1)  # 10, then 4 and 4, then 4
    assert estimate(survey({}, stages), 1, before) == (22.0, 4, 1)
    assert estimate(survey({}, []), 2) == (0.0, 0, 0)
