"""Trivial baselines of a run's tasks: what they learn from, and what is said beside them."""

import gzip
from collections import Counter
from dataclasses import replace

import pytest

from jaxlt.data import inventory as inventories
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import (
    examples_of,
    open_evaluation,
    training_examples,
    training_forms,
)
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.transfer import TransferConfig, TransferRoles
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.inference.answers import Example, unanswered
from jaxlt.inference.baselines import baselines
from jaxlt.inference.scoring import one_answer, remarks, score_examples, with_baselines

ROW = "{}\t{}\t_\t{}\t_\t_\t{}\t{}\t_\t_\n"


def tree(*rows):
    return "".join(ROW.format(i, *row) for i, row in enumerate(rows, 1)) + "\n"


DOG = tree(("the", "DET", 2, "det"), ("dog", "NOUN", 3, "nsubj"), ("barks", "VERB", 0, "root"))
CAT = tree(("a", "DET", 2, "det"), ("cat", "NOUN", 3, "nsubj"), ("barks", "VERB", 0, "root"))
MBWA = tree(("mbwa", "NOUN", 2, "nsubj"), ("barks", "VERB", 0, "root"))
ENTITIES = "Ada\tB-PER\nmet\tO\nIda\tB-PER\nin\tO\nParis\tB-LOC\n\n"
TEST = "Paris\tB-LOC\nand\tO\nOslo\tB-LOC\nmet\tO\nAda\tB-PER\n\n"


def config(folder, kind, files, **more):
    folder = folder / "files"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return DataConfig(
        objective="text_to_text",
        tasks=TaskConfig(kind, sources=(str(folder),)),
        mixture="baselines",
        cache_dir=str(folder.parent / "cache"),
        **more,
    )


def scored(given, split, kind, answer=lambda one: one.target):
    """Every score of a pass that `answer` answers, and of the baselines, by (method, ...)."""
    vocabulary = open_vocabulary(given.vocabulary_config)
    languages = TransferRoles.of(given).every if given.transfer else None
    pass_ = open_evaluation(given, split, languages=languages)
    known = unanswered(pass_, vocabulary, "text_to_text")
    examples = [replace(one, answer=answer(one)) for one in known]
    kinds = {kind: kind}
    trivial = baselines(given, inventories.NOTHING, examples, kinds)
    return with_baselines(trivial, list(score_examples(examples, kinds)), kinds)


def values(judged, metric):
    names = ((one.method.removeprefix("baseline/"), one.language) for one in judged)
    both = zip(names, judged, strict=True)
    return {name: one.score.value for name, one in both if one.metric == metric}


def test_tags_are_learnt_from_the_language_itself_or_else_from_those_that_train(tmp_path):
    files = {
        "en_x-train.conllu": DOG * 3 + CAT,
        "en_x-test.conllu": CAT + DOG,
        "sw_y-train.conllu": MBWA,
        "sw_y-test.conllu": MBWA,
    }
    own = config(tmp_path, "tagging", files)
    found = values(scored(own, "test", "tagging"), "accuracy")
    assert found["", "eng_Latn"] == found["tag_by_word", "eng_Latn"] == 1
    assert found["commonest_tag", "eng_Latn"] == pytest.approx(1 / 3)
    assert found["tag_by_word", "swa_Latn"] == 1  # which English does not know
    transfer = TransferConfig("zero_shot", sources=("eng_Latn",))
    judged = scored(replace(own, transfer=transfer), "test", "tagging")
    found = values(judged, "accuracy")
    assert found["tag_by_word", "swa_Latn"] == 1 / 2
    for one in judged:
        assert one.chance == found["commonest_tag", one.language]


def test_nothing_that_trains_is_tokenised_for_it(tmp_path):
    """Baselines learn from the files as they are, and make no token cache of what trains."""
    files = {
        "en_x-train.conllu": DOG * 3 + CAT,
        "en_x-test.conllu": CAT + DOG,
        "sw_y-train.conllu": MBWA,
        "sw_y-test.conllu": MBWA,
    }
    own = config(tmp_path, "tagging", files)
    for transfer in (None, TransferConfig("zero_shot", sources=("eng_Latn",))):
        for objective in ("text_to_text", "heads"):
            given = replace(own, transfer=transfer, objective=objective)
            names = inventories.NOTHING
            if objective == "heads":
                names = inventories.take(training_examples(given), {"tagging": 8})
            trains = [(text.name, len(list(forms))) for text, forms in training_forms(given, names)]
            other = [] if transfer else [("tagging.sw_y.swa_Latn", 1)]
            assert trains == [("tagging.en_x.eng_Latn", 4), *other]
    assert not (tmp_path / "cache" / "tokens").exists()


def test_trees_and_what_is_said_of_a_model_below_them(tmp_path):
    given = config(tmp_path, "parsing", {"en_x-train.conllu": DOG, "en_x-test.conllu": DOG + CAT})
    judged = scored(given, "test", "parsing", lambda one: "0:root 0:root 0:root")
    found = values(judged, "las")
    assert found["neighbour", "eng_Latn"] == pytest.approx(5 / 6)  # a cat is a det
    assert found["", "eng_Latn"] == pytest.approx(1 / 3)
    said = list(remarks(judged))
    assert "parsing.en_x eng_Latn: las 0.3333 is at chance (0.8333)" in said
    good = scored(given, "test", "parsing")
    assert not [line for line in remarks(good) if "below" in line]


