"""BLEU, chrF and the like against sacrebleu's own calls."""

from pathlib import Path

import pytest
import sentencepiece
from sacrebleu.metrics import BLEU, CHRF

from jaxlt.errors import UserError
from jaxlt.metrics import text
from tests.metrics.texts import OTHER, REFERENCES, SYSTEM
from tests.pieces import train_pieces


@pytest.mark.parametrize(
    ("tokenize", "lowercase", "smooth"),
    [
        *((name, False, "exp") for name in ("13a", "zh", "char", "intl", "none")),
        *(("13a", False, name) for name in ("add-k", "floor", "none")),
        ("char", True, "add-k"),
    ],
)
def test_bleu_is_that_of_sacrebleu(tokenize, lowercase, smooth) -> None:
    made = text.bleu(SYSTEM, REFERENCES, tokenize=tokenize, lowercase=lowercase, smooth=smooth)
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method=smooth)
    expected = metric.corpus_score(SYSTEM, [REFERENCES])
    assert made.total() == pytest.approx(expected.score, abs=1e-9)
    assert made.details["signature"] == str(metric.get_signature())
    assert made.details["precisions"] == pytest.approx(expected.precisions)
    assert made.details["brevity_penalty"] == expected.bp
    assert (made.details["length"], made.details["reference_length"]) == (
        expected.sys_len,
        expected.ref_len,
    )
    assert made.rows.shape == (len(SYSTEM), 10)


def test_several_references_and_unlike_numbers_of_them() -> None:
    several = [[a, b] for a, b in zip(REFERENCES, OTHER, strict=True)]
    metric = BLEU()
    expected = metric.corpus_score(SYSTEM, [REFERENCES, OTHER])
    made = text.bleu(SYSTEM, several)
    assert made.total() == pytest.approx(expected.score, abs=1e-9)
    assert "nrefs:2" in made.details["signature"]
    uneven = [pair if i % 2 else pair[:1] for i, pair in enumerate(several)]
    second = [pair[1] if len(pair) > 1 else None for pair in uneven]
    expected = metric.corpus_score(SYSTEM, [REFERENCES, second])
    made = text.bleu(SYSTEM, uneven)
    assert made.total() == pytest.approx(expected.score, abs=1e-9)
    assert "nrefs:var" in made.details["signature"]


