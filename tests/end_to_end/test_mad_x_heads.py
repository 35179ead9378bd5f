"""MAD-X with heads: modules learnt under an encoder-decoder's text serve heads on its encoder."""

import numpy as np
import pytest

from jaxlt.config import load, operative_config
from jaxlt.config.recorded import younger
from jaxlt.engine.checkpoint.workdir import bindings
from jaxlt.metrics.result_file import read
from jaxlt.models.init import describe
from tests.data.head_files import NOUNS, VERBS, write_treebanks
from tests.end_to_end.conftest import SMALL, arrays_in

pytestmark = pytest.mark.usefixtures("quick_compile")

MODEL = ("--gin_file=models/tiny.gin",)
SHRUNK = ("--gin_file=tiny.gin", *SMALL, "--gin.BATCH_SIZE=8", "--gin.DataConfig.held_out=0.3")
SHRUNK += ("--gin.TRAIN_STEPS=4",)
MAD_X = ("--gin_file=modules/mad_x.gin", "--gin.LANGUAGES=4")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Text of two languages: words of the treebanks, in an order of each language's own."""
    folder = tmp_path_factory.mktemp("texts")
    for seed, language in enumerate(("eng_Latn", "fra_Latn")):
        rng = np.random.default_rng(seed)
        lines = [" ".join(rng.permutation((*NOUNS, *VERBS))[:5]) for _ in range(200)]
        (folder / f"{language}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def done(command, *argv):
    status, said, errors = command([str(part) for part in argv])
    assert status == 0, errors
    return " ".join((said + errors).split())


def nll(command, workdir, *flags):
    """What `jaxlt eval` writes of the French sentences."""
    rows = workdir / "results.jsonl"
    rows.unlink(missing_ok=True)
    said = done(command, "eval", f"--workdir={workdir}", "--languages=fra_Latn", *flags)
    (value,) = (r.value for r in read(rows) if r.metric == "nll" and r.target == "fra_Latn")
    return value, said


@pytest.mark.slow
def test_from_text_to_tags_of_another_language(command, words, tmp_path):
    base, bank, library = (tmp_path / name for name in ("base", "bank", "library"))
    text = (*SHRUNK, f"--gin.TEXT={words}", "--gin.DataConfig.mean_span=3.0")
    done(command, "train", *MODEL, "--gin_file=runs/pretrain.gin", *text, f"--gin.WORKDIR={base}")
    start = f"--gin.run.init_from={base}"
    adapt = ("--gin_file=runs/adapt.gin", *MAD_X, "--gin.LEARNING_RATE=0.1")
    done(command, "train", *MODEL, *adapt, *text, start, f"--gin.WORKDIR={bank}")
    done(command, "modules", "save", f"--workdir={bank}", f"--library={library}")

    tagger = tmp_path / "tagger"
    recipe = ("--gin_file=runs/heads.gin", "--gin_file=heads/tagging.gin", *MAD_X)
    recipe += ("--gin_file=modules/mad_x_task.gin", "--gin_file=data/transfer.gin", *SHRUNK)
    recipe += (f"--gin.TEXT={write_treebanks(tmp_path / 'ud')}", "--gin.SOURCES=eng_Latn")
    recipe += (f"--gin.LIBRARY={library}", start)
    said = done(command, "train", *MODEL, *recipe, f"--gin.WORKDIR={tagger}")
    for plug in ("lang", "embedding"):
        names = f"{plug}/eng_Latn, {plug}/fra_Latn"
        assert f"Plug '{plug}' holds {names} of {library}, trained on the backbone" in said
    (drawn,) = (part for part in said.split("drawn from the seed:")[1:])
    assert "/lang/" not in drawn.partition(".")[0]
    trained = [n for n in arrays_in(tagger / "checkpoints" / "4") if n.startswith("['trainable']")]
    assert {"heads" in n or ("modules" in n and "['task']" in n) for n in trained} == {True}
    assert any("heads" in n for n in trained) and any("modules" in n for n in trained)

    kept = f"--library={library}"
    own, _ = nll(command, tagger)  # by its route
    swapped, said = nll(command, tagger, "--modules=lang=fra_Latn,embedding=fra_Latn", kept)
    assert own == pytest.approx(swapped, rel=1e-5)
    assert f"Plug 'lang' holds lang/fra_Latn of {library}, trained on the backbone" in said
    other, _ = nll(command, tagger, "--modules=lang=eng_Latn,embedding=eng_Latn", kept)
    assert other != pytest.approx(own, rel=1e-4)
    table = done(command, "eval", f"--workdir={tagger}", "--answers", "--step=best")
    assert "fra_Latn" in table and "accuracy" in table


def test_only_by_setting_are_modules_in_the_encoder_alone():
    given = ["TEXT='t'", "WORKDIR='w'", "INIT_FROM='b'"]
    files = ["models/tiny.gin", "runs/adapt.gin", "modules/mad_x.gin"]
    where = {
        name: {
            n.split("/")[1] for n in describe(load(files, [*given, *more]).model) if "/lang/" in n
        }
        for name, more in (("default", []), ("encoder", ["STACKS=('encoder',)"]))
    }
    assert where == {"default": {"encoder", "decoder"}, "encoder": {"encoder"}}


def test_what_the_setting_was_before_there_was_one():
    """A run of an older jaxlt says nothing of it, and goes on by the same command."""
    given = ["TEXT='t'", "WORKDIR='w'", "INIT_FROM='b'"]
    run = load(["models/tiny.gin", "runs/adapt.gin", "modules/mad_x.gin"], given)
    now = bindings(operative_config(run))
    for plug in ("lang", "embedding"):
        assert now[f"{plug}/plug.stacks"] == younger(f"{plug}/plug.stacks")
