"""Answers that need no model, by hand."""

from jaxlt.metrics.baselines import ByWord, Commonest, FirstWords, Names, Neighbour


def test_the_commonest_answer_and_ties() -> None:
    made = Commonest()
    assert made.answer == ""
    made.add(["b", "a", "b", "a", "c"])
    assert made.answer == "a"
    made.add(["b"])
    assert made.answer == "b"


def test_a_word_has_its_own_label_or_that_of_its_ending() -> None:
    made = ByWord()
    made.add(["the", "dogs", "barked", "and"], ["D", "N", "V", "C"])
    made.add(["the", "cats", "slept"], ["D", "N", "V"])
    made.add(["a", "dogs", "walked"], ["D", "V", "V"])
    made.add(["dogs"], ["N"])
    assert made.label("the") == "D" and made.label("dogs") == "N"  # twice N, once V
    assert made.label("talked") == "V"  # as barked and walked: -lked, -ked
    assert made.label("rats") == "N"  # as cats
    assert made.label("xyz") == made.label("") == "V"  # the commonest of all


def test_a_tree_hangs_on_the_neighbour() -> None:
    after = Neighbour()
    after.add(["the", "big", "dog"], [3, 3, 0], ["det", "amod", "root"])
    after.add(["a", "cat", "sleeps"], [2, 3, 0], ["det", "nsubj", "root"])
    assert after.tree(["the", "cat", "barks"]) == ([2, 3, 0], ["det", "nsubj", "root"])
    before = Neighbour()
    before.add(["eats", "fish", "raw"], [0, 1, 2], ["root", "obj", "amod"])
    assert before.tree(["eats", "fish"]) == ([0, 1], ["root", "obj"])
    assert before.tree(["x"]) == ([0], ["root"]) and Neighbour().tree([]) == ([], [])


def test_names_are_the_longest_that_are_known() -> None:
    made = Names()
    made.add(["New", "York"], "LOC")
    made.add(["New", "York", "Times"], "ORG")
    made.add(["York"], "PER")
    made.add(["York"], "LOC")
    made.add(["York"], "LOC")
    text = ["The", "New", "York", "Times", "of", "New", "York", "and", "York"]
    assert made.spans(text) == [(1, 4, "ORG"), (5, 7, "LOC"), (8, 9, "LOC")]
    assert made.spans(["New"]) == [] and Names().spans(text) == []


def test_the_first_words_are_as_many_as_an_answer_has() -> None:
    made = FirstWords()
    assert made.answer("a b c") == "a"
    for answer in ("x", "x y", "x y", "x y z w v"):
        made.add(answer)
    assert made.answer("a  b c") == "a b" and made.answer("") == ""
