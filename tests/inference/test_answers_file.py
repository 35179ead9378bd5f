"""Files of answers: named by what was asked, said in their first line; older ones are read."""

import json

import pytest

from jaxlt.errors import UserError
from jaxlt.inference import answers_file
from jaxlt.inference.answers import Example
from jaxlt.metrics.result import Decoding, Module

COMMON = {
    "run": "x",
    "split": "test",
    "step": 40,
    "modules": (Module("lang=glv", "01"), Module("task", "02")),
    "decoding": Decoding(length=8),
    "settings": (("limit", "5"),),
}
ANSWER = Example("tagging.x", "glv_Latn", "pos: a", "NOUN", "VERB")


def place(folder, **changes):
    return answers_file.place(folder, answers_file.asked_of(COMMON | changes))


def test_what_is_asked_otherwise_is_another_file(tmp_path):
    paths = [
        place(tmp_path),
        place(tmp_path, decoding=Decoding(beams=4, length=8, length_penalty=0.6)),
        place(tmp_path, decoding=Decoding(length=16)),
        place(tmp_path, decoding=Decoding(length=8, labels=("A", "B"))),
        place(tmp_path, modules=(Module("lang=tgl", "03"), Module("task", "02"))),
        place(tmp_path, modules=(Module("lang=glv", "04"), Module("task", "02"))),
        place(tmp_path, step=20),
        place(tmp_path, settings=()),
    ]
    assert len(set(paths)) == len(paths)
    assert place(tmp_path) == paths[0] and place(tmp_path, run="y") == paths[0]
    assert paths[0].name.startswith("test-40-lang=glv+task-")
    assert paths[1].name.startswith("test-40-lang=glv+task-beams4-")


def test_names_fit_any_file_system(tmp_path):
    many = tuple(Module(f"lang{i}=folder/of/deltas:{i}\u1234.st", str(i)) for i in range(100))
    path = place(tmp_path, modules=many)
    assert path.parent == tmp_path / "answers" and len(path.name.encode()) < 80
    answers_file.save(path, answers_file.asked_of(COMMON | {"modules": many}), [ANSWER])
    assert answers_file.read(path)[1] == [ANSWER]


def test_answers_come_back_with_what_was_asked(tmp_path):
    asked = answers_file.asked_of(COMMON)
    path = answers_file.place(tmp_path, asked)
    answers_file.save(path, asked, [ANSWER, ANSWER])
    assert answers_file.read(path) == (json.loads(json.dumps(asked)), [ANSWER, ANSWER])
    assert asked["modules"] == [["lang=glv", "01"], ["task", "02"]]
    older = "".join(path.read_text().splitlines(keepends=True)[1:])
    path.write_text(older)
    assert answers_file.read(path) == ({}, [ANSWER, ANSWER])


def test_a_line_ends_at_a_newline_alone(tmp_path):
    answer = Example("tagging.x", "glv_Latn", "a\u2028b", "c\u0085d\re", "f\u2029g\nh")
    path = place(tmp_path)
    answers_file.save(path, {}, [answer, answer])
    assert answers_file.read(path) == ({}, [answer, answer])


def test_answers_of_a_run_in_a_bucket_lie_beside_it():
    assert str(place("gs://bucket/run")).startswith("gs://bucket/run/answers/test-40-")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "answers").write_text("")
    with pytest.raises(UserError, match=r"Nothing can be written to .*answers"):
        answers_file.check_writable(tmp_path / "answers")
