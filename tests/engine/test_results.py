"""Rows of results: whole lines, whatever was killed, and the last measurement holds."""

import json
import math

import pytest

from jaxlt.engine import results
from jaxlt.errors import UserError


def row(**changes):
    base = dict.fromkeys(results.FIELDS, "x") | {"value": 1.5, "n": 3, "step": 2, "modules": []}
    return base | changes


def test_rows_come_back_and_the_latest_of_equals_holds(tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    assert list(results.read(path)) == []
    results.append(path, [row(metric="a"), row(metric="b", value=math.nan)])
    results.append(path, [row(metric="a", value=2.5), row(metric="a", step=3)])
    rows = list(results.read(path))
    assert [r["value"] for r in rows] == [1.5, None, 2.5, 1.5]
    kept = results.latest(rows)
    assert [(r["metric"], r["step"], r["value"]) for r in kept] == [
        ("b", 2, None),
        ("a", 2, 2.5),
        ("a", 3, 1.5),
    ]


def test_a_line_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "results.jsonl"
    results.append(path, [row()])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    results.append(path, [row(metric="after")])
    assert [r["metric"] for r in results.read(path)] == ["x", "after"]
    assert len(path.read_text().splitlines()) == 3
    json.loads(path.read_text().splitlines()[2])


def test_errors(tmp_path):
    with pytest.raises(TypeError, match="lacks n"):
        results.append(tmp_path / "r", [{k: v for k, v in row().items() if k != "n"}])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        results.append(tmp_path / "file" / "results.jsonl", [row()])
