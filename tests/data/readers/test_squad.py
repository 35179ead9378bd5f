"""SQuAD's JSON: its questions as rows, what has no answer, what is malformed."""

import json

import pytest

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError

CONTEXT = "Ada met Ada in London."


def squad(*questions: dict, context: str = CONTEXT) -> str:
    paragraph = {"context": context, "qas": list(questions)}
    return json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": [paragraph]}]})


def asked(name: str = "1", answers=(("Ada", 8), ("London", 15)), **more) -> dict:
    said = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": "Who?", "answers": said, **more}


def test_questions_have_the_language_of_their_file_or_their_id(tmp_path, caplog):
    path = tmp_path / "train-v2.0.json"
    path.write_text(squad(asked(), asked("2", (), is_impossible=True, plausible_answers=[])))
    kind, records = tables.read(str(path))
    (one,) = records
    assert kind == "questions" and (one.language, one.id, one.context) == ("en", "1", CONTEXT)
    assert (one.answers, one.starts) == (("Ada", "London"), (8, 15))
    assert "1 of 2 questions have no answer" in caplog.text
    path = tmp_path / "tydiqa-goldp-v1.1-dev.json"
    path.write_text(squad(asked("arabic--232-0"), asked("telugu-45-1")))
    assert [r.language for r in tables.read(str(path))[1]] == ["arabic", "telugu"]
    path = tmp_path / "fra_Latn_fquad-train.json"
    path.write_text(squad(asked()))
    assert [r.language for r in tables.read(str(path))[1]] == ["fra_Latn"]
    path = tmp_path / "questions.json"
    path.write_text(squad(asked()))
    with pytest.raises(UserError, match="does not say the language of its questions"):
        list(tables.read(str(path))[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [\n{]}', "line 2: not JSON at column 2.*expected SQuAD's form"),
        ('{"rows": []}', "no list 'data' where one belongs .there are rows.; expected"),
        ('{"data": [{"paragraphs": ["x"]}]}', "no list 'qas' where one belongs .no object."),
        (squad(asked(), {"id": "2"}), "question 2: no text 'question'"),
        (squad(asked(), context=None), "question 1: no text 'context'"),
        (squad(asked(), {"question": "W", "answers": ["a"]}), "question 2: no list 'answers'"),
        (squad(asked(answers=[("Ada", 7)])), "question 1: 'Ada'.*at answer_start 7.*it is at 0"),
    ],
)
def test_what_is_malformed_is_named_and_can_be_left_out(tmp_path, text, message):
    path = tmp_path / "xquad.en.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"xquad\.en\.json'.*{message}"):
        list(tables.read(str(path))[1])
    problems = Problems("skip")
    try:
        list(tables.read(str(path), problems)[1])
    except UserError as error:  # nothing is left of which the columns could be told
        assert "fit no kind" in str(error)
    assert problems.count == 1
