"""Corpora of every format as streams of examples, and all of the shared data through them."""

import itertools
from dataclasses import replace

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.readers import bitext
from jaxlt.data.task_config import TaskConfig
from jaxlt.errors import UserError
from tests.data.tasks.registering import register, stream, tasks, texts

ROW = "{}\t{}\t_\tNOUN\t_\t_\t{}\tdep\t_\t_\n"
TREE = ROW.format(1, "a", 0) + ROW.format(2, "b", 1) + "\n"


@pytest.fixture
def config(tmp_path):
    return DataConfig(
        objective="text_to_text", inputs_length=64, held_out=0.0, cache_dir=str(tmp_path / "cache")
    )


def test_treebanks_and_entities(tmp_path, config):
    (tmp_path / "en_x-train.conllu").write_text(TREE * 40)
    (tmp_path / "en_x-dev.conllu").write_text(TREE)
    (tmp_path / "sw_y-test.conllu").write_text(TREE)
    (tmp_path / "en_x-test.iob2").write_text("a\tI-PER\nb\tI-PER\n")
    source = (str(tmp_path),)
    register("tagging", "pos", source, config)
    assert tasks("pos") == ["en_x.eng_Latn", "sw_y.swa_Latn"]
    assert texts("pos.en_x.eng_Latn", "validation") == [("pos: a b", "NOUN NOUN")]
    assert stream("pos.sw_y.swa_Latn").splits == ("test",)
    register("parsing", "dep", source, config, names=("en_x",))
    assert texts("dep.en_x.eng_Latn")[0] == ("parse: a b", "0:dep -1:dep")
    register("entities", "ner", source, config)
    assert texts("ner.en_x.eng_Latn", "test") == [("tag: a b", "PER: a b")]
    register("entities", "ner", source, config, orphans="refuse")
    with pytest.raises(UserError, match="continues no entity"):
        texts("ner.en_x.eng_Latn", "test")
    # The run's own batches come from the same streams.
    own = replace(config, tasks=TaskConfig("tagging", source, names=("en_x",)), batch_size=2)
    batches = open_mixture(own)
    assert batches.languages == ("eng_Latn",)
    assert batches.rows(0, 0, 2)["encoder_input_tokens"].shape == (2, 64)
    (tmp_path / "en_x-train.conllu").write_text(TREE * 41)  # another content, another identity
    other = open_mixture(own)
    assert other.fingerprint != batches.fingerprint


def test_a_malformed_line_stops_or_is_left_out(tmp_path, config, caplog):
    (tmp_path / "en_x-test.conllu").write_text(TREE + "1\tbroken\n\n" + TREE)
    register("tagging", "pos", (str(tmp_path),), config)
    with pytest.raises(UserError, match="line 4: 2 columns"):
        texts("pos.en_x.eng_Latn", "test")
    register("tagging", "pos", (str(tmp_path),), replace(config, on_malformed="skip"))
    assert len(texts("pos.en_x.eng_Latn", "test")) == 2
    assert "1 malformed item left out" in caplog.text
    (tmp_path / "de.conllu").write_text(TREE)
    with pytest.raises(UserError, match=r"de.conllu' says no split: name the file de-train"):
        register("tagging", "pos", (str(tmp_path),), config)


def test_aligned_files_by_verse(tmp_path, config):
    for name in ("eng_Latn", "swh_Latn", "uig_Arab"):
        lines = [f"{name} {i}" for i in range(200)]
        lines[3] = "" if name == "uig_Arab" else lines[3]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "verse_ids.txt").write_text("\n".join(f"M{i}" for i in range(200)) + "\n")
    drawn = replace(config, held_out=0.2, split_seed=1)
    register("translation", "b", (str(tmp_path),), drawn, ids=str(tmp_path / "verse_ids.txt"))
    assert len(tasks("b")) == 6
    train, held = (texts("b.eng_Latn:swh_Latn", name) for name in ("train", "validation"))
    assert len(train) + len(held) == 200 and 20 < len(held) < 60
    assert train[0][0].startswith("<2swh_Latn> eng_Latn ")
    verses = {pair[1].split()[1] for pair in held}
    other = texts("b.swh_Latn:uig_Arab", "validation")
    assert verses - {"3"} == {pair[1].split()[1] for pair in other} - {"3"}
    assert all(pair[0] != "<2uig_Arab> swh_Latn 3" for pair in other)
    register("translation", "b", (str(tmp_path),), drawn, pivot="eng_Latn")
    assert len(tasks("b")) == 4
    register("translation", "b", (str(tmp_path),), drawn, pairs=("eng_Latn:swh_Latn",))
    assert tasks("b") == ["eng_Latn:swh_Latn"]
    with pytest.raises(UserError, match=r"'swa_Latn' among.*Did you mean 'swh_Latn'"):
        register("translation", "b", (str(tmp_path),), drawn, pivot="swa_Latn")
    with pytest.raises(UserError, match="would train on documents that were held out"):
        register("translation", "b", (str(tmp_path),), replace(config, split_seed=2))


