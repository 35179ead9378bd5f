"""Formats: what is read is written as it was, byte for byte, but for what is filled in."""

import itertools
import json

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.readers import conllu, iob2
from jaxlt.data.readers.iob2 import Span
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files
from jaxlt.errors import UserError
from jaxlt.inference.asking import kinds_for
from jaxlt.inference.formats import FORMATS, Record, format_for, format_of, nothing

TREEBANK = (
    "\ufeff# newdoc\r\n# text = vámonos al mar\r\n# lang = es\r\n"
    "1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\r\n"
    "1\tvamos\tir\tVERB\t_\t_\t0\troot\t0:root\t_\r\n"
    "2\tnos\tnosotros\t_\t_\t_\t_\t_\t_\t_\r\n"
    "3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_\r\n"
    "3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_\r\n"
    "4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_\r\n"
    "4.1\tgran\t_\tADJ\t_\t_\t_\t_\t5:amod\t_\r\n"
    "5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_\r\n"
    "\r\n\n \n# no end\n1\ta b\t_\tX\t_\t_\t0\troot\t_\t_"
).encode()
NAMED = b"# id\nAda\tB-PER\nLovelace\tO\n#\tO\n\n\nx\tI-ORG\r\n\r\n\n"


KINDS = kinds_for(DataConfig())


def kinds(*tasks):
    return {task: KINDS[task] for task in tasks}


def records(name, data, *tasks, column=None, path="in"):
    made = FORMATS[name](kinds(*tasks), column)
    return made, list(made.records(enumerate(data.splitlines(keepends=True), 1), path))


def filled(made, found, *answers):
    """The bytes with these answers, one for each record that is filled in."""
    left = iter(answers)
    return b"".join(made.render(r, next(left)) if r.filled else r.raw for r in found)


def test_conllu_keeps_all_but_the_columns():
    made, found = records("conllu", TREEBANK, "tag", "parse")
    assert [r.asked["tag"] for r in found] == [("vamos", "nos", "a", "el", "mar"), ("a b",)]
    assert [(r.language, r.place) for r in found] == [
        ("es", "'in', line 1"),
        ("", "'in', line 15"),
    ]
    tree = {"tag": tuple("ABCDE"), "parse": ((2, 0, 2, 3, 4), tuple("vwxyz"))}
    one = {"tag": ("Ñ",), "parse": ((0,), ("root",))}
    out = filled(made, found, tree, one)
    assert [r.raw for r in records("conllu", out, "tag")[1]] != [r.raw for r in found]
    old, new = TREEBANK.split(b"\n"), out.split(b"\n")
    assert len(old) == len(new)
    words = [i for i, line in enumerate(old) if line.split(b"\t")[0].isdigit()]
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        if i not in words:
            assert before == after
            continue
        a, b = before.split(b"\t"), after.split(b"\t")
        assert [v for c, v in enumerate(a) if c not in (3, 6, 7)] == [
            v for c, v in enumerate(b) if c not in (3, 6, 7)
        ]
    cells = [new[i].split(b"\t") for i in words]
    assert b" ".join(c[3] for c in cells).decode() == "A B C D E Ñ"
    assert b" ".join(c[6] for c in cells) == b"2 0 2 3 4 0"
    made, found = records("conllu", TREEBANK, "tag")
    kept = filled(made, found, {"tag": ("VERB", "_", "ADP", "DET", "NOUN")}, {"tag": ("X",)})
    assert kept == TREEBANK


def test_real_treebanks_come_back_as_they_were(shared_data):
    names = ("en_ewt-dev", "ar_", "de_gsd-dev", "fi_tdt-test", "fr_gsd-test", "gub_tudet-test")
    paths = [p for p in sorted((shared_data / "ud").iterdir()) if p.name.startswith(names)]
    assert len(paths) >= 4
    for path in paths:
        with files.open_bytes(str(path)) as file:
            lines = list(itertools.islice(file, 4000))
        lines = lines[: len(lines) - lines[::-1].index(b"\n")]  # up to the end of a sentence
        made = FORMATS["conllu"](kinds("tag", "parse"))
        found = list(made.records(enumerate(lines, 1), "in"))
        gold = list(conllu.parse(enumerate(lines, 1), "in", Problems()))
        assert len(found) == len(gold) > 20
        for record, sentence in zip(found, gold, strict=True):
            answers = {"tag": sentence.upos, "parse": (sentence.heads, sentence.deprels)}
            assert record.asked["tag"] == sentence.forms
            assert made.render(record, answers) == record.raw
        assert b"".join(record.raw for record in found) == b"".join(lines)


