"""Answers to a task's examples: read as the task writes them, scored by language, saved."""

import json

import pytest

import jaxlt
from jaxlt.commands.main import main
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example
from jaxlt.inference.evaluation import answers
from jaxlt.inference.groups import Groups
from jaxlt.inference.provenance import Evaluation
from jaxlt.inference.scoring import score_examples
from jaxlt.inference.tables import results
from jaxlt.metrics.result_file import read
from tests.end_to_end.conftest import SMALL

ROW = "{}\t{}\t_\t{}\t_\t_\t{}\t{}\t_\t_\n"
TREE = (
    ROW.format(1, "they", "PRON", 2, "nsubj")
    + ROW.format(2, "see", "VERB", 0, "root")
    + ROW.format(3, "us", "PRON", 2, "obj")
    + "\n"
)


def judged(kind, *examples):
    made = [Example(f"{kind}.x", language, *texts) for language, *texts in examples]
    return {(j.language, j.metric): j.score for j in score_examples(made, {kind: kind})}


def test_tags_by_word_and_language():
    gold = "PRON VERB PRON"
    found = judged(
        "tagging",
        ("eng_Latn", "pos: they see us", gold, "PRON VERB"),
        ("eng_Latn", "pos: they see us", gold, "PRON VERB PRON NOUN"),
        ("swh_Latn", "pos: they see us", gold, ""),
    )
    assert found["eng_Latn", "accuracy"].value == pytest.approx(5 / 6)
    assert found["eng_Latn", "accuracy"].n == 2
    assert found["swh_Latn", "accuracy"].value == 0
    assert found["swh_Latn", "accuracy"].low is None


def test_trees():
    gold = "+1:nsubj 0:root -1:obj"
    found = judged("parsing", ("eng_Latn", "parse: they see us", gold, "+1:nsubj 0:root -1:obl"))
    assert found["eng_Latn", "uas"].value == 1
    assert found["eng_Latn", "las"].value == pytest.approx(2 / 3)


def test_entities_with_their_places():
    inputs, gold = "tag: Ada met Ada", "PER: Ada"
    texts = {"inputs": inputs, "target": gold, "answer": gold}
    wrong = Example("entities.x", "eng_Latn", **texts, tags=("O O B-PER", "B-PER O O"))
    right = Example("entities.x", "eng_Latn", **texts, tags=("O O B-PER", "O O B-PER"))
    found = {j.metric: j.score for j in score_examples([wrong, right], {"entities": "entities"})}
    assert found["entity_f1"].value == 1 and found["span_f1"].value == 0.5  # the text has no places
    plain = judged("entities", ("eng_Latn", inputs, gold, gold))
    assert ("eng_Latn", "span_f1") not in plain


def test_text_and_facts():
    found = judged("translation", ("swh_Latn", "<2swh> hello", "habari yako", "habari yako"))
    assert found["swh_Latn", "chrf++"].value == pytest.approx(100)
    assert judged("facts", ("eng_Latn", "q", "Paris", "paris"))["eng_Latn", "p@1"].value == 1


def test_a_score_of_translation_is_of_one_direction():
    """Two sources of a target are two scores, whose mean the target has."""
    texts = [("a small house", "nyumba ndogo sana"), ("the big river", "mto mkubwa sana")]
    made = [
        Example(
            "translation", "swh_Latn", text, right, right if source == "eng_Latn" else "", source
        )
        for source in ("eng_Latn", "deu_Latn")
        for text, right in texts
    ]
    made.append(Example("translation", "deu_Latn", "a", "ein Haus", "ein Haus", "eng_Latn"))
    found = list(score_examples(made, {"translation": "translation"}))
    chrf = {(j.source, j.language): j.score for j in found if j.metric == "chrf++"}
    assert chrf["eng_Latn", "swh_Latn"].value == pytest.approx(100)
    assert chrf["deu_Latn", "swh_Latn"].value == 0 and chrf["deu_Latn", "swh_Latn"].n == 2
    out = {r.language: r for r in results(found, Groups()) if r.metric == "chrf++"}
    value = {name: r.value for name, r in out.items()}
    assert value["eng_Latn-swh_Latn"] == pytest.approx(100) and value["deu_Latn-swh_Latn"] == 0
    into = out["into swh_Latn"]
    assert into.value == pytest.approx(50) and into.members == ("eng_Latn", "deu_Latn")
    assert (into.source, into.target, into.aggregate) == ("", "swh_Latn", "macro")
    assert value["from eng_Latn"] == pytest.approx(100)
    assert value["all"] == pytest.approx(75)  # of targets, each over its sources


