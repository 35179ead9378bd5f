"""runs/small_language.gin over a few lines of one language: it learns, overfits, and stops."""

import json

import pytest

from jaxlt.data.synth.languages import FAMILY, write_languages
from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow

# Wide enough to learn 40 lines by heart in 60 steps, which held-out text then tells.
LEARNER = (
    "--gin.T5Config.emb_dim=64",
    "--gin.T5Config.mlp_dim=128",
    "--gin.T5Config.num_heads=2",
    "--gin.T5Config.head_dim=32",
    "--gin.T5Config.encoder_layers=1",
    "--gin.T5Config.decoder_layers=1",
    "--gin.T5Config.dropout=0.0",
    "--gin.BATCH_SIZE=16",
    "--gin.INPUTS_LENGTH=64",
    "--gin.DTYPE=float32",
    "--gin.LEARNING_RATE=0.02",
    "--gin.ScheduleConfig.warmup_steps=5",
    "--gin.DataConfig.held_out=0.2",
)


def test_it_stops_before_its_epochs_are_over_and_keeps_the_best(shell, tmp_path):
    (spec,) = FAMILY[:1]
    write_languages(tmp_path / "text", [spec], sentences=200, seed=0)
    arguments = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/small_language.gin"]
    arguments += [*SMALL, *LEARNER, f"--gin.TEXT={tmp_path / 'text'}"]
    arguments += [f"--gin.WORKDIR={tmp_path / 'run'}", "--gin.EPOCHS=400"]
    arguments += ["--gin.TrainConfig.eval_epochs=2", "--gin.TrainConfig.patience=3"]
    status, said, errors = shell.run(arguments)
    assert status == 0, errors
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    found = {row["step"]: row["eval/bpb"] for row in map(json.loads, lines) if "eval/bpb" in row}
    steps = sorted(found)
    best = min(steps, key=found.__getitem__)
    # Held-out bits fell, then rose at each of the evaluations that patience allows.
    assert found[best] < 0.9 * found[steps[0]] and found[best] < 0.98 * found[steps[-1]]
    assert steps.index(best) == len(steps) - 1 - 3
    assert f"Stopped at step {steps[-1]}, after 3 evaluations without a better one" in said
    assert f"best eval/bpb: {found[best]:.4g} at step {best}" in said
    kept = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {best, steps[-1]}
