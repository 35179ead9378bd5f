"""Mixtures from text on disk to rows: rates, order, epochs, evaluation, and what is refused."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.rows.batches import BatchSource
from jaxlt.data.synth.languages import FAMILY, write_languages
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

BYTES = open_vocabulary(VocabularyConfig())


@pytest.fixture
def config(tmp_path):
    write_languages(tmp_path / "text", FAMILY[:2], 300)
    write_languages(tmp_path / "text", FAMILY[2:], 160)
    return DataConfig(
        sources=str(tmp_path / "text"),
        inputs_length=64,
        batch_size=8,
        held_out=0.1,
        cache_dir=str(tmp_path / "cache"),
    )


def same(left, right):
    return all(np.array_equal(left[name], right[name]) for name in left)


def test_rows_are_a_function_of_seed_step_and_row(config):
    mixture = open_mixture(config)
    assert isinstance(mixture, BatchSource)
    whole = mixture.rows(3, 0, 8)
    assert same(whole, open_mixture(config).rows(3, 0, 8))
    left, right = mixture.rows(3, 0, 4), mixture.rows(3, 4, 8)
    assert same(whole, {k: np.concatenate([left[k], right[k]]) for k in left})
    assert not same(whole, mixture.rows(4, 0, 8))
    other = open_mixture(replace(config, seed=1))
    assert not same(whole, other.rows(3, 0, 8)) and other.fingerprint != mixture.fingerprint
    for name, (shape, dtype) in mixture.spec().items():
        assert whole[name].shape == (8, *shape) and whole[name].dtype == dtype
    assert set(whole) == set(mixture.spec())


def test_seeking_far_is_instant(config):
    mixture = open_mixture(config)
    began = time.perf_counter()
    mixture.rows(1_000_000, 0, 8)
    assert time.perf_counter() - began < 1.0


def raw_text(batch, row):
    """Returns the text under a row's spans: the inputs with the targets put back."""
    targets = batch["decoder_target_tokens"][row]
    spans = np.split(targets, np.flatnonzero(targets > 240))[1:]  # no text byte is that high here
    out = []
    for token in batch["encoder_input_tokens"][row]:
        out += spans[258 - token][1:].tolist() if token > 240 else [int(token)]
    return BYTES.decode(out)


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_window_comes_once_an_epoch(config, shuffle):
    config = replace(config, languages=("chiri_Latn",), shuffle=shuffle)
    mixture = open_mixture(config)
    count = mixture.info()[0].rows
    rows = [mixture.rows(i // 8, i % 8, i % 8 + 1) for i in range(2 * count)]
    seen = [raw_text(row, 0) for row in rows]
    text = open_text(config)
    width = len(seen[0])
    windows = [text[i * width : (i + 1) * width] for i in range(count)]
    assert sorted(seen[:count]) == sorted(seen[count:]) == sorted(windows)
    assert (seen[:count] == windows) == (not shuffle)
    assert (seen[:count] == seen[count:]) == (not shuffle)
    first, again = rows[0], rows[seen[count:].index(seen[0]) + count]
    assert not same(first, again)  # noise is new each epoch


def open_text(config):
    from jaxlt.data.sources.sources import discover, documents

    paths = discover(config.sources, config.endings)[config.languages[0]]
    return "".join(d.decode() + "\n" for d in documents(paths, "train", config.shares.split(0)))


def test_rates_follow_counts_to_the_alpha(config):
    for alpha in (0.0, 0.3, 1.0):
        mixture = open_mixture(replace(config, alpha=alpha))
        tokens = np.array([i.tokens for i in mixture.info()], float)
        expected = tokens**alpha / (tokens**alpha).sum()
        assert np.allclose([i.rate for i in mixture.info()], expected)
        language = np.concatenate([mixture.rows(s, 0, 8)["language"] for s in range(60)])
        assert np.allclose(np.bincount(language, minlength=3) / 480, expected, atol=0.07)


def test_explicit_rates_choose_who_takes_part(config):
    config = replace(
        config,
        languages=("zulu", "chiri_Latn", "bevo_Latn", "asha_Latn"),
        rates=(("bevo_Latn", 3.0), ("chiri_Latn", 1.0)),
    )
    mixture = open_mixture(config)
    assert mixture.languages == config.languages
    language = np.concatenate([mixture.rows(s, 0, 8)["language"] for s in range(100)])
    counts = np.bincount(language, minlength=4)
    assert counts[0] == counts[3] == 0 and abs(counts[2] / counts.sum() - 0.75) < 0.06
    assert "bevo_Latn" in mixture.describe() and "75.000" in mixture.describe()


def test_languages_are_numbered_by_name_or_as_given(config):
    assert open_mixture(config).languages == ("asha_Latn", "bevo_Latn", "chiri_Latn")
    names = ("chiri_Latn", "asha_Latn")
    mixture = open_mixture(replace(config, languages=names))
    assert mixture.languages == names
    batch = mixture.rows(0, 0, 8)
    texts = [open_text(replace(config, languages=(name,))) for name in names]
    for row in range(8):
        assert raw_text(batch, row) in texts[batch["language"][row]]


def test_fingerprint_follows_what_decides_the_rows(config, tmp_path):
    base = open_mixture(config).fingerprint
    changes = [{"inputs_length": 65}, {"alpha": 0.5}, {"batch_size": 4}, {"separator": " "}]
    changes += [{"languages": ("asha_Latn",)}, {"sentinels": "extra"}, {"mean_span": 4.0}]
    found = {open_mixture(replace(config, **change)).fingerprint for change in changes}
    assert len(found) == len(changes) and base not in found
    assert base == open_mixture(replace(config, cache_dir=str(tmp_path / "c2"))).fingerprint
    with (tmp_path / "text" / "asha_Latn.txt").open("a") as file:
        file.write("More.\n")
    assert base != open_mixture(config).fingerprint


def test_evaluation_is_one_full_pass_with_the_same_noise(config):
    view = open_evaluation(config)
    batches = [view.rows(step, 0, 8) for step in range(view.num_batches)]
    language = np.concatenate([b["language"] for b in batches])
    weight = np.concatenate([b["decoder_loss_weights"].sum(1) for b in batches])
    assert (weight[: view.num_rows] > 0).all() and not weight[view.num_rows :].any()
    assert len(weight) % 8 == 0 and len(weight) - view.num_rows < 8
    assert set(language[:3]) == {0, 1, 2}  # a first batch holds all languages
    seeded = open_evaluation(replace(config, seed=9, shuffle=False))
    assert all(same(b, seeded.rows(i, 0, 8)) for i, b in enumerate(batches))
    alone = open_evaluation(replace(config, languages=("bevo_Latn",), batch_size=1))
    mine = np.flatnonzero(language[: view.num_rows] == 1)
    assert len(mine) == alone.num_rows
    for i, row in enumerate(mine):
        one = alone.rows(i, 0, 1)
        assert np.array_equal(
            one["decoder_target_tokens"][0], batches[row // 8]["decoder_target_tokens"][row % 8]
        )


def test_evaluation_reads_the_whole_held_out_text(config):
    view = open_evaluation(replace(config, objective="mlm"))
    tokens = sum(
        int((view.rows(s, 0, 8)["encoder_target_tokens"] > 1).sum())
        for s in range(view.num_batches)
    )
    whole = sum(
        sum(len(d) + 1 for d in held) for held in (held_out(config, n) for n in view.languages)
    )
    assert whole - len(view.languages) <= tokens <= whole  # a single last byte makes no row
    limited = open_evaluation(config, limit=2)
    assert limited.num_rows == 6


def held_out(config, language):
    from jaxlt.data.sources.sources import discover, documents

    paths = discover(config.sources, config.endings)[language]
    return list(documents(paths, "validation", config.shares.split(0)))


def test_text_to_text_from_tsv(tmp_path, caplog):
    lines = [f"question {i}\tanswer {i * i}" for i in range(50)]
    (tmp_path / "eng_Latn.tsv").write_text("\n".join(lines))
    config = DataConfig(
        sources=str(tmp_path),
        objective="text_to_text",
        inputs_length=16,
        targets_length=12,
        held_out=0.0,
        batch_size=5,
        cache_dir=str(tmp_path / "cache"),
    )
    mixture = open_mixture(config)
    batches = [mixture.rows(step, 0, 5) for step in range(10)]
    seen = [
        f"{BYTES.decode(i)}\t{BYTES.decode(t)}"
        for b in batches
        for i, t in zip(b["encoder_input_tokens"], b["decoder_target_tokens"], strict=True)
    ]
    assert sorted(seen) == sorted(lines) and "are cut" not in caplog.text
    with caplog.at_level("WARNING"):  # 'question 10' and the end are 12 tokens
        open_mixture(replace(config, inputs_length=11))
    assert "Of 50 inputs of 'eng_Latn', 40 are longer than DataConfig.inputs_length" in caplog.text


def test_a_ready_cache_opens_without_tensorflow(config):
    open_mixture(config)
    code = f"""
import sys
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture, open_evaluation
config = DataConfig(sources={config.sources!r}, inputs_length=64, held_out=0.1,
    cache_dir={config.cache_dir!r})
open_mixture(config).rows(0, 0, 2), open_evaluation(config)
print([n for n in ("tensorflow", "seqio", "jax") if n in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_rows_are_fast(config):
    """At least 2,000 rows of 256 bytes a second on a core."""
    mixture = open_mixture(replace(config, inputs_length=256, mean_span=20.0, batch_size=256))
    mixture.rows(0, 0, 256)
    began = time.process_time()
    for step in range(8):
        mixture.rows(step, 0, 256)
    assert 8 * 256 / (time.process_time() - began) > 2000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rates": (("asha_Latn", 0.0),)}, "'asha_Latn' the rate 0"),
        ({"rates": (("asha_Latn", -1.0),)}, "'asha_Latn' the rate -1"),
        ({"rates": (("asha_Latn", float("nan")),)}, "the rate nan"),
        ({"rates": (("asha_Latin", 1.0),)}, "'asha_Latin'.*Did you mean 'asha_Latn'"),
        ({"languages": ("asha_Lat",)}, "'asha_Lat'.*Did you mean 'asha_Latn'"),
        ({"languages": ("asha_Latn", "asha_Latn")}, "more than once"),
        (
            {"languages": ("ashaa",), "rates": (("asha_Latn", 1.0),)},
            "not in DataConfig.languages.*Did you mean 'ashaa'",
        ),
        ({"vocabulary": "no/spiece.model"}, "There is no file or folder 'no/spiece.model'"),
        ({"inputs_length": 2}, "inputs_length=2 is too small"),
        ({"targets_length": 3}, "targets_length=3 is too small"),
        ({"objective": "span_coruption"}, "Did you mean 'span_corruption'"),
        ({"split": "valid"}, "train and validation, not 'valid'"),
        ({"batch_size": 0}, "batch_size"),
        ({"held_out": 1.0}, "held_out"),
        ({"held_out": 0.999999}, "has no text to train on"),
        ({"cache_dir": "gs://bucket/x"}, "local folder"),
    ],
)
def test_what_cannot_be_is_refused(config, change, words):
    with pytest.raises(UserError, match=words):
        open_mixture(replace(config, **change))


def test_evaluation_without_text_is_refused(config):
    with pytest.raises(UserError, match=r"no text in the split 'validation' \(held_out=0\)"):
        open_evaluation(replace(config, held_out=0.0))


def test_real_bibles(shared_data, tmp_path):
    config = DataConfig(
        sources=str(shared_data / "mt" / "bible" / "*_*.txt.gz"),
        inputs_length=256,
        mean_span=20.0,
        languages=("amh_Ethi", "swh_Latn", "jpn_Jpan"),
        held_out=0.01,  # by itself it is up to 5% of so little text
        cache_dir=str(tmp_path),
    )
    mixture = open_mixture(config)
    assert all(i.documents > 2400 for i in mixture.info())
    batch = mixture.rows(0, 0, 8)
    assert (batch["encoder_input_tokens"] > 0).all()  # rows are full
    assert (batch["target_bytes"] == 45).all()
    view = open_evaluation(config)
    held = sum(view.rows(s, 0, 8)["target_bytes"].sum() for s in range(view.num_batches))
    assert 500 < held < 5000


def test_every_language_is_found_in_a_real_folder(shared_data, tmp_path):
    config = DataConfig(
        sources=str(shared_data / "mt" / "bible" / "*_*.txt.gz"), cache_dir=str(tmp_path)
    )
    assert len(open_mixture(config).languages) == 30


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "here"))
    assert DataConfig().cache_root == tmp_path / "here"
    monkeypatch.delenv("JAXLT_CACHE")
    assert DataConfig().cache_root.name == "jaxlt"


def test_little_text_has_more_than_one_percent_held_out_and_says_so(tmp_path, caplog):
    (tmp_path / "text").mkdir()
    for code, count in (("aaa_Latn", 2000), ("bbb_Latn", 60_000)):
        lines = (f"sentence {i} of {code}, as long as it is\n" for i in range(count))
        (tmp_path / "text" / f"{code}.txt").write_text("".join(lines))
    config = DataConfig(
        sources=str(tmp_path / "text"), inputs_length=64, cache_dir=str(tmp_path / "cache")
    )
    view = open_evaluation(config)
    sizes = {text.language: text.cache.tokens() for text in view._make.texts}
    assert 0.035 < sizes["aaa_Latn"] / (2000 * 41) < 0.065  # 5%
    assert 40_000 < sizes["bbb_Latn"] < 60_000  # what says something
    (said,) = (r.message for r in caplog.records if "bits per byte of so little" in r.message)
    assert f"aaa_Latn ({sizes['aaa_Latn']:,})" in said and "bbb_Latn" not in said
    first = replace(config, revision=1, held_out=0.01, cache_dir=str(tmp_path / "other"))
    old = {text.language: text.cache.tokens() for text in open_evaluation(first)._make.texts}
    assert old["aaa_Latn"] < 2000 < sizes["aaa_Latn"]  # as it was: too few bytes to say anything
