"""`jaxlt infer`: a line in, a line out, in order; what was written once is not lost."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from jaxlt.commands import infer
from jaxlt.commands import main as cli
from jaxlt.engine.decode.decoding import greedy
from jaxlt.inference import asking as infer_asking
from jaxlt.inference import filling, trained
from jaxlt.inference.formats import Record
from tests.trained_run import SIZES

pytestmark = pytest.mark.usefixtures("one_width")

LINES = ["stu <extra_id_0> vwx", "abc", "", "a b c d e f g h", "hé — ß", "zz"]


@pytest.fixture
def given(tmp_path):
    """A file of lines."""
    path = tmp_path / "in.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


@pytest.fixture(scope="module")
def expected(tiny_run):
    """What plain greedy decoding, a line at a time, makes of LINES."""
    run, _ = trained.find_run(str(tiny_run))
    predictor, vocabulary = trained.open_model(run)
    codec = infer_asking.codec_of(run, vocabulary)
    out = []
    for line in LINES:
        tokens = np.zeros((1, 32), np.int32)
        ids = np.append(codec.encode(line), 1)
        tokens[0, : len(ids)] = ids
        batch = {"encoder_input_tokens": tokens}
        decoded = greedy(run.model, predictor.params, batch, 12)[0] if line else []
        ends = np.flatnonzero(np.asarray(decoded) == 1)
        text = codec.decode(decoded[: ends[0]] if len(ends) else decoded)
        out.append(text.replace("\r", "\\r").replace("\n", "\\n"))
    return out


def command(tiny_run, *more):
    return ["infer", f"--workdir={tiny_run}", "--max_length=12", "--batch_size=8", *map(str, more)]


def test_lines_are_those_of_greedy_in_order(tiny_run, given, expected, tmp_path, capsys):
    assert len(set(expected)) > 2 and expected[2] == ""
    assert cli.main(command(tiny_run, given)) == 0
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in expected)
    assert cli.main(command(tiny_run, given, f"--output={tmp_path / 'out.txt'}")) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == ""  # no bar where there is no terminal
    assert (tmp_path / "out.txt").read_text().split("\n") == [*expected, ""]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_standard_input(tiny_run, expected, monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode()))  # no newline at the end
    monkeypatch.setattr(sys, "stdin", stream)
    assert cli.main(command(tiny_run)) == 0
    assert capsys.readouterr().out.split("\n") == [*expected, ""]


def test_a_killed_call_goes_on(tiny_run, given, expected, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.txt"
    monkeypatch.setattr(filling, "WINDOW", 1)
    write, calls = infer.Output.write, []

    class Killed(BaseException):
        pass

    def dies(self, inputs, outputs):
        if len(calls) == 2:
            self._file.write(b"half a li")  # what a kill may leave behind the last sure line
            self._file.flush()
            raise Killed
        calls.append(inputs)
        write(self, inputs, outputs)

    monkeypatch.setattr(infer.Output, "write", dies)
    call = command(tiny_run, given, f"--output={out}")
    call[call.index("--batch_size=8")] = "--batch_size=2"
    with pytest.raises(Killed):
        cli.main(call)
    assert not out.exists() and (tmp_path / "out.txt.part").read_text().endswith("half a li")
    monkeypatch.setattr(infer.Output, "write", write)
    assert cli.main(call) == 2
    assert "go on with it (--resume)" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*call, "--resume", "--max_length=5"]) == 2
    assert "length 12 -> 5" in " ".join(capsys.readouterr().err.split())

    other = tmp_path / "other.txt"
    other.write_text("something else\n" * 6)
    changed = [str(other) if c == str(given) else c for c in call]
    assert cli.main([*changed, "--resume"]) == 2
    assert "first 4 records of the input are not those" in " ".join(capsys.readouterr().err.split())

    decoded = []
    monkeypatch.setattr(
        infer.Output, "write", lambda self, i, o: (decoded.extend(i), write(self, i, o))
    )
    assert cli.main([*call, "--resume"]) == 0
    assert [r.raw.decode() for r in decoded] == [f"{line}\n" for line in LINES[4:]]
    assert out.read_text().split("\n") == [*expected, ""]
    assert cli.main([*call, "--resume"]) == 0  # whole already
    assert cli.main(call) == 2
    assert "is there already, and whole" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*call, "--overwrite"]) == 0


def test_long_lines_are_refused_or_cut_aloud(tiny_run, tmp_path, capsys):
    path = tmp_path / "long.txt"
    path.write_text("ab\n" + "abc " * 40 + "\n")
    assert cli.main(command(tiny_run, path)) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "long.txt', line 2 has 161 tokens" in error and "64" in error
    assert "--overlength=truncate" in error
    assert cli.main(command(tiny_run, path, "--overlength=truncate")) == 0
    shown = capsys.readouterr()
    assert "Inputs cut to 64 tokens: 1 (" in shown.err and "line 2 first" in shown.err
    assert len(shown.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (b"", [], "is empty"),
        (b"good\nb\xe4d\n", [], "line 2: not UTF-8 at byte 2"),
        (b"a <extra_id_99>\n", [], "line 1: The text has '<extra_id_99>'"),
        (b"a\n", ["--batch_size=0"], "--batch_size is at least 1"),
        (b"a\n", ["--language=cc_Latn"], "was not trained on a language 'cc_Latn'"),
        (b"a\n", ["--resume"], "--resume goes on with an --output"),
        (b"a\n", ["--output=o.txt.gz"], "give a name without that ending"),
    ],
)
def test_errors(tiny_run, tmp_path, capsys, content, more, message):
    path = tmp_path / "in.txt"
    path.write_bytes(content)
    assert cli.main(command(tiny_run, path, *more)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert cli.main(command(tiny_run, tmp_path / "in.tx")) == 2
    assert "Did you mean 'in.txt'" in " ".join(capsys.readouterr().err.split())


def test_an_encoder_alone(run_flags, texts, tmp_path, capsys):
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    mlm = ["--gin_file=models/mlm_tiny.gin", "--gin_file=runs/mlm.gin", "--gin_file=tiny.gin"]
    mlm += [f"--gin.TEXT={texts}", f"--gin.WORKDIR={tmp_path / 'mlm'}", "--step=0"]
    assert cli.main(["infer", *mlm, str(path)]) == 2
    assert "an encoder alone" in " ".join(capsys.readouterr().err.split())


def test_sentencepiece(texts, tmp_path, capsys):
    import sentencepiece

    words = [p.read_text() for p in sorted(texts.iterdir())]
    (tmp_path / "all.txt").write_text("".join(words))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "all.txt"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=200,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    path = tmp_path / "in.txt"
    path.write_text("abc <extra_id_0> def\n\nfgh\n")
    flags = ["--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin", "--gin_file=tiny.gin"]
    flags += [f"--gin.TEXT={texts}", f"--gin.WORKDIR={tmp_path / 'pieces'}", "--step=0"]
    flags += [f"--gin.DataConfig.vocabulary={tmp_path / 'spiece.model'}", "--max_length=12"]
    flags += [f"--gin.T5Config.{name}={value}" for name, value in SIZES.items()]
    out = tmp_path / "out.txt"
    assert cli.main(["infer", *flags, str(path), f"--output={out}"]) == 0, capsys.readouterr().err
    lines = out.read_text().split("\n")
    assert len(lines) == 4 and lines[1] == ""


def test_the_note_of_a_part_is_json(tiny_run, given, tmp_path):
    with infer.Output(str(tmp_path / "o"), {"step": 1}) as output:
        output.write([Record(b"a\n", "line 1", {})], ["ä\n".encode()])
        note = json.loads((tmp_path / "o.part.json").read_text())
        assert (note["records"], note["bytes"], note["settings"]) == (1, 3, {"step": 1})
    assert (tmp_path / "o").read_text() == "ä\n"


def sentence(words, language=None):
    comment = f"# lang = {language}\n" if language else ""
    rows = (f"{i}\t{word}" + "\t_" * 8 for i, word in enumerate(words, 1))
    return comment + "\n".join(rows) + "\n\n"


def asked(task_flags, *more):
    return ["infer", *task_flags, "--batch_size=4", *map(str, more)]


@pytest.mark.slow
def test_a_real_treebank_filled_in(task_flags, start_model, shared_data, tmp_path, monkeypatch):
    from jaxlt.data.readers import conllu
    from jaxlt.data.sources import files

    monkeypatch.setattr(filling, "WINDOW", 2)
    path, out = tmp_path / "in.conllu.zst", tmp_path / "out.conllu"
    source = shared_data / "ud" / "de_gsd-dev.conllu.gz"  # with multiword tokens
    blocks = []
    with files.open_bytes(str(source)) as file:
        block = []
        while len(blocks) < 11:
            block.append(file.readline())
            if block[-1] == b"\n":
                blocks.append(b"".join(block))
                block = []
    data = b"".join(blocks)
    assert b"-" in data and any(line.split(b"\t")[0].count(b"-") for line in data.splitlines())
    files.write_chunks(str(path), [data])
    call = asked(task_flags, path, f"--output={out}", "--labels=NOUN,VERB,X", "--overlength=window")
    write, calls = infer.Output.write, []

    def dies(self, inputs, outputs):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(inputs)
        write(self, inputs, outputs)

    monkeypatch.setattr(infer.Output, "write", dies)
    assert cli.main(call) != 0 and not out.exists()
    monkeypatch.setattr(infer.Output, "write", write)
    assert cli.main([*call, "--resume", "--labels=NOUN,VERB"]) == 2
    assert cli.main([*call, "--resume"]) == 0
    resumed = out.read_bytes()
    assert cli.main([*call, "--overwrite"]) == 0
    assert out.read_bytes() == resumed
    old, new = data.split(b"\n"), resumed.split(b"\n")
    for before, after in zip(old, new, strict=True):
        a, b = before.split(b"\t"), after.split(b"\t")
        if a[0].isdigit():
            assert b[3] in (b"NOUN", b"VERB", b"X")
            a[3] = b[3]
        assert a == b
    sentences = list(conllu.read(str(out)))
    words = [s.forms for s in sentences]
    tags = start_model.tag(words, labels=["NOUN", "VERB", "X"], overlength="window", batch_size=4)
    assert [s.upos for s in sentences] == tags


def test_running_text_is_split_into_words(task_flags, start_model, tmp_path, capsys):
    path = tmp_path / "in.txt"
    path.write_text("Ada's dog saw the old cat of her friend.\n\nไป\n")
    assert cli.main(asked(task_flags, path, "--task=tag", "--labels=NOUN,VERB,X")) == 0
    shown = capsys.readouterr()
    rows = [line.split("\t") for line in shown.out.splitlines() if "\t" in line]
    words = ["Ada's", "dog", "saw", "the", "old", "cat", "of", "her", "friend", "."]
    tags = start_model.tag([words, ["ไป"]], labels=["NOUN", "VERB", "X"], batch_size=4)
    assert [row[1] for row in rows] == [*words, "ไป"]
    assert [row[3] for row in rows] == [*tags[0], *tags[1]]
    assert "split at spaces and punctuation" in shown.err and "partly in Thai" in shown.err


def test_parses_are_trees(task_flags, tmp_path, capsys):
    from jaxlt.data.readers import conllu

    path, out = tmp_path / "in.conllu", tmp_path / "out.conllu"
    path.write_text(sentence(["a", "b", "c"]) + sentence(["w" * 200, "x"]))
    call = asked(task_flags, path, f"--output={out}", "--task=parse")
    assert cli.main(call) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "in.conllu', line 5 has" in said and "--overlength=truncate" in said
    assert cli.main([*call, "--overwrite", "--overlength=truncate"]) == 0
    said = capsys.readouterr().err
    assert "Inputs cut to 96 tokens: 1 (" in said and "Answers that did not end" in said
    assert [len(s.heads) for s in conllu.read(str(out))] == [3, 2]  # trees, or it would not read


def test_tables_and_entities(task_flags, tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "one"}\n{"text": ""}\n')
    call = asked(task_flags, path, "--task=classify", "--labels=a,bb,c d", "--column=class")
    assert cli.main([*call, "--beams=4", "--returns=3"]) == 0
    one, two = map(json.loads, capsys.readouterr().out.splitlines())
    assert sorted(one["class"]) == ["a", "bb", "c d"] and two["class"] == []
    path = tmp_path / "in.tsv"
    path.write_text("premise\thypothesis\nx\ty\n\t\n")
    assert cli.main(asked(task_flags, path, "--task=pairs", "--force=so", "--labels=0,1")) == 0
    header, one, two = capsys.readouterr().out.splitlines()
    assert header == "premise\thypothesis\tpairs"
    assert one in ("x\ty\t0", "x\ty\t1") and two == "\t\t"
    path = tmp_path / "in.iob2"
    path.write_text("# c\nAda\tO\nin\tB-LOC\n\n")
    assert cli.main(asked(task_flags, path, "--task=entities", "--max_length=1")) == 0
    shown = capsys.readouterr()
    assert shown.out == "# c\nAda\tO\nin\tO\n\n" and "Answers that did not end" in shown.err


def test_rows_of_standard_input(task_flags, start_model, monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(b'{"text": "a b"}\n\n{"words": ["c", "d", "e f"]}'))
    monkeypatch.setattr(sys, "stdin", stream)
    assert cli.main(asked(task_flags, "--format=jsonl")) == 0  # trained to tag
    one, blank, two = capsys.readouterr().out.split("\n")
    tags = start_model.tag([["a", "b"], ["c", "d", "e f"]], batch_size=4)
    assert [json.loads(row)["tag"] for row in (one, two)] == [list(t) for t in tags]
    assert blank == ""
    stream = io.TextIOWrapper(io.BytesIO(b'{"text": "a b"}\n{"text": 1}\n'))
    monkeypatch.setattr(sys, "stdin", stream)
    assert cli.main(asked(task_flags, "--format=jsonl")) == 2
    assert "'standard input', line 2: words are text" in capsys.readouterr().err


def test_languages_by_record(task_flags, tmp_path, capsys):
    flags = [flag for flag in task_flags if "tasks.gin" not in flag and "KIND" not in flag]
    flags += ["--gin_file=modules/x_mod.gin", "--gin.DataConfig.languages=['aa_Latn', 'bb_Latn']"]
    path = tmp_path / "in.conllu"
    path.write_text(sentence(["a"], "aa_Latn") + sentence(["b"]) + sentence(["c"], "cc"))
    call = asked(flags, path, "--task=tag")
    for more, message in (
        ((), "in.conllu', line 4 says no language"),
        (("--language=bb_Latn",), "'cc'"),
        (("--language=b",), "not trained on a language 'b'"),
    ):
        assert cli.main([*call, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    path.write_text(sentence(["a"], "aa_Latn") + sentence(["b"]))
    assert cli.main([*call, "--language=bb_Latn"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_modules_that_go_by_the_language_of_the_answer(task_flags, tmp_path, capsys):
    flags = [flag for flag in task_flags if "tasks.gin" not in flag and "KIND" not in flag]
    flags += ["--gin_file=modules/x_mod.gin", "--gin.DataConfig.languages=['eng_Latn', 'swa_Latn']"]
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a", "target_language": "eng_Latn"}\n{"text": "b"}\n')
    call = asked(flags, "--gin.lang/plug.key=target", "--max_length=4", path)
    assert cli.main(call) == 2
    assert "line 2 says no target" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*call, "--target=sw", "--task=translate,generate"]) == 0  # by any code
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all({"translate", "generate"} <= set(row) for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("in.txt", "a\n", ["--task=pairs"], "nothing that text has a place for"),
        ("in.txt", "a\n", ["--task=tag,generate"], "has room of one task, and"),
        ("in.txt", "a\n", ["--task=translat"], "Did you mean 'translate'"),
        ("in.txt", "a\n", ["--task=translate"], "says no language to translate into"),
        ("in.conllu", sentence("a"), ["--task=tag,pairs"], "pairs is nothing that conllu has"),
        ("in.iob2", "a\tO\n", [], "What is to be filled in? Give --task, some of entities"),
        ("in.conllu", sentence("a"), ["--column=x"], "--column is for tables"),
        ("in.tsv", "text\na\n", ["--task=tag,parse", "--column=x"], "of one task, and"),
        ("in.tsv", "text\na\n", ["--returns=2", "--task=tag"], "is for answers that are text"),
        ("in.txt", "a\n", ["--returns=2"], "is for answers that are text"),
        ("in.tsv", "text\na\n", ["--returns=2", "--task=classify"], "has 1 to return"),
        ("in.tsv", "text\na\n", ["--labels=a,,b"], "--labels: number 2 is ''"),
        ("in.conllu", "", [], "is empty: there is nothing to decode"),
    ],
)
def test_errors_of_formats(task_flags, tmp_path, capsys, name, content, more, message):
    path = tmp_path / name
    path.write_text(content)
    assert cli.main(asked(task_flags, path, *more)) == 2
    assert message in " ".join(capsys.readouterr().err.split())


LOAD = """
import sys, time, jax, flax.linen, orbax.checkpoint
bare = time.process_time()
import jaxlt
model = jaxlt.load(sys.argv[1])
model._asker, model.kinds  # what answers are asked by
heavy = ("tensorflow", "seqio", "pyarrow", "tensorboardX")
print([name for name in heavy if name in sys.modules], time.process_time() / bare)
"""


@pytest.mark.slow
def test_a_model_is_loaded_without_tensorflow_or_seqio(tiny_run):
    """In less than four times what importing jax, flax and orbax takes."""
    asked = [sys.executable, "-c", LOAD, str(tiny_run)]
    out = subprocess.run(asked, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    heavy, _, times = out.stdout.rpartition(" ")
    assert heavy == "[]" and float(times) < 4