def test_answers_are_judged_by_the_rules_that_are_asked_for():
    kinds = {"mlqa": "questions", "qa": "questions", "translation": "translation"}
    made = [
        Example("mlqa", "zho_Hans", "q", "北京", "北京市", "zho_Hans"),
        Example("qa", "deu_Latn", "q", "Dom", "der Dom", "deu_Latn"),
        Example("translation", "zho_Hans", "q", "我们都去北京", "我们去北京吗", "eng_Latn"),
    ]

    def of(**said):
        tasks = {(one.task, one.language) for one in made}
        rules = Evaluation(**said).judging(kinds, tasks)
        return {(j.task, j.metric): j.score for j in score_examples(made, kinds, judging=rules)}

    plain = of()
    assert plain["mlqa", "answer_f1"].details == {"normalisation": "mlqa"}  # by its name
    assert plain["qa", "exact_match"].value == 1  # by its language, as in MLQA
    assert "tok:zh" in plain["translation", "bleu"].details["signature"]
    asked = of(questions_like="mlqa=xquad,qa=tydi", bleu_tokenizer="char")
    assert asked["mlqa", "answer_f1"].value == 0 and asked["qa", "exact_match"].value == 0
    assert "tok:char" in asked["translation", "bleu"].details["signature"]
    for said, why in (
        ({"questions_like": "qa=squat"}, "Did you mean 'squad'"),
        ({"questions_like": "q=squad"}, "Did you mean 'qa'"),
        ({"bleu_tokenizer": "no.model"}, "cannot be read"),
    ):
        with pytest.raises(UserError, match=why):
            of(**said)
    # A language that the benchmark's script does not know.
    made.append(Example("mlqa", "swh_Latn", "q", "Ziwa", "ziwa", "swh_Latn"))
    normalised = [
        one.score.details["normalisation"]
        for one in score_examples(made, kinds, judging=Evaluation().judging(kinds, ()))
        if one.metric == "answer_f1" and one.task == "mlqa"
    ]
    assert normalised == ["mlqa", "mlqa, of swh"]
    for said in ("mlqa", "mlqa=mlqa", "mlqa=mlqa,qa=squad"):
        with pytest.raises(UserError, match=r"MLQA's .* not for 'swh_Latn'"):
            of(questions_like=said)
    assert of(questions_like="qa=mlqa")["qa", "answer_f1"].details == {"normalisation": "mlqa"}


def test_the_best_of_several_right_answers_counts():
    found = judged(
        "questions",
        ("eng_Latn", "question: a", "Ada Lovelace", "ada"),
        ("eng_Latn", "question: a", "the Ada", "ada"),
        ("eng_Latn", "question: b", "Bob Ross", "Bob"),
        ("zho_Hans", "question: a", "王先生", "王"),
    )
    assert found["eng_Latn", "exact_match"].value == 0.5
    assert found["eng_Latn", "answer_f1"].value == pytest.approx((1 + 2 / 3) / 2)
    assert found["eng_Latn", "answer_f1"].n == 2
    assert found["zho_Hans", "answer_f1"].value == 0.5  # by character
    pairs = judged("pairs", ("eng_Latn", "x", "0", "0"), ("eng_Latn", "y", "same", "0"))
    assert pairs["eng_Latn", "accuracy"].value == 0.5


