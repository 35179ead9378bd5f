"""Asking a real tiny model: windows, labels, forced beginnings, and inputs that are too long."""

import dataclasses
from types import SimpleNamespace

import pytest

from jaxlt import api
from jaxlt.data.head_example import HeadExample
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.errors import UserError
from jaxlt.inference import answers, labelling, model
from jaxlt.inference.asking import Routes, Settings
from jaxlt.inference.labelling import Answer
from jaxlt.inference.model import Model, as_tree
from jaxlt.models.classifier import ClassifierConfig
from tests.models.tree_checks import is_tree

pytestmark = pytest.mark.usefixtures("one_width")

# 300 bytes, and the model reads 96: three windows of 17 to 32 words, which are one program.
LONG = [f"w{i}" for i in range(68)]
LABELS = ("NOUN", "VERB", "X")


def words_form(words):
    return "pos: " + " ".join(words)


def test_words_in_windows_that_fit(start_model):
    asker, how = start_model._asker, Settings(overlength="window", labels=LABELS)
    (parts,) = asker.by_words([LONG], words_form, Routes(), how)
    assert [w for words, _ in parts for w in words] == LONG and len(parts) > 2
    sizes = [len(words_form(words).encode()) for words, _ in parts]
    assert max(sizes) < 96 and min(sizes[:-1]) >= 92  # as few as may be
    for words, answer in parts:  # each is answered as it is alone
        alone = asker.by_words([words], words_form, Routes(), how)[0]
        assert alone == [(words, answer)]
        assert len(answer.split()) == len(words)
    assert not how.notes.unfinished.count


def test_a_piece_without_an_end_is_asked_in_halves(start_model):
    how = Settings(overlength="window", length=2)
    (parts,) = start_model._asker.by_words([["a", "b", "c"]], words_form, Routes(), how)
    assert [words for words, _ in parts] == [["a"], ["b"], ["c"]]  # it does not end after a token
    assert how.notes.unfinished.count == 3
    refuse = Settings(length=2)
    ((_, answer),) = start_model._asker.by_words([["a", "b", "c"]], words_form, Routes(), refuse)[0]
    assert [answer] == start_model.generate(["pos: a b c"], length=2)
    assert refuse.notes.unfinished.count == 1


def test_tags_are_labels_and_as_many_as_words(start_model):
    sentences = [["a"], ["b", "c d", "e"], LONG, []]
    for how in ({}, {"decoding": DecodingConfig(method="beam", beams=3)}):
        tags = start_model.tag(sentences, labels=LABELS, overlength="window", **how)
        assert [len(t) for t in tags] == [1, 3, 68, 0]
        assert {tag for each in tags for tag in each} <= set(LABELS)
    free = start_model.tag(sentences[:2])
    assert [len(t) for t in free] == [1, 3]


def test_classes_are_choices(start_model):
    labels = ["good", "bad news", "goods"]
    found = start_model.classify(["one", "two", ""], labels=labels)
    assert set(found) <= set(labels)
    forced = start_model.classify(["one"], labels=labels, force="it is said: ")
    assert forced[0] in labels  # what was forced is no part of the class
    assert start_model.generate(["one"], force="it is said: ")[0].startswith("it is said: ")
    assert start_model.pairs([("a", "b")], labels=labels)[0] in labels
    assert isinstance(start_model.answer([("Who?", "By Ada.")])[0], str)


def test_trees_entities_and_scores(start_model, monkeypatch):
    heads, relations = start_model.parse([["a", "b", "c"], []])[0]
    assert is_tree(heads) and len(relations) == 3
    (spans,) = start_model.entities([["Ada", "Lovelace"]], force="PER: Ada $$ ")
    assert spans == ()  # what was forced is no answer
    for method in (start_model.entities, start_model.parse):
        with pytest.raises(UserError, match="are not among some labels"):
            method([["Ada"]], labels=["PER"])
    monkeypatch.setattr(model, "_ROWS", 8)  # more are several batches, of one program
    one, two = start_model.score([("a", "b"), ("a", "zz")])
    many = start_model.score([("a", "b"), ("a", "zz")] * 20)
    assert one < 0 > two and many[::2] == pytest.approx([one] * 20, rel=1e-5)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        (
            "tag",
            ["The dog barks ."],
            r"Sentence 0 is the text 'The dog.*\['The', 'dog', 'barks', '.'\]",
        ),
        ("parse", "The dog", "What is asked is the text 'The dog'"),
        ("entities", [["a"], [""]], "Sentence 1 has '' for a word"),
        ("classify", "one", r"a list, also of one: give \['one'\]"),
        ("generate", [["a", "b"]], r"Text 0 is no text but \['a', 'b'\]"),
        ("pairs", ["ab"], r"Pair 0 is of two texts, \(premise, hypothesis\), not 'ab'"),
        ("answer", "Who?", "a list of pairs, .question, context., not the text"),
        ("score", [("a", "b", "c")], "Pair 0 is of two texts"),
    ],
)
def test_a_text_is_no_list_of_words_nor_of_texts(start_model, method, given, message):
    with pytest.raises(UserError, match=message):
        getattr(start_model, method)(given)


