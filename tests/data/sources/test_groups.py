"""What translates each other is held out together, over all directions, files and languages."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.rows.prepared import Prepared
from jaxlt.data.sources import files
from jaxlt.data.sources.groups import Groups
from jaxlt.data.sources.splits import Split
from jaxlt.data.sources.translation import discover
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.vocabulary.vocabularies import open_vocabulary


def test_a_chain_of_translations_is_one_group():
    pairs = [(b"a 1", b"b 1"), (b"c 1", b"b 1"), (b"c 1", b"d 1"), (b"a 2", b"b 2")]
    groups = Groups(pairs)
    for seed in range(40):  # whatever is drawn
        split = Split(0.4, 0.4, seed)
        whole = {groups.under(split, b"").of(text) for pair in pairs[:3] for text in pair}
        assert len(whole) == 1
    drawn = {
        (groups.of(s, b"a 1"), groups.of(s, b"a 2"))
        for s in (Split(0.5, 0.4, i) for i in range(60))
    }
    assert {("train", "validation"), ("validation", "test")} <= drawn  # and two groups are two


def test_a_group_larger_than_what_is_held_out_trains():
    pairs = [(b"hub", b"%d" % i) for i in range(50)] + [(b"x%d" % i, b"y%d" % i) for i in range(50)]
    groups = Groups(pairs)
    assert {groups.of(Split(0.3, 0.1, seed), b"hub") for seed in range(30)} == {"train"}
    assert {groups.of(Split(0.3, 0.1, seed), b"x1") for seed in range(30)} > {"train"}


def sentences(pair: str, count: int, first: str, second: str) -> str:
    """Lines whose second side repeats: several sentences have one translation."""
    del pair
    return "".join(f"{first} {i}\t{second} {i // 3}\n" for i in range(count))


@pytest.fixture
def bitext(tmp_path):
    """Three languages in a triangle, in which everything is translated into everything."""
    folder = tmp_path / "bitext"
    folder.mkdir()
    (folder / "aa_Latn-bb_Latn.tsv").write_text(sentences("ab", 240, "alpha", "beta"))
    (folder / "cc_Latn-bb_Latn.tsv").write_text(sentences("cb", 240, "gamma", "beta"))
    (folder / "aa_Latn-cc_Latn.tsv").write_text(
        "".join(f"alpha {i}\tgamma {i}\n" for i in range(240))
    )
    return DataConfig(
        sources=str(folder),
        objective="translation",
        held_out=0.1,
        held_out_test=0.1,
        cache_dir=str(tmp_path / "cache"),
    )


def sides(config):
    """The splits that each text is found in, by language and text, over all directions."""
    found = {}
    for pair, paths in discover(config.sources, True, (), ()).items():
        prepared = Prepared(config, pair, paths)
        for split in ("train", "validation", "test"):
            for inputs, targets in prepared.pairs(split):
                said = inputs.partition(b"> ")[2]
                for text in (said, targets):
                    found.setdefault(text, set()).add(split)
    return found


def test_bitext_of_all_directions_is_parted_by_groups(bitext):
    found = sides(bitext)
    assert len(found) == 240 + 80 + 240
    assert all(len(splits) == 1 for splits in found.values())
    assert set().union(*found.values()) == {"train", "validation", "test"}
    leaky = sides(replace(bitext, revision=1, cache_dir=bitext.cache_dir + "1"))
    assert sum(len(splits) > 1 for splits in leaky.values()) > 50  # as it was


def test_a_direction_alone_is_parted_as_among_the_others(bitext):
    few = replace(bitext, rates=(("aa_Latn-bb_Latn", 1.0),))
    paths = discover(few.sources, True, (), ("aa_Latn-bb_Latn",))["aa_Latn-bb_Latn"]
    alone = set(Prepared(few, "aa_Latn-bb_Latn", paths).pairs("validation"))
    assert alone == set(Prepared(bitext, "aa_Latn-bb_Latn", paths).pairs("validation"))


def texts_of(config, split):
    """Every input without its tag, and every target, of a split of a mixture."""
    vocabulary = open_vocabulary(config.vocabulary_config)
    mixture = open_mixture(replace(config, batch_size=1, shuffle=False), split)
    found = set()
    for text in mixture._make.texts:
        inputs, targets = (text.cache.columns[name] for name in ("inputs", "targets"))
        for i in range(text.cache.examples):
            found.add(vocabulary.decode(inputs.whole(i)).partition("> ")[2])
            found.add(vocabulary.decode(targets.whole(i)))
    return found


def test_tables_of_pairs_leak_no_target(tmp_path):
    rows = [f"{('fra', 'deu')[i % 2]}\tmot {i}\tword {i // 4}" for i in range(400)]
    (tmp_path / "table.tsv").write_text("lang\ttext\tenglish\n" + "\n".join(rows) + "\n")
    config = DataConfig(
        objective="text_to_text",
        tasks=TaskConfig("translation", sources=str(tmp_path / "table.tsv")),
        mixture="groups",
        held_out=0.1,
        cache_dir=str(tmp_path / "cache"),
    )
    train, held_out = texts_of(config, "train"), texts_of(config, "validation")
    assert held_out and not train & held_out
    assert len(train) + len(held_out) == 400 + 100
    first = replace(config, revision=1)
    assert texts_of(first, "train") & texts_of(first, "validation")  # as it was


def test_groups_of_the_shared_tables_are_small(shared_data):
    """So that 1% can be held out of them: Tatoeba's largest group, and what it parts."""
    import gzip

    with gzip.open(shared_data / "mt" / "tatoeba.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    pairs = [
        (f"{lang}\0{text}".encode(), f"eng\0{english}".encode()) for lang, text, english in rows
    ]
    groups, split = Groups(pairs), Split(0.05)
    said = np.array([[groups.of(split, text) for text in pair] for pair in pairs])
    assert (said[:, 0] == said[:, 1]).all()
    assert (said == "validation").mean() == pytest.approx(0.05, abs=0.01)


def test_what_all_directions_share_is_looked_through_once(bitext, monkeypatch):
    digested = []

    def counted(path, memory):
        digested.append(path)
        return content_digest(path, memory)

    content_digest = files.content_digest
    monkeypatch.setattr(files, "content_digest", counted)
    assert len(open_mixture(bitext)._make.texts) == 6
    assert len(digested) <= 3 + 6  # each file, and the file of each direction
