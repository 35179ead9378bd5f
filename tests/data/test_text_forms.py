"""Tasks as text: mT5's forms, and answers read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data import text_forms
from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.errors import UserError


def sentence(words: str, heads: tuple[int, ...]) -> Sentence:
    forms = tuple(words.split("|"))
    blank = ("_",) * len(forms)
    upos, relation = ("NOUN",) * len(forms), ("dep",) * len(forms)
    return Sentence(forms, blank, upos, blank, blank, heads, relation, blank, blank)


def test_tags_and_trees_are_read_back():
    given_one = sentence("en deus|gwelet|.", (2, 0, 2))
    assert text_forms.tagging(given_one) == ("pos: en\u00a0deus gwelet .", "NOUN NOUN NOUN")
    inputs, targets = text_forms.parsing(given_one)
    assert (inputs, targets) == ("parse: en\u00a0deus gwelet .", "+1:dep 0:dep -1:dep")
    assert text_forms.arcs_from(targets, 3) == (given_one.heads, given_one.deprels)
    assert text_forms.tags_from("A B C", 2) == ("A", "B")
    assert text_forms.tags_from("A", 2) == ("A", "X")
    with pytest.raises(UserError, match="without heads"):
        text_forms.parsing(sentence("a", (-1,)))


def test_entities_have_the_form_of_mt5():
    tagged = Tagged(
        ("Ada", "Love lace", "met", "Ada", "in", "London"),
        ("B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"),
    )
    inputs, targets = text_forms.entities(tagged)
    assert inputs == "tag: Ada Love lace met Ada in London"
    assert targets == "PER: Ada Love lace $$ PER: Ada $$ LOC: London"
    assert text_forms.entities_from(targets, tagged.tokens) == tagged.spans()
    assert text_forms.entities_from("PER: Bob $$ nonsense $$ LOC: London", tagged.tokens) == (
        tagged.spans()[2],
    )


@given(st.text(), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_no_answer_crashes(answer, count):
    heads, relations = text_forms.arcs_from(answer, count)
    assert len(heads) == len(relations) == len(text_forms.tags_from(answer, count)) == count
    assert all(0 <= head <= count for head in heads)
    text_forms.entities_from(answer, ("a", "b")[:count])


def test_the_other_forms():
    assert text_forms.inference("A", "B", 2) == ("xnli: premise: A hypothesis: B", "2")
    assert text_forms.question("Q", "C", "A") == ("question: Q context: C", "A")
    assert text_forms.topic("T", "geo") == ("topic: T", "geo")
    assert text_forms.translation("a", "b", "swh_Latn") == ("<2swh_Latn> a", "b")
    assert text_forms.fact("Ada does [Y]", "maths") == ("fact: Ada does [Y]", "maths")
