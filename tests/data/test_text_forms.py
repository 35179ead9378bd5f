"""Words in text: what stands for the spaces within them."""

from jaxlt.data import text_forms
from jaxlt.data.revisions import rules_of
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from tests.pieces import train_pieces


def test_words_that_hold_spaces_are_words_to_every_normaliser(tmp_path):
    """mT5's normaliser (nmt_nfkc) makes plain spaces of no-break ones: words would part."""
    words = ("en deus", "10\u00a0000", "a\u202fb", "c\u3000d", "mat", "x\u2009y z")
    lines = [f"pos: {text_forms.words_text(words)} {i}" for i in range(50)]
    rule = {"normalization_rule_name": "nmt_nfkc", "byte_fallback": True}
    path = train_pieces(tmp_path / "spm", lines, 300, **rule)
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", path))
    plain = tuple("".join(" " if c.isspace() else c for c in word) for word in words)

    def through(space):
        text = text_forms.words_text(words, space)
        return text_forms.words_from(vocabulary.decode(vocabulary.encode(text)))

    assert through(text_forms.INNER) == plain
    assert len(through(text_forms.NO_BREAK)) > len(words)  # as it was
    assert text_forms.words_from(text_forms.words_text(words)) == plain
    assert text_forms.space_of(rules_of(1)) == text_forms.NO_BREAK
    assert text_forms.space_of(rules_of(2)) == text_forms.INNER
