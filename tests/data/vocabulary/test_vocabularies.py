"""Bytes as ByT5 has them and SentencePiece as mT5 has it, against seqio's own."""

import numpy as np
import pytest

from jaxlt.data.synth.languages import FAMILY, generate
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary, vocabulary_config
from jaxlt.errors import UserError
from tests.pieces import train_pieces

TEXT = "Habari, ñandú! አማርኛ 日本"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small SentencePiece model with byte fallback and T5's special ids."""
    path, lines = tmp_path_factory.mktemp("spm") / "spiece", generate(FAMILY[0], 2000)
    return train_pieces(path, lines, 400, byte_fallback=True, hard_vocab_limit=True)


def test_bytes_are_utf8_plus_three():
    vocabulary = open_vocabulary(VocabularyConfig())
    ids = vocabulary.encode(TEXT)
    assert ids.dtype == np.int32 and ids.tolist() == [b + 3 for b in TEXT.encode()]
    assert vocabulary.decode([0, *ids, 1, 300]) == TEXT
    assert vocabulary.byte_length([0, *ids, 1]) == len(TEXT.encode())
    assert vocabulary.rows == 384


def test_bytes_equal_seqio():
    for sentinels, size in (("reuse", 259), ("extra", 384)):
        vocabulary = open_vocabulary(VocabularyConfig(sentinels=sentinels))
        theirs = vocabulary.seqio()
        assert theirs.vocab_size == vocabulary.size == size
        assert theirs.encode(TEXT) == vocabulary.encode(TEXT).tolist()
        assert theirs.decode(vocabulary.encode(TEXT).tolist()) == TEXT


def test_sentinels_of_bytes_in_both_conventions():
    assert open_vocabulary(VocabularyConfig()).sentinels(3).tolist() == [258, 257, 256]
    extra = open_vocabulary(VocabularyConfig(sentinels="extra"))
    assert extra.sentinels(125)[[0, 1, -1]].tolist() == [259, 260, 383]  # Hugging Face's order
    with pytest.raises(UserError, match="126 sentinels"):
        extra.sentinels(126)


def test_sentencepiece_equals_seqio(model):
    vocabulary = open_vocabulary(vocabulary_config(model, "extra"))
    theirs = vocabulary.seqio()
    line = next(generate(FAMILY[0], 4, seed=9))
    assert theirs.encode(line) == vocabulary.encode(line).tolist()
    assert vocabulary.decode(vocabulary.encode(line)) == line
    assert vocabulary.size == theirs.vocab_size == 500 and vocabulary.rows == 512
    assert vocabulary.sentinels(2).tolist() == [499, 498]
    reuse = open_vocabulary(vocabulary_config(model, "reuse"))
    assert reuse.sentinels(2).tolist() == [399, 398]  # as mT5's 250099, 250098
    assert reuse.fingerprint != vocabulary.fingerprint


def test_sentencepiece_byte_lengths_are_the_texts(model):
    """A piece spells its bytes, byte-fallback pieces one each; a text's start counts as a space."""
    vocabulary = open_vocabulary(vocabulary_config(model))
    for text in (next(generate(FAMILY[0], 4, seed=9)), "日本 x"):
        assert vocabulary.byte_length(vocabulary.encode(text)) == len(text.encode()) + 1


def test_bad_vocabularies_are_named(tmp_path):
    with pytest.raises(UserError, match=r"spiece.modle.*Did you mean 'spiece.model'"):
        (tmp_path / "spiece.model").write_bytes(b"no model")
        vocabulary_config(str(tmp_path / "spiece.modle"))
    with pytest.raises(UserError, match="not a SentencePiece model"):
        open_vocabulary(vocabulary_config(str(tmp_path / "spiece.model")))
    with pytest.raises(UserError, match="Did you mean 'bytes'"):
        vocabulary_config("byte")
    with pytest.raises(UserError, match="sentinels is one of reuse, extra"):
        VocabularyConfig(sentinels="extras")
