"""Trees and tags as text: relations, what a model may answer, and every treebank read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import conllu
from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.tasks.kind import USUAL, kind_of
from jaxlt.data.tasks.parsing import universal
from jaxlt.errors import UserError

TAGGING, PARSING = kind_of("tagging"), kind_of("parsing")


def sentence(words: str, heads: tuple[int, ...], relations: tuple[str, ...] = ()) -> Sentence:
    forms = tuple(words.split("|"))
    blank = ("_",) * len(forms)
    relations = relations or ("dep",) * len(forms)
    return Sentence(forms, blank, blank, blank, blank, heads, relations, blank, blank)


def test_what_a_model_answers_is_as_long_as_the_sentence():
    assert TAGGING.read("A B C", ("a", "b")) == ("A", "B")
    assert TAGGING.read("A", ("a", "b")) == ("A", "X")
    assert PARSING.read("+1:a +9:b ?", ("a", "b", "c")) == ((2, 0, 0), ("a", "b", "dep"))
    with pytest.raises(UserError, match="without heads"):
        PARSING.form(sentence("a", (-1,)), USUAL)


def test_heads_learn_universal_relations():
    passive = sentence("She|was|seen", (3, 3, 0), ("nsubj:pass", "aux:pass", "root"))
    example = PARSING.example(*PARSING.form(passive, USUAL))
    assert (example.heads, example.labels) == ((3, 3, 0), ("nsubj", "aux", "root"))
    answer = PARSING.answer(example, example.labels, example.heads)
    assert answer == "+2:nsubj +1:aux 0:root"


@given(st.text(), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_no_answer_crashes(answer, count):
    words = ("a", "b", "c", "d")[:count]
    heads, relations = PARSING.read(answer, words)
    assert len(heads) == len(relations) == len(TAGGING.read(answer, words)) == count
    assert all(0 <= head <= count for head in heads)
    kind_of("entities").read(answer, words)


@pytest.mark.slow
def test_every_treebank_is_read_back(shared_data):
    paths = sorted([*shared_data.glob("ud/*.conllu.gz"), *shared_data.glob("pud/*.conllu.gz")])
    assert len(paths) > 75
    for path in paths:
        for one in conllu.read(str(path)):
            inputs, tags = TAGGING.form(one, USUAL)
            assert len(inputs.removeprefix("pos: ").split(" ")) == len(one.forms), path
            assert TAGGING.read(tags, one.forms) == TAGGING.example(inputs, tags).labels == one.upos
            form = PARSING.form(one, USUAL)
            assert PARSING.read(form[1], one.forms) == (one.heads, one.deprels), path
            example = PARSING.example(*form)
            assert len(example.words) == len(one.forms) and example.heads == one.heads, path
            assert example.labels == tuple(map(universal, one.deprels)), path
