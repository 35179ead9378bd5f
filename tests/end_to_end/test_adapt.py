"""A pretrained run, a module on its frozen backbone, and a run that starts from both."""

import json

import numpy as np
import pytest

from jaxlt.engine.checkpoint.base import CheckpointBase
from jaxlt.inference.opening import open_base
from tests.end_to_end.conftest import SMALL, assert_identical

pytestmark = pytest.mark.slow

QUICK = ("--gin.CheckpointConfig.every=2", "--gin.run.eval_data=None")
PLUGGED = ("--gin_file=modules/bottleneck.gin", "--gin_file=runs/adapt.gin", "--gin_file=tiny.gin")


@pytest.fixture(scope="module")
def pretrained(shell, tmp_path_factory):
    """A pretraining run of four steps."""
    workdir = tmp_path_factory.mktemp("pretrained")
    status, _, errors = shell.run(shell.arguments(workdir, *QUICK, "--gin.TRAIN_STEPS=4"))
    assert status == 0, errors
    return workdir


def adapting(shell, workdir, base, *more):
    flags = (f"--gin.TEXT={shell.texts}", f"--gin.WORKDIR={workdir}", f"--gin.run.init_from={base}")
    return ["train", "--gin_file=models/tiny.gin", *PLUGGED, *SMALL, *QUICK, *flags, *more]


def test_a_module_on_a_frozen_backbone(shell, pretrained, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for workdir, steps in ((whole, 4), (parts, 2), (parts, 4)):
        arguments = adapting(shell, workdir, pretrained, f"--gin.TRAIN_STEPS={steps}")
        status, said, errors = shell.run(arguments)
        assert status == 0, errors
    assert "Resumed from step 2" in said
    assert_identical(parts / "checkpoints" / "4", whole / "checkpoints" / "4")
    arrays = json.loads((whole / "checkpoints" / "4" / "jaxlt.json").read_text())["arrays"]
    trained = [n for n in arrays if n.startswith("trainable/")]
    assert trained and all(n.startswith("trainable/modules/") for n in trained)
    assert not (whole / "base").exists()

    base, through = CheckpointBase(pretrained), open_base(str(whole))  # the base beneath the module
    assert dict(base.shapes) == dict(through.shapes)
    for name in base.shapes:
        np.testing.assert_array_equal(through.read(name), base.read(name))
    status, said, errors = shell.run(
        adapting(shell, tmp_path / "next", whole, "--gin.TRAIN_STEPS=2")
    )
    assert status == 0, errors

    other = shell.arguments(pretrained, *QUICK, "--gin.TRAIN_STEPS=6")
    assert shell.run(other)[0] == 0  # the base goes on: it is another one now
    status, _, errors = shell.run(adapting(shell, parts, pretrained, "--gin.TRAIN_STEPS=6"))
    errors = " ".join(errors.split())
    assert status == 2 and "is not the one that" in errors and "content hash is" in errors, errors
    assert f"from {pretrained}/checkpoints/4" in errors  # still there, and as good as ever
    there = f"--gin.run.init_from={pretrained}/checkpoints/4"
    status, said, errors = shell.run(
        adapting(shell, parts, pretrained, "--gin.TRAIN_STEPS=6", there)
    )
    assert status == 0 and "Resumed from step 4" in said, errors
    assert "Changed since the last start: run.init_from: " in said
