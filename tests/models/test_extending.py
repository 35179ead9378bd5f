"""The documented head is a head: its code and its gin text train and answer as they stand there."""

import re
import sys

import jax
import numpy as np
import pytest

from jaxlt import config
from jaxlt.config.heads import check_heads
from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.vocabulary.label_units import PieceUnits
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.engine.step import build
from jaxlt.inference.labelling import label
from jaxlt.inference.predictor import Predictor
from jaxlt.modules.fingerprints import Fingerprint
from tests.conftest import REPOSITORY, hyper, make_spec, place_batch, place_state
from tests.models.head_batches import params_of

TEXTS = ("aab", "aba", "abb", "bba", "xxy", "xyx", "yyx", "xyy")
SIZES = {"encoder_layers": 1, "emb_dim": 16, "mlp_dim": 16, "num_heads": 2, "head_dim": 8}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run that the page's gin text describes, its code being a file beside."""
    text = (REPOSITORY / "docs" / "extending.md").read_text().split("\n## Adding a head\n")[1]
    code, gin = re.findall(r"```(?:python)?\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    (tmp_path / "my_heads.py").write_text(code)
    (tmp_path / "head.gin").write_text(gin)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_heads", raising=False)
    files = ["models/mlm_tiny.gin", "runs/heads.gin", str(tmp_path / "head.gin")]
    given = ["TEXT='t'", "WORKDIR='w'", *(f"T5Config.{n}={v}" for n, v in SIZES.items())]
    return config.load(files, given)


def test_a_head_of_one_file_trains_and_answers(run, tmp_path):
    check_heads(run)
    (head,) = run.model.heads
    assert (type(head).__name__, head.name, head.labels) == ("MaxConfig", "topics", 8)
    (tmp_path / "again.gin").write_text(config.operative_config(run))
    assert config.load([str(tmp_path / "again.gin")]) == run
    assert "import my_heads" in config.text.render(run)

    names = Inventory({"topics": ("first", "second")})
    reader = PieceUnits(open_vocabulary(VocabularyConfig()))
    labels = Labels((Task("topics", "class"),), reader, names, 8, 4)
    asked = [HeadExample("class", texts=(text,)) for text in TEXTS]
    pieces = [piece for marked in asked for piece in labels.pieces("topics", marked)]
    gold = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32)
    batch = labels.batch(pieces) | {"label": gold, "language": np.zeros(8, np.int32)}
    program = build(make_spec(run.model))
    state = place_state(program, params_of(run.model))
    for _ in range(30):
        state, metrics = program.train(state, place_batch(program, batch), hyper(0.03))
    assert metrics["accuracy"] == 1
    out = jax.device_get(program.evaluate(state.trainable, place_batch(program, batch)))
    np.testing.assert_array_equal(out["predicted/topics"], gold)
    predictor = Predictor(program, state.trainable, 0, 0, ("aa",), Fingerprint(""))
    answers = label(predictor, labels, "topics", asked)
    assert [answer.labels for answer in answers] == [("first",)] * 4 + [("second",)] * 4