def test_what_does_not_fit_is_never_cut_in_silence(start_model):
    text = "x" * 200
    for call, names in (
        (lambda **how: start_model.tag([["a"], LONG], **how), "Text 1 has"),
        (lambda **how: start_model.classify([text], **how), "Text 0 has"),
        (lambda **how: start_model.parse([LONG], **how), "Text 0 has"),
    ):
        with pytest.raises(
            UserError, match=rf"{names} .* more than the 96 .*--overlength=truncate"
        ):
            call()
    with pytest.raises(UserError, match="cannot be answered in pieces"):
        start_model.parse([LONG], overlength="window")
    with pytest.raises(UserError, match=r"Text 0 has the word 'xxx.*alone is more than the 96"):
        start_model.tag([[text]], overlength="window")
    how = Settings(overlength="truncate")
    given = {f.name: getattr(how, f.name) for f in dataclasses.fields(how)}
    (tags,) = start_model.tag([LONG], **given)
    assert len(tags) == 68 and (how.notes.cut.count, how.notes.cut.first) == (1, "Text 0")
    heads, _ = start_model.parse([LONG], overlength="truncate")[0]
    assert len(heads) == 68 and is_tree(heads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lables": ["a"]}, "no setting 'lables'.*Did you mean 'labels'"),
        ({"labels": "NOUN"}, "is a list of labels"),
        ({"labels": ["NOUN", " "]}, "number 2 is ' '"),
        ({"labels": ["a b"]}, "'a b' has a space in it"),
        ({"overlength": "cut"}, "refuse, truncate, window, not 'cut'"),
        ({"length": 0}, "`length` is at least 1"),
        ({"language": "swh_Latn"}, "not trained on a language 'swh_Latn'"),
    ],
)
def test_settings_that_are_wrong(start_model, settings, message):
    with pytest.raises(UserError, match=message):
        start_model.tag([["a"]], **settings)


def test_a_setting_is_read_by_its_first_name(start_model, capsys):
    for _ in range(2):  # and said once
        assert start_model.tag([LONG], long="truncate")[0]
    assert capsys.readouterr().err.count("`long` is called `overlength` now") == 1
    with pytest.raises(UserError, match="one setting: give `overlength` alone"):
        start_model.tag([LONG], long="truncate", overlength="window")


def test_a_task_that_is_none(start_model):
    with pytest.raises(UserError, match=r"'tags'\. Did you mean 'tag'\? There are tag, "):
        start_model.ask("tags", [["a"]])


def test_heads_read_pairs_as_they_are(start_model, monkeypatch):
    """Whatever the texts hold: the text form's ' hypothesis: ' parts nothing."""
    seen = []
    label = lambda *args, **_: seen.extend(args[3]) or [Answer(("1",))]  # noqa: E731
    heads = SimpleNamespace(tasks=[SimpleNamespace(name="nli", shape="pair")])
    monkeypatch.setattr(answers, "objective_of", lambda *_: heads)
    monkeypatch.setattr(labelling, "label", label)
    config = SimpleNamespace(heads=(ClassifierConfig("nli", 3),))
    predictor = SimpleNamespace(
        config=config, languages=(), inventory=None, routed_by=lambda key: False
    )
    model = dataclasses.replace(start_model, predictor=predictor)
    pair = ("The hypothesis: x", "y hypothesis: z")
    assert model.pairs([pair]) == ["1"]
    assert seen == [HeadExample("pair", texts=pair)]


def test_labels_longer_than_an_answer_may_be(start_model):
    with pytest.raises(UserError, match=r"length = 3 is too short .* 7 tokens with its end"):
        start_model.classify(["a"], labels=["sports"], length=3)
    with pytest.raises(UserError, match="give its name as `target`"):
        start_model.translate(["a"], None)
    with pytest.raises(UserError, match="give its name as `target`"):
        start_model.ask("translate", ["a"])
    assert isinstance(start_model.translate(["a"], "swh_Latn")[0], str)


@pytest.mark.parametrize(
    ("heads", "relations", "wanted"),
    [
        ((2, 0, 2), ("nsubj", "root", "obj"), ((2, 0, 2), ("nsubj", "root", "obj"))),
        ((2, 0, 2), ("root", "nsubj", "obj"), ((2, 0, 2), ("dep", "root", "obj"))),
        ((), (), ((), ())),
    ],
)
def test_trees_stay_as_they_are(heads, relations, wanted):
    assert as_tree(heads, relations) == wanted


def test_what_is_no_tree_becomes_one():
    for heads in ((0, 0, 0), (2, 1, 1), (2, 3, 1), (0, 3, 2)):
        tree, relations = as_tree(heads, ("a", "b", "root"))
        assert is_tree(tree) and relations.count("root") == 1
        assert sum(a != b for a, b in zip(heads, tree, strict=True)) <= 2


def test_the_api_has_what_its_answers_are_made_of(start_model):
    assert isinstance(start_model, api.Model) and api.as_tree is as_tree
    assert api.Words and api.Names and not hasattr(api, "Modle")


def test_models_are_frozen(start_model):
    assert isinstance(start_model, Model) and start_model.kinds["tag"].inputs(["a"]) == "pos: a"
    with pytest.raises(dataclasses.FrozenInstanceError):
        start_model.run = None
