"""Token caches: complete or absent, built twice without harm, damage noticed."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxlt.data.rows.token_cache import open_or_build
from jaxlt.errors import UserError

KEY = "0123456789abcdef" * 4
EXAMPLES = [{"targets": np.arange(3, 3 + n)} for n in (4, 0, 2)]


def build(root, examples=EXAMPLES, size=384, calls=None):
    def read():
        if calls is not None:
            calls.append(1)
        return iter(examples)

    return open_or_build(root, "swh_Latn", "train", KEY, size, ("targets",), read)


@pytest.mark.parametrize(("size", "dtype"), [(384, "uint16"), (250_112, "int32")])
def test_what_is_written_is_read_back(tmp_path, size, dtype):
    cache = build(tmp_path, size=size)
    column = cache.columns["targets"]
    assert column.tokens.dtype == dtype and cache.examples == 3 and cache.tokens() == 6
    assert column.tokens.tolist() == [3, 4, 5, 6, 3, 4]
    tokens, lengths = column.examples(np.array([2, 0, 1]), 3)
    assert tokens.tolist() == [[3, 4, 0], [3, 4, 5], [0, 0, 0]] and lengths.tolist() == [2, 3, 0]


def test_some_examples_alone(tmp_path):
    some = build(tmp_path).chosen(np.array([2, 0]))
    assert some.examples == 2 and some.tokens() == 6
    tokens, lengths = some.columns["targets"].examples(np.array([0, 1]), 4)
    assert tokens.tolist() == [[3, 4, 0, 0], [3, 4, 5, 6]] and lengths.tolist() == [2, 4]
    none = build(tmp_path).chosen(np.array([], np.int64))
    assert none.examples == none.tokens() == 0


def test_it_is_built_once(tmp_path):
    calls = []
    for _ in range(3):
        build(tmp_path, calls=calls)
    assert len(calls) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_failed_build_leaves_nothing(tmp_path):
    def broken():
        yield EXAMPLES[0]
        raise UserError("line 7")

    with pytest.raises(UserError, match="line 7"):
        build(tmp_path, broken())
    assert not list(tmp_path.iterdir())
    assert build(tmp_path).examples == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "meta", "missing", "other"])
def test_damage_is_noticed_and_mended(tmp_path, damage, caplog):
    folder = build(tmp_path).folder
    tokens, meta = folder / "targets.tokens", folder / "meta.json"
    if damage == "truncate":
        tokens.write_bytes(tokens.read_bytes()[:-1])
    elif damage == "flip":
        tokens.write_bytes(b"\x09" + tokens.read_bytes()[1:])
    elif damage == "meta":
        meta.write_text(meta.read_text()[:30])
    elif damage == "missing":
        (folder / "targets.offsets").unlink()
    else:
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"key": "x"}))
    calls = []
    cache = build(tmp_path, calls=calls)
    assert len(calls) == 1 and cache.columns["targets"].tokens.tolist() == [3, 4, 5, 6, 3, 4]
    assert "damaged" in caplog.text and str(folder) in caplog.text


def test_two_processes_may_build_at_once(tmp_path):
    code = """
import sys, time, numpy as np
from pathlib import Path
from jaxlt.data.rows.token_cache import open_or_build
def read():
    for i in range(20):
        time.sleep(0.02)
        yield {"targets": np.full(i, 3 + i)}
cache = open_or_build(Path(sys.argv[1]), "a", "train", "k" * 64, 384, ("targets",), read)
print(cache.examples, cache.tokens())
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [p.communicate(timeout=60)[0].strip() for p in started] == ["20 190"] * 2
    assert len(list(tmp_path.iterdir())) == 1
