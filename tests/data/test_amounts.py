"""Doses of training data: how much, of what, nested, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.config import load
from jaxlt.data.amounts import amount_of
from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import Inventory
from jaxlt.data.mixtures import (
    open_evaluation,
    open_mixture,
    training_documents,
    training_examples,
    training_forms,
)
from jaxlt.data.reading import epochs
from jaxlt.data.seqio_tasks import mixtures as seqio_mixtures
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.transfer import TransferConfig
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from jaxlt.identity import config_hash
from jaxlt.inference.provenance import amounts_of
from jaxlt.metrics.result import Result
from jaxlt.metrics.result_file import from_json, to_json

FACTORY = FactoryConfig((Family(2),), sentences=240, annotated=60, parallel=30)
ASHA, OTHER = "qaa_Latn", "qab_Latn"


def config_of(tmp_path, kind="synthetic_text", **more):
    settings = {"inputs_length": 64, "batch_size": 4, "held_out": 0.1}
    if kind != "synthetic_text":
        settings |= {"objective": "text_to_text", "inputs_length": 256, "targets_length": 128}
    settings |= {"cache_dir": str(tmp_path), "tasks": TaskConfig(kind, factory=FACTORY)}
    return DataConfig(**(settings | more))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("amounts")


def texts_of(config):
    """What a mixture holds of each language: its caches, by the last part of a task's name."""
    return {t.name.rpartition(".")[2]: t.cache for t in open_mixture(config)._make.texts}


def examples_of(config, language=ASHA, feature="targets"):
    column = texts_of(config)[language].columns[feature]
    return [tuple(part) for part in np.split(column.tokens, column.offsets[1:-1])]


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("10k tokens", "10000 tokens"),
        ("1.5M tokens", "1500000 tokens"),
        ("1,200 examples", "1200 examples"),
        ("25%", 0.25),
        (0.5, 0.5),
        (1.0, 1.0),
        (1, 1),
        (1e4, 10000),
        ("0 tokens", 0),
        (0.0, 0),
    ],
)
def test_amounts_are_held_in_one_way(written, held):
    read = amount_of(written, "x")
    assert read == held and type(read) is type(held) and amount_of(read, "x") == read


@pytest.mark.parametrize(
    "wrong", [-1, 1.5, True, False, "10 words", "ten tokens", "0.5 tokens", None]
)
def test_what_is_no_amount_is_told(wrong):
    with pytest.raises(UserError, match=r"gives 'swh_Latn' .*10k tokens"):
        DataConfig(amounts={"swh_Latn": wrong})


def test_running_text_is_cut_to_the_token_and_nested(folder):
    plain = config_of(folder)
    whole = examples_of(plain)
    tokens = {}
    for count in (500, 2000):
        dosed = replace(plain, amounts={ASHA: f"{count} tokens"})
        cache = texts_of(dosed)[ASHA]
        tokens[count] = cache.columns["targets"].tokens
        assert (
            cache.tokens()
            == count
            == texts_of(replace(plain, amounts={ASHA: count}))[ASHA].tokens()
        )
        *documents, last = examples_of(dosed)
        assert len(set(documents)) == len(documents) and set(documents) <= set(whole)
        assert (
            any(one[: len(last)] == last for one in whole) and cache.examples == len(documents) + 1
        )
        assert examples_of(dosed, OTHER) == examples_of(plain, OTHER)  # that nobody named
    assert np.array_equal(tokens[2000][:500], tokens[500])
    other = texts_of(replace(plain, amounts={ASHA: 500}, seed=1))[ASHA].columns["targets"].tokens
    assert not np.array_equal(other, tokens[500])
    kept = replace(plain, amounts={ASHA: 500}, amounts_seed=0, seed=1)
    assert np.array_equal(texts_of(kept)[ASHA].columns["targets"].tokens, tokens[500])


def test_shares_and_examples(folder):
    plain = config_of(folder)
    whole = texts_of(plain)[ASHA]
    half = texts_of(replace(plain, amounts={ASHA: 0.5}))[ASHA]
    assert half.tokens() == whole.tokens() // 2
    few = replace(plain, amounts={ASHA: "7 examples"})
    assert texts_of(few)[ASHA].examples == 7 and set(examples_of(few)) <= set(examples_of(plain))
    every = examples_of(replace(plain, amounts={ASHA: 1.0}))
    assert sorted(every) == sorted(examples_of(plain)) and every != examples_of(plain)


