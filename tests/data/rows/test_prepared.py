"""What a run reads of a language: splits kept, malformed lines left out, several corpora as one."""

import json
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for name in ("swh_Latn", "wol_Latn"):
        lines = "\n".join(f"{name} says number {i} to you" for i in range(400))
        (folder / f"{name}.txt").write_text(lines)
    return DataConfig(
        sources=str(folder),
        inputs_length=64,
        batch_size=4,
        held_out=0.1,
        cache_dir=str(tmp_path / "cache"),
    )


def texts(config, split):
    """Returns the documents of each language in a split, from the token cache."""
    from jaxlt.data.mixtures import build_objective, open_texts

    vocabulary = open_vocabulary(config.vocabulary_config)
    found, _ = open_texts(config, split, vocabulary, build_objective(config, vocabulary))
    out = {}
    for text in found:
        columns = list(text.cache.columns.values())
        cut = [np.split(c.tokens, c.offsets[1:-1]) for c in columns]
        rows = zip(*cut, strict=True) if text.cache.examples else ()
        out[text.language] = ["\t".join(map(vocabulary.decode, row)).strip() for row in rows]
    return out


def test_three_splits_part_the_documents_and_a_seed_draws_them(config):
    config = replace(config, held_out_test=0.2)
    found = {split: texts(config, split) for split in config.splits}
    whole = sorted(d for split in found.values() for d in split["swh_Latn"])
    assert whole == sorted(f"swh_Latn says number {i} to you" for i in range(400))
    assert 50 < len(found["test"]["swh_Latn"]) < 110
    assert 20 < len(found["validation"]["swh_Latn"]) < 65
    assert open_evaluation(config, "test").num_rows > 10
    other = replace(config, split_seed=1, cache_dir=f"{config.cache_dir}2")
    assert texts(other, "test")["swh_Latn"] != found["test"]["swh_Latn"]
    with pytest.raises(UserError, match="train and validation, not 'test'"):
        open_evaluation(replace(config, held_out_test=0.0), "test")
    with pytest.raises(UserError, match="leave nothing to train"):
        replace(config, held_out=0.5, held_out_test=0.5)


def test_a_split_is_made_once(config):
    first = open_mixture(config)
    for change in ({"split_seed": 1}, {"held_out": 0.2}, {"held_out": 0.0}):
        with pytest.raises(UserError, match=r"'swh_Latn-.*train on documents that were held out"):
            open_mixture(replace(config, **change))
    assert open_mixture(config).fingerprint == first.fingerprint
    fresh = replace(config, split_seed=1, cache_dir=f"{config.cache_dir}2")
    assert open_mixture(fresh).fingerprint != first.fingerprint


def test_equal_documents_are_on_one_side_in_every_file(config, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    lines = (tmp_path / "text" / "swh_Latn.txt").read_text().split("\n")
    (again / "wol_Latn.txt").write_text("\n".join(reversed(lines)))
    held = texts(config, "validation")["swh_Latn"]
    copy = texts(replace(config, sources=str(again)), "validation")["wol_Latn"]
    assert held and sorted(held) == sorted(copy)


def test_malformed_lines_are_left_out_and_reported(config, tmp_path, caplog):
    path = tmp_path / "text" / "swh_Latn.txt"
    path.write_bytes(b"\xff bad\n" + path.read_bytes() + b"\nalso\0bad\n")
    with pytest.raises(UserError, match=r"swh_Latn.txt' is not UTF-8 at line 1"):
        open_mixture(config)
    with pytest.raises(UserError, match="Did you mean 'skip'"):
        replace(config, on_malformed="skipp")
    skipping = replace(config, on_malformed="skip")
    mixture = open_mixture(skipping)
    assert "2 malformed items left out" in caplog.text and "line 402" in caplog.text
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1].rpartition(b"\nalso")[0])
    assert open_mixture(config).fingerprint != mixture.fingerprint
    assert texts(config, "train") == texts(skipping, "train")


def test_malformed_pairs_are_left_out_of_tasks_too(tmp_path, caplog):
    seqio = pytest.importorskip("seqio")
    (tmp_path / "eng_Latn-swh_Latn.tsv").write_text("one\tmoja\nalone\ntwo\tmbili\n")
    config = DataConfig(
        mixture="skipping",
        sources=str(tmp_path),
        objective="translation",
        tag="",
        held_out=0.0,
        on_malformed="skip",
        cache_dir=str(tmp_path / "cache"),
    )
    expected = {
        "eng_Latn-swh_Latn": ["one\tmoja", "two\tmbili"],
        "swh_Latn-eng_Latn": ["moja\tone", "mbili\ttwo"],
    }
    assert texts(config, "train") == expected
    mixtures.register(config)
    caplog.clear()
    task = seqio.get_mixture_or_task("skipping.eng_Latn:swh_Latn")
    assert len(list(task.get_dataset({"inputs": 9, "targets": 9}, "train"))) == 2
    assert "1 malformed item left out" in caplog.text and "line 2" in caplog.text


