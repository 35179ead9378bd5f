"""Tables of many languages are read once, and parts hold what the table holds."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, parts
from jaxlt.data.sources.parts import Parts
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.examples import Records
from jaxlt.errors import UserError

NAMED = """afr bar cat ceb dan deu est fin fra fry gle glg hau hun ibo ind isl ita jav lat lav lin
lit lug mlg mlt nld ron swh wol"""
CODES = [f"{code}_Latn" for code in NAMED.split()]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a file has been opened for its text, by name."""
    counted: Counter[str] = Counter()
    plain = files.open_bytes

    def counting(path: str):
        counted[Path(path).name] += 1
        return plain(path)

    monkeypatch.setattr(files, "open_bytes", counting)
    return counted


def table(path: Path, rows: int = 600) -> DataConfig:
    lines = (
        json.dumps({"language": CODES[i % len(CODES)], "text": f"text {i} of many words\u2028x"})
        for i in range(rows)
    )
    path.write_text("\n".join(lines) + "\n")
    return DataConfig(
        sources=(str(path),), inputs_length=16, batch_size=4, cache_dir=str(path.parent / "cache")
    )


def test_a_table_of_text_is_read_once_for_all_its_languages(
    tmp_path: Path, reads: Counter[str]
) -> None:
    config = replace(table(tmp_path / "corpus.jsonl"), held_out=0.5)
    train, held_out = open_mixture(config), open_evaluation(config, limit=1)
    assert train.languages == held_out.languages == tuple(sorted(CODES))
    # Its first row, whether it has the column; all of it once.
    assert reads["corpus.jsonl"] == 2
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.writelines(f'{{"language": "eng_Latn", "text": "{i} more"}}\n' for i in range(20))
    assert "eng_Latn" in open_mixture(config).languages
    assert reads["corpus.jsonl"] == 4


def test_a_malformed_row_is_told_wherever_it_is_met(tmp_path: Path) -> None:
    config = table(tmp_path / "corpus.jsonl")
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('{"language": "afr_Latn"}\n')
    with pytest.raises(UserError, match=r"line 601: no column 'text' \(there are: language\)"):
        open_mixture(replace(config, languages=("afr_Latn",)))


def test_a_cache_folder_without_room_costs_readings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = table(tmp_path / "corpus.jsonl")
    expected = open_mixture(config).rows(0, 0, 4)["encoder_input_tokens"]
    (tmp_path / "cache" / "tables").rename(tmp_path / "gone")
    (tmp_path / "cache" / "tables").write_text("no folder")
    assert (open_mixture(config).rows(0, 0, 4)["encoder_input_tokens"] == expected).all()


def test_a_table_of_a_task_is_read_once_for_all_its_languages(
    tmp_path: Path, reads: Counter[str]
) -> None:
    rows = "".join(f"{CODES[i % 30]}\t{i}\tc{i % 3}\ttext {i}\n" for i in range(600))
    (tmp_path / "topics.tsv").write_text("lang\tid\tcategory\ttext\n" + rows)
    words = "".join(f"{code}\tword {i}\twort {i}\n" for code in ("deu", "swh") for i in range(50))
    (tmp_path / "words.tsv").write_text("lang\tenglish\ttranslation\n" + words)
    verses = "".join(f"{code}\t{i}\tverse {i} {code}\n" for code in CODES[:5] for i in range(20))
    (tmp_path / "verses.tsv").write_text("lang\tid\ttext\n" + verses)
    config = DataConfig(
        tasks=(
            TaskConfig("translation", str(tmp_path / "verses.tsv"), pivot=CODES[0]),
            TaskConfig("topics", str(tmp_path / "topics.tsv")),
            TaskConfig("words", str(tmp_path / "words.tsv")),
        ),
        objective="text_to_text",
        held_out=0.2,
        batch_size=4,
        cache_dir=str(tmp_path / "cache"),
    )
    train, held_out = open_mixture(config), open_evaluation(config)
    assert {info.name for info in train.info()} >= {f"topics.{code}" for code in CODES}
    there = 600 + 2 * 100 + 8 * 20
    assert held_out.num_rows + sum(i.documents for i in train.info()) == there
    # Its header, for its kind and at the reading; and the reading of all of it, once.
    assert max(reads["topics.tsv"], reads["words.tsv"]) <= 3
    # Of parallel text its first line, for its kind, and its size: not once for 8 directions twice.
    assert reads["verses.tsv"] <= 6
    before = reads.copy()
    assert open_mixture(config).fingerprint == train.fingerprint
    assert (reads - before) == Counter({"verses.tsv": 2})  # its first line, for its kind


