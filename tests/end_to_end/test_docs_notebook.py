"""The scripts of docs/notebook.md, as they stand there; both are of one shape, compiled once."""

import ast
import re

import jax
import pytest

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "notebook.md"
LINES = {"with gin": 15, "without gin": 40}


def script(mark):
    """The lines of the block under a mark."""
    (block,) = re.findall(rf"<!-- {mark} -->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    return block


@pytest.mark.parametrize("mark", LINES)
def test_a_script_is_short_and_what_it_imports_is_there(mark):
    text = script(mark)
    assert sum(bool(line.strip()) for line in text.splitlines()) <= LINES[mark]
    body = [n for n in ast.parse(text).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    found: dict = {}
    exec(compile(ast.Module(body, type_ignores=[]), str(PAGE), "exec"), found)
    assert "jaxlt" in found or "Run" in found


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("mark", LINES)
def test_a_script_trains_adapts_evaluates_looks_inside_and_edits(
    mark, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)  # cheaper to compile for than eight
    found: dict = {}
    for text in (script("texts"), script(mark)):
        exec(compile(text, str(PAGE), "exec"), found)
    losses, history, results = found["losses"], found["history"], found["results"]
    assert len(losses) == len(history.steps) == 30 and losses[-1] < losses[0]
    assert history.steps[-1]["loss"] < history.steps[0]["loss"]
    assert {one.target for one in results} == {"doru_Latn"} and results[0].value > 0
    embedded, last = found["states"].values()
    assert embedded.shape == last.shape == (8, 64) and (embedded != last).any()
    assert found["harm"].shape == (8,) and (found["harm"] != 0).all()
    assert capfd.readouterr().out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"texts", "unseen", "cache"}
