"""Labels, forced beginnings and tokens of a language, as flags and in those of a vocabulary."""

import types

import numpy as np
import pytest

from jaxlt.commands.run_flags import labels_of
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from jaxlt.inference.constraints import Constraint, language_tokens

BYTES = open_vocabulary(VocabularyConfig())


class Pieces:
    """A codec whose pieces begin words, and which lower-cases: A is a."""

    def encode(self, text):
        return np.array([ord(w[0].lower()) for w in text.split()], np.int32)

    def decode(self, ids):
        return " ".join(chr(i) for i in ids)


def flags(**given):
    return types.SimpleNamespace(**({"labels": None, "choices": None} | given))


def test_labels_of_flags(tmp_path):
    path = tmp_path / "choices.txt"
    path.write_text("good, very\nbad\ngood, very\n")
    assert labels_of(flags()) == ()
    assert labels_of(flags(labels="a,b")) == ("a", "b")
    assert labels_of(flags(choices=str(path))) == ("good, very", "bad")
    for content, message in (("", "is empty"), ("a\n\nb\n", "number 2 is ''")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            labels_of(flags(choices=str(path)))
    with pytest.raises(UserError, match=r"Did you mean 'choices\.txt'"):
        labels_of(flags(choices=str(tmp_path / "choice.txt")))


def test_what_decoding_is_given():
    assert Constraint(BYTES).decoding() == {"forced": ()}
    given = Constraint(BYTES, ("A", "BC"), "é").decoding()
    assert given["forced"] == (0xC3 + 3, 0xA9 + 3)
    assert (given["trie"].sets, given["trie"].depth) == (1, 3)
    words = Constraint(BYTES, ("A", "BC")).decoding([1, 3])
    assert words["label_sets"] == [0, 2] and words["trie"].sets == 4  # 3, rounded up
    assert words["trie"].depth == 4 * 2 + 3 + 1  # four labels, three spaces and the end
    pieces = Constraint(Pieces(), ("a", "b")).decoding([2])
    assert pieces["trie"].depth == 3  # nothing between pieces that begin words


def test_labels_are_named_as_they_were_given():
    assert Constraint(Pieces(), ("A", "b")).named("a") == "A"
    assert Constraint(Pieces(), ()).named("a") == "a"


@pytest.mark.parametrize(
    ("labels", "words", "message"),
    [
        ((" ",), None, "no tokens"),
        (("A", "a"), None, "'A' and 'a' are the same tokens"),
        (("a b",), [1], "has a space in it"),
    ],
)
def test_labels_that_no_answer_can_be(labels, words, message):
    with pytest.raises(UserError, match=message):
        Constraint(Pieces(), labels).decoding(words)


def test_the_tokens_of_some_text(tmp_path):
    (tmp_path / "aaa_Latn.txt").write_text("ab ba\nbabb a\n")
    (tmp_path / "bbb_Latn.txt").write_text("xyz\n")
    vocabulary = open_vocabulary(VocabularyConfig())
    asked = ["bbb_Latn", "aaa_Latn", "bbb_Latn"]
    given = language_tokens(str(tmp_path), asked, vocabulary)
    assert given["label_sets"] == [1, 0, 1]
    tokens = np.asarray(given["trie"].tokens)
    for row, text in zip(tokens, ("ab ", "xyz"), strict=True):
        assert set(row[row >= 0]) == {1, *vocabulary.encode(text)}
    with pytest.raises(UserError, match="no text of language 'ccc_Latn'"):
        language_tokens(str(tmp_path), ["ccc_Latn"], vocabulary)