def test_tables(tmp_path, config):
    def table(name: str, text: str) -> tuple[str]:
        (tmp_path / name).write_text(text)
        return (str(tmp_path / name),)

    rows = "lang\tid\ttext\neng_Latn\t1\tone\nswh_Latn\t1\tmoja\nswh_Latn\t2\tmbili\n"
    register("translation", "long", table("long.tsv", rows), config)
    assert texts("long.swh_Latn:eng_Latn") == [("<2eng_Latn> moja", "one")]
    register("texts", "lm", table("long.tsv", rows), replace(config, objective="span_corruption"))
    assert tasks("lm") == ["eng_Latn", "swh_Latn"]
    register("translation", "w", table("w.tsv", "eng_Latn\tswh_Latn\none\tmoja\n"), config)
    assert texts("w.eng_Latn:swh_Latn") == [("<2swh_Latn> one", "moja")]
    register("translation", "p", table("p.tsv", "lang\ttext\tenglish\nafr\tja\tyes\n"), config)
    assert tasks("p") == ["afr_Latn:eng_Latn", "eng_Latn:afr_Latn"]
    labelled = "lang\tindex_id\tcategory\ttext\neng_Latn\t1\tgeo\tone\n"
    register("topics", "t", table("s_dev.tsv", labelled), config)
    assert texts("t.eng_Latn", "validation") == [("topic: one", "geo")]
    said = 'lang\tquestion\tcontext\tanswers\neng_Latn\tWho?\tAda met me.\t["Ada", "me"]\n'
    table("q_train.tsv", said)
    with pytest.raises(UserError, match="is a table of questions, not of pairs"):
        register("pairs", "nli2", (str(tmp_path / "q_train.tsv"),), config)
    with pytest.raises(UserError, match="one language under two codes"):
        both = labelled + "eng\t1\tgeo\tone\n"
        register("topics", "t2", table("both.tsv", both), config)


def test_a_wide_table_is_read_once_for_all_directions(tmp_path, config, monkeypatch):
    codes = ("eng_Latn", "swh_Latn", "fin_Latn")
    rows = [[f"{i % 3}", f"e{i}", f"s{i}" if i % 2 else "", f"f{i}"] for i in range(8)]
    path, reads, wide = tmp_path / "wide.tsv", [], bitext.wide
    path.write_text("\n".join("\t".join(row) for row in [["id", *codes], *rows]))
    monkeypatch.setattr(bitext, "wide", lambda *args: reads.append(args) or wide(*args))
    register("translation", "w", (str(path),), config)
    for (a, source), (b, target) in itertools.permutations(enumerate(codes, 1), 2):
        expected = [(f"<2{target}> {row[a]}", row[b]) for row in rows if row[a] and row[b]]
        assert texts(f"w.{source}:{target}") == expected
    assert len(reads) == 1
    path.write_text(path.read_text() + "\n1\tone\n")  # each reading tells of a malformed row
    register("translation", "w", (str(path),), config)
    with pytest.raises(UserError, match=r"wide.tsv', line 10: 2 fields"):
        texts("w.eng_Latn:swh_Latn")


def loads(mixture: str) -> bool:
    """Says whether every task of a mixture has an example in one of its splits.

    That every line of the files is well formed is what the tests of the readers see to.
    """
    every = (stream(f"{mixture}.{name}") for name in tasks(mixture))
    return all(any(any(True for _ in one.examples(s)) for s in one.splits) for one in every)


@pytest.mark.slow
def test_all_of_the_shared_data_loads(shared_data, config):
    def at(*names: str) -> tuple[str, ...]:
        return tuple(str(shared_data / name) for name in names)

    register("tagging", "s_pos", at("ud", "pud"), config)
    register("parsing", "s_dep", at("ud", "pud"), config)
    assert len(tasks("s_pos")) == len(tasks("s_dep")) == 75 + 14
    register("entities", "s_ner", at("ner", "nc/ner"), config)
    bible = at("mt/bible")
    ids = str(shared_data / "mt/bible/verse_ids.txt")
    register("translation", "s_bible", bible, config, pivot="eng_Latn", ids=ids)
    assert len(tasks("s_bible")) == 2 * 29
    register("topics", "s_sib", at("mt/sib200_train.tsv.gz", "mt/sib200_dev.tsv.gz"), config)
    register("translation", "s_seed", at("mt/seed.tsv.gz"), config, pivot="eng_Latn")
    assert len(tasks("s_seed")) == 2 * 20
    register("words", "s_words", at("dict"), config)
    templates = str(shared_data / "nc/facts/mpararel_templates.tsv.gz")
    triples = at("nc/facts/mpararel_triples.tsv.gz")
    register("facts", "s_facts", triples, config, templates=templates, most=1)
    assert len(tasks("s_facts")) == 44
    for mixture in ("pos", "dep", "ner", "bible", "sib", "seed", "words", "facts"):
        assert loads(f"s_{mixture}"), mixture
    # Of these there are hundreds of tasks over one long table: one stands for the others.
    register("translation", "s_tatoeba", at("mt/tatoeba.tsv.gz"), config)
    assert len(tasks("s_tatoeba")) == 2 * 107
    assert len(texts("s_tatoeba.swh_Latn:eng_Latn")) == 150
    register("topics", "s_sib_test", at("mt/sib200_test.tsv.gz"), config)
    assert len(tasks("s_sib_test")) == 176
    assert len(texts("s_sib_test.wol_Latn", "test")) == 204
    register(
        "texts", "s_udhr", at("udhr/udhr.tsv.gz"), replace(config, objective="span_corruption")
    )
    assert len(tasks("s_udhr")) > 430
    assert len(texts("s_udhr.uig_Arab")) > 40