def test_a_renamed_table_has_the_split_and_the_language_of_its_new_name(tmp_path: Path) -> None:
    def topics(name: str) -> str:
        rows = "".join(f"{CODES[i % 2]}\t{name}{i}\tc{i % 3}\t{name} {i}\n" for i in range(200))
        return "lang\tid\tcategory\ttext\n" + rows

    def opened(name: str, kind: str) -> dict[str, tuple[int, ...]]:
        config = DataConfig(
            tasks=(TaskConfig(kind, str(tmp_path / name)),),
            objective="text_to_text",
            held_out_test=0.2,
            batch_size=4,
            cache_dir=str(tmp_path / "cache"),
        )
        splits = ("train", "test")
        found = [{i.name: i.documents for i in open_mixture(config, s).info()} for s in splits]
        return {name: tuple(one[name] for one in found) for name in found[0]}

    (tmp_path / "sib").mkdir()
    (tmp_path / "sib" / "sib.tsv").write_text(topics("old"))
    assert all(0 < test < 50 for _, test in opened("sib", "topics").values())
    (tmp_path / "sib" / "sib.tsv").rename(tmp_path / "sib" / "sib-test.tsv")
    (tmp_path / "sib" / "sib-train.tsv").write_text(topics("new"))
    assert set(opened("sib", "topics").values()) == {(100, 100)}

    (tmp_path / "asked").mkdir()
    asked = [{"id": str(i), "question": f"{i}?", "answers": [{"text": f"{i}"}]} for i in range(40)]
    paragraphs = [{"context": " ".join(map(str, range(40))), "qas": asked}]
    named = tmp_path / "asked" / "fra_Latn_fquad.json"
    named.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    assert list(opened("asked", "questions")) == ["questions.fra_Latn"]
    named.rename(tmp_path / "asked" / "deu_Latn_fquad.json")
    assert list(opened("asked", "questions")) == ["questions.deu_Latn"]


TWO = [("a", 1), ("b", 2), ("a", 3)]


def made(folder: Path, name: str = "n", entries=TWO) -> tuple[Parts, str, Counter[str]]:
    """Parts of a table beside their folder, the table's path, and how often it has been read."""
    path, read = folder / "table.tsv", Counter[str]()
    path.write_text("what it is called and holds")

    def reading(path: str, problems: Problems):
        read["table"] += 1
        yield from entries() if callable(entries) else entries

    return Parts(folder / "tables", name, reading), str(path), read


def rows_of(parts: Parts, path: str) -> dict[str, list[int]]:
    return {code: list(parts.of(path, code) or ()) for code in parts.codes(path)}


def cut(place: Path) -> None:
    (place / "1.jsonl").write_text("")


def lost(place: Path) -> None:
    (place / "0.jsonl").unlink()


def without_index(place: Path) -> None:
    (place / "index.json").unlink()


@pytest.mark.parametrize("damage", [cut, lost, without_index])
def test_damaged_parts_are_made_anew_once(tmp_path: Path, damage) -> None:
    expected = {"a": [1, 3], "b": [2]}
    first, path, _ = made(tmp_path)
    assert rows_of(first, path) == expected
    (place,) = (tmp_path / "tables").iterdir()
    damage(place)
    for times in (1, 0):
        again, path, read = made(tmp_path)
        assert rows_of(again, path) == expected
        assert read["table"] == times
        assert list((tmp_path / "tables").iterdir()) == [place]


def test_parts_of_another_version_or_other_fields_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(name: str) -> int:
        opened, path, counted = made(tmp_path, name)
        opened.codes(path)
        return counted["table"]

    assert [read("n"), read("n"), read("n and more")] == [1, 0, 1]
    monkeypatch.setattr(parts, "_VERSION", parts._VERSION + 1)
    assert read("n") == 1

    (tmp_path / "topics.tsv").write_text("lang\tid\tcategory\ttext\na\t1\tc\tx\n")
    folder = tmp_path / "records"
    for _ in range(2):
        Records("labelled", folder).languages(str(tmp_path / "topics.tsv"))
        assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(tables, "fields_of", lambda kind: ("language", "id", "label", "more"))
    Records("labelled", folder).languages(str(tmp_path / "topics.tsv"))
    assert len(list(folder.iterdir())) == 2


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left, young = (tmp_path / "tables" / f".{name}.part" for name in ("left", "young"))
    for folder in (left, young):
        folder.mkdir(parents=True)
        (folder / "0.jsonl").write_text("1\n")
    os.utime(left, (0, 0))
    opened, path, _ = made(tmp_path)
    opened.codes(path)
    assert young.exists() and not left.exists()


def test_an_error_of_reading_the_table_is_told_at_once(tmp_path: Path) -> None:
    def breaks():
        yield "a", 1
        raise OSError("the mount is gone")

    opened, path, read = made(tmp_path, entries=breaks)
    with pytest.raises(OSError, match="the mount is gone"):
        opened.codes(path)
    assert read["table"] == 1


def test_without_room_a_table_is_read_once_for_its_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_HELD", 0)
    opened, path, read = made(tmp_path)
    (tmp_path / "tables").write_text("no folder")
    assert opened.codes(path) == ("a", "b") and opened.of(path, "a") is None
    assert read["table"] == 1


def test_parts_that_are_lost_or_broken_later_are_named(tmp_path: Path) -> None:
    opened, path, _ = made(tmp_path)
    found = [opened.of(path, code) for code in opened.codes(path)]
    (place,) = (tmp_path / "tables").iterdir()
    (place / "0.jsonl").write_bytes(b"\0" * 4)
    (place / "1.jsonl").unlink()
    for part in found:
        with pytest.raises(UserError, match=r"jsonl', which is made from .* Remove the folder"):
            list(part or ())