def test_iob2():
    made, found = records("iob2", NAMED, "entities")
    assert [r.asked.get("entities") for r in found] == [("Ada", "Lovelace", "#"), ("x",), None]
    out = filled(
        made, found, {"entities": (Span(0, 2, "PER"),)}, {"entities": (Span(0, 1, "LOC"),)}
    )
    assert out == (b"# id\nAda\tB-PER\nLovelace\tI-PER\n#\tO\n\n\nx\tB-LOC\r\n\r\n\n")
    assert list(iob2.parse(enumerate(out.splitlines(True), 1), "x", Problems(), "refuse"))


def test_whatever_a_model_says_is_one_field():
    made, found = records("iob2", b"x\tO\n\n", "entities")
    assert filled(made, found, {"entities": (Span(0, 1, "a\tb\nc\0"),)}) == b"x\tB-a_b_c_\n\n"
    made, found = records("conllu", b"1\tx" + b"\t_" * 8 + b"\n\n", "tag")
    assert filled(made, found, {"tag": ("A\0B",)}).split(b"\t")[3] == b"A_B"


def test_tsv():
    data = "\ufeffid\ttext\tlanguage\r\n1\tone two\tsw\r\n\r\n2\t\t".encode()
    made, found = records("tsv", data, "classify", "tag")
    assert [r.asked for r in found if r.filled] == [
        {"classify": "one two", "tag": ("one", "two")},
        {},
    ]
    assert found[1].language == "sw"
    out = filled(
        made,
        found,
        {"classify": "a\tb\nc", "tag": ("X", "Y")},
        {task: nothing(KINDS[task]) for task in ("classify", "tag")},
    )
    assert out.decode() == (
        "\ufeffid\ttext\tlanguage\tclassify\ttag\r\n"
        '1\tone two\tsw\ta\\tb\\nc\t["X", "Y"]\r\n\r\n2\t\t\t\t[]'
    )


def test_jsonl():
    data = b'{"text": "a b",  "x": 1.50 }\n\n{"words": ["c", "d e"], "y": {}}'
    made, found = records("jsonl", data, "entities", "parse")
    asked = [r.asked["parse"] for r in found if r.filled]
    assert asked == [("a", "b"), ("c", "d e")]
    answer = {"entities": (Span(0, 1, "PER"),), "parse": ((0, 1), ("root", "obj"))}
    out = filled(made, found, answer, answer).decode().split("\n")
    assert out[0].startswith('{"text": "a b",  "x": 1.50 , "entities"') and out[1] == ""
    assert json.loads(out[2]) == {
        "words": ["c", "d e"],
        "y": {},
        "entities": ["B-PER", "O"],
        "parse": {"heads": [0, 1], "relations": ["root", "obj"]},
    }
    made, found = records("jsonl", b'{"question": "q", "context": "c"}', "questions", column="said")
    assert found[0].asked == {"questions": ("q", "c")}
    out = filled(made, found, {"questions": ("x", "y")})  # several answers are a list
    assert json.loads(out)["said"] == ["x", "y"]
    made = FORMATS["jsonl"](kinds("tag"))
    assert made.render(Record(b"{ }\n", "p", {}), {"tag": ()}) == b'{ "tag": []}\n'


def test_text():
    made, found = records("text", "\ufeffa\r\n\nb".encode(), "generate")
    assert [r.asked for r in found] == [{"generate": "a"}, {}, {"generate": "b"}]
    assert filled(made, found, {"generate": "x\ny"}, {"generate": ""}) == b"x\\ny\n\n\n"


@pytest.mark.parametrize(
    ("name", "data", "task", "message"),
    [
        ("conllu", b"# a\n1\tx\t_\t_\n\n", "tag", "'in', line 2: 4 columns, expected 10"),
        ("conllu", b"\n# a\n\n", "tag", "'in', line 2: comments without a sentence"),
        ("conllu", b"\n1\tx\xff" + b"\t_" * 8 + b"\n", "tag", "'in', line 2: not UTF-8"),
        ("conllu", b"2\tx" + b"\t_" * 8 + b"\n", "tag", "'in', line 1: the ID '2', expected 1"),
        ("iob2", b"x\tO\ny\n\n", "entities", "'in', line 2: 1 columns"),
        ("iob2", "x\tO\n\u00a0\ny\tO\n".encode(), "entities", "nothing but spaces"),
        ("tsv", b"text\tx\na\n", "tag", "'in', line 2: 1 fields, the header names 2"),
        ("tsv", b"txt\na\n", "tag", "line 1: no column 'words', which --task=tag reads"),
        ("tsv", b"premis\thypothesis\n", "pairs", "Did you mean 'premis'"),
        ("tsv", b"text\ttext\n", "tag", "'text' is there more than once"),
        ("tsv", b"text\ttag\n", "tag", "a column 'tag' already: name that of the answers"),
        ("tsv", b"text\na\0b\n", "generate", "'in', line 2: a NUL"),
        ("jsonl", b'{"text": 1}\n', "generate", "'in', line 1: what generate reads is text"),
        ("jsonl", b'{"words": ["a", ""]}\n', "tag", "words are text, or a list of words"),
        ("jsonl", b'{"text": "a"\n', "tag", "'in', line 1: not JSON"),
        ("jsonl", b"[]\n", "tag", "'in', line 1: not an object"),
        ("text", b"a\n\xff\n", "generate", "'in', line 2: not UTF-8"),
    ],
)
def test_what_is_malformed_is_named(name, data, task, message):
    with pytest.raises(UserError) as error:
        records(name, data, task)
    assert message in str(error.value)


