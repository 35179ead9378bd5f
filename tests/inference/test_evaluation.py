"""`jaxlt eval --answers` under a setting of transfer, and answers judged again without a model."""

import json
import re

import numpy as np
import pytest

from jaxlt import progress
from jaxlt.commands.main import main
from jaxlt.metrics.result_file import read
from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.usefixtures("quick_compile")

ROW = "{}\t{}\t_\t{}\t_\t_\t{}\tdep\t_\t_\n"


def treebanks(folder):
    folder.mkdir()
    counts = {"en_x-train": 40, "en_x-dev": 5, "sw_y-dev": 8, "tr_z-train": 30, "tr_z-dev": 4}
    for name, count in counts.items():
        trees = (ROW.format(1, f"{name[:2]}{i}", "NOUN", 0) + "\n" for i in range(count))
        (folder / f"{name}.conllu").write_text("".join(trees))
    return folder


def said(folder, name, *examples):
    path = folder / "answers" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(e)}\n" for e in examples))
    return path


def example(language, answer, task="tagging.x"):
    kept = {"inputs": "pos: a b", "target": "NOUN VERB", "source": language}
    return {"task": task, "language": language, "answer": answer, **kept}


def test_answers_are_judged_again_without_a_model(tiny_run, capsys):
    right, wrong = example("deu_Latn", "NOUN VERB"), example("tur_Latn", "NOUN X")
    path = said(tiny_run, "test-4-none.jsonl", right, wrong)
    before = len(read(tiny_run / "results.jsonl"))
    command = ["eval", f"--from_answers={path}"]
    assert main([*command, "--group=family"]) == 0
    out = capsys.readouterr().out
    assert "Turkic (1)" in out and "mean of languages" in out and "75.0" in out
    assert len(read(tiny_run / "results.jsonl")) == before
    assert main(["eval", f"--from_answers={path.parent / 'test.jsonl'}"]) == 2
    assert "test-4-none.jsonl" in capsys.readouterr().err
    said(tiny_run, "test-4-none.jsonl", {"task": "tagging"})
    assert main(command) == 2
    assert "line 1 is no saved answer" in " ".join(capsys.readouterr().err.split())
    said(tiny_run, "test-4-none.jsonl", example("deu_Latn", "A", "sorting"))
    assert main(command) == 2
    assert "'sorting', which is no task" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_setting_is_said_in_the_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    argv = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/finetune.gin"]
    argv += ["--gin_file=data/tasks.gin", "--gin_file=data/transfer.gin", "--gin_file=tiny.gin"]
    argv += ["--gin_file=modules/bottleneck.gin", "--gin.lang/plug.key=source", *SMALL]
    argv += ["--gin.lang/plug.routes=4", "--gin.TARGETS_LENGTH=8", "--gin.TRAIN_STEPS=4"]
    argv += [f"--gin.TEXT={treebanks(tmp_path / 'ud')}", f"--gin.WORKDIR={work}"]
    argv += ["--gin.SETTING=few_shot", "--gin.SOURCES=eng_Latn", "--gin.K=3", "--gin.DRAW=1"]
    argv += ["--gin.TrainConfig.eval_every=4", "--gin.CheckpointConfig.every=4"]
    argv += ["--gin.BATCH_SIZE=8", "--gin.T5Config.dropout=0.0"]
    assert main(argv) == 0
    logged = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert "eval/accuracy/eng_Latn" in logged[-1] and "eval/accuracy/tur_Latn" not in logged[-1]
    evaluate = ["eval", f"--workdir={work}", "--step=best"]
    monkeypatch.setattr(progress, "_LINES", (0.0,))  # said at once, and not after ten seconds
    assert main([*evaluate, "--answers", "--max_length=8", "--group=family"]) == 0
    shown, errors = capsys.readouterr()
    assert re.search(r"Decoding answers( \(compiling\))?  0 of \d+  \d+s\n", errors)
    assert "eng_Latn (source)" in shown and "mean without the source" in shown
    rows = [r for r in read(work / "results.jsonl") if r.task.startswith("tagging")]
    setting = {"setting": "few_shot", "stopped_on": "source", "k": 3, "draw": 1}
    assert all(r.transfer.items() >= setting.items() for r in rows)
    counts = {r.language: r.n for r in rows if r.metric == "accuracy" and not r.method}
    assert counts["eng_Latn"] == 5 and counts["tur_Latn"] == 4
    assert counts["swa_Latn"] == 5  # three of its eight trained
    assert counts["without_source"] == counts["families"] == 2 and counts["all"] == 3
    (saved,) = (work / "answers").iterdir()
    assert main(["eval", f"--from_answers={saved}", "--group=family"]) == 0
    again = capsys.readouterr().out
    assert again.strip() in shown
    assert main([*evaluate, "--languages=tur_Latn"]) == 0
    *_, last = (r for r in read(work / "results.jsonl") if r.metric == "nll")
    assert (last.target, last.transfer["setting"]) == ("tur_Latn", "few_shot")
    assert main([*evaluate, "--languages=swh_Latn"]) == 2
    assert "Did you mean 'swa_Latn'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_remedies_against_the_wrong_language(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    letters = {"deu_Latn": "abcdefgh", "fin_Latn": "stuvwxyz"}
    rng = np.random.default_rng(0)
    lines = {
        code: [" ".join("".join(rng.choice(list(of), 3)) for _ in range(3)) for _ in range(200)]
        for code, of in letters.items()
    }
    (tmp_path / "text").mkdir()
    for code, own in lines.items():
        (tmp_path / "text" / f"{code}.txt").write_text("\n".join(own) + "\n")
    rows = ["\t".join(letters), *map("\t".join, zip(*lines.values(), strict=True))]
    (tmp_path / "parallel.tsv").write_text("\n".join(rows) + "\n")
    work, text = tmp_path / "work", tmp_path / "text"
    argv = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/finetune.gin"]
    argv += ["--gin_file=data/tasks.gin", "--gin_file=runs/right_language.gin", *SMALL]
    argv += ["--gin_file=tiny.gin", "--gin.KIND=translation", "--gin.TARGETS_LENGTH=16"]
    argv += [f"--gin.TEXT={tmp_path / 'parallel.tsv'}", f"--gin.DENOISE_TEXT={text}"]
    argv += [f"--gin.WORKDIR={work}", "--gin.TRAIN_STEPS=2", "--gin.BATCH_SIZE=8"]
    argv += ["--gin.DataConfig.held_out=0.4", "--gin.T5Config.dropout=0.0"]
    argv += ["--gin.DataConfig.rates=[('translation', 0.5), ('denoise', 0.5)]"]
    assert main(argv) == 0
    assert "denoise.fin_Latn 25.000" in " ".join(capsys.readouterr().out.split())
    evaluate = ["eval", f"--workdir={work}", "--answers", "--max_length=8"]
    assert main(evaluate) == 0
    said = capsys.readouterr()
    assert "wrong_language" in said.out and "trained on half of the references" in said.err
    assert main([*evaluate, f"--own_tokens={text}"]) == 0
    rows = [r for r in read(work / "results.jsonl") if r.decoding and r.decoding.language_tokens]
    found = [r for r in rows if r.metric == "wrong_language"]
    rates = {r.language: r.value for r in found}
    assert rates == {"fin_Latn-deu_Latn": 0.0, "deu_Latn-fin_Latn": 0.0, "all": 0.0}
    assert len(found) == 3 and {r.target for r in found} == {*letters, ""}
    free, saved = sorted((work / "answers").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert "own_tokens" not in free.read_text()
    asked, *lines = map(json.loads, saved.read_text().splitlines())
    assert asked["asked"]["decoding"] == {"length": 8, "own_tokens": str(text)}
    for line in lines:
        assert set(line["answer"]) <= {" ", *letters[line["language"]]}
    capsys.readouterr()
    assert main(["eval", f"--from_answers={saved}", "--lid=none"]) == 0
    assert "wrong_language" not in capsys.readouterr().out
