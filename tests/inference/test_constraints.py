"""Labels and forced beginnings as flags, and in the tokens of a vocabulary."""

import types

import numpy as np
import pytest

from jaxlt.commands.run_flags import labels_of
from jaxlt.data.vocabulary.sentinels import PlainText
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from jaxlt.inference.constraints import Constraint

BYTES = PlainText(open_vocabulary(VocabularyConfig()))


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
    assert Constraint(BYTES).given() == {"forced": ()}
    given = Constraint(BYTES, ("A", "BC"), "é").given()
    assert given["forced"] == (0xC3 + 3, 0xA9 + 3)
    assert (given["trie"].sets, given["trie"].depth) == (1, 3)
    words = Constraint(BYTES, ("A", "BC")).given([1, 3])
    assert words["label_sets"] == [0, 2] and words["trie"].sets == 4  # 3, rounded up
    assert words["trie"].depth == 4 * 2 + 3 + 1  # four labels, three spaces and the end
    pieces = Constraint(Pieces(), ("a", "b")).given([2])
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
        Constraint(Pieces(), labels).given(words)
