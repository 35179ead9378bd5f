"""Files named as public collections publish them: corpus, language, split."""

import pytest

from jaxlt.data.sources import corpora
from jaxlt.data.sources.layouts import place, published
from jaxlt.errors import UserError

PUBLISHED = [
    # path, what it holds, corpus, language, split
    ("UD_English-EWT/en_ewt-ud-train.conllu", "treebank", "en_ewt", "eng_Latn", "train"),
    ("ud/sme_giella-ud-test.conllu.gz", "treebank", "sme_giella", "sme_Latn", "test"),
    ("x/cs_pdt-ud-train-la.conllu", "treebank", "cs_pdt", "ces_Latn", "train"),
    ("x/de_hdt-ud-train-a-1.conllu", "treebank", "de_hdt", "deu_Latn", "train"),
    ("wikiann/sw/dev", "entities", "sw", "swa_Latn", "validation"),
    ("wikiann/en/extra", "entities", "en", "eng_Latn", "extra"),
    ("wikiann/als/train", "entities", "als", "gsw_Latn", "train"),  # Alemannic, not Tosk
    ("wikiann/zh-yue/test.tsv", "entities", "zh-yue", "yue_Hant", "test"),
    ("data/amh/dev.txt", "entities", "amh", "amh_Ethi", "validation"),
    ("squad/train-v2.0.json", "questions", "squad", "eng_Latn", "train"),
    ("d/de_squad-translate-train-dev-v1.1.json", "questions", "squad", "deu_Latn", "validation"),
    ("MLQA_V1/test/test-context-vi-question-vi.json", "questions", "mlqa", "vie_Latn", "test"),
    ("xquad.el.json", "questions", "xquad", "ell_Grek", "test"),
    ("tydiqa-goldp-v1.1-train.json", "questions", "tydiqa", "", "train"),
    ("t/tydiqa-goldp-dev-telugu.json", "questions", "tydiqa", "tel_Telu", "validation"),
    ("t/tydiqa.goldp.sw.dev.json", "questions", "tydiqa", "swa_Latn", "validation"),
    ("XNLI-1.0/xnli.dev.tsv", "pairs", "xnli", "", "validation"),
    ("XNLI-MT-1.0/multinli/multinli.train.ur.tsv", "pairs", "multinli", "urd_Arab", "train"),
    ("flores200_dataset/dev/ace_Arab.dev", "aligned", "flores", "ace_Arab", "validation"),
    ("flores101_dataset/devtest/zul.devtest", "aligned", "flores", "zul_Latn", "test"),
    ("floresp/devtest/devtest.nqo_Nkoo", "aligned", "flores", "nqo_Nkoo", "test"),
    ("NTREX-128/newstest2019-src.eng.txt", "aligned", "ntrex", "eng_Latn", "test"),
    ("NTREX-128/newstest2019-ref.zho-TW.txt", "aligned", "ntrex", "zho_Hant", "test"),
    ("v1/tatoeba.swh-eng.swh", "aligned", "tatoeba-swh-eng", "swh_Latn", "test"),
    ("v1/tatoeba.swh-eng.eng", "aligned", "tatoeba-swh-eng", "eng_Latn", "test"),
    ("data/eng-sme/train.src.gz", "aligned", "tatoeba-eng-sme", "eng_Latn", "train"),
    ("data/eng-sme/dev.trg", "aligned", "tatoeba-eng-sme", "sme_Latn", "validation"),
]


@pytest.mark.parametrize(("path", "holds", "corpus", "language", "split"), PUBLISHED)
def test_published_names(path, holds, corpus, language, split):
    said = place(path, holds)
    assert (said.holds, said.corpus, said.split) == (holds, corpus, split)
    assert corpora.Codes().of_place(said) == language


@pytest.mark.parametrize(
    "path", ["en_ewt-train.conllu", "notes.txt", "data/train.txt", "eng-sme/train.id.gz", "x.json"]
)
def test_other_names_are_of_no_collection(path):
    assert published(f"/corpora/{path}") is None


def test_a_split_in_parts_is_one_split(tmp_path):
    for part in ("la", "ct"):
        (tmp_path / f"cs_pdt-ud-train-{part}.conllu").write_text("x")
    (one,) = corpora.find((str(tmp_path),), corpora.CONLLU, "treebank")
    assert [p.rpartition("-")[2] for p in one.paths["train"]] == ["ct.conllu", "la.conllu"]


def test_what_is_there_twice_is_read_once_or_refused(tmp_path):
    folder = (str(tmp_path),)
    for name in ("xnli.dev.jsonl", "xnli.dev.tsv", "xnli.test.tsv"):
        (tmp_path / name).write_text("x")
    found = corpora.table_files(folder, "pairs")
    assert [path.rpartition("/")[2] for path in found] == ["xnli.dev.tsv", "xnli.test.tsv"]
    (tmp_path / "train-v1.1.json").write_text("x")
    assert corpora.table_files(folder, "questions") == (f"{tmp_path}/train-v1.1.json",)
    (tmp_path / "train-v2.0.json").write_text("x")
    with pytest.raises(
        UserError, match=r"v1.1.json' and .*v2.0.json' both hold.*'train' of 'squad'"
    ):
        corpora.table_files(folder, "questions")


def test_what_is_left_out_is_said(tmp_path, caplog):
    both, mixed = "dev-context-ar-question-ar.json", "dev-context-ar-question-de.json"
    for name in (both, mixed):
        (tmp_path / name).write_text("x")
    assert corpora.table_files((str(tmp_path),), "questions") == (f"{tmp_path}/{both}",)
    assert "1 files of" in caplog.text and "another language than their text" in caplog.text
    with pytest.raises(UserError, match="does not read questions in another language"):
        corpora.table_files((str(tmp_path / mixed),), "questions")
