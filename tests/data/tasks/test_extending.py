"""The documented kind of task is one: its code and its gin text train, answer and are judged."""

import re
import sys

import pytest

from jaxlt import config
from jaxlt.data.inventory import take
from jaxlt.data.mixtures import open_evaluation, open_mixture, training_examples
from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.inference.answers import kinds_of, label_examples
from jaxlt.inference.baselines import baselines
from jaxlt.inference.opening import inventory_of, keep_inventory
from jaxlt.inference.predictor import Predictor
from jaxlt.inference.scoring import score_examples, with_baselines
from jaxlt.modules.fingerprints import Fingerprint
from tests.conftest import REPOSITORY, hyper, make_spec, place_batch, place_state
from tests.models.head_batches import params_of

SIZES = {"encoder_layers": 1, "emb_dim": 16, "mlp_dim": 16, "num_heads": 2, "head_dim": 8}
SIZES |= {"scan_layers": False}
CLAIMS = ("aab\tfor", "aba\tfor", "abb\tfor", "bba\tfor", "xxy\tagainst", "xyx\tagainst")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run that the page's gin text describes, its code being a file beside."""
    text = (REPOSITORY / "docs" / "extending.md").read_text()
    section = text.split("\n## Adding a kind of task\n")[1].split("\n## ")[0]
    code, gin = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_kinds.py").write_text(code)
    (tmp_path / "kind.gin").write_text(gin)
    (tmp_path / "claims").mkdir()
    for split in ("train", "dev"):
        lines = "".join(f"{line}\n" for line in CLAIMS)
        (tmp_path / "claims" / f"en_x-{split}.tsv").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_kinds", raising=False)
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    files = [
        "models/mlm_tiny.gin",
        "runs/heads.gin",
        "heads/topics.gin",
        str(tmp_path / "kind.gin"),
    ]
    given = [f"TEXT='{tmp_path / 'claims'}'", f"WORKDIR='{tmp_path / 'work'}'"]
    given += ["INPUTS_LENGTH=8", "BATCH_SIZE=6", "DataConfig.length_buckets=0"]
    return config.load(files, [*given, *(f"T5Config.{n}={v}" for n, v in SIZES.items())])


def test_a_kind_of_one_file_trains_answers_and_is_judged(run, tmp_path):
    assert kinds_of(run.data) == {"stance": "my_kinds:Stance"}
    (tmp_path / "again.gin").write_text(config.operative_config(run))
    assert config.load([str(tmp_path / "again.gin")]) == run

    names = take(training_examples(run.data), {"stance": 8})
    (tmp_path / "work").mkdir()
    keep_inventory(run, names)
    mixture = open_mixture(run.data, inventory=inventory_of(run))
    program = build(make_spec(run.model, optimizer=run.optimizer))
    state = place_state(program, params_of(run.model))
    for step in range(40):
        rows = {n: v for n, v in mixture.rows(step, 0, 6).items() if n != "row"}
        state, _ = program.train(state, place_batch(program, rows), hyper(0.03))

    predictor = Predictor(program, state.trainable, 0, 0, mixture.languages, Fingerprint(""))
    held_out = open_evaluation(run.data, inventory=names)
    vocabulary = open_vocabulary(run.data.vocabulary_config)
    examples = label_examples(run, predictor, held_out, vocabulary, "validation")
    kinds = kinds_of(run.data)
    scores = list(score_examples(examples, kinds))
    assert {one.metric: one.score.value for one in scores} == {"accuracy": 1, "macro_f1": 1}
    trivial = baselines(run.data, names, examples, kinds)
    judged = with_baselines(trivial, scores, kinds)
    assert {one.chance for one in judged if one.metric == "accuracy"} == {4 / 6}


def test_the_same_kind_as_text(run):
    kind = kind_of("my_kinds:Stance")
    record = ("aab", "for")
    assert kind.form(record, None) == ("stance: aab", "for")
    assert kind.read("for", "aab") == "for"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taging", "Did you mean 'tagging'"),
        ("no_such_file:Kind", r"no file 'no_such_file.py' is there"),
        ("json:Kind", "'json' has no Kind of the name 'Kind'"),
    ],
)
def test_a_kind_that_is_not_there_is_told(name, message):
    with pytest.raises(UserError, match=message):
        kind_of(name)
