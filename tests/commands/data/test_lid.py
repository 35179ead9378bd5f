"""`jaxlt data lid` from the command line: train, eval, predict, filter."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from jaxlt.commands.main import main
from jaxlt.data.sources.items import by_language

WORDS = {
    "eng_Latn": "the cat sat on the mat and saw that there was nothing to eat",
    "swh_Latn": "paka alikaa juu ya mkeka na akaona kwamba hakukuwa na chakula",
    "tat_Cyrl": "песи келәмгә утырды һәм ашарга бернәрсә дә юклыгын күрде",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A corpus, a test set and a model of three languages."""
    root = tmp_path_factory.mktemp("lid")
    rng = np.random.default_rng(0)
    for part, count in (("corpus", 60), ("test", 10)):
        (root / part).mkdir()
        for name, words in WORDS.items():
            lines = [" ".join(rng.choice(words.split(), 6)) for _ in range(count)]
            (root / part / f"{name}.txt").write_text("\n".join(lines) + "\n")
    train = ["data", "lid", "train", str(root / "corpus"), f"--to={root / 'model'}"]
    assert main([*train, "--bits=12", "--lines=50"]) == 0
    return root


def test_eval(folder: Path, tmp_path: Path, capsys) -> None:
    flags = [str(folder / "test"), f"--json={tmp_path}/scores.json"]
    assert main(["data", "lid", "eval", str(folder / "model"), *flags]) == 0
    out = capsys.readouterr().out
    assert "macro-F1 1.0000" in out and "Turkic" in out and "30 lines, 3 languages" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["f1"] == dict.fromkeys(WORDS, 1.0) and scores["confused"] == []


def test_confusion_by_family(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "tat_Cyrl.txt").write_text("the cat sat on the mat\n")
    assert main(["data", "lid", "eval", str(folder / "model"), str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Turkic", "Indo-European", "1"] in lines


def test_predict(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("akaona paka\nthe cat\n"))
    assert main(["data", "lid", "predict", str(folder / "model")]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [
        ("swh_Latn", "akaona paka"),
        ("eng_Latn", "the cat"),
    ]
    assert all(0.5 < float(row[1]) <= 1 for row in rows)


def test_filter(folder: Path, tmp_path: Path, capsys) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "eng_Latn.txt").write_text("the cat was there\npaka na mkeka\nnothing to eat\n")
    flags = [str(folder / "model"), str(crawl), f"--to={tmp_path}/out"]
    assert main(["data", "lid", "filter", *flags]) == 0
    kept = (tmp_path / "out" / "eng_Latn.txt").read_text()
    assert kept == "the cat was there\nnothing to eat\n"
    assert "swh_Latn 1" in capsys.readouterr().out


def test_whatever_stats_counts_is_learnt_from(tmp_path: Path, capsys) -> None:
    files = {
        "UD_X/en_x-ud-test.conllu": "# text = The cat.\n1\tThe" + "\t_" * 8 + "\n\n",
        "mk/swa/test.txt": "paka B-PER\njuu O\n",
        "xnli.dev.tsv": "language\tgold_label\tsentence1\tsentence2\tpairID\n"
        "sw\tneutral\tA\tB\t1\n",
        "wide.tsv": "eng_Latn\ttat_Cyrl\nthe mat\tмәче\n",
        "flores/dev/tat_Cyrl.dev": "алма\n",
        "text/eng_Latn.txt": "the end\n",
        "text/made/a.txt": "xyz\n",
        "other.tsv": "a\tb\n1\t2\n",
    }
    for name, text in files.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    given = [f"{tmp_path}/data/{name}" for name in ("UD_X", "mk", "xnli.dev.tsv", "wide.tsv")]
    given += [f"{tmp_path}/data/{name}" for name in ("flores", "text", "other.tsv")]
    found = {name: list(texts.lines()) for name, texts in by_language(given).items()}
    assert found == {
        "eng_Latn": ["The cat.", "the mat", "the end"],
        "made": ["xyz"],
        "swa_Latn": ["paka juu", "A", "B"],
        "tat_Cyrl": ["мәче", "алма"],
    }
    assert list(by_language(given, ("swa_Latn",))) == ["swa_Latn"]
    train = ["data", "lid", "train", *given, f"--to={tmp_path}/lid", "--bits=12"]
    assert main([*train, "--languages=tat_Cyrl,swa_Latn"]) == 0
    assert "2 languages, learnt from 5 lines" in capsys.readouterr().out
    assert main([*train, "--languages=en"]) == 2
    assert "Did you mean 'eng_Latn'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["train", "{0}/corpus"], "--to"),
        (["train", "{0}/corpus", "--to={0}/x", "--lines=0"], "at least 1"),
        (["eval", "{0}", "{0}/test"], "holds no language identifier"),
        (["filter", "{0}/model", "{0}/test", "--to={0}/test"], "holds the source"),
        (["filter", "{0}/model", "{0}/test", "--to={0}/y", "--at_least=3"], "probability"),
        (["guess"], "invalid choice"),
    ],
)
def test_errors(folder: Path, capsys, flags: list[str], message: str) -> None:
    assert main(["data", "lid", *(flag.format(folder) for flag in flags)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_language_the_model_lacks(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "xho_Latn.txt").write_text("ewe\n")
    flags = [str(folder / "model"), str(tmp_path), f"--to={tmp_path}/out"]
    assert main(["data", "lid", "filter", *flags]) == 2
    assert "never learnt 'xho_Latn'" in " ".join(capsys.readouterr().err.split())
