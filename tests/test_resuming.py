"""What may change between the runs of one workdir: what is marked as harmless, and a few more."""

import pytest

from jaxlt import config
from jaxlt.config.resuming import may_change
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.errors import UserError

FILES = ["models/tiny.gin", "runs/adapt.gin", "modules/bottleneck.gin"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A function of overrides that opens the folder of a run with them; returns what is changed."""
    folder = tmp_path_factory.mktemp("run")
    given = ["TEXT=texts", "INIT_FROM=base", f"WORKDIR={folder}"]
    (folder / "config.gin").write_text(config.operative_config(config.load(FILES, given)))

    def check(*more):
        text = config.operative_config(config.load(FILES, [*given, *more]))
        Workdir.check(folder, text, "another", harmless=may_change())

    return check


@pytest.mark.parametrize(
    "override",
    [
        *("DataConfig.cache_dir=elsewhere", "run.library=there", "T5Config.attention=plain"),
        *("lang/plug.routing=gather", "TrainConfig.rows_per_device=2", "MeshConfig.fsdp=2"),
        *("CompilerConfig.gpu=[('xla_gpu_autotune_level', 1)]", "TrainConfig.log_every=7"),
        *("TrainConfig.steps=7", "CheckpointConfig.best_metric=None", "run.eval_data=None"),
        *("eval/DataConfig.batch_size=3", "TrainConfig.on_nan=skip", "INIT_FROM=moved/base"),
        *("T5Config.relpos_start=local", "T5Config.embedding_std=0.05"),
    ],
)
def test_it_may_change(begun, override):
    begun(override)


@pytest.mark.parametrize(
    "override",
    [
        *("LEARNING_RATE=0.5", "TrainConfig.seed=1", "TrainConfig.accumulate=2", "TEXT=other"),
        *("lang/plug.reduction_factor=8", "LossConfig.z_loss=0.5", "run.modules=['lang=*']"),
    ],
)
def test_it_may_not(begun, override):
    with pytest.raises(UserError, match="belongs to a run of another config"):
        begun(override)


def test_what_has_the_shapes_of_checkpoints_may_not():
    assert "delta.start" in may_change() and "delta.counts" not in may_change()