@pytest.mark.parametrize("heads", [False, True])
def test_entities_have_their_own_baselines(tmp_path, heads):
    files = {"en_x-train.iob2": ENTITIES, "en_x-test.iob2": TEST}
    given = config(tmp_path, "entities", files)
    if heads:
        given = replace(given, objective="heads")
        names = inventories.take(training_examples(given), {"entities": 8})
        pass_ = open_evaluation(given, "test", inventory=names)
        known = [
            Example("entities.en_x", "eng_Latn", inputs, "", "", "eng_Latn", tags=tags_of(one))
            for _, of in examples_of(given, "test", pass_)
            for inputs, one in of
        ]
    else:
        names = inventories.NOTHING
        vocabulary = open_vocabulary(given.vocabulary_config)
        known = unanswered(open_evaluation(given, "test"), vocabulary, "text_to_text")
    kinds = {"entities": "entities"}
    trivial = baselines(given, names, known, kinds)
    assert [one.answer for one in trivial["known_names"]] == ["LOC: Paris $$ PER: Ada"]
    assert [one.answer for one in trivial["all_O"]] == [""]
    if heads:
        assert trivial["known_names"][0].tags[1] == "B-LOC O O O B-PER"
    metric = "span_f1" if heads else "entity_f1"
    found = values(with_baselines(trivial, list(score_examples(known, kinds)), kinds), metric)
    assert found["all_O", "eng_Latn"] == 0
    assert found["known_names", "eng_Latn"] == pytest.approx(4 / 5)  # 2 of 3 found, none wrong
    silent = [replace(one, tags=(one.tags[0], "O O O O O" if heads else "")) for one in known]
    assert list(one_answer(silent, kinds)) == [
        f"entities.en_x eng_Latn: every answer is '{'O' if heads else '(nothing)'}'"
    ]
    again = with_baselines(trivial, list(score_examples(silent, kinds)), kinds)
    assert any("is at chance (0)" in line for line in remarks(again))


def tags_of(marked):
    return " ".join(marked.labels), " ".join(marked.labels)


def test_a_text_is_copied_without_its_tag(tmp_path):
    rows = "eng_Latn\tswh_Latn\nI see Paris\tNaona Paris\n" + "".join(
        f"a {i}\tb {i}\n" for i in range(9)
    )
    given = config(tmp_path, "translation", {"parallel.tsv": rows}, held_out=0.5)
    tasks = TaskConfig("translation", sources=(f"{tmp_path}/files/parallel.tsv",))
    given = replace(given, tasks=tasks, tag="{origin}<2{target}> ")
    vocabulary = open_vocabulary(given.vocabulary_config)
    known = unanswered(open_evaluation(given), vocabulary, "text_to_text")
    copied = baselines(given, inventories.NOTHING, known, {"translation": "translation"})["copy"]
    assert {one.inputs for one in copied} == {f"<2{one.language}> {one.answer}" for one in copied}


def test_baselines_of_a_treebank_are_those_that_counting_gives(tmp_path, shared_data):
    """The commonest tag and the neighbour, counted anew from the columns of a real treebank."""
    with gzip.open(shared_data / "ud" / "kmr_mg-test.conllu.gz", "rt", encoding="utf-8") as file:
        lines = [line.split("\t") for line in file.read().splitlines()]
    words = [(row[3], int(row[0]), int(row[6])) for row in lines if row[0].isdecimal()]
    tags = Counter(tag for tag, *_ in words)
    given = DataConfig(
        objective="text_to_text",
        tasks=(
            TaskConfig("tagging", sources=(str(shared_data / "ud"),), names=("kmr_mg",)),
            TaskConfig("parsing", sources=(str(shared_data / "ud"),), names=("kmr_mg",)),
        ),
        mixture="counted",
        cache_dir=str(tmp_path),
        targets_length=2048,
        inputs_length=2048,
    )
    vocabulary = open_vocabulary(given.vocabulary_config)
    examples = unanswered(open_evaluation(given, "test"), vocabulary, "text_to_text")
    kinds = {"tagging": "tagging", "parsing": "parsing"}
    trivial = baselines(given, inventories.NOTHING, examples, kinds)
    judged = with_baselines(trivial, [], kinds)
    found = {(one.method, one.metric): one.score.value for one in judged}
    (one,) = {tag for e in trivial["commonest_tag"] for tag in e.answer.split()}
    assert found["baseline/commonest_tag", "accuracy"] == tags[one] / tags.total()
    assert found["baseline/tag_by_word", "accuracy"] > found["baseline/commonest_tag", "accuracy"]
    before = sum(head == max(number - 1, 0) for _, number, head in words) / len(words)
    assert found["baseline/neighbour", "uas"] == pytest.approx(before)