def test_rows_repeat_by_epochs_of_what_is_left(folder):
    config = config_of(folder, rates=((ASHA, 1.0),), languages=(ASHA, OTHER))
    mixture = open_mixture(replace(config, amounts={ASHA: "640 tokens"}))
    (info,) = mixture.info()
    window = mixture._make.objective.window
    assert info.tokens == 640 and info.rows == 640 // window
    assert epochs(info, mixture, 50) == pytest.approx(50 * 4 / info.rows)
    assert mixture.describe(50).endswith(f"{50 * 4 / info.rows:.2f}")
    told = amounts_of(mixture)
    assert told == {info.name: {"examples": info.documents, "tokens": 640, "epoch": info.rows / 4}}
    row = Result(metric="nll", value=1.0, n=1, step=50, amounts=told)
    assert from_json(to_json(row)) == row
    assert row.epochs == {info.name: pytest.approx(50 * 4 / info.rows)}
    assert amounts_of(open_mixture(config)) == {}
    rate = {i.name: i.rate for i in open_mixture(config_of(folder, amounts={ASHA: 640})).info()}
    sizes = texts_of(config_of(folder, amounts={ASHA: 640}))
    share = [sizes[name].tokens() ** 0.3 for name in (ASHA, OTHER)]
    assert rate[f"synthetic_text.{ASHA}"] == pytest.approx(share[0] / sum(share))


def test_a_vocabulary_reads_the_documents_that_train(folder, tmp_path):
    plain, bytes_of = config_of(folder), open_vocabulary(VocabularyConfig()).decode
    lines = "".join(f"sentence {i} of {'x' * (i % 7)}\n" for i in range(60))
    (tmp_path / "eng_Latn.txt").write_text(lines)
    own = DataConfig(
        sources=str(tmp_path), inputs_length=16, held_out=0.2, cache_dir=str(tmp_path / "c")
    )
    for config, name, language in (
        (plain, f"synthetic_text.{ASHA}", ASHA),
        (own, *["eng_Latn"] * 2),
    ):
        for amount in (1.0, "9 examples", 0.4):
            dosed = replace(config, amounts={language: amount}, seed=3)
            read = [one.decode() for one in training_documents(dosed)[name]()]
            *trained, last = [bytes_of(ids).rstrip("\n") for ids in examples_of(dosed, language)]
            assert set(trained) <= set(read) and len(read) == len(trained) + 1
            assert any(one.startswith(last) for one in read)  # which a share cuts to the token
    assert len(lines.splitlines()) > len(list(training_documents(own)["eng_Latn"]()))
    assert set(training_documents(replace(plain, amounts={ASHA: 0}))) == {f"synthetic_text.{OTHER}"}
    for amount, said in (
        ("500 tokens", "yet to be trained"),
        ("5000 examples", "has .* documents"),
    ):
        with pytest.raises(UserError, match=said):
            training_documents(replace(plain, amounts={ASHA: amount}))
    with pytest.raises(UserError, match="trained on running text"):
        training_documents(config_of(folder, "synthetic_tagging"))


def test_tasks_have_examples_by_name_language_and_kind(folder):
    config = config_of(
        folder,
        tasks=[TaskConfig(f"synthetic_{kind}", factory=FACTORY) for kind in ("tagging", "pairs")],
        objective="text_to_text",
        targets_length=128,
        inputs_length=256,
    )

    def counts(amounts):
        return {i.name: i.documents for i in open_mixture(replace(config, amounts=amounts)).info()}

    whole = counts({})
    tagging, pairs = f"synthetic_tagging.{ASHA}", f"synthetic_pairs.{ASHA}"
    assert counts({ASHA: 5}) == whole | {tagging: 5, pairs: 5}
    assert counts({ASHA: 5, tagging: "9 examples"}) == whole | {tagging: 9, pairs: 5}
    by_kind = {name: 4 for name in whole if "tagging" in name}
    assert counts({"synthetic_tagging": 4}) == whole | by_kind
    with pytest.raises(UserError, match=r"an amount by .* and another by"):
        counts({ASHA: 5, "synthetic_tagging": 4})
    with pytest.raises(UserError, match="names 'qac_Latn', of which nothing trains"):
        counts({"qac_Latn": 5})
    with pytest.raises(UserError, match=r"Did you mean 'qaa_Latn'\?"):
        counts({"qaa_Latm": 5})
    with pytest.raises(
        UserError, match=rf"asks for 900 examples of '{tagging}'.*in {whole[tagging]} ex"
    ):
        counts({tagging: 900})
    tokens = texts_of(replace(config, amounts={tagging: "100 tokens"}, rates=((tagging, 1),)))[ASHA]
    assert 50 < tokens.tokens() <= 100


