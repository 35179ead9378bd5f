"""Answers: saved and read again, and held against texts that no vocabulary has touched."""

import json
from dataclasses import replace

import pytest
import seqio

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, training_forms
from jaxlt.data.seqio_tasks.text import replace_task
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.transfer import TransferConfig
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError
from jaxlt.inference import answers
from jaxlt.inference.answers import Example, unanswered
from jaxlt.inference.scoring import score_examples
from jaxlt.metrics.result import Decoding, Module
from tests.pieces import train_pieces

COMMON = {
    "run": "x",
    "split": "test",
    "step": 40,
    "modules": (Module("lang=glv", "01"), Module("task", "02")),
    "decoding": Decoding(length=8),
    "settings": (("limit", "5"),),
}
ANSWER = Example("tagging.x", "glv_Latn", "pos: a", "NOUN", "VERB")


def place(folder, **changes):
    return answers.place(folder, answers.asked_of(COMMON | changes))


def test_what_is_asked_otherwise_is_another_file(tmp_path):
    paths = [
        place(tmp_path),
        place(tmp_path, decoding=Decoding(beams=4, length=8, length_penalty=0.6)),
        place(tmp_path, decoding=Decoding(length=16)),
        place(tmp_path, decoding=Decoding(length=8, labels=("A", "B"))),
        place(tmp_path, modules=(Module("lang=tgl", "03"), Module("task", "02"))),
        place(tmp_path, modules=(Module("lang=glv", "04"), Module("task", "02"))),
        place(tmp_path, step=20),
        place(tmp_path, settings=()),
    ]
    assert len(set(paths)) == len(paths)
    assert place(tmp_path) == paths[0] and place(tmp_path, run="y") == paths[0]
    assert paths[0].name.startswith("test-40-lang=glv+task-")
    assert paths[1].name.startswith("test-40-lang=glv+task-beams4-")


def test_names_fit_any_file_system(tmp_path):
    many = tuple(Module(f"lang{i}=folder/of/deltas:{i}\u1234.st", str(i)) for i in range(100))
    path = place(tmp_path, modules=many)
    assert path.parent == tmp_path / "answers" and len(path.name.encode()) < 80
    answers.save(path, answers.asked_of(COMMON | {"modules": many}), [ANSWER])
    assert answers.read(path)[1] == [ANSWER]


def test_answers_come_back_with_what_was_asked(tmp_path):
    asked = answers.asked_of(COMMON)
    path = answers.place(tmp_path, asked)
    answers.save(path, asked, [ANSWER, ANSWER])
    assert answers.read(path) == (json.loads(json.dumps(asked)), [ANSWER, ANSWER])
    assert asked["modules"] == [["lang=glv", "01"], ["task", "02"]]
    older = "".join(path.read_text().splitlines(keepends=True)[1:])
    path.write_text(older)
    assert answers.read(path) == ({}, [ANSWER, ANSWER])


def test_a_line_ends_at_a_newline_alone(tmp_path):
    answer = Example("tagging.x", "glv_Latn", "a\u2028b", "c\u0085d\re", "f\u2029g\nh")
    path = place(tmp_path)
    answers.save(path, {}, [answer, answer])
    assert answers.read(path) == ({}, [answer, answer])


def test_answers_of_a_run_in_a_bucket_lie_beside_it():
    assert str(place("gs://bucket/run")).startswith("gs://bucket/run/answers/test-40-")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "answers").write_text("")
    with pytest.raises(UserError, match=r"Nothing can be written to .*answers"):
        answers.check_writable(tmp_path / "answers")


CHINESE = ("你好，世界！", "今天天气很好。", "我们（都）去北京；你呢？", "价格是１００元：太贵了！")
ENGLISH = ("Hello, world!", "The weather is fine.", "We all go … you?", "It costs ½ too much")
PAIRS = list(zip(ENGLISH, CHINESE, strict=True))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Text to text over a small model with T5's normaliser, which folds full-width forms."""
    folder = tmp_path_factory.mktemp("references")
    path = train_pieces(folder / "zh", [*ENGLISH, *CHINESE] * 3, 400, byte_fallback=True)
    rows = ["\t".join(pair) for pair in PAIRS]
    (folder / "eng_Latn-zho_Hans-dev.tsv").write_text("\n".join(rows) + "\n")
    (folder / "zho_Hans-dev.tsv").write_text("\n".join(rows) + "\n")
    return DataConfig(
        vocabulary=path,
        objective="text_to_text",
        held_out=0.5,
        cache_dir=str(folder / "cache"),
        mixture="references",
    )


