"""How long what is left takes, by what stages like it took."""

from types import SimpleNamespace

import pytest

from jaxlt import config
from jaxlt.config.derived import fields
from jaxlt.engine.log.flops import step_flops, tokens_of
from jaxlt.experiments.estimate import durations, estimate, flops_of
from jaxlt.experiments.stage import Cell, Stage


def survey(done: dict[Stage, float], left: list[Stage]) -> SimpleNamespace:
    """What an estimate reads of a Survey."""
    states = [SimpleNamespace(stage=s, record={"seconds": t}) for s, t in done.items()]
    absent = [SimpleNamespace(stage=stage) for stage in left]
    return SimpleNamespace(
        named=lambda *names: states if names == ("done",) else absent, blocked={"odd": "base"}
    )


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
    assert of(one.stage("else", "train")) == 10.0  # of the verb
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


@pytest.mark.parametrize("kind", ["mlm", "spans"])
def test_flops_are_those_of_the_run(kind: str) -> None:
    files = [f"models/lab_{kind}.gin", f"runs/lab_{kind}.gin"]
    settings = {"TEXT": "t", "VOCABULARY": "bytes", "TRAIN_STEPS": 70, "T5Config.emb_dim": 32}
    found = flops_of(Cell().stage("base", "train", files=files, settings=settings))
    run = config.load(files, [f"{n}={v}" for n, v in settings.items()], (), {"WORKDIR": "w"})
    inputs, _, logits = tokens_of(fields(run))
    of = (run.model, run.data.batch_size, inputs, logits)
    assert found == 70 * step_flops(*of)
    assert flops_of(Cell().stage("odd", "train", run=Cell().stage("base", "train"))) is None
    assert flops_of(Cell().stage("odd", "merge", files=files, settings=settings)) is None
    by_passes = {**settings, "TrainConfig.epochs": 2}
    assert flops_of(Cell().stage("base", "train", files=files, settings=by_passes)) is None
