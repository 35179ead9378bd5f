"""TextConfig through open_mixture: settled text and noise, restarts, hosts, and seqio's tasks."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from jaxlt import config as configs
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.synth.languages import FAMILY, generate, write_languages
from jaxlt.data.text.noise import alphabet_of
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.text.translit import RandomMap
from jaxlt.data.text.unicode import UnicodeConfig, normalised_text
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError
from tests.pieces import train_pieces

NAMES = ("asha_Latn", "bevo_Latn")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_pieces(tmp_path_factory.mktemp("spm") / "unigram", generate(FAMILY[0], 1000), 420)


@pytest.fixture
def config(tmp_path):
    write_languages(tmp_path / "text", FAMILY[:2], 200)
    (tmp_path / "pairs").mkdir()
    for name in NAMES:
        rows = (f"question {i} of many words e\u0301\tanswer {i} e\u0301" for i in range(60))
        (tmp_path / "pairs" / f"{name}.tsv").write_text("\n".join(rows))
    (tmp_path / "bitext").mkdir()
    rows = "\n".join(f"some words here {i}\tmoja mbili tatu {i}" for i in range(60))
    (tmp_path / "bitext" / "eng_Latn-swh_Latn.tsv").write_text(rows)
    return DataConfig(
        sources=str(tmp_path / "text"),
        inputs_length=64,
        batch_size=8,
        held_out=0.1,
        cache_dir=str(tmp_path / "cache"),
    )


def paired(config, kind="pairs", **more):
    folder = config.sources[0].replace("/text", f"/{kind}")
    objective = "text_to_text" if kind == "pairs" else "translation"
    return replace(config, sources=folder, objective=objective, **more)


def same(left, right):
    return all(np.array_equal(left[name], right[name]) for name in left)


def decoded(config, batch, field="encoder_input_tokens"):
    vocabulary = open_vocabulary(config.vocabulary_config)
    return [vocabulary.decode(row) for row in batch[field]]


NOISY = TextConfig(noise=(0.3, 0.6))
EVERY = [
    ("plain", {"text": NOISY}, "text"),
    ("mlm", {"text": NOISY, "objective": "mlm"}, "text"),
    ("pieces", {"text": replace(NOISY, subwords=0.1), "vocabulary": "model"}, "text"),
    ("subwords", {"text": TextConfig(subwords=0.1), "vocabulary": "model"}, "text"),
    ("settled", {"text": TextConfig(normalise="NFKC", random_map=True)}, "text"),
    ("pairs", {"text": replace(NOISY, normalise="NFC")}, "pairs"),
    ("packed", {"text": NOISY, "packing": "mixed"}, "pairs"),
    ("bitext", {"text": NOISY}, "bitext"),
]


@pytest.mark.parametrize(("change", "kind"), [e[1:] for e in EVERY], ids=[e[0] for e in EVERY])
def test_restarts_and_hosts_have_the_rows_of_the_whole(config, model, change, kind):
    if "vocabulary" in change:
        change = change | {"vocabulary": model}
    config = replace(config, **change) if kind == "text" else paired(config, kind, **change)
    whole = open_mixture(config)
    before = [whole.rows(step, 0, 8) for step in range(5)]
    again = open_mixture(config)
    assert again.fingerprint == whole.fingerprint
    for step in (3, 4, 1_000_000):  # a restart seeks, and nothing came before
        left, right = again.rows(step, 0, 3), again.rows(step, 3, 8)
        both = {name: np.concatenate([left[name], right[name]]) for name in left}
        assert same(both, before[step] if step < 5 else whole.rows(step, 0, 8))
    for name, (shape, dtype) in whole.spec().items():
        assert before[0][name].shape == (8, *shape) and before[0][name].dtype == dtype


@pytest.mark.parametrize("vocabulary", ["bytes", "pieces"])
def test_noise_is_in_training_alone_and_rows_stay_full(config, model, vocabulary):
    if vocabulary == "pieces":
        config = replace(config, vocabulary=model)
    clean, noisy = open_mixture(config), open_mixture(replace(config, text=NOISY))
    assert clean.fingerprint != noisy.fingerprint
    assert open_mixture(replace(config, text=TextConfig(noise=0.2))).fingerprint not in (
        clean.fingerprint,
        noisy.fingerprint,
    )
    batch = noisy.rows(0, 0, 8)
    assert not same(clean.rows(0, 0, 8), batch) and (batch["encoder_input_tokens"] > 0).all()
    epoch = noisy.info()[0].rows * 2
    assert not np.array_equal(batch["encoder_input_tokens"], noisy.rows(epoch, 0, 8))
    left, right = open_evaluation(config), open_evaluation(replace(config, text=NOISY))
    assert left.fingerprint == right.fingerprint
    assert all(same(left.rows(s, 0, 8), right.rows(s, 0, 8)) for s in range(left.num_batches))


def test_without_noise_nothing_is_in_the_way(config, model, monkeypatch):
    from jaxlt.data.text import noising as text_noise

    monkeypatch.setattr(text_noise.TextNoise, "__init__", None)
    settled = replace(config, text=TextConfig(noise=0.0, subwords=0.0, normalise="NFC"))
    assert same(open_mixture(settled).rows(0, 0, 8), open_mixture(config).rows(0, 0, 8))


def test_only_the_named_languages_are_noisy_by_the_alphabet_given(config, tmp_path):
    letters = tmp_path / "target.txt"
    letters.write_text("ЖЩЪ жщъ жщъ\n")
    text = TextConfig(noise=1.0, edits=("insert",), alphabet=str(letters), noisy=("asha_Latn",))
    clean, noisy = open_mixture(config), open_mixture(replace(config, text=text))
    for step in range(3):
        batch, plain = noisy.rows(step, 0, 8), clean.rows(step, 0, 8)
        mine = batch["language"] == 0
        assert mine.any() and not mine.all()
        for name in batch:
            assert np.array_equal(batch[name][~mine], plain[name][~mine])
        assert all(set(t) & set("жщъ") for t in np.array(decoded(config, batch))[mine])
    again = noisy.fingerprint
    letters.write_text("xyz")
    assert open_mixture(replace(config, text=text)).fingerprint != again


def test_inputs_of_pairs_are_noisy_and_tags_and_targets_are_not(config):
    config = paired(config, "bitext", held_out=0.0)
    noisy = replace(config, text=TextConfig(noise=1.0, alphabet="qx"))
    left, right = open_mixture(config).rows(0, 0, 8), open_mixture(noisy).rows(0, 0, 8)
    assert same({k: left[k] for k in left if "decoder" in k}, right)
    for before, after in zip(decoded(config, left), decoded(config, right), strict=True):
        assert before != after and before.split()[0] == after.split()[0]  # <2swh_Latn>
        assert all(a != b for a, b in zip(before.split()[1:-1], after.split()[1:-1], strict=True))


def test_subword_sampling_changes_pieces_and_not_the_text(config, model):
    config = paired(config, vocabulary=model, held_out=0.0)
    sampled = replace(config, text=TextConfig(subwords=0.2))
    left, right = open_mixture(config).rows(0, 0, 8), open_mixture(sampled).rows(0, 0, 8)
    assert not np.array_equal(left["encoder_input_tokens"], right["encoder_input_tokens"])
    for before, after in zip(decoded(config, left), decoded(config, right), strict=True):
        assert before.startswith(after[:40])  # more pieces: the end is cut
    with pytest.raises(UserError, match="needs a SentencePiece vocabulary"):
        open_mixture(replace(config, vocabulary="bytes", text=TextConfig(subwords=0.1)))


SETTLED = {
    "normalise": TextConfig(normalise="NFC", targets=True),
    "table": TextConfig(transliterate="table.tsv", transliterated=("asha_Latn",)),
    "random": TextConfig(random_map=True, random_seed=3),
    "gloss": TextConfig(dictionary="words.tsv", glossed=("bevo_Latn",), unknown_words="mark"),
}


@pytest.mark.parametrize("kind", ["text", "pairs"])
@pytest.mark.parametrize("which", SETTLED)
def test_seqios_tasks_have_the_same_settled_tokens(config, tmp_path, monkeypatch, kind, which):
    pytest.importorskip("seqio")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.tsv").write_text("a\tа\ne\tе\n", encoding="utf-8")
    words = next(generate(FAMILY[1], 1)).strip(".").split()
    rows = "".join(f"{word.lower()}\tQ{i}\n" for i, word in enumerate([*words, "many"]))
    (tmp_path / "words.tsv").write_text(f"english\ttranslation\n{rows}")
    base = paired(config) if kind == "pairs" else config
    base = replace(base, mixture=f"settled_{kind}_{which}")
    config = replace(base, text=SETTLED[which])
    mixtures.register(config)
    direct, named = open_mixture(config), open_mixture(replace(base, sources=()))
    assert same(direct.rows(2, 0, 8), named.rows(2, 0, 8))
    assert direct.fingerprint != open_mixture(base).fingerprint
    if not (kind == "text" and which == "normalise"):  # that text is composed already
        assert not same(direct.rows(2, 0, 8), open_mixture(base).rows(2, 0, 8))
    with pytest.raises(UserError, match="have made their text already"):
        open_mixture(replace(config, sources=()))


def test_what_is_done_to_text_is_what_the_functions_do(config, tmp_path):
    form = UnicodeConfig("NFKC", "drop", "by_script")
    text = TextConfig("NFKC", "drop", "by_script", random_map=True, random_seed=5)
    said = "\ufb01ne o\u2018zbek e\u0301"
    expected = RandomMap("abcdefghijklmnopqrstuvwxyz", 5)(normalised_text(said, form))
    assert text.change("eng_Latn")(said) == expected
    assert TextConfig().change("eng_Latn") is None
    assert TextConfig(random_map=True, transliterated=("wol_Latn",)).change("eng_Latn") is None
    batch = open_mixture(paired(config, text=TextConfig(normalise="NFC"))).rows(0, 0, 8)
    inputs, targets = decoded(config, batch), decoded(config, batch, "decoder_target_tokens")
    assert all(unicodedata.is_normalized("NFC", t) for t in inputs)
    assert not any(unicodedata.is_normalized("NFC", t) for t in targets)


def test_the_own_alphabet_is_that_of_the_text(config):
    mixture = open_mixture(replace(config, text=TextConfig(noise=1.0, edits=("replace",))))
    own = {name: set(alphabet_of(generate(FAMILY[i], 200))) for i, name in enumerate(NAMES)}
    batch = mixture.rows(0, 0, 8)
    for language, text in zip(batch["language"], decoded(config, batch), strict=True):
        letters = {char for char in text.lower() if char.isalpha()}
        assert letters <= own[NAMES[language]] | set("\ufffd")


def test_gin_says_it(tmp_path):
    files = ["models/tiny.gin", "runs/pretrain.gin", "data/noise.gin"]
    given = ["TEXT=x", f"WORKDIR={tmp_path}", "TextConfig.noisy='swh_Latn'", "NOISE=0.2"]
    run = configs.load(files, given)
    assert run.data.text == run.eval_data.text
    assert run.data.text.noise == 0.2 and run.data.text.noisy == ("swh_Latn",)
    path = tmp_path / "again.gin"
    path.write_text(configs.text.render(run))
    assert configs.load([str(path)]) == run
    with pytest.raises(UserError, match=r"TextConfig.normalise.*Did you mean 'NFC'"):
        configs.load(files, [*given, "TextConfig.normalise='nfc'"])
    with pytest.raises(UserError, match=r"has no 'normalize'.*Did you mean 'normalise'"):
        configs.load(files, [*given, "TextConfig.normalize='NFC'"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalise": "nfkc"}, "TextConfig.normalise is one of.*Did you mean 'NFKC'"),
        ({"joiners": "by-script"}, "Did you mean 'by_script'"),
        ({"noise": 1.5}, r"in \[0, 1\]"),
        ({"edits": ("swop",)}, "Did you mean 'swap'"),
        ({"subwords": -1.0}, "at least 0"),
        ({"dictionary": "d.tsv"}, "belong together"),
        ({"random_map": True, "random_letters": "a"}, "at least two letters"),
    ],
)
def test_settings_that_cannot_be(change, words):
    with pytest.raises(UserError, match=words):
        TextConfig(**change)


def test_languages_and_files_that_are_not_there(config):
    with pytest.raises(UserError, match=r"TextConfig.noisy names 'asha_Lat'.*Did you mean 'asha_"):
        open_mixture(replace(config, text=TextConfig(noise=0.1, noisy=("asha_Lat",))))
    with pytest.raises(UserError, match=r"'urman'\. Did you mean 'uroman'"):
        open_mixture(replace(config, text=TextConfig(transliterate="urman")))
    with pytest.raises(UserError, match=r"TextConfig.dictionary: There is no file .*'no.tsv'"):
        open_mixture(replace(config, text=TextConfig(dictionary="no.tsv", glossed=NAMES)))
    with pytest.raises(UserError, match="letters, or a file of text"):
        open_mixture(replace(config, text=TextConfig(noise=0.1, alphabet="no/file.txt")))
    with pytest.raises(UserError, match=r"fewer than two letters\. It is that of 'asha_Latn'"):
        open_mixture(replace(config, text=TextConfig(noise=0.1, alphabet="x")))
