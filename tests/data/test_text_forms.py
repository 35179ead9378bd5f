"""Tasks as text: mT5's forms, and answers read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data import text_forms
from jaxlt.data.readers import conllu, iob2, tables
from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.data.revisions import rules_of
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from tests.pieces import train_pieces


def sentence(words: str, heads: tuple[int, ...]) -> Sentence:
    forms = tuple(words.split("|"))
    blank = ("_",) * len(forms)
    upos, relation = ("NOUN",) * len(forms), ("dep",) * len(forms)
    return Sentence(forms, blank, upos, blank, blank, heads, relation, blank, blank)


def test_tags_and_trees_are_read_back():
    given_one = sentence("en deus|gwelet|.", (2, 0, 2))
    assert text_forms.tagging(given_one) == ("pos: en\u2423deus gwelet .", "NOUN NOUN NOUN")
    inputs, targets = text_forms.parsing(given_one)
    assert (inputs, targets) == ("parse: en\u2423deus gwelet .", "+1:dep 0:dep -1:dep")
    assert text_forms.arcs_from(targets, 3) == (given_one.heads, given_one.deprels)
    assert text_forms.tags_from("A B C", 2) == ("A", "B")
    assert text_forms.tags_from("A", 2) == ("A", "X")
    with pytest.raises(UserError, match="without heads"):
        text_forms.parsing(sentence("a", (-1,)))


def test_words_without_a_letter_are_of_no_language():
    words = ("en deus", "\u0939\u0948", ",", "12", "10th", "I\u2019m")
    inputs, targets = text_forms.languages(words, tuple("abcdef"))
    assert inputs == "languages: en\u2423deus \u0939\u0948 , 12 10th I\u2019m"
    assert targets == "a b other other e f"
    assert text_forms.tags_from(targets, 6) == tuple(targets.split())


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


def test_names_are_counted_as_mt5_counts_them():
    answer = "PER: Ada $$ nonsense $$ PER: Ada $$ DATE: 4 : 35 $$ LOC:London $$ ORG: $$$ Inc"
    assert text_forms.names_from(answer) == (
        ("PER", "Ada"),
        ("PER", "Ada"),
        ("LOC", "London"),
        ("ORG", "$$$ Inc"),
    )
    assert text_forms.names_from("") == ()
    money = Tagged(("$$$", "Inc", "$$"), ("B-ORG", "I-ORG", "O"))
    assert text_forms.entities_from(text_forms.entities(money)[1], money.tokens) == money.spans()


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
    assert text_forms.question(*texts) == form


@given(st.text("ab ,.:?\n। ", min_size=1, max_size=12), st.data())
def test_an_answer_stays_a_part_of_its_text(context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    inputs, answer = text_forms.question("a context: b?", context, context[start:end])
    assert answer.strip(" ") in inputs.partition(" context: ")[2]


@pytest.mark.slow
def test_questions_are_spaced_as_tensorflow_spaces_them(shared_data):
    import tensorflow as tf

    def spaced(text):
        text = tf.strings.regex_replace(text, r"([^_\s\p{N}\p{L}\p{M}])", r" \1 ")
        return tf.strings.regex_replace(text, r"\s+", " ")

    for name in ("mt/sib200_test.tsv.gz", "udhr/udhr.tsv.gz"):
        found = [record.text for record in tables.read(str(shared_data / name))[1]]
        texts = found[:: len(found) // 3000 + 1]
        theirs = [text.decode() for text in spaced(tf.constant(texts)).numpy()]
        assert [text_forms.question("", "", text)[1] for text in texts] == theirs


@given(
    st.lists(
        st.tuples(
            st.text("аبअ中a₹:'-", min_size=1, max_size=4),
            st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=200, deadline=None)
def test_entities_of_any_script_are_read_back(rows):
    tokens = tuple(f"{token}{place}" for place, (token, _) in enumerate(rows))
    tagged = Tagged(tokens, tuple(tag for _, tag in rows))
    _, targets = text_forms.entities(tagged)
    assert text_forms.entities_from(targets, tokens) == tagged.spans()


@given(st.text(), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_no_answer_crashes(answer, count):
    heads, relations = text_forms.arcs_from(answer, count)
    assert len(heads) == len(relations) == len(text_forms.tags_from(answer, count)) == count
    assert all(0 <= head <= count for head in heads)
    text_forms.entities_from(answer, ("a", "b")[:count])


def test_the_other_forms():
    assert text_forms.inference("A", "B", 2) == ("xnli: premise: A hypothesis: B", "2")
    for label, said in (("neutral", "1"), ("contradictory", "2"), ("0", "0"), ("same", "same")):
        assert text_forms.inference("A", "B", label)[1] == said
    assert text_forms.topic("T", "geo") == ("topic: T", "geo")
    assert text_forms.translation("a", "b", "swh_Latn") == ("<2swh_Latn> a", "b")
    assert text_forms.fact("Ada does [Y]", "maths") == ("fact: Ada does [Y]", "maths")


@pytest.mark.slow
def test_every_treebank_is_read_back_from_its_text(shared_data):
    paths = sorted([*shared_data.glob("ud/*.conllu.gz"), *shared_data.glob("pud/*.conllu.gz")])
    assert len(paths) > 75
    for path in paths:
        for one in conllu.read(str(path)):
            inputs, tags = text_forms.tagging(one)
            assert len(inputs.removeprefix("pos: ").split(" ")) == len(one.forms), path
            assert text_forms.tags_from(tags, len(one.forms)) == one.upos, path
            _, arcs = text_forms.parsing(one)
            assert text_forms.arcs_from(arcs, len(one.forms)) == (one.heads, one.deprels), path


@pytest.mark.slow
def test_every_entity_file_is_read_back_from_its_text(shared_data):
    count = elsewhere = 0
    for path in sorted([*shared_data.glob("ner/*/*.gz"), *shared_data.glob("nc/ner/*/*.gz")]):
        for one in iob2.read(str(path)):
            _, targets = text_forms.entities(one)
            found, spans = text_forms.entities_from(targets, one.tokens), one.spans()
            said = [(s.label, one.tokens[s.start : s.end]) for s in spans]
            assert [(s.label, one.tokens[s.start : s.end]) for s in found] == said, path
            count += 1
            elsewhere += found != spans  # the same words earlier in the sentence, not tagged there
    assert count > 15_000 and elsewhere < 0.001 * count


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
    inputs, _ = text_forms.question("Who? context: a", context, answer)
    seen = inputs.partition(" context: ")[2]
    said, place = text_forms.answer_from(text_forms.placed_answer(context, answer, first), seen)
    assert said == text_forms.question("", "", answer)[1].strip(" ")
    assert seen.startswith(said, place)
    before = "".join(context[:first].split())
    assert "".join(seen[:place].split()).endswith(before)  # the same letters stand before it


@pytest.mark.parametrize(("answer", "start"), [(" is", 7), ("  is", 6), ("is", 8), ("\n'is' ", 5)])
def test_an_answer_stands_where_its_first_letter_does(answer, start):
    context = {5: "is is\n'is' a", 6: "is is   is a", 7: "is is   is a", 8: "is is   is a"}[start]
    context = context if start == 5 else context[:start] + answer + " a"
    seen = text_forms.question("Who?", context, answer)[0].partition(" context: ")[2]
    said, place = text_forms.answer_from(text_forms.placed_answer(context, answer, start), seen)
    assert seen.startswith(said, place) and place == seen.rindex(said)
