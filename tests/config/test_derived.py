"""What follows from a run's configs: its length in steps of its data, and what to warn of."""

import dataclasses

import pytest

from jaxlt import config
from jaxlt.config import derived
from jaxlt.data.rows.views import LanguageInfo
from jaxlt.engine.config import ScheduleConfig, TrainConfig
from jaxlt.engine.optim.schedules import learning_rate
from jaxlt.errors import UserError


class Data:
    """Two languages of 100 rows together."""

    batch_size = 8

    def info(self):
        return [LanguageInfo(n, 0.5, 10, 1000, rows, (n,)) for n, rows in (("a", 70), ("b", 30))]


def test_epochs_become_steps_and_every_evaluation_is_saved():
    files = ["models/tiny.gin", "runs/small_language.gin"]
    run = config.load(files, ["TEXT=x", "WORKDIR=w", "EPOCHS=3"])
    assert run.train.epochs == 3 and run.checkpoint.best_metric == "eval/bpb"
    there = derived.in_steps(run, Data())
    assert there.train.steps == 38 and there.train.eval_every == there.checkpoint.every == 6
    assert there.train.epochs is None and derived.in_steps(there, Data()) == there
    capped = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=5))
    assert derived.in_steps(capped, Data()).train.steps == 5


def test_a_schedule_ends_with_its_run_and_is_warm_by_then():
    files = ["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin"]
    for epochs, steps, warm in ((50, 625, 20), (1, 13, 6)):
        given = ["TEXT=x", "WORKDIR=w", f"EPOCHS={epochs}", "ScheduleConfig.warmup_steps=20"]
        run = config.load(files, given)
        assert run.schedule.total_steps == "run"
        there = derived.in_steps(run, Data())
        assert there.train.steps == there.schedule.total_steps == steps
        assert there.schedule.warmup_steps == warm


@pytest.mark.parametrize(
    ("recipe", "steps", "warm"),
    [("mlm", 60, 6), ("mlm", 100_000, 1000), ("adapt", 60, 6), ("pretrain", 60, 10_000)],
)
def test_a_shortened_run_shortens_its_warm_up(recipe, steps, warm):
    """But for rsqrt's flat beginning, which is no rise."""
    model = "models/mlm_tiny.gin" if recipe == "mlm" else "models/tiny.gin"
    given = ["TEXT=x", "WORKDIR=w", "INIT_FROM=x", f"TRAIN_STEPS={steps}"]
    run = config.load([model, f"runs/{recipe}.gin"], given)
    there = derived.in_steps(run, Data())
    assert there.schedule.warmup_steps == warm and derived.in_steps(there, Data()) == there
    with pytest.raises(UserError, match="warmup_share is 2"):
        ScheduleConfig(warmup_share=2)


@pytest.mark.parametrize(
    ("recipe", "began", "warm", "longer", "steps"),
    [
        ("mlm", ["TRAIN_STEPS=100"], 10, ["TRAIN_STEPS=100000"], 100_000),
        ("small_language", ["EPOCHS=3"], 4, ["EPOCHS=300"], 3750),
        ("heads", ["EPOCHS=1"], 6, ["EPOCHS=50"], 625),
        ("heads", ["EPOCHS=50"], 10, ["EPOCHS=0.5"], 7),  # made shorter: warm by its end
    ],
)
def test_a_run_that_is_made_longer_is_not_warmed_up_again(recipe, began, warm, longer, steps):
    model = "models/tiny.gin" if recipe == "small_language" else "models/mlm_tiny.gin"
    files = [model, f"runs/{recipe}.gin", *(["heads/tagging.gin"] if recipe == "heads" else [])]
    text = "CORPORA=x" if recipe == "heads" else "TEXT=x"
    first = derived.in_steps(config.load(files, [text, "WORKDIR=w", *began]), Data())
    assert first.schedule.warmup_steps == warm
    run = config.load(files, [text, "WORKDIR=w", *longer])
    later = derived.in_steps(run, Data(), first.schedule.warmup_steps)
    assert later.train.steps == steps
    assert later.schedule.warmup_steps == min(warm, steps - 1)
    if recipe == "mlm":
        rates = [learning_rate(of.schedule, 100) for of in (first, later)]
        assert rates[0] == rates[1] == first.schedule.learning_rate


def test_epochs_are_above_zero():
    with pytest.raises(UserError, match=r"TrainConfig\.epochs is above 0"):
        TrainConfig(10, epochs=0.0)


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        (
            ("models/byt5_small.gin", "runs/heads.gin", "heads/tagging.gin"),
            ("LossConfig.normalize=193536",),
            "193536",
        ),
        (("models/byt5_small.gin", "runs/finetune.gin"), ("OptimizerConfig.name=lion",), "193536"),
        (("models/byt5_small.gin", "runs/finetune.gin"), ("TrainConfig.trainable=()",), ""),
        (
            ("models/byt5_small.gin", "runs/finetune.gin", "modules/lora.gin"),
            ("TrainConfig.trainable=['modules/.*']",),
            "--gin_file=runs/adamw.gin",
        ),
        (("models/byt5_small.gin", "runs/finetune.gin"), (), ""),
        (("models/byt5_small.gin", "runs/heads.gin", "heads/tagging.gin"), (), ""),
        (
            ("models/byt5_small.gin", "runs/finetune.gin", "modules/lora.gin", "runs/adamw.gin"),
            ("TrainConfig.trainable=['modules/.*']",),
            "",
        ),
    ],
)
def test_an_optimizer_that_hardly_moves_what_trains_is_said(files, given, said):
    run = config.load(files, ["TEXT=x", "WORKDIR=w", "INIT_FROM=x", *given])
    found = derived.hardly_learns(run)
    assert len(found) == bool(said) and said in " ".join(found)
