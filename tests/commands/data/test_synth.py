"""`jaxlt data synth`: it shows, it writes, and it says what is wrong."""

import pytest

from jaxlt.commands.main import main


def test_show_prints_each_language_with_glosses_and_arcs(capsys):
    assert main(["data", "synth", "--show", "1", "--scripts", "Latn,Geor", "--dialects", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("▾") > 8 and out.count("(1)") == 1 and "(2)" not in out
    assert "VERB" in out and "dialect of" in out and "distances" in out
    assert any("ა" <= letter <= "ჰ" for letter in out)


def test_out_writes_the_folder(tmp_path, capsys):
    folder = tmp_path / "made"
    argv = ["data", "synth", "--out", str(folder), "--gin.FactoryConfig.sentences=40"]
    argv += ["--gin.FactoryConfig.families=[@Family()]", "--gin.Family.languages=2"]
    assert main(argv) == 0
    assert "2 languages are in" in capsys.readouterr().out
    assert len(list((folder / "text").iterdir())) == 2
    assert (folder / "parallel.tsv").exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--scripts", "Latin"], "there is no script 'Latin'"),
        (["--families", "0"], "--families is at least 1"),
        (["--languages", "0"], "at least 1"),
        (["--show", "0"], "from 1"),
        (["--gin.Family.dialects=9", "--gin.FactoryConfig.families=[@Family()]"], "from 0 to"),
    ],
)
def test_what_cannot_be_is_told(argv, told, capsys):
    assert main(["data", "synth", *argv]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_sentences_fit_the_terminal_where_they_can(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "synth", "--show", "2", "--scripts", "Latn,Arab", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("(2)") == 1 and max(map(len, out.splitlines())) <= 80