@pytest.mark.parametrize(
    ("word_order", "lowercase"), [(0, False), (1, True), (2, False), (2, True)]
)
def test_chrf_is_that_of_sacrebleu(word_order, lowercase) -> None:
    several = [[a, b] for a, b in zip(REFERENCES, OTHER, strict=True)]
    metric = CHRF(word_order=word_order, lowercase=lowercase)
    expected = metric.corpus_score(SYSTEM, [REFERENCES, OTHER])
    made = text.chrf(SYSTEM, several, word_order=word_order, lowercase=lowercase)
    assert made.total() == pytest.approx(expected.score, abs=1e-9)
    assert made.details["signature"] == str(metric.get_signature())
    assert f"nw:{word_order}" in made.details["signature"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The path of a tiny SentencePiece model of our texts."""
    path = tmp_path_factory.mktemp("spm") / "tiny"
    return Path(train_pieces(path, REFERENCES + SYSTEM + OTHER, 130))


def test_spbleu_is_bleu_over_pieces(pieces) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces))

    def split(line: str) -> str:
        return " ".join(processor.encode(line, out_type=str))

    metric = BLEU(tokenize="none", force=True)
    expected = metric.corpus_score([split(s) for s in SYSTEM], [[split(r) for r in REFERENCES]])
    for model in (pieces, str(pieces), processor):
        made = text.spbleu(SYSTEM, REFERENCES, model=model)
        assert made.total() == pytest.approx(expected.score, abs=1e-9)
    signature = made.details["signature"]
    assert "tok:spm-" in signature
    assert signature == text.spbleu(OTHER, REFERENCES, model=pieces).details["signature"]
    assert made.total() != pytest.approx(text.bleu(SYSTEM, REFERENCES).total())


def test_spbleu_without_a_model(tmp_path) -> None:
    (tmp_path / "no.model").write_text("not a model")
    for path in (tmp_path / "none.model", tmp_path / "no.model"):
        with pytest.raises(UserError, match="SentencePiece"):
            text.spbleu(SYSTEM, REFERENCES, model=path)
    with pytest.raises(UserError, match="SentencePiece"):
        text.spbleu(SYSTEM, REFERENCES, model=3)


def test_the_length_ratio_is_that_of_bleu() -> None:
    several = [[a, b] for a, b in zip(REFERENCES, OTHER, strict=True)]
    expected = BLEU().corpus_score(SYSTEM, [REFERENCES, OTHER])
    assert text.length_ratio(SYSTEM, several).total() == pytest.approx(expected.ratio)
    assert text.length_ratio(["ab"], ["abcd"], unit="characters").total() == 0.5
    assert text.length_ratio(["é"], ["abcd"], unit="bytes").total() == 0.5
    # Two references as close: the shorter, as BLEU takes it.
    assert text.length_ratio(["a b c"], [["a b", "a b c d"]]).total() == 1.5


def test_empty_outputs_score_nothing() -> None:
    for make in (text.bleu, text.chrf, text.length_ratio):
        assert make(["", ""], ["a b", "c"]).total() == 0
    assert text.bleu(["a b c d e"], [""]).total() == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tokenize": "13"}, "Did you mean '13a'"),
        ({"tokenize": "flores101"}, "spbleu"),
        ({"tokenize": "flores200"}, "nothing is downloaded"),
        ({"smooth": "expo"}, "Did you mean 'exp'"),
    ],
)
def test_settings_that_bleu_has_not(settings, says) -> None:
    with pytest.raises(UserError, match=says):
        text.bleu(SYSTEM, REFERENCES, **settings)


def test_other_bad_settings() -> None:
    with pytest.raises(UserError, match="word_order"):
        text.chrf(SYSTEM, REFERENCES, word_order=-1)
    with pytest.raises(UserError, match="Did you mean 'characters'"):
        text.length_ratio(SYSTEM, REFERENCES, unit="character")


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        *((name, "zh") for name in ("zho_Hans", "zho_Hant", "yue_Hant", "zh", "zh_TW", "cmn")),
        *((name, "char") for name in ("tha_Thai", "th", "lao_Laoo", "khm", "mya_Mymr", "bod_Tibt")),
        *((name, "13a") for name in ("swh_Latn", "eng", "nan_Latn", "hin_Deva", "")),
    ],
)
def test_the_tokenizer_of_a_language(language, tokenizer) -> None:
    assert text.tokenizer_of(language) == tokenizer


@pytest.mark.parametrize(("name", "instead"), [("ja", "char"), ("ko", "13a")])
def test_the_tokenizer_of_a_language_that_wants_a_package(name, instead) -> None:
    """sacrebleu's own where its package is installed; a score says which it was."""
    taken = text.tokenizer_of({"ja": "jpn_Jpan", "ko": "kor_Hang"}[name])
    try:
        BLEU(tokenize=f"{name}-mecab")
        assert taken == f"{name}-mecab"
    except RuntimeError:
        assert taken == instead
    made = text.bleu(["東京に行く"], ["東京へ行く"], tokenize=taken)
    assert f"tok:{taken}" in made.details["signature"]


def test_flores200_where_its_model_is_there(pieces, tmp_path, monkeypatch) -> None:
    """sacrebleu's tokenizer reads a model that lies where it would download it to."""
    from sacrebleu.tokenizers import tokenizer_spm

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "flores200sacrebleuspm").write_bytes(pieces.read_bytes())
    for module in (text, tokenizer_spm):
        monkeypatch.setattr(module, "SACREBLEU_DIR", str(tmp_path))
    made = text.bleu(SYSTEM, REFERENCES, tokenize="flores200")
    assert "tok:flores200" in made.details["signature"]
    assert made.total() == pytest.approx(text.spbleu(SYSTEM, REFERENCES, model=pieces).total())
