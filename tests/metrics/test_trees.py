"""UAS, LAS and CLAS on trees whose scores were counted by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from jaxlt.data.readers import conllu
from jaxlt.errors import UserError
from jaxlt.metrics import trees
from jaxlt.metrics.trees import Parse

# the dog chased a small cat .
FORMS = ["the", "dog", "chased", "a", "small", "cat", "."]
GOLD = Parse(FORMS, [2, 3, 0, 6, 6, 3, 3], ["det", "nsubj", "root", "det", "amod", "obj", "punct"])


def rows(ours, gold=GOLD) -> dict[str, list[int]]:
    """(correct, predicted, expected) of each score."""
    return {
        name: getattr(trees, name)([ours], [gold]).rows[0].astype(int).tolist()
        for name in ("uas", "las", "clas")
    }


def test_a_tree_is_itself() -> None:
    assert rows(GOLD) == {"uas": [7, 7, 7], "las": [7, 7, 7], "clas": [4, 4, 4]}
    assert trees.las([GOLD], [GOLD]).total() == 1


def test_wrong_heads_and_relations() -> None:
    """`small` hangs on the verb, `dog` is an obj, `a` and the full stop have wrong relations."""
    ours = Parse(FORMS, [2, 3, 0, 6, 3, 3, 3], ["det", "obj", "root", "case", "amod", "obj", "dep"])
    # UAS: all but small. LAS: less dog, a and the full stop too. CLAS: of dog chased small cat,
    # chased and cat; the system also calls the full stop content.
    assert rows(ours) == {"uas": [6, 7, 7], "las": [3, 7, 7], "clas": [2, 5, 4]}
    assert trees.clas([ours], [GOLD]).total() == pytest.approx(4 / 9)


def test_subtypes_are_cut_on_both_sides() -> None:
    ours = Parse(
        FORMS, GOLD.heads, ["det", "nsubj:pass", "root", "det:poss", "amod", "obj:agent", "punct"]
    )
    assert rows(ours)["las"] == [7, 7, 7]
    gold = replace(GOLD, deprels=["det:x", "nsubj", "root", "det", "amod", "obj", "punct"])
    assert rows(ours, gold)["clas"] == [4, 4, 4]


def test_function_words_do_not_count_for_clas() -> None:
    gold = Parse(
        list("abcdefgh"), [0] + [1] * 7, ["root", "aux", "cop", "mark", "det", "clf", "case", "cc"]
    )
    assert rows(gold, gold)["clas"] == [1, 1, 1]


def wide(first: int, last: int, form: str) -> SimpleNamespace:
    return SimpleNamespace(first=first, last=last, columns=(form,))


def test_multiword_tokens_of_the_treebank() -> None:
    """vámonos al mar: the treebank has vamos+nos and a+el, the system tokenises plainly."""
    gold = Parse(
        ["vamos", "nos", "a", "el", "mar"],
        [0, 1, 5, 5, 1],
        ["root", "obj", "case", "det", "obl"],
        (wide(1, 2, "vámonos"), wide(3, 4, "al")),
    )
    ours = Parse(["vámonos", "al", "mar"], [0, 3, 1], ["root", "case", "obl"])
    # Only mar is aligned; its head is vámonos, which is no word of the treebank.
    assert rows(ours, gold) == {"uas": [0, 3, 5], "las": [0, 3, 5], "clas": [0, 2, 3]}
    split = replace(ours, forms=["vamos", "nos", "al", "mar"])
    split = Parse(
        ["vamos", "nos", "al", "mar"],
        [0, 1, 4, 1],
        ["root", "obj", "case", "obl"],
        (wide(1, 2, "vámonos"),),
    )
    # vamos, nos and mar are aligned and right.
    assert rows(split, gold) == {"uas": [3, 4, 5], "las": [3, 4, 5], "clas": [3, 3, 3]}
    assert trees.las([split], [gold]).total() == pytest.approx(6 / 9)
    assert trees.las([split], [gold]).details["aligned_words"] == 3


def test_a_head_that_is_not_aligned_is_wrong() -> None:
    gold = Parse(["can", "not", "stop"], [3, 3, 0], ["aux", "advmod", "root"])
    ours = Parse(["cannot", "stop"], [2, 0], ["aux", "root"])
    assert rows(ours, gold)["uas"] == [1, 2, 3]
    under = Parse(["cannot", "stop"], [0, 1], ["root", "xcomp"])
    assert rows(under, gold)["uas"] == [0, 2, 3]


def test_spaces_in_tokens_are_no_letters() -> None:
    gold = Parse(["10\u00a0000", "km"], [2, 0], ["nummod", "root"])
    ours = Parse(["10 000", "km"], [2, 0], ["nummod", "root"])
    assert rows(ours, gold)["las"] == [2, 2, 2]


def test_sentences_may_be_split_otherwise() -> None:
    """Two sentences of the treebank are one to the system: all but the second root is right."""
    gold = [Parse(["Go", "."], [0, 1], ["root", "punct"]), Parse(["Now"], [0], ["root"])]
    ours = Parse(["Go", ".", "Now"], [0, 1, 1], ["root", "punct", "advmod"])
    assert rows(ours, gold)["las"] == [2, 3, 3]
    assert rows(gold, gold)["las"] == [3, 3, 3]


def test_corpus_scores_are_of_sums() -> None:
    short = Parse(["Go"], [0], ["root"])
    bad = Parse(FORMS, [0] + [1] * 6, ["root"] + ["dep"] * 6)
    made = trees.las([short, bad], [short, GOLD])
    assert made.total() == pytest.approx(1 / 8)
    assert made.n == 2


def test_predictions_that_are_no_trees_are_scored_and_counted() -> None:
    for heads in ([2, 1, 0], [0, 0, 1], [2, 9, 0], [-1, -1, -1], [2, 3, 1]):
        ours = Parse(list("abc"), heads, ["dep"] * 3)
        made = trees.uas([ours], [Parse(list("abc"), [0, 1, 1], ["root", "obj", "obj"])])
        assert made.details["malformed_trees"] == 1
    assert trees.uas([GOLD], [GOLD]).details["malformed_trees"] == 0


@pytest.mark.parametrize(
    ("ours", "gold", "says"),
    [
        (
            Parse(["ab", "d"], [0, 1], ["root", "obj"]),
            None,
            "after 2 letters it has 'd', where 'c'",
        ),
        (Parse(["ab"], [0], ["root"]), None, "after 2 letters it has '', where 'c'"),
        (Parse(["ab", "c"], [0], ["root", "obj"]), None, "2 words, 1 heads and 2 relations"),
        (Parse([], [], []), None, "at least one word"),
        (Parse(["ab", " "], [0, 1], ["root", "obj"]), None, "without letters"),
        (None, Parse(["ab", "c"], [0, 3], ["root", "obj"]), "not within its sentence"),
        (Parse(["a", "bc"], [0, 1], ["r", "o"], (wide(2, 3, "bc"),)), None, "the words 2 to 3"),
    ],
)
def test_bad_input(ours, gold, says) -> None:
    plain = Parse(["ab", "c"], [0, 1], ["root", "obj"])
    with pytest.raises(UserError, match=says):
        trees.las([ours or plain], [gold or plain])


def test_treebanks_of_all_kinds_score_themselves(shared_data) -> None:
    """Multiword tokens, empty nodes, forms with spaces: a treebank is right about itself."""
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz"))[:12]:
        sentences = list(conllu.read(str(path)))[:40]
        for name in ("uas", "las", "clas"):
            made = getattr(trees, name)(sentences, sentences)
            assert made.total() == 1, path
        flat = [replace(s, heads=tuple(i and 1 for i in range(len(s.forms)))) for s in sentences]
        heads = [[h for tree in side for h in tree.heads] for side in (flat, sentences)]
        right = sum(a == b for a, b in zip(*heads, strict=True))
        total = sum(len(s.forms) for s in sentences)
        made = trees.uas(flat, sentences)
        assert made.total() == pytest.approx(right / total), path  # on gold words: accuracy
