"""Runs as objects: in memory as in a folder, silent, and with states for each other."""

import dataclasses
import os

import numpy as np
import pytest

import jaxlt
from jaxlt.errors import UserError
from jaxlt.inference.run import Run
from jaxlt.metrics import result_file
from tests.conftest import compiling
from tests.data.head_files import write_treebanks
from tests.trained_run import SIZES

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = {f"T5Config.{name}": value for name, value in SIZES.items()}
SMALL |= {"CheckpointConfig.every": 2, "TrainConfig.eval_every": 2, "DataConfig.held_out": 0.1}
SMALL |= {"CheckpointConfig.best_metric": "eval/bpb", "TrainConfig.log_every": 2}
FILES = ["models/tiny.gin", "runs/pretrain.gin", "tiny.gin"]
BOTTLENECK = ["models/tiny.gin", "modules/bottleneck.gin", "runs/adapt.gin", "tiny.gin"]
HEADS = ["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin", "tiny.gin"]


@pytest.fixture
def quiet(tmp_path, monkeypatch, capfd):
    """An empty current folder, in which nothing may appear, as on the screen."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "") and not list(here.iterdir())


@pytest.fixture(scope="module", autouse=True)
def cache(texts):
    os.environ.setdefault("JAXLT_CACHE", str(texts.parent / "cache"))


def tiny(texts, files=FILES, overrides=(), **macros):
    """A run of four steps."""
    return jaxlt.run(
        files, SMALL | dict(overrides), TEXT=texts, TRAIN_STEPS=4, LEARNING_RATE=10.0, **macros
    )


@pytest.fixture(scope="module")
def pretrained(texts):
    run = tiny(texts)
    run.train()
    return run


@pytest.fixture(scope="module")
def in_folder(texts):
    run = tiny(texts, WORKDIR=texts.parent / "as_object")
    run.train()
    return run


@pytest.fixture(scope="module")
def adapted(texts, pretrained):
    run = tiny(texts, BOTTLENECK)
    run.train(base=pretrained)
    return run


def named_alike(results):
    """Results without the name of their folder and the command that makes them again."""
    return [dataclasses.replace(one, run="", command="", config="") for one in results]


def equal(first, second):
    """Whether two predictors have the same parameters, bit for bit."""
    assert first.params.keys() == second.params.keys()
    pairs = [(first.params[name], second.params[name]) for name in first.params]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_in_memory_is_as_in_a_folder(quiet, pretrained, in_folder):
    assert pretrained.history.steps == in_folder.history.steps
    assert len(pretrained.history.steps) == 4
    assert pretrained.history.evaluations == in_folder.history.evaluations
    for step in (None, "best"):
        assert equal(pretrained.predictor(step), in_folder.predictor(step))
    mine, theirs = pretrained.evaluate(limit=8), in_folder.evaluate(limit=8)
    assert named_alike(mine) == named_alike(theirs) and mine[0].step == 4 and mine[0].base
    assert mine[0].config == theirs[0].config
    kept = result_file.read(f"{in_folder.config.workdir}/results.jsonl")[-len(theirs) :]
    assert [dataclasses.replace(one, time=None) for one in kept] == theirs
    assert "--limit=8" in theirs[0].command and not mine[0].command
    alone = pretrained.evaluate("validation", ["bb_Latn"], limit=8)
    assert {one.target for one in alone} == {"bb_Latn"}


def test_training_twice_gives_the_same_and_another_seed_compiles_nothing(quiet, texts, pretrained):
    before, first = pretrained.history.steps, pretrained.predictor()
    other = tiny(texts, SEED=1)
    with compiling() as names:
        assert pretrained.train().steps == before
        assert other.train().steps != before
        assert other.evaluate(limit=8)
    assert names == []
    assert equal(first, pretrained.predictor()) and not equal(first, other.predictor())


@pytest.mark.slow
def test_a_base_in_memory_is_as_one_in_a_folder(quiet, texts, pretrained, in_folder, adapted):
    through = tiny(texts, BOTTLENECK)
    assert through.train(base=in_folder).steps == adapted.history.steps
    assert equal(through.predictor(), adapted.predictor())
    assert named_alike(through.evaluate(limit=8)) == named_alike(adapted.evaluate(limit=8))
    embedding = "params/token_embedder/embedding"
    frozen, start = adapted.predictor().params[embedding], pretrained.predictor().params[embedding]
    assert np.array_equal(frozen, start)
    assert through.config.init_from == in_folder.config.workdir


@pytest.mark.slow
def test_a_frozen_base_in_memory_is_kept_in_the_folder_of_a_run(texts, pretrained, adapted):
    kept = tiny(texts, BOTTLENECK, WORKDIR=texts.parent / "adapted_in_folder")
    assert kept.train(base=pretrained).steps == adapted.history.steps
    again = Run(kept.config)  # without the base: all is in the folder
    assert again.train().ended == "done"
    assert equal(again.predictor(), adapted.predictor())
    further = Run(dataclasses.replace(kept.config, workdir=""))
    assert np.isfinite(further.train(base=again).steps[-1]["loss"])


def test_modules_in_memory_are_as_through_a_library(quiet, texts, pretrained, adapted, tmp_path):
    start = {"TrainConfig.seed": 3}
    held = tiny(texts, BOTTLENECK, start)
    held.train(base=pretrained, modules=adapted.modules())
    saved = adapted.modules("lang").save(str(tmp_path / "library"), name="lang/both")
    assert [one.name for one in saved] == ["lang/both"]
    through = tiny(texts, BOTTLENECK, start | {"run.modules": ["lang=lang/both"]})
    through.config = dataclasses.replace(through.config, library=str(tmp_path / "library"))
    through.train(base=pretrained)
    assert held.history.steps == through.history.steps
    plain = tiny(texts, BOTTLENECK, start)
    assert plain.train(base=pretrained).steps != held.history.steps
    # Their backbone is the trained one, which no other seed draws.
    with pytest.raises(UserError, match="another backbone"):
        tiny(texts, BOTTLENECK, start).train(modules=adapted.modules())


@pytest.mark.slow
def test_answers_of_heads_are_those_of_a_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    corpora = write_treebanks(tmp_path / "ud", 8, 4)
    changes = SMALL | {"T5Config.decoder_layers": 0, "CheckpointConfig.best_metric": "eval/score"}
    macros = {"CORPORA": corpora, "TRAIN_STEPS": 2, "INPUTS_LENGTH": 48}
    held, saved = (
        jaxlt.run(HEADS, changes, **macros, **where) for where in ({}, {"WORKDIR": "tagger"})
    )
    held.train()
    mine = held.answers(limit=4)
    assert capfd.readouterr() == ("", "") and os.listdir() == ["ud"]
    saved.train()
    theirs = saved.answers(limit=4)
    assert mine.examples == theirs.examples and len(mine.examples) == 8
    assert named_alike(mine.results) == named_alike(theirs.results) and mine.path is None
    assert theirs.path is not None and os.path.exists(theirs.path)
    words = [example.inputs.split() for example in mine.examples[:2]]
    assert held.model().tag(words) == saved.model().tag(words)


def test_what_is_not_there_is_said(texts, pretrained, adapted):
    with pytest.raises(UserError, match="has not been trained yet"):
        tiny(texts).predictor()
    with pytest.raises(UserError, match=r"no state of step 3, but of 4"):
        pretrained.predictor(3)
    with pytest.raises(UserError, match="trained no module"):
        pretrained.modules()
    with pytest.raises(UserError, match=r"no plug 'lamg'.*Did you mean 'lang'"):
        adapted.modules("lamg")
    with pytest.raises(UserError, match="no plug 'lang'"):
        tiny(texts).train(modules=adapted.modules())
    with pytest.raises(UserError, match=r"'limits'.*'limit'"):
        pretrained.evaluate(limits=3)
    with pytest.raises(UserError, match="TEXTT"):
        jaxlt.run(FILES, TEXTT="x")
    with pytest.raises(UserError, match="starts from another one"):
        jaxlt.run(BOTTLENECK[:-1], TEXT=texts).train()
