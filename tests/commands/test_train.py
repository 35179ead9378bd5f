"""The verb `train`: its last line, and the config that a workdir is bound to."""

import dataclasses
import re
import shlex
import shutil
import sys
import types

import jax.numpy as jnp
import pytest

from jaxlt.commands.main import main
from jaxlt.commands.train import farewell
from jaxlt.config import derived
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
from jaxlt.engine.resume import Position
from tests.data.head_files import write_treebanks


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


def test_steps_to_profile_that_the_run_has_not_are_refused(tiny_run, run_flags, tmp_path, capsys):
    shutil.copytree(tiny_run, tmp_path / "run")
    said = refused(capsys, ["train", *run_flags(tmp_path / "run"), "--profile=18:22"])
    assert "--profile=18:22 asks for 5 steps, up to step 22, and the run has 4" in said


def test_a_run_goes_on_by_its_own_configuration(tiny_run, run_flags, tmp_path, capsys, monkeypatch):
    """Where a recipe's defaults have changed, the error says the command that resumes the run.

    It is warm as it began, however long it is made.
    """
    kept, in_steps = [], derived.in_steps
    keep = lambda run, data, warm: kept.append(warm) or in_steps(run, data, warm)  # noqa: E731
    monkeypatch.setattr(derived, "in_steps", keep)
    moved = tmp_path / "moved here"
    shutil.copytree(tiny_run, moved)
    said = refused(capsys, ["train", *run_flags(moved), "--gin.ScheduleConfig.warmup_steps=7"])
    assert "ScheduleConfig.warmup_steps: " in said
    (command,) = re.findall("`jaxlt (train .*?)`", said)
    assert main(shlex.split(command)) == 0
    out = capsys.readouterr().out
    assert "Done: 4 steps" in out and str(moved / "checkpoints" / "4") in out
    assert main(["train", *run_flags(moved), "--gin.TRAIN_STEPS=8", "--dry_run"]) == 0
    assert kept == [10_000, 10_000]  # runs/pretrain.gin's


@pytest.fixture(scope="module")
def treebanks(tmp_path_factory):
    return write_treebanks(tmp_path_factory.mktemp("ud"))


def dry(workdir, *more):
    """The flags of a dry run that reads treebanks."""
    files = ("models/bilstm.gin", "runs/heads.gin", "heads/tagging.gin")
    flags = [f"--gin_file={name}" for name in files]
    flags += [f"--gin.BiLSTMConfig.{name}=8" for name in ("units", "word_dim", "char_units")]
    return ["train", *flags, f"--gin.WORKDIR={workdir}", "--dry_run", *more]


def refused(capsys, argv):
    """The error of a command that is refused."""
    assert main(argv) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--gin.TEXT=nowhere",), "no file or folder 'nowhere'"),
        (("--gin.NAMES=en_b",), "en_b"),
        (("--gin_file=data/transfer.gin", "--gin.SOURCES=deu_Latn"), "deu_Latn"),
        (("--gin.DataConfig.rates=[('fra_Lat', 1.0)]",), "fra_Lat"),
    ],
    ids=["TEXT", "NAMES", "SOURCES", "language"],
)
def test_a_dry_run_finds_what_a_run_would(capsys, tmp_path, treebanks, more, said):
    argv = dry(tmp_path / "w", f"--gin.TEXT={treebanks}", *more)
    assert said in refused(capsys, argv)
    assert not (tmp_path / "w").exists()


def test_a_dry_run_reads_the_treebank(capsys, tmp_path):
    folder = write_treebanks(tmp_path / "ud")
    file = folder / "en_a-train.conllu"
    file.write_text(file.read_text().replace("\t0\troot", "\tzero\troot", 1))
    said = refused(capsys, dry(tmp_path / "w", f"--gin.TEXT={folder}", "--gin.NAMES=en_a"))
    assert "en_a-train.conllu" in said and "zero" in said


def test_a_dry_run_compares_the_checkpoint_with_the_model(capsys, tmp_path, run_flags):
    base = Checkpoints(tmp_path / "base")
    base.save_base({"params/token_embedder/embedding": jnp.zeros((8, 4))}, {})
    argv = ["train", *run_flags(tmp_path / "w"), "--dry_run"]
    wrong = f"--gin.run.init_from={tmp_path / 'none'}"
    assert f"'{tmp_path / 'none'}'" in refused(capsys, [*argv, wrong])
    unlike = f"--gin.run.init_from={base.workdir}"
    assert "which this T5Config asks for" in refused(capsys, [*argv, unlike])


def test_a_dry_run_looks_for_the_modules(capsys, tmp_path, run_flags):
    argv = ["train", *run_flags(tmp_path / "w"), "--gin_file=modules/bottleneck.gin", "--dry_run"]
    library = [f"--gin.run.library={tmp_path}", "--gin.run.modules=['task=pos']"]
    assert "pos" in refused(capsys, [*argv, *library])


def test_without_any_gin_file_it_says_which_to_give(capsys):
    assert "--gin_file=models/byt5_small.gin --gin_file=runs/pretrain.gin" in refused(
        capsys, ["train"]
    )