@pytest.mark.slow
def test_answers_of_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    for name, count in (("en_x-train", 40), ("en_x-dev", 5), ("sw_z-dev", 4), ("sw_z-train", 8)):
        path = tmp_path / "ud" / f"{name}.conllu"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TREE * count)
    work = tmp_path / "work"
    argv = ["train", "--gin_file=models/tiny.gin", "--gin_file=runs/finetune.gin"]
    argv += ["--gin_file=data/tasks.gin", "--gin_file=tiny.gin", *SMALL, "--gin.BATCH_SIZE=8"]
    argv += [f"--gin.TEXT={tmp_path / 'ud'}", f"--gin.WORKDIR={work}", "--gin.TRAIN_STEPS=30"]
    argv += ["--gin.TARGETS_LENGTH=32", "--gin.LEARNING_RATE=0.02"]
    argv += ["--gin.DataConfig.rates=[('eng_Latn', 1.0)]", "--gin.T5Config.dropout=0.0"]
    argv += ["--gin.DataConfig.languages=['eng_Latn', 'swa_Latn']", "--gin.run.eval_data=None"]
    assert main(argv) == 0
    evaluate = ["eval", f"--workdir={work}", "--answers", "--languages=eng_Latn,swa_Latn"]
    assert main(evaluate) == 0
    assert "mean without the source" in capsys.readouterr().out
    rows = read(work / "results.jsonl")
    values = {r.language: r.value for r in rows if r.metric == "accuracy" and not r.method}
    assert set(values) == {"eng_Latn", "swa_Latn", "all", "without_source"}
    assert values["without_source"] == values["swa_Latn"]
    (saved,) = (work / "answers").iterdir()
    _, *answers = [json.loads(line) for line in saved.read_text().splitlines()]
    assert len(answers) == 9
    again = judged(
        "tagging",
        *([a["language"], *(a[k] for k in ("inputs", "target", "answer"))] for a in answers),
    )
    assert again["eng_Latn", "accuracy"].value == pytest.approx(values["eng_Latn"])
    assert main([*evaluate, "--beams=2"]) == 0
    assert main([*evaluate, "--labels=PRON,NOUN", "--step=0"]) == 0
    (beams,) = (work / "answers").glob("validation-30-beams2-*.jsonl")
    assert saved.is_file() and beams != saved  # neither takes the other's place
    (saved,) = (work / "answers").glob("validation-0-*.jsonl")
    for line in saved.read_text().splitlines()[1:]:
        answer = json.loads(line)["answer"].split()
        assert len(answer) == 3 and {"PRON", "NOUN"} >= set(answer)
    model = jaxlt.load(work)
    assert model.tag([["they", "see", "us"], ["us"]])[0] == ("PRON", "VERB", "PRON")
    blank = TREE.replace("PRON", "_").replace("VERB", "_")
    (tmp_path / "in.conllu").write_text(blank * 3)
    assert main(["infer", f"--workdir={work}", str(tmp_path / "in.conllu")]) == 0
    assert capsys.readouterr().out.endswith(TREE * 3)
    asked = "pos: they see us"
    right, wrong = model.score([(asked, "PRON VERB PRON"), (asked, "VERB VERB VERB")])
    assert wrong < right < 0
    heads, relations = model.parse([["they", "see"]])[0]
    assert len(heads) == len(relations) == 2
    with pytest.raises(UserError, match="not trained on a language 'deu'"):
        model.generate([asked], language="deu")
    assert main([*evaluate, "--beams=2", "--top_k=3"]) == 2


def test_a_loss_has_no_answers(tmp_path):
    class Run:
        class data:
            paired, objective = False, "span_corruption"

    with pytest.raises(UserError, match="span_corruption"):
        answers(Run, None, None, None, "validation", Evaluation())
