"""CoNLL-U and IOB2 as the field writes them."""

from jaxlt.data.readers import conllu, iob2
from jaxlt.data.synth.languages import FAMILY, LanguageSpec, texts
from jaxlt.data.synth.trees import tagged, tree

UPOS = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "NOUN", "NUM", "PART", "PRON", "PROPN"}
UPOS |= {"PUNCT", "SCONJ", "VERB"}
RELATIONS = {"root", "nsubj", "obj", "obl", "ccomp", "advcl", "acl:relcl", "amod", "nummod", "nmod"}
RELATIONS |= {"det", "case", "aux", "cop", "mark", "cc", "conj", "flat", "advmod", "punct"}


def test_conllu_has_ten_columns_of_universal_names_and_spells_its_text():
    for text in texts(FAMILY[1], 80):
        for said in text:
            block = conllu.render(tree(said, "s-1"))
            lines = block.splitlines()
            assert block.endswith("\n\n") and lines[1] == f"# text = {said.text}"
            rows = [line.split("\t") for line in lines[2:-1]]
            assert all(len(row) == 10 and all(row) for row in rows)
            assert [row[0] for row in rows] == [str(i + 1) for i in range(len(rows))]
            assert {row[3] for row in rows} <= UPOS
            assert {row[7] for row in rows} <= RELATIONS
            assert [row[7] for row in rows].count("root") == 1
            spelled = "".join(r[1] + ("" if "SpaceAfter=No" in r[9] else " ") for r in rows)
            assert spelled.rstrip() == said.text


def test_lemmas_are_written_as_the_language_is():
    said = next(texts(LanguageSpec("qaa_Geor", script="Geor"), 4))[0]
    assert all("ა" <= c <= "ჰ" for w in said.words if w.upos != "PUNCT" for c in w.lemma)


def test_iob2_has_a_tag_a_token():
    said = next(texts(FAMILY[0], 4))[0]
    lines = iob2.render(tagged(said, "x")).splitlines()
    assert [line.split("\t")[0] for line in lines[2:-1]] == [w.form for w in said.words]
    assert {line.split("\t")[1][0] for line in lines[2:-1]} <= set("BIO")
