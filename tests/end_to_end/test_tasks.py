"""Runs over described tasks: they train and evaluate."""

import json

import pytest

from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow


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
    assert any("eval/eng_Latn/nll" in row or "eval/nll" in row for row in rows(tmp_path))
