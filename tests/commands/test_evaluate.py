"""`jaxlt eval`: the numbers of training's own evaluation, by language, as a table and as rows."""

import json
import re
import shlex

import numpy as np
import pytest

from jaxlt import identity, progress
from jaxlt.commands import main as cli
from jaxlt.config import load
from jaxlt.inference import evaluation, trained
from jaxlt.metrics.result import latest
from jaxlt.metrics.result_file import read


def logged(workdir, step):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return next(r for r in rows if r["step"] == step and "eval/nll" in r)


def test_rows_are_what_training_found(tiny_run, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINES", (0.0,))  # said at once, and not after ten seconds
    assert cli.main(["eval", f"--workdir={tiny_run}"]) == 0
    out, errors = capsys.readouterr()
    assert re.search(r"Opening the model  \d+s\n", errors)
    assert re.search(r"Evaluating( \(compiling\))?  0 of \d+  \d+s\n", errors)
    assert "aa_Latn" in out and "mean of languages" in out and "12 rows added" in out
    rows = read(tiny_run / "results.jsonl")[-12:]
    by_name = {(r.language, r.aggregate, r.metric): r for r in rows}
    theirs = logged(tiny_run, 4)
    for metric in ("nll", "accuracy", "bpb"):
        found = by_name["all", "pooled", metric]
        np.testing.assert_allclose(found.value, theirs[f"eval/{metric}"], rtol=1e-5)
        assert found.members == ("aa_Latn", "bb_Latn")
    for language in ("aa_Latn", "bb_Latn"):
        found = by_name[language, "none", "bpb"]
        np.testing.assert_allclose(found.value, theirs[f"eval/bpb/{language}"], rtol=1e-5)
        assert (found.n, found.unit) == (theirs[f"eval/bytes/{language}"], "bytes")
    assert by_name["all", "pooled", "nll"].n == theirs["eval/target_tokens"]
    low, high, _ = by_name["all", "pooled", "bpb"].interval
    value = by_name["all", "pooled", "bpb"].value
    assert low < value < high < low + 1
    assert f"{value:.4f} ± {(high - low) / 2:.4f}" in out
    mean = by_name["all", "macro", "bpb"]
    assert mean.interval.high - mean.interval.low < 1 and mean.interval.low < mean.value
    assert (mean.n, mean.unit, mean.higher_is_better) == (2, "languages", False)
    run = load([str(tiny_run / "config.gin")])
    assert {r.config for r in rows} == {identity.config_hash(run)}
    assert {(r.run, r.task, r.seed) for r in rows} == {("tiny_run", "span_corruption", 0)}
    assert all(len(r.base) == 32 and r.parameters > 1000 and r.step == 4 for r in rows)


def test_results_of_training_are_measured_again_by_their_own_command(tiny_run, capsys):
    told = [r for r in read(tiny_run / "results.jsonl") if r.step == 2]
    assert {r.split for r in told} == {"validation"} and len(told) >= 5
    _, *command = shlex.split(told[0].command)
    assert cli.main([*command, f"--workdir={tiny_run}"]) == 0
    capsys.readouterr()
    again = {r.asked: r for r in read(tiny_run / "results.jsonl")[-12:]}
    for one in told:
        np.testing.assert_allclose(again[one.asked].value, one.value, rtol=1e-5)
        assert (again[one.asked].n, again[one.asked].parameters) == (one.n, one.parameters)
    kept = latest(read(tiny_run / "results.jsonl"))
    assert [r for r in kept if r.step == 2] == list(again.values())


def test_step_limit_languages_and_split(tiny_run, capsys):
    before = len(read(tiny_run / "results.jsonl"))
    command = ["eval", f"--workdir={tiny_run / 'checkpoints' / '2'}"]
    assert cli.main([*command, "--limit=3", "--languages=bb_Latn", "--split=train"]) == 0
    out = capsys.readouterr().out
    assert "step 2" in out and "train split" in out and "aa_Latn" not in out
    rows = read(tiny_run / "results.jsonl")[before:]
    assert {(r.target, r.split, r.settings) for r in rows} == {
        ("bb_Latn", "train", (("limit", "3"),))
    }
    assert cli.main([*command, "--no_results", "--limit=3"]) == 0
    assert len(read(tiny_run / "results.jsonl")) == before + len(rows)


def test_a_run_at_its_start_and_by_gin_files(tiny_run, run_flags, tmp_path, capsys):
    assert cli.main(["eval", *run_flags(tmp_path / "new"), "--step=0", "--limit=2"]) == 0
    assert "step 0" in capsys.readouterr().out
    assert cli.main(["eval", *run_flags(tmp_path / "new")]) == 2
    assert "has no complete checkpoint yet" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_routed_modules_keep_the_ids_of_training(tiny_run, run_flags, tmp_path, capsys):
    command = [*run_flags(tmp_path / "adapted", "runs/adapt.gin")]
    command = [c for c in command if "LEARNING_RATE" not in c]
    command += [
        "--gin_file=modules/bottleneck.gin",
        f"--gin.INIT_FROM={tiny_run}",
        "--gin.run.init_from=%INIT_FROM",
        "--gin.lang/plug.key=source",
        "--gin.lang/plug.routes=4",
        "--gin.LEARNING_RATE=0.1",
    ]
    assert cli.main(["train", *command]) == 0
    workdir = tmp_path / "adapted"
    assert cli.main(["eval", f"--workdir={workdir}"]) == 0
    capsys.readouterr()
    whole = {(r.language, r.metric): r for r in read(workdir / "results.jsonl")}
    theirs = logged(workdir, 4)
    ours = whole["bb_Latn", "bpb"]
    np.testing.assert_allclose(ours.value, theirs["eval/bpb/bb_Latn"], rtol=1e-5)
    (module,) = ours.modules
    assert module.name == "lang" and len(module.fingerprint) == 16

    # bb_Latn alone would be id 0, were ids not those of training.
    assert cli.main(["eval", f"--workdir={workdir}", "--languages=bb_Latn"]) == 0
    assert "modules lang" in capsys.readouterr().out
    *_, alone = (r for r in read(workdir / "results.jsonl") if r.metric == "bpb")
    np.testing.assert_allclose(alone.value, ours.value, rtol=1e-6)
    assert abs(ours.value - logged(tiny_run, 4)["eval/bpb/bb_Latn"]) > 1e-4  # it did learn


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "Which run? Give its folder"),
        (["--workdir=RUNx"], "Did you mean 'tiny_run'"),
        (["--workdir=RUN", "--step=7"], "no complete checkpoint of step 7 (2, 4)"),
        (["--workdir=RUN", "--step=best"], "best_metric is not set"),
        (["--workdir=RUN", "--step=soon"], "a step is a number or 'best', not 'soon'"),
        (["--workdir=RUN", "--limit=0"], "--limit is at least 1"),
        (["--workdir=RUN", "--languages=bb_Lat"], "Did you mean 'bb_Latn'"),
        (["--workdir=RUN", "--gin.T5Config.emb_dim=24"], "T5Config.emb_dim"),
        (["--workdir=RUN", "--gin.DataConfig.sentinels=extra"], "not the vocabulary that"),
    ],
)
def test_errors(tiny_run, capsys, extra, message):
    assert cli.main(["eval", *(e.replace("RUN", str(tiny_run)) for e in extra)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_mesh_that_does_not_fit_gives_way(tiny_run, capsys):
    run, _ = trained.find_run(str(tiny_run))
    stored = load([str(tiny_run / "config.gin")], ["MeshConfig.data=3"]).mesh
    run = type(run)(**{**vars(run), "mesh": stored})
    predictor, _ = trained.open_model(run)
    assert predictor.program.spec.mesh.shape["fsdp"] == 8
    assert "does not fit" in capsys.readouterr().err
    source, split = evaluation.open_data(run, predictor, limit=2)
    assert split == "validation" and evaluation.losses(predictor, source)[0].details["rows"] == 2
