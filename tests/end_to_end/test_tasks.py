"""Runs over described tasks and made languages: they are shown, train, and are scored."""

import json

import pytest

from jaxlt.metrics.result_file import read
from tests.end_to_end.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]

MADE = (
    "--gin_file=data/synth.gin",
    "--gin.T5Config.encoder_layers=1",
    "--gin.T5Config.decoder_layers=1",
    "--gin.DTYPE=float32",
    "--gin.Family.languages=2",
    "--gin.Family.dialects=0",
    "--gin.plain/Family.copies=1",
    "--gin.FactoryConfig.sentences=200",
    "--gin.FactoryConfig.parallel=60",
    "--gin.DataConfig.held_out=0.2",
)
CODES = ["qaa_Latn", "qab_Latn", "qba_Geor", "qbb_Geor"]


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_treebank_trains_and_is_evaluated(shell, shared_data, tmp_path):
    arguments = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/finetune.gin"]
    arguments += ["--gin_file=data/tasks.gin", "--gin_file=tiny.gin", *SMALL]
    arguments += [f"--gin.TEXT={shared_data / 'ud'}", "--gin.NAMES=['en_ewt']"]
    arguments += [f"--gin.WORKDIR={tmp_path}", "--gin.TRAIN_STEPS=4", "--gin.TARGETS_LENGTH=32"]
    arguments += ["--gin.TrainConfig.eval_every=4"]
    status, said, errors = shell.run(arguments)
    assert status == 0, errors
    assert "tagging.en_ewt.eng_Latn" in said + errors
    last = rows(tmp_path)[-1]
    assert "eval/accuracy/eng_Latn" in last
    assert not [name for name in last if "bpb" in name]  # tags are no text


def test_made_languages_train_and_are_scored_by_language(shell, command, tmp_path):
    arguments = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin", *MADE]
    arguments += [*SMALL, f"--gin.WORKDIR={tmp_path}", "--gin.TRAIN_STEPS=6"]
    status, _, errors = shell.run([*arguments, "--gin.TrainConfig.eval_every=6"])
    assert status == 0, errors
    last = rows(tmp_path)[-1]
    assert {f"eval/bpb/{code}" for code in CODES} <= last.keys()
    asked = ["eval", f"--workdir={tmp_path}", "--languages=qaa_Latn,qba_Geor"]
    status, said, errors = command(asked)
    assert status == 0, errors
    assert "qba_Geor" in said and "qbb_Geor" not in said
    found = read(tmp_path / "results.jsonl")[-12:]
    scores = {(r.language, r.metric): r.value for r in found}
    assert {language for language, _ in scores} == {"qaa_Latn", "qba_Geor", "all"}
    for code in ("qaa_Latn", "qba_Geor"):  # the run's own evaluation says the same
        assert scores[code, "bpb"] == pytest.approx(last[f"eval/bpb/{code}"], rel=1e-5)
    status, _, errors = command([*asked[:-1], "--languages=qaa_Lat"])
    assert status == 2 and "Did you mean 'qaa_Latn'" in errors


def test_translation_of_made_languages_is_shown_trained_and_scored(shell, command, tmp_path):
    arguments = ["--gin_file=models/tiny.gin", "--gin_file=runs/finetune.gin", *MADE, *SMALL]
    arguments += ["--gin.KIND=synthetic_parallel", "--gin.TaskConfig.pivot=qaa_Latn"]
    arguments += ["--gin.INIT_FROM=None", "--gin.INPUTS_LENGTH=96", "--gin.TARGETS_LENGTH=64"]
    status, said, errors = command(["data", "inspect", *arguments])
    assert status == 0, errors
    for code in CODES[1:]:
        assert f"synthetic_parallel.{code}:qaa_Latn" in said and f"{code} to qaa_Latn" in said
    assert f"{CODES[1]}:{CODES[2]}" not in said and "<2qaa_Latn> " in said
    arguments += [f"--gin.WORKDIR={tmp_path}", "--gin.TRAIN_STEPS=4"]
    status, _, errors = shell.run(["train", *arguments, "--gin.TrainConfig.eval_every=4"])
    assert status == 0, errors
    status, said, errors = command(["eval", f"--workdir={tmp_path}", "--languages=qab_Latn"])
    assert status == 0, errors
    assert "qab_Latn" in said
