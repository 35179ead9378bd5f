"""Answers in tokens of their own language alone."""

import numpy as np
import pytest

from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from jaxlt.inference.own_tokens import own_tokens


def test_the_tokens_of_some_text(tmp_path):
    (tmp_path / "aaa_Latn.txt").write_text("ab ba\nbabb a\n")
    (tmp_path / "bbb_Latn.txt").write_text("xyz\n")
    vocabulary = open_vocabulary(VocabularyConfig())
    asked = ["bbb_Latn", "aaa_Latn", "bbb_Latn"]
    given = own_tokens(str(tmp_path), asked, vocabulary)
    assert given["label_sets"] == [1, 0, 1]
    tokens = np.asarray(given["trie"].tokens)
    for row, text in zip(tokens, ("ab ", "xyz"), strict=True):
        assert set(row[row >= 0]) == {1, *vocabulary.encode(text)}
    with pytest.raises(UserError, match="no text of language 'ccc_Latn'"):
        own_tokens(str(tmp_path), ["ccc_Latn"], vocabulary)
