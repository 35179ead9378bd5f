"""LT-SFT on the command line: both phases, the masks between them, and an exchange at test."""

import numpy as np
import pytest

from jaxlt.commands import main as cli
from jaxlt.modules import delta_files
from jaxlt.modules.delta_files import INDICES, VALUES
from tests.trained_run import SIZES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]


@pytest.fixture(scope="module")
def verb(tiny_run, texts):
    """Calls a verb of a run on top of the tiny one; returns its exit status."""

    def call(name, workdir, *files_and_flags):
        sizes = [f"--gin.T5Config.{n}={v}" for n, v in SIZES.items()]
        return cli.main(
            [
                *name.split(),
                "--gin_file=models/tiny.gin",
                "--gin_file=runs/adapt.gin",
                *files_and_flags,
                "--gin_file=tiny.gin",
                f"--gin.TEXT={texts}",
                f"--gin.WORKDIR={workdir}",
                f"--gin.run.init_from={tiny_run}",
                "--gin.TRAIN_STEPS=3",
                "--gin.run.eval_data=None",
                "--gin.DataConfig.held_out=0.1",
                *sizes,
            ]
        )

    return call


@pytest.fixture(scope="module")
def full(verb, tmp_path_factory):
    """A run of the first phase."""
    workdir = tmp_path_factory.mktemp("sft") / "full"
    assert verb("train", workdir, "--gin_file=runs/lt_sft_full.gin") == 0
    return workdir


def sizes(path):
    arrays, _ = delta_files.load(path)
    return sum(v.size for n, v in arrays.items() if n.endswith(INDICES)), arrays


def test_both_phases_and_the_delta_that_comes_out(verb, full, tmp_path, capsys):
    mask, phi = tmp_path / "mask.safetensors", tmp_path / "phi.safetensors"
    sparsify = ["modules", "sparsify"]
    assert cli.main([*sparsify, f"--workdir={full}", "--count=150", f"--out={mask}"]) == 0
    assert "150 of" in capsys.readouterr().out
    count, arrays = sizes(mask)
    assert count == 150 and not [n for n in arrays if n.endswith(VALUES)]
    sparse = tmp_path / "sparse"
    assert verb("train", sparse, "--gin_file=runs/lt_sft_sparse.gin", f"--gin.MASK={mask}") == 0
    assert cli.main([*sparsify, f"--workdir={sparse}", "--values", f"--out={phi}"]) == 0
    kept, trained = sizes(phi)
    assert kept == 150
    for name, indices in arrays.items():
        np.testing.assert_array_equal(trained[name], indices)
        assert np.all(trained[name.removesuffix(INDICES) + VALUES] != 0)
    # a task on top of it, and at test another language's in its place
    task = tmp_path / "task"
    files = ["--gin_file=runs/lt_sft_sparse.gin", "--gin_file=modules/language_delta.gin"]
    flags = [f"--gin.MASK={mask}", f"--gin.LANGUAGE_DELTA={phi}"]
    assert verb("train", task, *files, *flags) == 0
    other = tmp_path / "other.safetensors"
    _, facts = delta_files.load(phi)
    moved = {n: np.sign(v) if n.endswith(VALUES) else v for n, v in trained.items()}
    delta_files.save(other, moved, facts)
    capsys.readouterr()
    said = []
    for chosen in (phi, other):
        evaluation = [
            "eval",
            f"--workdir={task}",
            f"--gin.LANGUAGE_DELTA={chosen}",
            "--split=train",
        ]
        status = cli.main(evaluation)
        assert status == 0, capsys.readouterr().err
        said.append(capsys.readouterr().out)
    assert said[0] != said[1]


def test_random_and_gradient_masks(verb, full, tmp_path, capsys):
    found = []
    for i, by in enumerate((["--by=random"], ["--by=random", "--seed=1"], [])):
        out = tmp_path / f"{i}.safetensors"
        flags = [f"--workdir={full}", "--share=0.01", f"--out={out}", *by]
        assert cli.main(["modules", "sparsify", *flags]) == 0
        found.append(sizes(out))
    assert found[0][0] == found[1][0] == found[2][0] > 10
    assert any(not np.array_equal(found[0][1].get(n), found[1][1].get(n)) for n in found[0][1])
    out = tmp_path / "fisher.safetensors"
    flags = ["--count=77", "--by=gradient", f"--out={out}"]
    status = verb("modules sparsify", tmp_path / "none", "--gin_file=runs/lt_sft_full.gin", *flags)
    assert status == 0, capsys.readouterr().err
    assert sizes(out)[0] == 77


def test_a_run_that_trained_everything_is_compared_with_where_it_started(verb, tmp_path):
    tuned, out = tmp_path / "tuned", tmp_path / "tau.safetensors"
    assert verb("train", tuned, "--gin.TrainConfig.trainable=['params/.*']") == 0
    flags = [f"--workdir={tuned}", "--count=50", "--values", f"--out={out}"]
    assert cli.main(["modules", "sparsify", *flags]) == 0
    count, arrays = sizes(out)
    assert count == 50 and not [n for n in arrays if "norm" in n or "logits" in n]


def test_what_makes_no_sense_is_refused(full, tmp_path, capsys):
    out = f"--out={tmp_path / 'x.safetensors'}"
    for flags, text in (
        ([], "masks nothing"),
        (["--count=10", "--delta=tsk"], "has no delta 'tsk'"),
        (["--share=2"], "is no share"),
        (["--by=random"], "say how many"),
        (["--count=3", "--by=random", "--values"], "chosen --by=magnitude"),
        (["--count=999999999"], "cannot be cut from"),
    ):
        assert cli.main(["modules", "sparsify", f"--workdir={full}", out, *flags]) == 2
        assert text in " ".join(capsys.readouterr().err.split())
