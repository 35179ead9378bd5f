"""`jaxlt infer`: a line in, a line out, in order; what was written once is not lost."""

import io
import json
import sys
import types

import numpy as np
import pytest

from jaxlt.commands import infer, trained
from jaxlt.commands import main as cli
from jaxlt.engine.decoding import greedy

pytestmark = pytest.mark.usefixtures("quick_compile")

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
    args = types.SimpleNamespace(
        workdir=str(tiny_run), step=None, gin_file=[], gin_overrides=[], gin_search_paths=[]
    )
    run = trained.load(args)
    predictor, vocabulary = trained.open_model(run, args)
    codec = infer.codec_of(run, vocabulary)
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
    monkeypatch.setattr(infer, "_WINDOW", 1)
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
    assert "first 4 input lines are not those" in " ".join(capsys.readouterr().err.split())

    decoded = []
    monkeypatch.setattr(
        infer.Output, "write", lambda self, i, o: (decoded.extend(i), write(self, i, o))
    )
    assert cli.main([*call, "--resume"]) == 0
    assert decoded == LINES[4:]
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
    assert "Line 2 has 161 tokens" in error and "64" in error and "--truncate" in error
    assert cli.main(command(tiny_run, path, "--truncate")) == 0
    shown = capsys.readouterr()
    assert "1 of 2 inputs were cut to 64 tokens (line 2 first)" in shown.err
    assert len(shown.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (b"", [], "is empty"),
        (b"good\nb\xe4d\n", [], "line 2: byte 2 is not UTF-8"),
        (b"a <extra_id_99>\n", [], "Line 1: The text has '<extra_id_99>'"),
        (b"a\n", ["--batch_size=0"], "--batch_size is at least 1"),
        (b"a\n", ["--language=cc_Latn"], "was not trained on a language 'cc_Latn'"),
        (b"a\n", ["--resume"], "--resume goes on with an --output"),
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
    flags += [f"--gin.DataConfig.vocabulary={tmp_path / 'spiece.model'}", "--max_length=8"]
    out = tmp_path / "out.txt"
    assert cli.main(["infer", *flags, str(path), f"--output={out}"]) == 0, capsys.readouterr().err
    lines = out.read_text().split("\n")
    assert len(lines) == 4 and lines[1] == ""


def test_the_note_of_a_part_is_json(tiny_run, given, tmp_path):
    with infer.Output(str(tmp_path / "o"), {"step": 1}) as output:
        output.write(["a"], ["ä"])
        note = json.loads((tmp_path / "o.part.json").read_text())
        assert (note["lines"], note["bytes"], note["settings"]) == (1, 3, {"step": 1})
    assert (tmp_path / "o").read_text() == "ä\n"
