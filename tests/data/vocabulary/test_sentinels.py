"""Text with sentinels, to ids and back."""

import numpy as np
import pytest

from jaxlt.data.vocabulary.sentinels import SentinelText
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError


@pytest.mark.parametrize("sentinels", ["reuse", "extra"])
def test_bytes_go_and_come_back(sentinels):
    vocabulary = open_vocabulary(VocabularyConfig(sentinels=sentinels))
    codec = SentinelText(vocabulary, 10)
    for text in ("", "plain", "a <extra_id_0> b<extra_id_9>", "<extra_id_1><extra_id_0>ß é"):
        assert codec.decode(codec.encode(text)) == text
    ids = codec.encode("a<extra_id_1>")
    assert ids.tolist() == [ord("a") + 3, int(vocabulary.sentinels(2)[1])]
    assert codec.decode(np.append(ids, [1, 0, 0])) == "a<extra_id_1>"
    with pytest.raises(UserError, match="<extra_id_0> to <extra_id_9>"):
        codec.encode("<extra_id_10>")


def test_reused_bytes_that_text_may_have_are_no_sentinels():
    codec = SentinelText(open_vocabulary(VocabularyConfig()), 100)
    assert codec.encode("<extra_id_10>").tolist() == [248]  # byte 0xF5, which UTF-8 never has
    with pytest.raises(UserError, match="<extra_id_0> to <extra_id_10>"):
        codec.encode("<extra_id_11>")