def test_what_has_no_dose_does_not_train_and_is_scored(folder):
    plain = config_of(folder)
    own = {"rates": ((OTHER, 1.0),), "languages": (ASHA, OTHER)}
    none, alone = (
        open_mixture(replace(plain, amounts={ASHA: 0})),
        open_mixture(replace(plain, **own)),
    )
    rows = none.rows(3, 0, 4)
    assert all((rows[name] == given).all() for name, given in alone.rows(3, 0, 4).items())
    assert none.languages == open_mixture(plain).languages and (rows["language"] == 1).all()
    told = amounts_of(none)
    assert told == {f"synthetic_text.{ASHA}": {"examples": 0, "tokens": 0, "epoch": 0}}
    assert Result(metric="nll", value=1.0, n=1, step=50, amounts=told).epochs == {
        f"synthetic_text.{ASHA}": 0
    }
    assert none.describe(50).splitlines()[-1].split() == [*told, "0.000", "0", "0", "0", "0.00"]
    scored = open_evaluation(replace(plain, amounts={ASHA: 0}))
    assert set(scored.rows(0, 0, 2)["language"].tolist()) == {0, 1}
    rated = replace(plain, rates=((ASHA, 2.0), (OTHER, 1.0)), amounts={ASHA: 0})
    assert [info.rate for info in open_mixture(rated).info()] == [1, 0]
    with pytest.raises(UserError, match=r"gives .* 0, and nothing else trains"):
        open_mixture(replace(plain, amounts={ASHA: 0, OTHER: 0}))
    with pytest.raises(UserError, match=r"Did you mean 'qaa_Latn'\?"):
        open_mixture(replace(plain, amounts={"qaa_Latm": 0}))


def test_both_directions_have_the_same_pairs(folder):
    ahead, back = (f"synthetic_parallel.{a}:{b}" for a, b in ((ASHA, OTHER), (OTHER, ASHA)))
    config = config_of(folder, "synthetic_parallel", tag="", amounts={ahead: 6})
    sides = {f: examples_of(config, f"{ASHA}:{OTHER}", f) for f in ("inputs", "targets")}
    turned = {f: examples_of(config, f"{OTHER}:{ASHA}", f) for f in ("inputs", "targets")}
    assert len(sides["inputs"]) == 6
    assert sides == {"inputs": turned["targets"], "targets": turned["inputs"]}
    one = replace(config, amounts={ahead: 6, back: 4})
    assert examples_of(one, f"{OTHER}:{ASHA}", "inputs") == turned["inputs"][:4]


def test_heads_learn_the_names_of_their_dose(folder):
    config = config_of(
        folder,
        "synthetic_tagging",
        objective="heads",
        amounts={"synthetic_tagging": 3},
        targets_length=None,
    )
    examples = list(training_examples(config))
    assert len(examples) == 6
    every = [e for e in training_examples(replace(config, amounts=()))]
    assert len(every) > 6 and all(one in every for one in examples)
    names = Inventory({"synthetic_tagging": tuple({x for _, e in examples for x in e.labels})})
    parted = replace(config, inputs_length=24, overlength="window")
    rows = texts_of(parted)[ASHA]
    mine = sorted({int(n) for n in rows.columns["example"].tokens})
    assert len(mine) == 3 and rows.examples > 3  # examples, however many rows they are read in
    assert open_mixture(config, inventory=names).info()[0].documents == 3
    forms = {text.name: len(list(read)) for text, read in training_forms(config)}
    assert set(forms.values()) == {3}


def test_what_is_scored_is_whole_and_few_shot_counts_by_itself(folder):
    plain = config_of(folder, "synthetic_tagging", held_out=0.3)
    kept = open_evaluation(plain).num_rows
    assert open_evaluation(replace(plain, amounts={ASHA: 2})).num_rows == kept
    few = replace(plain, transfer=TransferConfig("few_shot", ASHA, k=3), amounts={ASHA: 5})
    assert {i.documents for i in open_mixture(few).info()} == {5, 3}
    with pytest.raises(UserError, match=rf"names '{OTHER}'.*TransferConfig.k is the amount"):
        open_mixture(replace(few, amounts={OTHER: 5}))


def test_what_was_recorded_before_is_as_it_was(folder):
    plain = config_of(folder)
    assert config_hash(plain) == config_hash(replace(plain, amounts_seed=3))
    assert config_hash(plain) != config_hash(replace(plain, amounts={ASHA: 5}))
    prints = {
        open_mixture(replace(plain, amounts=a)).fingerprint for a in ({}, {ASHA: 50}, {ASHA: 60})
    }
    assert len(prints) == 3 and open_mixture(plain).fingerprint in prints


def test_seqio_has_no_doses(folder):
    with pytest.raises(UserError, match=r"leave DataConfig.amounts out"):
        seqio_mixtures.register(config_of(folder, amounts={ASHA: 5}))


def test_gin_says_amounts():
    files = ["models/byt5_small.gin", "runs/pretrain.gin", "data/doses.gin"]
    doses = "AMOUNTS={'swh_Latn': '10k tokens', 'eng_Latn': 0.5}"
    run = load(files, [doses, "TEXT='x'", "WORKDIR='w'"])
    pairs = "AMOUNTS=[('swh_Latn', '10k tokens'), ('eng_Latn', 0.5)]"
    assert load(files, [pairs, "TEXT='x'", "WORKDIR='w'"]) == run
    assert run.data.amounts == (("swh_Latn", "10000 tokens"), ("eng_Latn", 0.5))
