"""What a study's folder says of the study."""

import json
from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments import ledger
from jaxlt.experiments.storage import Register

RULE = {"effect": "@a - @b", "seeds": 5}
RECORD = {
    "name": "words", "question": "Why?", "seeds": [0], "claims": [], "figures": [], "gin": "",
    "grid": {"cells": ["all"], "base": {}, "vary": []}, "stages": {"all/0/x": "1", "lab/0/w": "2"},
    "command": "jaxlt experiment words.gin", "rules": {"r": {"text": "t", "rule": RULE}},
}  # fmt: skip


def records(study: Path) -> list[dict]:
    register = Register(study / ledger.PLAN)
    return [register.read(number).record for number in register.generations()]


def test_a_plan_is_written_down_once_and_again_where_it_differs(tmp_path: Path) -> None:
    study = tmp_path / "words"
    Register(tmp_path / "lab/0/w/result").add(
        {"withdrawn": True}
    )  # others' results say nothing of ours
    for planned in (1, 2):
        ledger.keep(study, {**RECORD, "planned": planned})
    assert [one["data"] for one in records(study)] == [False]
    Register(study / "all/0/x/result").add({"withdrawn": True})
    ledger.keep(study, {**RECORD, "question": "How?"})
    assert [one["data"] for one in records(study)] == [False, True]
    told = ledger.of_folder(study, now={**RECORD, "question": "What?"})
    assert [one["question"] for one in told.history] == ["Why?", "How?", "What?"]
    assert (told.done, told.stages, told.rows) == (0, 2, [])
    assert len(records(study)) == 2  # a look writes nothing
    ledger.keep(study, {**RECORD, "stages": {"all/9/x": "1"}})  # of other seeds: there is data
    assert records(study)[2]["data"]


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"words' is no study's folder"):
        ledger.of_folder(tmp_path / "words")
    ledger.keep(tmp_path / "words", RECORD)
    (tmp_path / "words/plan/000001.json").write_text('{"rul')
    with pytest.raises(UserError, match=r"000001.json' is damaged.*put it back"):
        ledger.of_folder(tmp_path / "words")
    (tmp_path / "words.jsonl").touch()
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(UserError, match=r"words.json' does not say .*export"):
        ledger.of_results(tmp_path / "words.jsonl")
    assert ledger.seconds_of(tmp_path / "words.json") == {}
    told = ledger.Told(RECORD, [RECORD | {"data": False, "planned": 1}], [], 0)
    with pytest.raises(UserError, match=r"words.json' cannot be written"):
        ledger.export(told, tmp_path / "words.json")


def test_texts_have_glosses(tmp_path: Path) -> None:
    rows = ("1\tmi\tmi\tADP\t_\t_\t2\tcase\t_\tGloss=to", "2\tvesi\t_\tNOUN\t_\t_\t0\troot\t_\t_")
    (tmp_path / "conllu").mkdir()
    (tmp_path / "conllu/qaa_Latn.conllu").write_text("\n".join(["# text", *rows, "", rows[0]]))
    (found,) = ledger.texts_of(tmp_path)
    assert found == {"language": "qaa_Latn", "text": "mi vesi", "gloss": "to _"}
    assert json.dumps(found)
