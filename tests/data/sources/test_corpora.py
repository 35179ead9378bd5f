"""Corpora by file name: languages, splits, codes that no table knows."""

import pytest

from jaxlt.data.sources import corpora
from jaxlt.data.sources.corpora import CONLLU, Codes, aligned, find, kind_of, own_keys
from jaxlt.data.sources.layouts import place
from jaxlt.errors import UserError


@pytest.mark.parametrize(
    ("path", "name", "split", "language"),
    [
        ("ud/en_ewt-train.conllu.gz", "en_ewt", "train", "eng_Latn"),
        ("a/uig_Arab.txt", "uig_Arab", "", "uig_Arab"),
        ("a/pt_BR-dev.iob2", "pt_BR", "validation", "por_Latn"),
        ("a/zh-Hant_hk-test.conllu", "zh-Hant_hk", "test", "zho_Hant"),
        ("mt/sib200_dev.tsv.gz", "sib200", "validation", ""),
        ("a/verse_ids.txt.zst", "verse_ids", "", ""),
    ],
)
def test_names_say_language_and_split(path, name, split, language):
    said = place(path)
    assert (said.corpus, said.split) == (name, split)
    assert Codes().of_place(said) == language


def test_files_of_one_name_are_one_corpus(tmp_path):
    for name in ("ud/en_ewt-train.conllu", "ud/en_ewt-test.conllu.gz", "pud/de_pud-test.conllu"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find((str(tmp_path),), CONLLU, "treebank")
    assert [(c.name, c.language, sorted(c.paths)) for c in found] == [
        ("de_pud", "deu_Latn", ["test"]),
        ("en_ewt", "eng_Latn", ["test", "train"]),
    ]
    assert [c.name for c in find((str(tmp_path / "*" / "*.gz"),), CONLLU, "treebank")] == ["en_ewt"]
    with pytest.raises(UserError, match=r"no corpus 'en_ewd'.*Did you mean 'en_ewt'"):
        find((str(tmp_path),), CONLLU, "treebank", ("en_ewd",))
    (tmp_path / "pud" / "en_ewt-test.conllu").write_text("x")
    with pytest.raises(UserError, match="'en_ewt' is there more than once"):
        find((str(tmp_path),), CONLLU, "treebank")
    with pytest.raises(UserError, match=r"There is no \.iob2"):
        find((str(tmp_path),), corpora.IOB2, "entities")
    with pytest.raises(UserError, match="no file or folder"):
        find((str(tmp_path / "none"),), CONLLU, "treebank")


def test_unknown_codes_are_reported_with_the_nearest():
    codes = Codes()
    assert codes.of("uig_Arab") == "uig_Arab" and codes.report() == ""
    assert codes.of("auv") == "auv"
    assert "auv (near av)" in codes.report()


def test_tables_of_own_keys_and_of_a_column_a_language(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text("id\teng_Latn\tswh_Latn\n1\ta\tb\n")
    assert kind_of(str(table)) == "wide" and own_keys(str(table)) == {}
    table.write_text("key\tpara\ttext\n007\tp\tx\n")
    assert kind_of(str(table)) == "texts"
    (tmp_path / "languages.tsv").write_text("key\tiso639_3\tiso15924\n007\tcri\tLatn\n")
    assert own_keys(str(table)) == {"007": "cri_Latn"}
    (tmp_path / "languages.tsv").write_text("key\tiso639_3\n007\tcri\n")
    with pytest.raises(UserError, match=r"line 2: no 'iso15924'"):
        own_keys(str(table))


def test_two_files_of_one_language_are_never_one_in_silence(tmp_path):
    for name in ("en", "eng_Latn", "sw"):
        (tmp_path / f"{name}.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"en.txt' and '.*eng_Latn.txt' are both the 'eng_Latn'"):
        aligned((str(tmp_path),))