def test_a_file_without_blank_lines_is_no_sentence():
    for name, line in (("iob2", b"x\tO\n"), ("conllu", b"1\tx" + b"\t_" * 8 + b"\n")):
        made = FORMATS[name](kinds("entities"))
        lines = ((n, line) for n in itertools.count(1))
        with pytest.raises(UserError, match="more than 100,000 lines"):
            next(iter(made.records(lines, "in")))


def test_tokens_alone_and_as_entity_collections_have_them():
    spans = {"entities": (Span(0, 1, "PER"),)}
    for data, out in (
        (b"# id = 1\nAda\nx\r\n", b"# id = 1\nAda\tB-PER\nx\tO\r\n"),
        (b"#\n_\t_\nx\t\n\n", b"#\tB-PER\n_\tO\nx\tO\n\n"),
        (b"Ada O\nx B-LOC \n", b"Ada B-PER\nx O\n"),
        (b"\xef\xbb\xbfAda", b"\xef\xbb\xbfAda\tB-PER"),
    ):
        made, found = records("iob2", data, "entities")
        assert filled(made, found, spans) == out
    made, found = records("iob2", b"sw:Ada\tO\n", "entities", path="wikiann/sw/test")
    assert found[0].asked == {"entities": ("Ada",)}
    assert filled(made, found, spans) == b"sw:Ada\tB-PER\n"


def test_running_text_becomes_sentences_of_words():
    lines = list(enumerate("Ada's dog, Bo.\r\n\nไป\n".encode().splitlines(keepends=True), 1))
    made = format_for("text", kinds("tag", "parse"))
    found = list(made.records(lines, "in"))
    assert [r.asked.get("tag") for r in found] == [("Ada's", "dog", ",", "Bo", "."), None, ("ไป",)]
    one = {"tag": ("A", "B C", "D", "E", "F"), "parse": ((2, 0, 2, 2, 2), tuple("abcde"))}
    out = filled(made, found, one, {"tag": ("V",), "parse": ((0,), ("root",))})
    first, second = conllu.parse(enumerate(out.splitlines(True), 1), "out", Problems())
    assert (first.forms, first.heads) == (found[0].asked["tag"], one["parse"][0])
    assert first.upos[1] == "B_C" and first.misc == (
        "_",
        "SpaceAfter=No",
        "_",
        "SpaceAfter=No",
        "_",
    )
    assert first.comment("text") == "Ada's dog, Bo."
    assert first.comment("words") == "split at spaces and punctuation by jaxlt"
    assert second.comment("words").endswith("every character of Thai alone")
    assert made.unparted == {"Thai"}
    made = format_for("text", kinds("tag"))
    (sentence,) = conllu.parse(
        enumerate(made.render(found[0], {"tag": one["tag"]}).splitlines(True), 1),
        "x",
        Problems(),
        trees=False,
    )
    assert sentence.heads == (conllu.NO_HEAD,) * 5
    made = format_for("text", kinds("entities"))
    found = list(made.records(lines[:1], "in"))
    tagged = iob2.parse(
        enumerate(made.render(found[0], {"entities": (Span(3, 4, "X"),)}).splitlines(True), 1),
        "x",
        Problems(),
        "refuse",
    )
    assert [(t.tokens, t.tags[3]) for t in tagged] == [(found[0].asked["entities"], "B-X")]
    with pytest.raises(UserError, match="written as IOB2, tags and trees as CoNLL-U"):
        format_for("text", kinds("entities", "tag"))


def test_endings(tmp_path):
    (tmp_path / "amh").mkdir()
    (tmp_path / "amh" / "test.txt").write_text("a O\n")
    assert format_of(str(tmp_path / "amh" / "test.txt")) == "iob2"
    (tmp_path / "amh" / "test.txt").write_text("a text\n")
    assert format_of(str(tmp_path / "amh" / "test.txt")) == "text"
    assert format_of("a/b.conllu.gz") == "conllu" and format_of("x.jsonl.zst") == "jsonl"
    assert format_of("x.iob2") == "iob2" and format_of("x.tsv") == "tsv"
    assert format_of("-") == format_of("in.txt") == format_of("in") == "text"
