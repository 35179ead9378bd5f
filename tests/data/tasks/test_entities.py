"""Entities as mT5 writes them: read back at their places, and as heads learn them."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.config import DataConfig
from jaxlt.data.readers import iob2
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.kind import USUAL, Reading, kind_of

KIND = kind_of("entities")
READING = Reading("t", TaskConfig("entities", "t"), DataConfig(objective="text_to_text"))


def test_they_have_the_form_of_mt5():
    tagged = Tagged(
        ("Ada", "Love lace", "met", "Ada", "in", "London"),
        ("B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"),
    )
    inputs, targets = KIND.form(tagged, USUAL)
    assert inputs == "tag: Ada Love lace met Ada in London"
    assert targets == "PER: Ada Love lace $$ PER: Ada $$ LOC: London"
    assert KIND.read(targets, tagged.tokens) == tagged.spans()
    read = KIND.read("PER: Bob $$ nonsense $$ LOC: London", tagged.tokens)
    assert read == tagged.spans()[2:]
    money = Tagged(("$$$", "Inc", "$$"), ("B-ORG", "I-ORG", "O"))
    assert KIND.read(KIND.form(money, USUAL)[1], money.tokens) == money.spans()


def test_they_are_learnt_by_their_tags_and_answered_by_name():
    tagged = Tagged(("10 000", "New", "York", "a\u00a0b"), ("B-NUM", "B-LOC", "I-LOC", "B-PER"))
    (form,) = KIND.head_forms(tagged, READING, "train")
    example = KIND.example(*form)
    assert example.words == ("10 000", "New", "York", "a b") and example.labels == tagged.tags
    answer = KIND.answer(example, example.labels)
    assert answer == "NUM: 10 000 $$ LOC: New York $$ PER: a b"
    assert KIND.read(answer, tagged.tokens) == tagged.spans()
    assert KIND.answer(example, ("O",) * 4) == ""


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
def test_those_of_any_script_are_read_back(rows):
    tokens = tuple(f"{token}{place}" for place, (token, _) in enumerate(rows))
    tagged = Tagged(tokens, tuple(tag for _, tag in rows))
    assert KIND.read(KIND.form(tagged, USUAL)[1], tokens) == tagged.spans()


def test_caches_of_a_file_with_a_comment_that_was_a_token_are_others(tmp_path, monkeypatch):
    def contents(name, text):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "en_x-train.iob2").write_text(text)
        task = TaskConfig("entities", str(tmp_path / name))
        config = DataConfig(objective="text_to_text", cache_dir=str(tmp_path / "cache"))
        (stream,) = KIND.streams(Reading("t", task, config))
        return stream.identity()[2]

    read = Counter()
    plain = iob2.has_hash_comments
    monkeypatch.setattr(iob2, "has_hash_comments", lambda path: read.update([path]) or plain(path))
    before = ["entities", "repair", "strict"]
    for name, text in {
        "plain": "# c\n# sent_id = O\na\tO\n\n#\tO\n",
        "spaces": "# c\n# O\na O\n",
        "within": "a\tO\n# O\n",
    }.items():
        assert contents(name, text)[:3] == before and "# O" not in contents(name, text)
    for name, text in {
        "hash": "a\tO\n\n# c\n# O\na\tO\n",
        "marked": "# B-PER\nen:a\tO\n",
    }.items():
        assert contents(name, text)[:3] == before and contents(name, text)[-1] == "# O"
    assert set(read.values()) == {1} and len(read) == 5


@pytest.mark.slow
def test_every_entity_file_is_read_back(shared_data):
    count = elsewhere = 0
    for path in sorted([*shared_data.glob("ner/*/*.gz"), *shared_data.glob("nc/ner/*/*.gz")]):
        for number, one in enumerate(iob2.read(str(path))):
            _, targets = KIND.form(one, USUAL)
            found, spans = KIND.read(targets, one.tokens), one.spans()
            said = [(s.label, one.tokens[s.start : s.end]) for s in spans]
            assert [(s.label, one.tokens[s.start : s.end]) for s in found] == said, path
            count += 1
            elsewhere += found != spans  # the same words earlier in the sentence, not tagged there
            if number % 9 == 0:
                (form,) = itertools.islice(KIND.head_forms(one, READING, "train"), 1)
                example = KIND.example(*form)
                assert example.labels == one.tags
                answer = KIND.answer(example, example.labels)
                assert answer.replace("\u00a0", " ") == targets.replace("\u00a0", " ")
    assert count > 15_000 and elsewhere < 0.001 * count
