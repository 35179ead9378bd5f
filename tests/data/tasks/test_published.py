"""Collections as they are published, through the tasks: their languages, splits and examples."""

import json

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.sources import stats
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.configured import chosen
from jaxlt.errors import UserError
from tests.data.tasks.registering import register, stream, tasks
from tests.data.tasks.registering import texts as read
from tests.data.tasks.test_corpora_tasks import ROW

TREE = ROW.format(1, "a", 0) + ROW.format(2, "b", 1) + "\n"


@pytest.fixture
def config(tmp_path):
    return DataConfig(objective="text_to_text", cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "published"


def write(folder, files: dict[str, str]) -> tuple[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return (str(folder),)


def splits(name: str) -> list[str]:
    return list(stream(name).splits)


def test_treebanks(folder, config):
    source = write(
        folder,
        {
            "UD_English-EWT/en_ewt-ud-train.conllu": TREE,
            "UD_English-EWT/en_ewt-ud-dev.conllu": TREE,
            "UD_Czech-PDT/cs_pdt-ud-train-a.conllu": TREE,
            "UD_Czech-PDT/cs_pdt-ud-train-b.conllu": TREE * 2,
            "UD_English-EWT/README.md": "x",
            "zh-Hant_own-test.conllu": TREE,  # a dash that seqio's names cannot have
        },
    )
    register("tagging", "p_pos", source, config)
    names = ["cs_pdt.ces_Latn", "en_ewt.eng_Latn", "zh_Hant_own.zho_Hant"]
    assert tasks("p_pos") == names
    assert splits("p_pos.en_ewt.eng_Latn") == ["train", "validation"]
    assert len(read("p_pos.cs_pdt.ces_Latn", "train")) == 3
    assert read("p_pos.zh_Hant_own.zho_Hant", "test") == [("pos: a b", "NOUN NOUN")]


def test_entities_of_wikiann_and_masakhaner(folder, config):
    source = write(
        folder,
        {
            "wikiann/en/train": "en:Ada\tB-PER\nen::\tO\n\nen:b\tO\n",
            "wikiann/en/dev": "en:a\tO\n\n",
            "wikiann/en/extra": "en:c\tO\n\n",
            "data/amh/train.txt": "እንደ O\nኤለርስ B-LOC \n\n# O\n። O\n",
            "data/amh/test.txt": "a O\n",
            "data/README.txt": "no entities",
        },
    )
    register("entities", "p_ner", source, config)
    assert tasks("p_ner") == ["amh.amh_Ethi", "en.eng_Latn"]
    assert splits("p_ner.en.eng_Latn") == ["train", "validation"]
    assert read("p_ner.en.eng_Latn", "train") == [("tag: Ada :", "PER: Ada"), ("tag: b", "")]
    assert read("p_ner.amh.amh_Ethi", "train") == [("tag: እንደ ኤለርስ", "LOC: ኤለርስ"), ("tag: # ።", "")]
    kinds = {(c.corpus, c.kind, c.split) for c in stats.count(source, config.cache_root)[0]}
    assert ("en", "entities", "extra") in kinds and ("amh", "entities", "test") in kinds
    (folder / "wikiann/en/dev").write_text("en:a\tO\nb\tO\n")
    with pytest.raises(UserError, match="line 2: the token 'b' lacks 'en:'"):
        read("p_ner.en.eng_Latn", "validation")
    (folder / "data/amh/test.txt").write_text("a X O\n")
    with pytest.raises(UserError, match=r"test.txt', line 1: 3 columns, expected token<TAB>tag"):
        read("p_ner.amh.amh_Ethi", "test")


def questions(*items: tuple[str, str]) -> str:
    asked = [
        {"id": name, "question": "Who?", "answers": [{"text": answer, "answer_start": 0}]}
        for name, answer in items
    ]
    paragraphs = [
        {"context": f"{answer} came.", "qas": [q]}
        for q, (_, answer) in zip(asked, items, strict=True)
    ]
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


def test_questions_of_several_collections(folder, config):
    source = write(
        folder,
        {
            "squad/train-v1.1.json": questions(("1", "Ada")),
            "squad/dev-v1.1.json": questions(("2", "Bo")),
            "MLQA_V1/test/test-context-ar-question-ar.json": questions(("3", "Cy")),
            "MLQA_V1/test/test-context-ar-question-de.json": questions(("3", "Cy")),
            "xquad.ar.json": questions(("4", "Di")),
            "tydiqa-goldp-v1.1-dev.json": questions(("arabic-5", "Ed"), ("finnish-6", "Fy")),
        },
    )
    register("questions", "p_qa", source, config)
    assert tasks("p_qa") == ["ara_Arab", "eng_Latn", "fin_Latn"]
    said = {s: [a for _, a in read("p_qa.ara_Arab", s)] for s in ("train", "validation", "test")}
    assert said == {"train": [], "validation": ["Ed"], "test": ["Cy", "Di"]}
    assert [a for _, a in read("p_qa.eng_Latn", "train")] == ["Ada"]
    assert [a for _, a in read("p_qa.eng_Latn", "validation")] == ["Bo"]


def test_pairs_of_xnli(folder, config):
    head = "language\tgold_label\tsentence1\tsentence2\tpairID\tgenre\n"
    source = write(
        folder,
        {
            "XNLI-1.0/xnli.dev.tsv": head + 'sw\tcontradiction\tA "b\tC\t1\tface\n',
            "XNLI-1.0/xnli.dev.jsonl": "",
            "XNLI-1.0/xnli.test.tsv": head
            + "sw\tneutral\tD\tE\t2\tface\nen\tneutral\tF\tG\t2\tf\n",
            "XNLI-MT-1.0/multinli/multinli.train.sw.tsv": "premise\thypo\tlabel\n"
            "H\tI\tcontradictory\nJ\tK\tentailment\n",
        },
    )
    register("pairs", "p_nli", source, config)
    assert tasks("p_nli") == ["eng_Latn", "swa_Latn"]
    streams = chosen("p_nli", TaskConfig("pairs", source), config)
    heads = list(streams["p_nli.swa_Latn"].for_heads("train"))
    assert heads == [
        ("xnli: premise: H hypothesis: I", "2"),
        ("xnli: premise: J hypothesis: K", "0"),
    ]
    assert read("p_nli.swa_Latn", "validation") == [('xnli: premise: A "b hypothesis: C', "2")]
    assert read("p_nli.eng_Latn", "test") == [("xnli: premise: F hypothesis: G", "1")]
    assert read("p_nli.eng_Latn", "train") == []


def test_parallel_texts_of_flores_ntrex_and_tatoeba(folder, config):
    source = write(
        folder,
        {
            "flores200_dataset/dev/eng_Latn.dev": "one\ntwo\n",
            "flores200_dataset/dev/swh_Latn.dev": "moja\nmbili\n",
            "flores200_dataset/devtest/eng_Latn.devtest": "three\n",
            "flores200_dataset/devtest/swh_Latn.devtest": "tatu\n",
            "flores200_dataset/metadata_dev.tsv": "URL\tdomain\nx\ty\n",
            "NTREX-128/newstest2019-src.eng.txt": "colour\n",
            "NTREX-128/newstest2019-ref.eng-US.txt": "color\n",
            "NTREX-128/newstest2019-ref.fao.txt": "litur\n",
            "NTREX-128/newstest2019-ref-2.fao.txt": "annar\n",
            "v1/tatoeba.fao-eng.fao": "hey\n",
            "v1/tatoeba.fao-eng.eng": "hi\n",
            "eng-fao/train.src": "a\nb\n",
            "eng-fao/train.trg": "c\n\n",
            "eng-fao/train.id": "x\ny\n",
        },
    )
    register("translation", "p_mt", source, config)
    assert "eng_Latn:swh_Latn" in tasks("p_mt") and "fao_Latn:swh_Latn" not in tasks("p_mt")
    tag = config.tag.format(source="eng_Latn", target="swh_Latn")
    assert read("p_mt.eng_Latn:swh_Latn", "validation") == [
        (f"{tag}one", "moja"),
        (f"{tag}two", "mbili"),
    ]
    assert read("p_mt.eng_Latn:swh_Latn", "test") == [(f"{tag}three", "tatu")]
    assert read("p_mt.eng_Latn:swh_Latn", "train") == []
    assert [b for _, b in read("p_mt.eng_Latn:fao_Latn", "test")] == ["litur", "hey"]
    assert [b for _, b in read("p_mt.eng_Latn:fao_Latn", "train")] == ["c"]
    assert [b for _, b in read("p_mt.eng_US:fao_Latn", "test")] == ["litur"]
    counted = {(c.corpus, c.language, c.split) for c in stats.count(source, config.cache_root)[0]}
    assert ("flores", "swh_Latn", "test") in counted and ("ntrex", "fao_Latn", "test") in counted
    with pytest.raises(UserError, match=r"both in 'swh_Latn' and in 'fao_Latn'; beside.*eng_Latn"):
        register("translation", "p_mt2", source, config, pairs=("swh_Latn:fao_Latn",))
    (folder / "v1/tatoeba.fao-eng.eng").write_text("hi\nho\n")
    with pytest.raises(UserError, match=r"fao-eng.fao' ends after line 1, but .*fao-eng.eng"):
        read("p_mt.eng_Latn:fao_Latn", "test")
