"""Training vocabularies on small text: sampling, what the model file holds, and the report."""

import numpy as np
import pytest

from jaxlt.commands import main as cli
from jaxlt.data.vocabulary.reports import fit
from jaxlt.data.vocabulary.training import VocabTraining, sample, train, with_sentinels
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

_random = np.random.default_rng(0)
_words = ["".join(_random.choice(list("aeioubdgklmnprst"), 6)) for _ in range(200)]
LATIN = [" ".join(["the cat sat", *_random.choice(_words, 5)]) for _ in range(300)]
GREEK = ["η γάτα κάθισε στο χαλί", "ο σκύλος έτρεξε στη γάτα"] * 20


def quiet(what, share):
    assert what and 0 <= share <= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("text")
    for name, lines in (("eng_Latn", LATIN), ("ell_Grek", GREEK)):
        (path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "eng.model"
    argv = f"data vocab --text {folder} --languages eng_Latn --out {out} --size 400".split()
    assert cli.main([*argv, "--extra_ids", "20"]) == 0
    return out


def texts():
    return {n: lambda d=d: (line.encode() for line in d) for n, d in (("a", LATIN), ("b", GREEK))}


def test_sampling_is_by_temperature_and_seeded(tmp_path):
    total = sum(len(line.encode()) + 1 for line in LATIN + GREEK)
    written = sample(texts(), 0.0, total, tmp_path / "x", 0, quiet)
    assert written["a"] == pytest.approx(total / 2, rel=0.05)
    assert written["b"] == pytest.approx(total / 2, rel=0.05)  # repeated: it has less
    sample(texts(), 0.0, total, tmp_path / "y", 0, quiet)
    sample(texts(), 0.0, total, tmp_path / "z", 1, quiet)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    assert (tmp_path / "x").read_bytes() != (tmp_path / "z").read_bytes()
    assert sum(sample(texts(), 1.0, 1000, tmp_path / "w", 0, quiet).values()) < 1500
    with pytest.raises(UserError, match="'c' has no text"):
        sample({"c": lambda: iter(())}, 0.3, 10, tmp_path / "v", 0, quiet)


def test_the_model_has_t5s_ids_and_the_sentinels_last(model):
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", str(model)))
    assert vocabulary.size == 400
    assert vocabulary.sentinels(3).tolist() == [399, 398, 397]
    assert (vocabulary.byte_lengths[380:] == 0).all()
    ids = vocabulary.encode("the cat sat")
    assert vocabulary.decode(ids) == "the cat sat" and not vocabulary.unknown_ids[ids].any()
    rare = vocabulary.encode("ж")
    assert vocabulary.unknown_ids[rare].sum() == 2 and vocabulary.decode(rare) == "ж"
    assert not np.isin(vocabulary.encode("<extra_id_0> cat"), vocabulary.sentinels(20)).any()


def test_seqio_reads_the_same_ids(model):
    pytest.importorskip("seqio")
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", str(model)))
    theirs = vocabulary.seqio()
    assert theirs.vocab_size == 400 and theirs.pad_id == 0 and theirs.eos_id == 1
    assert theirs.encode("the cat sat") == vocabulary.encode("the cat sat").tolist()
    assert theirs.tokenizer.id_to_piece(399) == "<extra_id_0>"


def test_the_report_tells_a_foreign_script(folder, model, capsys):
    assert cli.main(["data", "vocab", "--text", str(folder), "--report", str(model)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "eng_Latn 3." in out and "knows 0% of its Greek letters" in out
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", str(model)))
    english = fit("eng_Latn", (line.encode() for line in LATIN), vocabulary)
    greek = fit("ell_Grek", (line.encode() for line in GREEK), vocabulary)
    assert english.unknown == english.in_bytes == 0
    assert english.coverage == english.script_coverage == 1.0
    assert english.fertility < 4 < greek.fertility
    assert greek.unknown == 0 and greek.in_bytes > 0.8  # it falls back on bytes: nothing is lost
    assert greek.script == "Greek" and greek.split == 1.0
    bytes_ = fit("ell_Grek", (line.encode() for line in GREEK), open_vocabulary(VocabularyConfig()))
    assert bytes_.bytes_per_token == 1.0 and bytes_.coverage == 1.0
    assert bytes_.unknown == bytes_.in_bytes == 0


def test_a_run_says_the_text_and_its_doses(folder, capsys):
    files = ["--gin_file=models/lab_mlm.gin", "--gin_file=runs/lab_mlm.gin"]
    dosed = ["--gin_file=data/doses.gin", "--gin.AMOUNTS={'ell_Grek': 0}", f"--gin.TEXT={folder}"]
    assert cli.main(["data", "vocab", *files, *dosed, "--report=bytes"]) == 0
    out = capsys.readouterr().out
    assert "eng_Latn" in out and "ell_Grek" not in out


def test_a_character_vocabulary(folder, tmp_path):
    out = tmp_path / "chars.model"
    argv = f"data vocab --text {folder} --out {out} --model char --coverage 1 --no_byte_fallback"
    assert cli.main([*argv.split(), "--extra_ids", "10"]) == 0
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", str(out)))
    assert len(vocabulary.encode("γάτα cat")) == 9  # a mark of the first word's start, too
    assert vocabulary.size < 80 and vocabulary.decode(vocabulary.encode("γάτα")) == "γάτα"
    lost = fit("rus_Cyrl", ["жж cat".encode()], vocabulary)
    assert lost.in_bytes == 0 and 0.3 < lost.unknown <= 0.5


def test_what_cannot_be_trained_is_said(folder, tmp_path, capsys, model):
    with pytest.raises(UserError, match="no place for text: 359 are special"):
        VocabTraining(size=300)
    with pytest.raises(UserError, match="Did you mean 'bpe'"):
        VocabTraining(model="bpee")
    small = tmp_path / "small"
    small.write_text("abc\n" * 20)
    with pytest.raises(UserError, match=r"could not train on this text: it gives at most \d+ ids"):
        train(small, VocabTraining(size=5000, model="bpe"), quiet)
    small.write_text("".join(chr(0x4E00 + i) for i in range(500)) + "\n")
    with pytest.raises(UserError, match="characters and special ids alone are"):
        train(small, VocabTraining(size=500, coverage=1.0), quiet)
    argv = ["data", "vocab", "--text", str(folder)]
    for more, said in (
        ([], "Say --out=FILE"),
        (["--report", "bytes", "--gin.TEXT=x"], "Say --text=PATH, or the gin files"),
        (["--out", str(model)], "there already; say --overwrite"),
        (["--languages", "eng_Latin", "--report", "bytes"], "Did you mean 'eng_Latn'"),
    ):
        assert cli.main([*argv, *more]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_sentinels_are_appended_in_falling_order():
    assert with_sentinels(b"", 0) == b""
    assert with_sentinels(b"x", 2).index(b"<extra_id_1>") < with_sentinels(b"x", 2).index(b"id_0>")
