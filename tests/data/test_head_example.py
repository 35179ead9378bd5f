"""Examples for heads, read from text forms."""

import pytest

from jaxlt.data.head_example import labelled_words
from jaxlt.errors import UserError


def test_labels_are_as_many_as_words():
    with pytest.raises(UserError, match="'a b' has 2 words, and its labels are 3"):
        labelled_words("tags", "pos: a b", "X Y Z")
    assert labelled_words("tags", "pos: ", "").words == ()
