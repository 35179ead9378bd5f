"""What an encoder reads of words: tokens of any script, or words with their characters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.inventory import UNKNOWN, Inventory
from jaxlt.data.vocabulary.label_units import PieceUnits, WordUnits
from jaxlt.data.vocabulary.vocabularies import (
    EOS,
    VocabularyConfig,
    open_vocabulary,
    vocabulary_config,
)
from tests.pieces import train_pieces

SENTENCES = (
    ("the", "AP", "story", ",", "don't", "10 000"),
    ("ich", "weiß", "'s", "nicht", "Straße"),
    ("यह", "एक", "वाक्य", "है", "।"),
    ("这", "是", "一个", "句子", "。"),
    ("هذه", "جملة", "قصيرة", "."),
    ("ეს", "არის", "წინადადება"),
    ("👩‍👩‍👧", "e\u0301", "ﬁn", "½"),
    ("\u200b", "\u00ad", "x"),  # which a vocabulary may normalise to nothing
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Bytes, and a small SentencePiece model with T5's own normaliser."""
    lines = [" ".join(words) for words in SENTENCES] * 4
    path = train_pieces(tmp_path_factory.mktemp("spm") / "small", lines, 140)
    small = open_vocabulary(vocabulary_config(path, "reuse"))
    return [PieceUnits(open_vocabulary(VocabularyConfig())), PieceUnits(small)]


@pytest.mark.parametrize("which", [0, 1], ids=["bytes", "pieces"])
@pytest.mark.parametrize("words", SENTENCES, ids=lambda w: w[0])
def test_every_word_has_tokens_of_its_own(readers, which, words):
    reader = readers[which]
    units = reader.of_words(words)
    assert len(units.first) == len(units.stop) == len(words)
    assert (units.first < units.stop).all() and (units.stop[:-1] <= units.first[1:]).all()
    assert units.stop[-1] <= len(units.ids) and units.ids.max() < reader.size
    assert units.chars.shape == (0, 0)
    if which == 0:  # ByT5: three special ids, then the bytes
        for word, first, stop in zip(words, units.first, units.stop, strict=True):
            assert bytes((units.ids[first:stop] - 3).tolist()) == word.encode()
    ended = reader.end(units)
    assert ended.ids.tolist() == [*units.ids, EOS] and ended.first is units.first


@given(st.lists(st.text("aß中ब \u00a0́.", min_size=1, max_size=6), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_words_of_any_text(readers, words):
    for reader in readers:
        units = reader.of_words(words)
        assert len(units.first) == len(words) and (units.first < units.stop).all()
        assert (units.stop[:-1] <= units.first[1:]).all()


def test_a_span_of_text_and_a_cut(readers):
    for reader in readers:
        text = "यह 一个 story"
        units = reader.of_text(text, [(3, 5)])
        first, stop = int(units.first[0]), int(units.stop[0])
        alone = reader.of_text("一个", [(0, 2)])
        assert 0 < first < stop < len(units.ids)
        assert stop - first <= len(alone.ids) + 1
        assert reader.of_text("").ids.shape == (0,)
        cut = units.cut(first, stop)
        assert cut.ids.tolist() == units.ids[first:stop].tolist() and not len(cut.first)


KNOWN = Inventory({}, words=("the", "story"), chars=tuple("aehorst"))


def test_whole_words_and_their_characters():
    reader = WordUnits(KNOWN, 4)
    units = reader.of_words(("the", "story", "hero", "xa"))
    assert units.ids.tolist() == [2, 3, UNKNOWN, UNKNOWN]
    letter = {c: i for i, c in enumerate(KNOWN.chars, 2)}
    spelt = lambda text: [letter.get(c, UNKNOWN) for c in text]  # noqa: E731
    assert units.chars.tolist() == [
        [*spelt("the"), 0],
        spelt("stry"),  # its beginning and its end
        spelt("hero"),
        [*spelt("xa"), 0, 0],
    ]
    assert units.first.tolist() == [0, 1, 2, 3] and units.stop.tolist() == [1, 2, 3, 4]
    assert reader.end(units) is units and reader.size == 2 + 7


def test_spans_of_running_text_are_the_words_they_touch():
    reader = WordUnits(KNOWN, 3)
    text = " the  story, hero "
    for span, expected in (
        ((1, 4), (0, 1)),
        ((8, 9), (1, 2)),
        ((3, 14), (0, 3)),
        ((6, 11), (1, 2)),
    ):
        units = reader.of_text(text, [span])
        assert (units.first[0], units.stop[0]) == expected, span
    assert reader.of_text(text).ids.tolist() == [2, UNKNOWN, UNKNOWN]  # 'story,' is another word
    assert reader.of_text("").ids.shape == (0,) and reader.of_text("").chars.shape == (0, 3)


def test_one_character_of_a_word_is_its_first():
    units = WordUnits(KNOWN, 1).of_words(("the", "a"))
    assert units.chars.shape == (2, 1) and units.chars[0, 0] == 2 + KNOWN.chars.index("t")
    assert np.all(units.chars > 0)
