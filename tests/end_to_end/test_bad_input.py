"""What a user may get wrong: one paragraph, exit status 2, no traceback, nothing saved is lost."""

import ctypes
import os
import shutil
import subprocess
import sys

import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from tests.pieces import train_pieces

pytestmark = pytest.mark.slow

QUICK = ("--gin.TRAIN_STEPS=4", "--gin.CheckpointConfig.every=2", "--gin.run.eval_data=None")


@pytest.fixture(autouse=True)
def mesh(monkeypatch):
    """The tests' process has eight devices; a batch of four rows wants one."""
    import jax

    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: devices)


@pytest.fixture(scope="module")
def saved(shell, tmp_path_factory):
    """A workdir with the checkpoints of steps 2 and 4."""
    workdir = tmp_path_factory.mktemp("saved")
    status, _, errors = shell.run(shell.arguments(workdir, *QUICK))
    assert status == 0, errors
    return workdir


@pytest.fixture
def run(saved, tmp_path):
    """A copy of `saved` to spoil."""
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def refused(command):
    """refused(arguments) -> the error, which is one paragraph with exit status 2."""

    def call(arguments: list[str]) -> str:
        status, _, errors = command(arguments)
        assert status == 2, errors
        assert errors.startswith("jaxlt: error: ") and "Traceback" not in errors
        return errors

    return call


MORE = "--gin.TRAIN_STEPS=6"


def test_a_truncated_checkpoint_file(shell, run, refused, command):
    newest = run / "checkpoints" / "4"
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-7])
    said = refused(shell.arguments(run, *QUICK, MORE))
    assert str(newest) in said and "bytes where" in said and "step 2" in said
    assert Checkpoints(run).steps() == [2, 4]
    shutil.rmtree(newest)  # as the error says
    status, out, errors = command(shell.arguments(run, *QUICK, MORE))
    assert status == 0 and "Resumed from step 2" in out, errors


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("T5Config.emb_dim=24", ["T5Config.emb_dim: 16 -> 24", "another run.workdir"]),
        ("DataConfig.seed=3", ["DataConfig.seed: 0 -> 3"]),
        ("OptimizerConfig.name=adamw", ["OptimizerConfig.name: 'adafactor' -> 'adamw'"]),
    ],
)
def test_a_workdir_of_another_config(shell, run, refused, override, parts):
    before = (run / "config.gin").read_text()
    said = refused(shell.arguments(run, *QUICK, f"--gin.{override}"))
    assert all(part in said for part in parts), said
    assert (run / "config.gin").read_text() == before and Checkpoints(run).steps() == [2, 4]


def test_a_checkpoint_of_another_size(shell, saved, tmp_path, refused):
    more = (f"--gin.run.init_from={saved}", "--gin.T5Config.emb_dim=24")
    said = refused(shell.arguments(tmp_path / "new", *QUICK, *more))
    assert "T5Config.emb_dim = 16 (now 24)" in said and str(saved) in said


def test_a_workdir_is_bound_by_what_was_learnt_in_it(shell, tmp_path, refused, command):
    arguments = shell.arguments(tmp_path, *QUICK, "--gin.BATCH_SIZE=4")
    refused([*arguments, "--gin.TrainConfig.accumulate=3"])  # before anything was learnt
    assert command(arguments)[0] == 0
    refused([*arguments, "--gin.TrainConfig.accumulate=2"])


