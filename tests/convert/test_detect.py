"""Finding out what lies at a path, and the memory that reading it takes."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from jaxlt.convert.detect import open_base, vocabulary_of
from jaxlt.convert.export import write_hf, write_t5x
from jaxlt.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_nothing_there(tmp_path):
    (tmp_path / "mt5_small").mkdir()
    with pytest.raises(UserError, match=r"does not exist\. Did you mean 'mt5_small'"):
        open_base(str(tmp_path / "mt5_smal"))


def test_nothing_known(tmp_path):
    with pytest.raises(UserError, match="an empty folder"):
        open_base(str(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"Found: notes\.txt"):
        open_base(str(tmp_path))
    with pytest.raises(UserError, match=r"Found: notes\.txt"):
        open_base(str(tmp_path / "notes.txt"))


def test_noise_named_checkpoint(tmp_path):
    (tmp_path / "checkpoint").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(UserError, match="checkpoint"):
        open_base(str(tmp_path))
    (tmp_path / "checkpoint").write_bytes(b"\x81\xa1a\x01")
    with pytest.raises(UserError, match="no T5X checkpoint: expected optimizer/target, found a"):
        open_base(str(tmp_path))


def test_paths_of_files_and_home(tmp_path, params_of, monkeypatch):
    write_t5x(tmp_path / "run" / "checkpoint_5", params_of(layers=(1, 1)))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "run" / "checkpoint_5" / "checkpoint", Path("~") / "run"):
        assert open_base(str(path)).origin["path"] == str(tmp_path / "run" / "checkpoint_5")


def test_other_openers_come_first(tmp_path, params_of):
    write_t5x(tmp_path / "checkpoint_5", params_of(layers=(1, 1)))
    asked = []

    def opener(path):
        asked.append(path)

    assert open_base(str(tmp_path), [opener]).origin["format"] == "t5x-legacy"
    assert asked == [str(tmp_path)]
    mine = object()
    assert open_base(str(tmp_path), [lambda path: mine]) is mine


def test_vocabularies(tmp_path, params_of):
    write_t5x(tmp_path / "plain" / "checkpoint_1", params_of(layers=(1, 1)))
    write_t5x(tmp_path / "bytes" / "checkpoint_1", params_of(rows=384, layers=(1, 1)))
    assert vocabulary_of(str(tmp_path / "plain")) is None
    assert vocabulary_of(str(tmp_path / "bytes")) == "byte"
    model = tmp_path / "plain" / "spiece.model"
    model.write_bytes(b"x")
    assert vocabulary_of(str(tmp_path / "plain")) == str(model)
    assert vocabulary_of(str(tmp_path / "plain" / "checkpoint_1")) == str(model)
    assert vocabulary_of("", open_base(str(tmp_path / "plain"))) == str(model)


READER = """
    import resource, sys
    from jaxlt.convert.detect import open_base
    source = open_base(sys.argv[1])
    name = min(source.shapes, key=lambda n: source.shapes[n])
    source.read(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(source.read(name).nbytes for name in source.shapes)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(total, (after - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["t5x", "hf"])
def test_reading_holds_one_tensor_at_a_time(tmp_path, shapes_of, form):
    sizes = {"rows": 8192, "dim": 1024, "mlp": 2048, "heads": 8, "head_dim": 64, "layers": (6, 2)}
    shapes = shapes_of(**sizes)
    row = np.arange(max(max(s) for s in shapes.values()), dtype=np.float32)
    # Rows that repeat compress fast; what is measured is the memory.
    params = {name: np.array(np.broadcast_to(row[: s[-1]], s)) for name, s in shapes.items()}
    total = sum(value.nbytes for value in params.values())
    largest = max(value.nbytes for value in params.values())
    assert total > 280 * 2**20
    if form == "t5x":
        write_t5x(tmp_path / "checkpoint_1", params)
    else:
        settings = {"vocab_rows": 8192, "emb_dim": 1024, "mlp_dim": 2048, "num_heads": 8}
        settings |= {"encoder_layers": 6, "decoder_layers": 2}
        write_hf(tmp_path / "m", params, settings, max_shard_bytes=2**27)
    folder = tmp_path if form == "t5x" else tmp_path / "m"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READER), str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    read, grown = json.loads(f"[{done.stdout.strip().replace(' ', ',')}]")
    assert read == total
    # A tensor, the buffers it comes through, and what the allocator keeps: never the model.
    assert grown < 3 * largest + 16 * 2**20 < total / 2
