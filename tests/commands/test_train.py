"""The verb `train`: its last line, and the config that a workdir is bound to."""

import dataclasses
import io
import sys
import types

import pytest

from jaxlt.commands.main import main
from jaxlt.commands.train import farewell, recorder_of
from jaxlt.engine.checkpoint import CheckpointConfig
from jaxlt.engine.logging import Reporter
from jaxlt.engine.profiling import Steps
from jaxlt.engine.resume import Position
from jaxlt.errors import UserError


class Saved:
    """Checkpoints that were saved at some steps."""

    def __init__(self, latest, best=None):
        self.latest, self.best = (lambda: latest), (lambda: best)

    def path(self, step):
        return f"/w/checkpoints/{step}"


START = Position(0, 0, "", (), {}, "", "")


def line(ended, step, saved, **changes):
    position = dataclasses.replace(START, step=step, **changes)
    result = types.SimpleNamespace(ended=ended, position=position, checkpoints=saved)
    run = types.SimpleNamespace(checkpoint=CheckpointConfig(best_metric="eval/bpb"))
    return farewell(run, result, 65.2)


def test_the_last_line_says_what_was_saved_where_and_how_long_it_took():
    assert line("done", 1200, Saved(1200)) == (
        "Done: 1,200 steps, in 1m 05s. Saved: /w/checkpoints/1200"
    )
    assert line("done", 30, Saved(30, 20), best=1.23456, best_step=20) == (
        "Done: 30 steps, in 1m 05s. Saved: /w/checkpoints/30 (best eval/bpb: 1.235 at step 20, at "
        "/w/checkpoints/20)"
    )


def test_out_of_patience():
    said = line("patience", 50, Saved(50, 50), best=1.0, best_step=20, bad_evaluations=3)
    assert said.startswith(
        "Stopped at step 50, after 3 evaluations without a better one, in 1m 05s"
    )


def test_preempted_says_the_command_that_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxlt", "train", "--gin.TEXT=my texts"])
    assert line("preempted", 7, Saved(7)) == (
        "Stopped by SIGTERM after step 7. Saved: /w/checkpoints/7. To go on: jaxlt train "
        "'--gin.TEXT=my texts'"
    )


@pytest.mark.parametrize("ended", ["done", "patience", "preempted"])
def test_where_nothing_is_saved_nothing_is_claimed(ended):
    assert "Saved" not in line(ended, 0, Saved(None))


def test_steps_to_profile_are_refused_before_anything_is_opened(tmp_path, capsys):
    given = ["--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin", "--gin_file=tiny.gin"]
    given += [f"--gin.TEXT={tmp_path / 'nothing'}", f"--gin.WORKDIR={tmp_path / 'run'}"]
    assert main(["train", *given, "--profile=1:3"]) == 2
    assert "--profile=2:3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_steps_to_profile_are_within_the_run(tmp_path):
    run = types.SimpleNamespace(workdir=str(tmp_path), train=types.SimpleNamespace(steps=20))
    reporter = Reporter(None, 20, stream=(stream := io.StringIO()))
    feed = types.SimpleNamespace(steps=range(20, 20))
    with pytest.raises(UserError, match=r"--profile=18:22 .* the run has 20"):
        recorder_of(run, Steps(18, 5), reporter)
    recorder = recorder_of(run, Steps(18, 3), reporter)
    with recorder.over(feed):
        assert "--profile: of the steps that are left, none is to be traced" in stream.getvalue()