def test_a_vocabulary_that_is_not_the_checkpoints(shell, saved, tmp_path, refused):
    lines = next(shell.texts.glob("*.txt")).read_text().splitlines()
    model = train_pieces(tmp_path / "pieces", lines, 200, hard_vocab_limit=True)
    more = (f"--gin.run.init_from={saved}", f"--gin.DataConfig.vocabulary={model}")
    more += ("--gin.T5Config.vocab_rows=384", "--gin.DataConfig.mean_span=3.0")
    said = refused(shell.arguments(tmp_path / "new", *QUICK, *more))
    assert "is not the vocabulary" in said and str(saved) in said


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("xx.txt", b"", ["xx.txt", "empty"]),
        ("xx.txt", b"a line\nsal\xe9\n" * 3, ["xx.txt", "UTF-8", "2"]),
    ],
    ids=["empty", "not-utf8"],
)
def test_a_text_file_that_cannot_be_read(shell, tmp_path, refused, name, content, parts):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_bytes(content)
    texts = f"--gin.TEXT={tmp_path / 'texts'}"
    said = refused(shell.arguments(tmp_path / "new", *QUICK, texts))
    assert all(part in said for part in parts), said


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (("MeshConfig.data=3",), ["more shards than devices", "MeshConfig.data = 3"]),
        (("TrainConfig.accumulate=3",), ["not divisible by 3", "DataConfig.batch_size"]),
        (("TRAIN_STEP=5",), ["TRAIN_STEP", "Did you mean 'TRAIN_STEPS'?"]),
        (("TrainConfig.step=5",), ["TrainConfig", "Did you mean 'steps'?"]),
        (("TrainConfg.steps=5",), ["TrainConfg", "TrainConfig"]),
    ],
)
def test_settings_that_do_not_work(shell, tmp_path, refused, override, parts):
    said = refused(shell.arguments(tmp_path / "new", *QUICK, *(f"--gin.{o}" for o in override)))
    assert all(part in said for part in parts), said


def test_a_required_macro_and_a_file_that_are_missing(shell, tmp_path, refused):
    arguments = [a for a in shell.arguments(tmp_path, *QUICK) if not a.startswith("--gin.WORKDIR")]
    said = refused(arguments)
    assert "WORKDIR" in said and "runs/base.gin, line" in said
    said = refused(["train", "--gin_file=models/tini.gin"])
    assert "models/tini.gin" in said and "models/tiny.gin" in said
    said = refused(["train", "--gin_file=models/tiny.gin", "--dry_rum"])
    assert "--dry_run" in said


def test_two_runs_in_one_workdir(shell, run, command):
    config = (run / "config.gin").read_text()
    with Workdir.open(run, config, "the first"):
        status, _, errors = shell.run(shell.arguments(run, *QUICK, MORE))
        assert status == 2 and "in use by another run" in " ".join(errors.split())
        assert "Traceback" not in errors
    assert Checkpoints(run).steps() == [2, 4]
    assert command(shell.arguments(run, *QUICK, MORE))[0] == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB, where mounting is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=8m"):
        pytest.skip(f"mounting is not permitted: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(str(folder).encode(), 2)


def test_a_disk_that_is_full_while_saving(shell, small_disk):
    work = small_disk / "run"
    arguments = shell.arguments(work, *QUICK, "--gin.TRAIN_STEPS=2")
    assert shell.run(arguments)[0] == 0
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (free - 60_000))
    status, _, errors = shell.run(shell.arguments(work, *QUICK))
    errors = " ".join(errors.split())
    assert status == 2 and "the disk is full" in errors and "Traceback" not in errors, errors
    assert "step 4 could not be saved" in errors and "Intact checkpoints: 2" in errors
    (small_disk / "filler").unlink()
    status, said, errors = shell.run(shell.arguments(work, *QUICK))
    assert status == 0 and "Resumed from step 2" in said, errors


def test_an_exploding_run_names_step_languages_and_checkpoint(shell, run):
    more = ("--gin.TrainConfig.max_loss=0.01", MORE)
    status, _, errors = shell.run(shell.arguments(run, *QUICK, *more))
    errors = " ".join(errors.split())
    assert status == 2 and "Stopped at step 5: the loss" in errors
    assert "_Latn" in errors and f"'{run}/checkpoints/4'" in errors
    assert Checkpoints(run).steps() == [2, 4]


def test_help_of_every_verb_is_there():
    for verb in ("train", "plan"):
        out = subprocess.run(
            [sys.executable, "-m", "jaxlt", verb, "--help"], capture_output=True, text=True
        )
        assert out.returncode == 0 and "--gin_file" in out.stdout
