"""The baseline from scratch, by its shipped gin files: what it reaches, and where it goes on."""

from collections import defaultdict

import pytest

from jaxlt.data.synth import write
from jaxlt.data.synth.families import FactoryConfig, languages
from jaxlt.data.synth.trees import entity_tags, heads
from jaxlt.metrics.result_file import read
from tests.end_to_end.conftest import assert_identical, told

pytestmark = pytest.mark.slow

MADE = (
    "--gin.TEXT=[]",
    "--gin.TaskConfig.factory=@FactoryConfig()",
    "--gin.FactoryConfig.annotated=800",
    "--gin.DataConfig.held_out=0.1",
    "--gin.DataConfig.held_out_test=0.1",
    "--gin.DataConfig.words_length=32",
    "--gin.UNITS=100",
    "--gin.BATCH_SIZE=16",
)


def arguments(workdir, task, *more):
    """Trains a BiLSTM on a task of one made language; `more` wins."""
    files = ("runs/heads.gin", "models/bilstm.gin", f"heads/{task}.gin")
    argv = ["train", *[f"--gin_file={file}" for file in files], *MADE]
    argv += [f"--gin.KIND=synthetic_{task}", "--gin.TaskConfig.languages='qaa_Latn'"]
    return [*argv, f"--gin.WORKDIR={workdir}", *more]


@pytest.mark.parametrize(
    ("task", "metric", "more"),
    [
        ("tagging", "accuracy", ("--gin.EPOCHS=10",)),
        pytest.param(
            *("parsing", "las", ("--gin.EPOCHS=20", "--gin.ARC_DIM=100", "--gin.LABEL_DIM=50")),
            marks=pytest.mark.nightly(
                "tests/end_to_end/test_heads.py::test_a_recipe_trains_and_is_evaluated"
            ),
        ),
    ],
)
def test_it_learns_a_made_language(shell, command, tmp_path, task, metric, more):
    status, said, errors = shell.run(arguments(tmp_path, task, *more))
    assert status == 0, errors
    asked = ["eval", f"--workdir={tmp_path}", "--step=best", "--answers", "--split=test"]
    status, said, errors = command(asked)
    assert status == 0, errors
    rows = [row for row in read(tmp_path / "results.jsonl") if row.split == "test"]
    (score,) = (
        row for row in rows if row.metric == metric and row.target == "qaa_Latn" and not row.method
    )
    assert score.n > 80 and score.value > 0.95, said


def test_all_of_a_made_language_can_be_learnt():
    """No sentence is said twice with different answers: 1 can be attained, in every task."""
    factory = FactoryConfig(annotated=3000, opinions=3000)
    meanings = defaultdict(set)
    for spec in languages(factory)[:2]:
        for _, said in write.annotated(spec, factory):
            words = said.words
            answers = [(w.upos, w.deprel) for w in words], heads(words), entity_tags(words)
            meanings[spec.code, " ".join(w.form for w in words)].add(repr(answers))
        for _, category, text in write.judged(spec, factory):
            meanings[spec.code, "opinion", text].add(category)
    assert max(map(len, meanings.values())) == 1


FEW = (
    "--gin.EPOCHS=None",
    "--gin.TrainConfig.eval_epochs=None",
    "--gin.TrainConfig.eval_every=12",
    "--gin.TrainConfig.log_every=1",
    "--gin.CheckpointConfig.every=5",
    "--gin.ScheduleConfig.total_steps=40",
    "--gin.FactoryConfig.annotated=200",
    "--gin.UNITS=16",
    "--gin.ARC_DIM=16",
    "--gin.LABEL_DIM=8",
    "--gin.WORD_ROWS=400",
    "--gin.BATCH_SIZE=8",
)


@pytest.fixture(scope="module")
def whole(shell, tmp_path_factory):
    """A run of 12 steps on one device."""
    folder = tmp_path_factory.mktemp("whole")
    status, _, errors = shell.run(arguments(folder, "parsing", *FEW, "--gin.TRAIN_STEPS=12"))
    assert status == 0, errors
    return folder


@pytest.mark.nightly(
    "tests/end_to_end/test_heads.py::test_a_run_goes_on_with_its_bits_and_its_names"
)
def test_it_goes_on_exactly(shell, whole, tmp_path):
    for steps in (5, 12):
        argv = arguments(tmp_path, "parsing", *FEW, f"--gin.TRAIN_STEPS={steps}")
        status, _, errors = shell.run(argv)
        assert status == 0, errors
    assert_identical(whole / "checkpoints" / "12", tmp_path / "checkpoints" / "12")


@pytest.mark.nightly("tests/engine/test_step_heads.py::test_eight_devices_are_as_one")
def test_devices_share_it(shell, whole, tmp_path):
    mesh = [f"--gin.MeshConfig.{axis}=2" for axis in ("data", "fsdp", "tensor")]
    argv = arguments(tmp_path, "parsing", *FEW, "--gin.TRAIN_STEPS=12", *mesh)
    status, _, errors = shell.run(argv, devices=8)
    assert status == 0, errors
    for row, same in zip(told(whole), told(tmp_path), strict=True):
        for name in {"loss", "eval/nll"} & row.keys():
            assert same[name] == pytest.approx(row[name], rel=1e-4)
