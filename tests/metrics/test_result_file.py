"""The file of Results: whole lines, whatever was killed; older ones are read, others refused."""

import dataclasses
import json

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Decoding, Interval, Module, Result
from tests.metrics.test_result import result

FULL = Result(
    metric="las",
    value=0.5,
    n=77,
    unit="words",
    interval=Interval(0.4, 0.6),
    higher_is_better=True,
    chance=0.1,
    scale=1.0,
    task="parsing.ud",
    source="eng_Latn",
    target="glv_Latn",
    split="test",
    aggregate="macro",
    group="all",
    members=("a", "b"),
    study="s",
    cell="c",
    seed=3,
    stage="judge",
    run="parser",
    method="mad_x",
    modules=(Module("lang=glv", "ab"), Module("task", "cd")),
    step=5,
    parameters=100,
    decoding=Decoding(4, 32, 0.6, ("x", "y"), "a", "own", (("temperature", 0.5),)),
    settings=(("limit", "5"),),
    config="c0ffee",
    command="jaxlt eval --step=5",
    base="b",
    data="d",
    references="r",
    transfer={"setting": "zero_shot", "sources": ["eng_Latn"]},
    details={"signature": "x"},
    time=1.0,
)


def test_every_field_comes_back(tmp_path):
    for field in dataclasses.fields(Result):
        assert getattr(FULL, field.name) != field.default, field.name
    path = tmp_path / "deep" / "results.jsonl"
    assert result_file.read(path) == []
    result_file.append(path, [FULL, result(value=float("nan"))])
    first, second = result_file.read(path)
    assert first.time > FULL.time
    assert dataclasses.replace(first, time=1.0) == FULL
    assert dataclasses.replace(second, time=None) == result(value=None)
    short = json.loads(path.read_text().splitlines()[1])
    assert set(short) == {"format", "metric", "value", "n", "task", "target", "time"}


def test_a_line_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "results.jsonl"
    result_file.append(path, [result()])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    result_file.append(path, [result(metric="uas")])
    assert [one.metric for one in result_file.read(path)] == ["las", "uas"]
    assert len(path.read_text().splitlines()) == 3


FIRST = {
    "run": "bank",
    "task": "span_corruption",
    "modules": ["lang"],
    "seed": 2,
    "config_hash": "d83b",
    "base_fingerprint": "099a",
    "step": 4,
    "language": "swh_Latn",
    "metric": "bpb",
    "value": 2.5,
    "n": 157,
    "split": "validation",
    "limit": None,
    "data": "72bc",
    "time": 1.5,
}
SCORE = {"task": "tagging.x", "metric": "accuracy", "details": {}, "interval": [0.1, 0.3]}


@pytest.mark.parametrize(
    "row, wanted",
    [
        ({}, {"target": "swh_Latn", "unit": "bytes"}),
        ({"language": "all"}, {"aggregate": "pooled", "group": "all", "unit": "bytes"}),
        ({"language": "mean"}, {"aggregate": "macro", "group": "all", "unit": "languages"}),
        (
            SCORE,
            {
                "target": "swh_Latn",
                "task": "tagging.x",
                "metric": "accuracy",
                "interval": Interval(0.1, 0.3),
            },
        ),
        (
            {"task": "parsing", "metric": "las", "language": "all"},
            {
                "aggregate": "macro",
                "group": "all",
                "unit": "languages",
                "task": "parsing",
                "metric": "las",
            },
        ),
        (
            {"language": "family/Bantu", "limit": 5},
            {
                "aggregate": "family",
                "group": "family/Bantu",
                "unit": "languages",
                "settings": (("limit", "5"),),
            },
        ),
        ({"language": "unseen"}, {"aggregate": "class", "group": "unseen", "unit": "languages"}),
    ],
)
def test_rows_from_before_results_had_types_are_read(tmp_path, row, wanted):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(FIRST | row) + "\n")
    usual = {
        "metric": "bpb",
        "value": 2.5,
        "n": 157,
        "task": "span_corruption",
        "run": "bank",
        "modules": (Module("lang"),),
        "seed": 2,
        "config": "first-d83b",
        "base": "099a",
        "step": 4,
        "split": "validation",
        "data": "72bc",
        "time": 1.5,
    }
    assert result_file.read(path) == [Result(**usual | wanted)]


@pytest.mark.parametrize(
    "line, why",
    [
        ('{"loss": 2}', "neither 'format' nor 'run'"),
        ('{"format": 3, "metric": "las"}', "format 3, and this jaxlt reads 2"),
        ('{"format": 2, "metric": "las", "value": 1}', "lacks 'n'"),
        ('{"format": 2, "metric": "las", "value": 1, "n": 1, "targt": "x"}', "Did you mean"),
        ("[1]", "no JSON object"),
    ],
)
def test_what_is_no_result_is_refused_with_its_line(tmp_path, line, why):
    path = tmp_path / "results.jsonl"
    result_file.append(path, [result()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=f"line 2 is no Result: .*{why}"):
        result_file.read(path)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        result_file.append(tmp_path / "file" / "results.jsonl", [result()])
