"""Questions as mT5 writes them: spaces around all punctuation, and where an answer stands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import tables
from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.tasks.questions import answer_from, placed_answer, spaced

KIND = kind_of("questions")


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (("Q", "C", "A"), ("question: Q context: C", "A")),
        (
            ("Who is François?", "He's\tnot_here  (yet).", "François"),
            ("question: Who is François ? context: He ' s not_here ( yet ) . ", "François"),
        ),
        (
            ("कौन है?", "यह हिंदी है। ठीक", "हिंदी।"),
            ("question: कौन है ? context: यह हिंदी है । ठीक", "हिंदी । "),
        ),
        (
            ("من هو؟", "هُوَ، عَلِيّ.", "عَلِيّ"),
            ("question: من هو ؟ context: هُوَ ، عَلِيّ . ", "عَلِيّ"),
        ),
        (("谁？", "他，王。", "王"), ("question: 谁 ？ context: 他 ， 王 。 ", "王")),
        (("a\u00a0b", "½ ² x", "٣"), ("question: a \u00a0 b context: ½ ² x", "٣")),
    ],
)
def test_questions_have_the_form_of_mt5(texts, form):
    asked, context, answer = texts
    assert (KIND.inputs((asked, context)), spaced(answer)) == form


@pytest.mark.slow
def test_questions_are_spaced_as_tensorflow_spaces_them(shared_data):
    import tensorflow as tf

    def theirs(text):
        text = tf.strings.regex_replace(text, r"([^_\s\p{N}\p{L}\p{M}])", r" \1 ")
        return tf.strings.regex_replace(text, r"\s+", " ")

    for name in ("mt/sib200_test.tsv.gz", "udhr/udhr.tsv.gz"):
        found = [record.text for record in tables.read(str(shared_data / name))[1]]
        texts = found[:: len(found) // 3000 + 1]
        wanted = [text.decode() for text in theirs(tf.constant(texts)).numpy()]
        assert list(map(spaced, texts)) == wanted


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("ab (,.\t\n )'\u00e9\u0939\u0948\u3002\u00a0-_1"), max_size=24),
    st.data(),
)
def test_an_answer_keeps_its_place_in_the_form_of_a_question(context, data):
    kept = [i for i, char in enumerate(context) if char not in " \t\n\f\r"]
    if not kept:
        return
    first = data.draw(st.sampled_from(kept))
    last = data.draw(st.sampled_from([i for i in kept if i >= first]))
    answer = context[first : last + 1]
    inputs = KIND.inputs(("Who? context: a", context))
    seen = inputs.partition(" context: ")[2]
    said, place = answer_from(placed_answer(context, answer, first), seen)
    assert said == spaced(answer).strip(" ")
    assert seen.startswith(said, place)
    before = "".join(context[:first].split())
    assert "".join(seen[:place].split()).endswith(before)  # the same letters stand before it


@pytest.mark.parametrize(("answer", "start"), [(" is", 7), ("  is", 6), ("is", 8), ("\n'is' ", 5)])
def test_an_answer_stands_where_its_first_letter_does(answer, start):
    context = {5: "is is\n'is' a", 6: "is is   is a", 7: "is is   is a", 8: "is is   is a"}[start]
    context = context if start == 5 else context[:start] + answer + " a"
    seen = KIND.inputs(("Who?", context)).partition(" context: ")[2]
    said, place = answer_from(placed_answer(context, answer, start), seen)
    assert seen.startswith(said, place) and place == seen.rindex(said)
