"""Names of labels, words and characters: their order, their rooms, and a file that keeps them."""

import json

import pytest

from jaxlt.data import inventory
from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import Inventory, read, take, words_of
from jaxlt.errors import UserError

EXAMPLES = (
    ("tagging", HeadExample("tags", ("b", "ab", "b"), ("NOUN", "DET", "NOUN"))),
    ("tagging", HeadExample("tags", ("c",), ("ADJ",))),
    ("parsing", HeadExample("tree", ("ab", "b"), ("root", "obj"), (0, 1))),
    ("topics", HeadExample("class", texts=("b c\tc",), label="weather")),
    ("topics", HeadExample("class", texts=("d",))),
    ("questions", HeadExample("span", texts=("who", "d"), label="d")),
)
ROOMS = {"tagging": 3, "parsing": 8, "topics": 2, "questions": 0}


def test_labels_are_the_commonest_first_then_by_the_alphabet():
    found = take(EXAMPLES, ROOMS)
    assert found.labels == {
        "tagging": ("NOUN", "ADJ", "DET"),
        "parsing": ("obj", "root"),
        "topics": ("weather",),
        "questions": (),
    }
    assert found.words == found.chars == ()


def test_words_seen_once_are_left_to_be_unknown():
    found = take(EXAMPLES, ROOMS, words=100, chars=100)
    assert found.words == ("b", "c", "ab", "d")
    assert found.chars[:2] == ("b", "a") or found.chars[0] == "b"
    assert set("abcdwho") == set(found.chars)
    # Two numbers are taken: nothing, and unknown.
    assert take(EXAMPLES, ROOMS, words=4, chars=3).words == ("b", "c")
    assert len(take(EXAMPLES, ROOMS, words=4, chars=3).chars) == 1
    assert take(EXAMPLES, ROOMS, words=1, chars=1).words == ()


def test_words_of_running_text_are_what_spaces_separate():
    assert words_of(EXAMPLES[3][1]) == ("b", "c", "c")
    assert words_of(EXAMPLES[0][1]) == ("b", "ab", "b")


def test_too_many_labels_for_a_head():
    with pytest.raises(UserError, match=r"'tagging' has 3 labels.*room for 2.*`labels` to 3"):
        take(EXAMPLES, ROOMS | {"tagging": 2})


def test_a_file_keeps_it(tmp_path):
    found = take(EXAMPLES, ROOMS, words=9, chars=9)
    path = tmp_path / "deep" / inventory.NAME
    path.parent.mkdir()
    found.write(path)
    assert read(path) == found and read(path).fingerprint == found.fingerprint
    other = Inventory(found.labels | {"tagging": ("ADJ", "NOUN", "DET")}, found.words, found.chars)
    assert other.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"labels": {}}', '{"labels": [], "words": [], "chars": []}', "\udcff"],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / inventory.NAME
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"inventory\.json.*cannot be read.*WORKDIR"):
        read(path)


@pytest.mark.parametrize("change", [{"labels": {"a": 3}}, {"words": [1, 2]}, {"chars": "abc"}])
def test_names_are_texts_in_lists(tmp_path, change):
    said = {"labels": {"a": ["X"]}, "words": ["w"], "chars": ["c"]} | change
    path = tmp_path / inventory.NAME
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
