"""What heads label, read from text forms and written back as such."""

import pytest

from jaxlt.data import text_forms
from jaxlt.data.marked import SHAPES, Marked, answer_text, marked_of, shape_of, universal
from jaxlt.data.readers import conllu, iob2
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError


def sentence(forms, upos, heads, deprels):
    """A sentence of a treebank, read from its text."""
    rows = zip(forms, upos, heads, deprels, strict=True)
    lines = [
        "\t".join([str(i), form, "_", tag, "_", "_", str(head), relation, "_", "_"])
        for i, (form, tag, head, relation) in enumerate(rows, start=1)
    ]
    numbered = ((i, f"{line}\n".encode()) for i, line in enumerate([*lines, ""], start=1))
    (found,) = conllu.parse(numbered, "made", Problems())
    return found


WITH_SPACES = sentence(
    ("10 000", "chats", "dorment"), ("NUM", "NOUN", "VERB"), (2, 3, 0), ("nummod", "nsubj", "root")
)


def test_words_keep_the_spaces_within_them():
    inputs, targets = text_forms.tagging(WITH_SPACES)
    assert inputs == "pos: 10\u2423000 chats dorment"
    marked = marked_of("tagging", inputs, targets)
    assert marked == Marked("tags", ("10 000", "chats", "dorment"), ("NUM", "NOUN", "VERB"))
    assert answer_text(marked, marked.labels) == targets


def test_trees_have_universal_relations():
    found = sentence(
        ("She", "was", "seen"), ("X",) * 3, (3, 3, 0), ("nsubj:pass", "aux:pass", "root")
    )
    inputs, targets = text_forms.parsing(found)
    marked = marked_of("parsing", inputs, targets)
    assert (marked.heads, marked.labels) == ((3, 3, 0), ("nsubj", "aux", "root"))
    assert answer_text(marked, marked.labels, marked.heads) == "+2:nsubj +1:aux 0:root"
    assert universal("root") == "root" and universal("acl:relcl") == "acl"


def test_entities_are_learnt_by_their_tags_and_answered_by_name():
    tagged = Tagged(("10 000", "New", "York", "a\u00a0b"), ("B-NUM", "B-LOC", "I-LOC", "B-PER"))
    marked = marked_of("entities", *text_forms.entity_tags(tagged))
    assert marked.words == ("10 000", "New", "York", "a b") and marked.labels == tagged.tags
    answer = answer_text(marked, marked.labels)
    assert answer == "NUM: 10 000 $$ LOC: New York $$ PER: a b"
    assert text_forms.entities_from(answer, tagged.tokens) == tagged.spans()
    assert answer_text(marked, ("O",) * 4) == ""


def test_classes_pairs_and_questions():
    assert marked_of("topics", "topic: rain: and sun", "weather") == Marked(
        "class", texts=("rain: and sun",), label="weather"
    )
    inputs, targets = text_forms.inference("It rains: much.", "It is wet.", "entailment")
    pair = marked_of("pairs", inputs, targets)
    assert (pair.texts, pair.label) == (("It rains: much.", "It is wet."), "0")
    inputs, targets = text_forms.question("Who came?", "Then (Ada) came: she, late.", "(Ada)")
    asked = marked_of("questions", inputs, targets)
    assert asked.texts[0].startswith("Who came ?") and asked.label in asked.texts[1]
    for marked in (pair, asked):
        assert answer_text(marked, (marked.label,)) == marked.label


@pytest.mark.parametrize("kind", [k for k in SHAPES if not k.startswith("synthetic")])
def test_what_is_unknown_is_empty(kind):
    inputs = {
        "pairs": "xnli: premise: a hypothesis: b",
        "questions": "question: a context: b",
        "topics": "topic: a b",
    }.get(kind, "x: a b")
    marked = marked_of(kind, inputs, "")
    assert not marked.labels and not marked.heads and not marked.label
    assert (marked.words or marked.texts[-1:]) and shape_of(kind) == marked.shape
    nothing = marked_of(kind, inputs.partition(": ")[0] + ": ", "")
    assert nothing.words == () and not any(nothing.texts)


def test_labels_are_as_many_as_words():
    with pytest.raises(UserError, match="'a b' has 2 words, and its labels are 3"):
        marked_of("tagging", "pos: a b", "X Y Z")


def test_free_text_has_no_head():
    with pytest.raises(UserError, match=r"no head for tasks of the kind 'translation'.*tagging"):
        shape_of("translation")


def test_every_treebank_and_entity_file_is_read_back(shared_data):
    read = 0
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz"))[::4]:
        for number, one in enumerate(conllu.read(str(path))):
            if number % 9:
                continue
            tags = marked_of("tagging", *text_forms.tagging(one))
            assert len(tags.words) == len(tags.labels) == len(one.forms)
            assert tags.labels == one.upos
            tree = marked_of("parsing", *text_forms.parsing(one))
            assert tree.heads == one.heads and tree.labels == tuple(map(universal, one.deprels))
            said = answer_text(tree, tree.labels, tree.heads)
            assert text_forms.arcs_from(said, len(tree.words)) == (tree.heads, tree.labels)
            read += 1
    for path in sorted((shared_data / "ner").rglob("*test.iob2*"))[::4]:
        for number, one in enumerate(iob2.read(str(path))):
            if number % 9:
                continue
            marked = marked_of("entities", *text_forms.entity_tags(one))
            assert marked.labels == one.tags
            answer = answer_text(marked, marked.labels)
            assert answer.replace("\u00a0", " ") == text_forms.entities(one)[1].replace(
                "\u00a0", " "
            )
            read += 1
    assert read > 600
