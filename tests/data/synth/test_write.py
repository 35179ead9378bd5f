"""The written folder: everything is there, agrees with itself, and is the same everywhere."""

import hashlib
import os
import subprocess
import sys

import pytest

from jaxlt.data.readers import bitext, conllu, iob2, tables
from jaxlt.data.sources import corpora
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.synth.write import write

CONFIG = FactoryConfig(
    (Family(2, dialects=1, mixed=0.1), Family(1, script="Deva", extraposed=0.5)),
    sentences=200,
    annotated=40,
    opinions=30,
    parallel=24,
)
PROGRAM = """
import sys
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.synth.write import write
families = (Family(2, dialects=1, mixed=0.1), Family(1, script="Deva", extraposed=0.5))
write(FactoryConfig(families, 0, 200, 40, 30, 24), sys.argv[1])
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A written folder and its languages."""
    folder = tmp_path_factory.mktemp("made")
    return folder, write(CONFIG, folder)


def rows(path):
    """Cells of a TSV."""
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]


def digest(folder):
    """One hash of all files and their names."""
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sha.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return sha.hexdigest()


def test_same_seed_same_bytes_in_another_process(made, tmp_path):
    folder, _ = made
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], check=True, env=environment)
    assert digest(tmp_path) == digest(folder)
    assert not list(folder.rglob(".*"))


def test_every_language_has_every_file(made):
    folder, specs = made
    codes = [spec.code for spec in specs]
    for kind, ending in (
        ("text", "txt"),
        ("conllu", "conllu"),
        ("iob2", "iob2"),
        ("sentiment", "tsv"),
        ("facts", "tsv"),
    ):
        found = sorted(p.name for p in (folder / kind).iterdir())
        assert found == sorted(f"{code}.{ending}" for code in codes)
    assert len(list((folder / "dictionaries").iterdir())) == 6
    assert rows(folder / "parallel.tsv")[0] == codes
    assert len(rows(folder / "distances.tsv")) == 1 + 6
    assert [row[0] for row in rows(folder / "made_languages.tsv")[1:]] == codes


def test_counts_are_those_asked_for(made):
    folder, specs = made
    for spec in specs:
        assert len((folder / "text" / f"{spec.code}.txt").read_text("utf-8").splitlines()) == 50
        trees = (folder / "conllu" / f"{spec.code}.conllu").read_text("utf-8")
        assert trees.count("# sent_id") == 40 and trees.endswith("\n\n")
        assert (folder / "iob2" / f"{spec.code}.iob2").read_text("utf-8").count("# text") == 40
        labels = {row[2] for row in rows(folder / "sentiment" / f"{spec.code}.tsv")[1:]}
        assert labels == {"positive", "negative", "neutral"}
    assert len(rows(folder / "parallel.tsv")) == 25


def test_provenance_agrees_with_what_is_told(made):
    folder, specs = made
    holders = {row[0]: row[4] for row in rows(folder / "provenance.tsv")[1:]}
    for spec in specs:
        table = rows(folder / "facts" / f"{spec.code}.tsv")
        assert len(table) == len(holders) + 1
        for fact, *_, often in table[1:]:
            assert not int(often) or spec.code in holders[fact].split(",")


def test_jaxlts_own_readers_read_it_back(made):
    folder, specs = made
    code = specs[-1].code
    trees = list(conllu.read(str(folder / "conllu" / f"{code}.conllu")))
    spans = list(iob2.read(str(folder / "iob2" / f"{code}.iob2")))
    assert len(trees) == len(spans) == 40
    kinds = {}
    for path in ("facts", "sentiment", "dictionaries"):
        for file in (folder / path).iterdir():
            kinds[path], records = tables.read(str(file))
            assert list(records)
    kinds["templates"], patterns = tables.read(str(folder / "templates.tsv"))
    assert kinds == {
        "facts": "facts",
        "sentiment": "labelled",
        "dictionaries": "dictionary",
        "templates": "templates",
    }
    triples = tables.read(str(folder / "facts" / f"{code}.tsv"))[1]
    patterns = [one for one in patterns if one.language == code]
    pairs = [(t, p) for t in triples for p in patterns if t.relation == p.relation]
    said = {pattern.fill(fact.subject, fact.object) for fact, pattern in pairs}
    text = (folder / "text" / f"{code}.txt").read_text("utf-8")
    assert sum(one in text for one in said) > 5
    assert corpora.kind_of(str(folder / "parallel.tsv")) == "wide"
    assert len(list(bitext.wide(str(folder / "parallel.tsv")))) == 24


def test_mixed_words_name_their_language(made):
    folder, specs = made
    assert f"Lang={specs[-1].code}" in (folder / "conllu" / f"{specs[0].code}.conllu").read_text()


def test_what_breaks_off_leaves_nothing(tmp_path):
    from jaxlt.data.synth.write import write_lines

    def lines():
        yield "one"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_lines(tmp_path / "a.txt", lines())
    assert list(tmp_path.iterdir()) == []