def folder_of(config):
    return config.vocabulary.removesuffix("/zh.model")


def test_the_references_of_text_are_those_of_its_files(config) -> None:
    given = replace(config, sources=f"{folder_of(config)}/zho_Hans-dev.tsv", held_out=0.0)
    vocabulary = open_vocabulary(config.vocabulary_config)
    found = unanswered(open_evaluation(given, "train"), vocabulary, "text_to_text")
    assert [(one.inputs, one.target) for one in found] == PAIRS
    said = [vocabulary.decode(vocabulary.encode(text)) for text in CHINESE]
    assert said != list(CHINESE)
    answered = [replace(one, answer=text) for one, text in zip(found, said, strict=True)]
    kinds = {"text_to_text": "translation"}
    bleu = {j.metric: j.score for j in score_examples(answered, kinds)}["bleu"]
    assert bleu.value < 90 and "tok:zh" in bleu.details["signature"]
    perfect = [replace(one, answer=one.target) for one in found]
    assert {j.metric: j.score.value for j in score_examples(perfect, kinds)}["bleu"] > 99.9


def test_the_references_of_tasks_are_those_of_their_files(config) -> None:
    (path := f"{folder_of(config)}/parallel.tsv")
    with open(path, "w") as file:
        file.write("\n".join(["eng_Latn\tzho_Hans", *map("\t".join, PAIRS)]) + "\n")
    tasks = TaskConfig("translation", sources=(path,))
    found = []
    for split in ("train", "validation"):
        pass_ = open_evaluation(replace(config, tasks=tasks), split)
        found += unanswered(pass_, open_vocabulary(config.vocabulary_config), "text_to_text")
    mine = {(one.inputs, one.target) for one in found if one.language == "zho_Hans"}
    assert mine == {(f"<2zho_Hans> {english}", chinese) for english, chinese in PAIRS}
    assert {one.source for one in found} == {"eng_Latn", "zho_Hans"}


def test_the_references_of_a_registered_task_are_what_its_tokenize_kept(config) -> None:
    source = seqio.FunctionDataSource(dataset_of, splits=["validation"])
    for name, more in (("kept.zho_Hans", {}), ("bare.zho_Hans", {"copy_pretokenized": False})):

        def tokenize(dataset, output_features, more=more):
            return seqio.preprocessors.tokenize(dataset, output_features, **more)

        steps = [tokenize, seqio.CacheDatasetPlaceholder(), seqio.preprocessors.append_eos]
        replace_task(name, config, source, steps)
    vocabulary = open_vocabulary(config.vocabulary_config)
    kept = unanswered(open_evaluation(replace(config, mixture="kept.zho_Hans")), vocabulary, "t")
    assert [one.target for one in kept] == list(CHINESE)
    bare = unanswered(open_evaluation(replace(config, mixture="bare.zho_Hans")), vocabulary, "t")
    assert [one.target for one in bare] == [
        vocabulary.decode(vocabulary.encode(t)) for t in CHINESE
    ]


def dataset_of(split, shuffle_files=False, seed=None):
    import tensorflow as tf

    del split, shuffle_files, seed
    columns = {"inputs": list(ENGLISH), "targets": list(CHINESE)}
    return tf.data.Dataset.from_tensor_slices(columns)


def test_a_text_cut_to_some_examples_has_the_references_of_these(config) -> None:
    for split in ("train", "dev"):
        rows = [
            {"lang": code, "id": f"{split}{i}", "category": f"ｃ{i}", "text": text}
            for code, texts in (("eng_Latn", ENGLISH), ("zho_Hans", CHINESE))
            for i, text in enumerate(texts)
        ]
        with open(f"{folder_of(config)}/topics-{split}.jsonl", "w") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
    transfer = TransferConfig("few_shot", sources=("eng_Latn",), k=2)
    tasks = TaskConfig("topics", sources=(f"{folder_of(config)}/topics-*.jsonl",))
    given = replace(config, tasks=tasks, transfer=transfer)
    shots = {text.language: dict(forms) for text, forms in training_forms(given)}
    assert len(shots["eng_Latn"]) == 4 and len(shots["zho_Hans"]) == 2
    for number, form in shots["zho_Hans"].items():
        assert form == (f"topic: {CHINESE[number]}", f"ｃ{number}")
