"""What `jaxlt data inspect` prints: texts come back, masks are told, and warnings are right."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.commands import main as cli
from jaxlt.data import reading
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.vocabulary.training import VocabTraining, train
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary

BYTES = open_vocabulary(VocabularyConfig())
ENGLISH = [f"the {n} cats sat on the {n + 1} mats, and dogs ran" for n in range(200)]
GREEK = [f"οι {n} γάτες κάθισαν στα {n + 1} χαλιά" for n in range(60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("text")
    (path / "eng_Latn.txt").write_text("\n".join(ENGLISH) + "\n")
    (path / "ell_Grek.txt").write_text("\n".join(GREEK) + "\n")
    return path


@pytest.fixture
def config(folder, tmp_path):
    return DataConfig(
        sources=str(folder), inputs_length=64, batch_size=8, cache_dir=str(tmp_path / "cache")
    )


@pytest.fixture(scope="module")
def pieces(folder, tmp_path_factory):
    model = tmp_path_factory.mktemp("model") / "eng.model"
    data = train(folder / "eng_Latn.txt", VocabTraining(size=320, extra_ids=20), lambda *_: None)
    model.write_bytes(data)
    return str(model)


def shown(parts, kind="text"):
    return "".join(p.text for p in parts if p.kind == kind)


def test_spans_are_numbered_alike_in_inputs_and_targets(config):
    mixture = open_mixture(config)
    batch = mixture.rows(0, 0, 8)
    for row in range(8):
        texts = reading.read(config, BYTES, batch, row, mixture.languages)
        numbers = [[p.number for p in texts[n] if p.kind == "sentinel"] for n in texts]
        assert numbers[0] == numbers[1] == list(range(len(numbers[0]))) and numbers[0]
        assert texts["inputs"][-1].kind == texts["targets"][-1].kind == "end"
    name = mixture.languages[int(batch["language"][0])]
    inputs = reading.read(config, BYTES, batch, 0, mixture.languages)["inputs"]
    whole = "\n".join(ENGLISH if name == "eng_Latn" else GREEK)
    assert next(p.text for p in inputs if p.kind == "text") in whole + "\n"
    assert all("\ufffd" not in p.text for p in inputs if p.kind == "text")


def test_letters_that_a_mask_cuts_are_shown_whole(config):
    config = replace(config, objective="mlm", languages=("ell_Grek",))
    mixture = open_mixture(config)
    batch = mixture.rows(0, 0, 8)
    for row in range(8):
        parts = reading.read(config, BYTES, batch, row, mixture.languages)["text"]
        text = "".join(p.text for p in parts[:-1]).strip("\ufffd")
        assert "\ufffd" not in text and text in "\n".join(GREEK) * 2
        assert {p.kind for p in parts} >= {"text", "masked", "end"}


def test_unknown_pieces_are_told_from_letters_that_are_cut():
    ids = np.array([2, *BYTES.encode("aι"), 1])
    kinds = [p.kind for p in reading.sequence(BYTES, ids, 0)]
    assert kinds == ["unknown", "text", "end"]
    kinds = [p.kind for p in reading.sequence(BYTES, ids[:-2], 0)]
    assert kinds == ["unknown", "text", "broken"]


def test_masked_text_is_whole_and_told_by_kind(config, pieces):
    config = replace(config, objective="mlm", vocabulary=pieces, languages=("eng_Latn",))
    vocabulary = open_vocabulary(config.vocabulary_config)
    mixture = open_mixture(config)
    kinds = set()
    for step in range(6):
        batch = mixture.rows(step, 0, 8)
        for row in range(8):
            parts = reading.read(config, vocabulary, batch, row, mixture.languages)["text"]
            kinds |= {p.kind for p in parts}
            text = "".join(p.text for p in parts[:-1])
            assert text == vocabulary.spell(batch["encoder_target_tokens"][row])
    assert kinds == {"text", "masked", "replaced", "kept", "end"}


def test_warnings_that_matter_and_no_others(config, pieces):
    assert reading.remarks(config, open_mixture(config), BYTES, steps=10) == []
    foreign = replace(config, vocabulary=pieces)
    vocabulary = open_vocabulary(foreign.vocabulary_config)
    lines = reading.remarks(foreign, open_mixture(foreign), vocabulary, steps=1)
    assert len(lines) == 1 and "ell_Grek: the vocabulary knows 0% of its Greek" in lines[0]
    four = ("eng_Latn", "fra_Latn", "deu_Latn", "fao_Latn")
    idle = replace(config, languages=four, rates=(("eng_Latn", 1.0),))
    lines = reading.remarks(idle, open_mixture(idle), BYTES, steps=10_000)
    said = "fra_Latn, deu_Latn, fao_Latn have ids but no data in this mixture"
    assert [line.startswith(said) for line in lines].count(True) == 1
    assert not any("no data" in line for line in lines if not line.startswith(said))
    assert any("eng_Latn will be seen" in line and "by heart" in line for line in lines)


def test_pairs_in_a_strange_script_are_warned_of(pieces, tmp_path):
    for name, letters in (("eng_Latn", "the cats sat"), ("ell_Grek", "οι γάτες κάθισαν")):
        lines = [f"{letters} {n}\tsays {n}" for n in range(40)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(
        sources=str(tmp_path),
        objective="text_to_text",
        inputs_length=32,
        vocabulary=pieces,
        cache_dir=str(tmp_path / "cache"),
    )
    vocabulary = open_vocabulary(config.vocabulary_config)
    lines = reading.remarks(config, open_mixture(config), vocabulary, steps=1)
    strange = [line for line in lines if "unknown or single bytes" in line]
    assert len(strange) == 1 and strange[0].startswith("ell_Grek: ")


def test_packed_examples_are_shown_with_their_languages(tmp_path):
    for language in ("aaa_Latn", "bbb_Latn"):
        lines = [f"{language[0]} asks {n}\tsays {n}" for n in range(40)]
        (tmp_path / f"{language}.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(
        sources=str(tmp_path),
        objective="text_to_text",
        inputs_length=64,
        batch_size=4,
        cache_dir=str(tmp_path / "cache"),
    )
    mixture = open_mixture(config)
    assert any("are padding" in line for line in reading.remarks(config, mixture, BYTES, 1))
    config = replace(config, packing="mixed")
    mixture = open_mixture(config)
    parts = reading.read(config, BYTES, mixture.rows(0, 0, 4), 0, mixture.languages)["inputs"]
    labels = [p.text for p in parts if p.kind == "language"]
    texts = [p.text for p in parts if p.kind == "text"]
    assert len(labels) == len(texts) > 3
    assert all(text.startswith(label[0]) for label, text in zip(labels, texts, strict=True))


def test_epochs_are_what_a_run_sees(config):
    mixture = open_mixture(replace(config, alpha=1.0))
    for info in mixture.info():
        rows = sum(
            int((mixture.rows(s, 0, 8)["language"] == mixture.languages.index(info.name)).sum())
            for s in range(300)
        )
        assert rows / info.rows == pytest.approx(reading.epochs(info, mixture, 300), rel=0.1)


def test_the_command_shows_every_language_once(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path))
    argv = [
        "data",
        "inspect",
        "--gin_file=models/tiny.gin",
        "--gin_file=runs/pretrain.gin",
        "--steps=7",
    ]
    argv += [f"--gin.TEXT={folder}", "--gin.INPUTS_LENGTH=128", "--gin.BATCH_SIZE=8"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "epochs in 7 steps" in out and "No warnings." in out
    rows = [line for line in out.splitlines() if "bytes asked for" in line]
    assert sorted(line.split()[0] for line in rows) == ["ell_Grek", "eng_Latn"]
    assert all("inputs 128/128" in line for line in rows)
    assert out.count("targets: <0>") == 2
    assert cli.main(["data", "inspect", "--gin_file=runs/pretrain.gin"]) == 2
    assert cli.main(["data", "inspct"]) == 2
    assert "Did you mean 'inspect'" in capsys.readouterr().err


def test_no_padding_in_rows_of_running_text(config):
    for objective in ("span_corruption", "prefix_lm", "mlm"):
        mixture = open_mixture(replace(config, objective=objective))
        share = np.mean([reading.padding(mixture.rows(s, 0, 8)) for s in range(20)])
        assert share < 0.03, objective