def test_a_language_has_the_documents_of_all_folders(config, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "swh_Latn.txt").write_text("another corpus\nof the language\n")
    config = replace(config, held_out=0.0)
    both = replace(config, sources=(str(more), str(tmp_path / "text")))
    found = texts(both, "train")
    assert len(found["swh_Latn"]) == 402 and len(found["wol_Latn"]) == 400
    assert "another corpus" in found["swh_Latn"]
    turned = replace(both, sources=both.sources[::-1])
    assert open_mixture(turned).fingerprint == open_mixture(both).fingerprint
    assert open_mixture(config).fingerprint != open_mixture(both).fingerprint
    twice = replace(config, sources=(*config.sources, str(tmp_path / "text" / "swh_Latn.txt")))
    assert open_mixture(twice).fingerprint == open_mixture(config).fingerprint


def test_two_codes_of_one_language_are_named_with_their_files(config, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "sw.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"'sw' and 'swh_Latn' are codes of one.*sw.txt.*swh_Latn"):
        open_mixture(replace(config, sources=(*config.sources, str(more))))
    (more / "sw.txt").unlink()
    for name in ("zh", "zho_Hant", "nno", "nob", "en-GB", "en-US", "index", "asha_Latn"):
        (more / f"{name}.txt").write_text("some text\nof it\n")
    assert len(open_mixture(replace(config, sources=str(more), held_out=0.0)).languages) == 8


ROWS = [
    {"language": "swh_Latn", "text": "habari za leo"},
    {"language": "wo", "text": "na nga def"},
    {"language": "sw", "text": "nzuri sana"},
    {"language": "swhh_Latn", "text": "mangi fi"},
    {"language": "swh_Latn", "text": " "},
]
BY_COLUMN = {
    "swa_Latn": ["nzuri sana"],
    "swh_Latn": ["habari za leo"],
    "swhh_Latn": ["mangi fi"],
    "wol_Latn": ["na nga def"],
}


def written(folder, ending, rows=ROWS, column="language"):
    folder.mkdir(exist_ok=True)
    rows = [{column if k == "language" else k: v for k, v in row.items()} for row in rows]
    path = folder / f"corpus.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("ending", "whole"), [("jsonl", True), ("parquet", False), ("tsv", True), ("tsv", False)]
)
def test_rows_say_their_language(tmp_path, caplog, ending, whole):
    path = written(tmp_path / "rows", ending, [r for r in ROWS if r["language"] != "sw"])
    (tmp_path / "rows" / "other.tsv").write_text("a\tb\n1\t2\n")  # no text: left alone
    config = DataConfig(
        sources=str(path.parent if whole else path),
        inputs_length=8,
        held_out=0.0,
        cache_dir=str(tmp_path / "cache"),
    )
    assert texts(config, "train") == {k: v for k, v in BY_COLUMN.items() if k != "swa_Latn"}
    assert "swhh_Latn (near " in caplog.text
    some = texts(replace(config, languages=("wol_Latn",)), "train")
    assert some == {"wol_Latn": ["na nga def"]}
    with pytest.raises(UserError, match=r"'wol_Lat'.*Did you mean 'wol_Latn'"):
        open_mixture(replace(config, languages=("wol_Lat",)))
    pytest.importorskip("seqio")
    mixtures.register(replace(config, mixture="rows"))
    named = open_mixture(replace(config, mixture="rows", sources=()))
    left, right = open_mixture(config).rows(0, 0, 8), named.rows(0, 0, 8)
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_rows_of_a_table_join_the_files_of_their_language(tmp_path):
    folder = tmp_path / "rows"
    path = written(folder, "jsonl", ROWS[:2], "lang")
    (folder / "swh_Latn.txt").write_text("asante\n")
    config = DataConfig(
        sources=str(folder),
        inputs_length=8,
        held_out=0.0,
        language_column="lang",
        cache_dir=str(tmp_path / "cache"),
    )
    assert texts(config, "train")["swh_Latn"] == ["habari za leo", "asante"]
    with pytest.raises(UserError, match="codes of one language"):  # sw means swa_Latn
        written(folder, "jsonl", ROWS, "lang")
        open_mixture(config)
    path.write_text(json.dumps({"lang": "wo", "text": "a"}) + '\n{"text": "whose"}\n')
    with pytest.raises(UserError, match="line 2: no 'lang': whose text is it"):
        open_mixture(config)
    assert texts(replace(config, on_malformed="skip"), "train")["wol_Latn"] == ["a"]
