"""Tables and rows of scores by language."""

from jaxlt.inference.groups import Groups
from jaxlt.inference.scoring import Judged
from jaxlt.inference.tables import results, show
from jaxlt.metrics.scores import Score

SCORES = {"swh_Latn": 0.4, "eng_Latn": 0.9, "deu_Latn": 0.8, "tur_Latn": 0.3}
FAMILIES = {"eng_Latn": "Indo-European", "deu_Latn": "Indo-European", "swh_Latn": "Bantu"}


def judged():
    made = [
        Judged(f"tagging.{name[:2]}_x", name, "accuracy", Score(value, 7, value - 0.1, 1.0, {}))
        for name, value in SCORES.items()
    ]
    more = Score(0.6, 3, None, None, {})
    extra = Score(0.25, 4, 0.0, 0.5, {})
    made.append(Judged("tagging.en_y", "eng_Latn", "accuracy", more))
    return [*made, Judged("translation", "swh_Latn", "wrong_language", extra)]


def test_rows_have_intervals_and_means():
    found = results(judged(), Groups(("eng_Latn",), families=FAMILIES), {"split": "test"})
    by_name = {(r.task, r.language): r for r in found}
    assert by_name["tagging.de_x", "deu_Latn"].interval[:2] == (0.8 - 0.1, 1.0)
    assert by_name["tagging.en_y", "eng_Latn"].interval is None
    assert {(r.split, r.higher_is_better, r.scale) for r in found} == {
        ("test", True, 1.0),
        ("test", False, 1.0),
    }
    mean = by_name["tagging", "all"]
    assert abs(mean.value - (0.4 + 0.75 + 0.8 + 0.3) / 4) < 1e-9  # its corpora first
    assert (mean.aggregate, mean.n, mean.unit, mean.target) == ("macro", 4, "languages", "")
    assert len(mean.members) == 4 and mean.interval is None
    assert by_name["tagging", "without_source"].n == 3
    assert by_name["tagging", "family/none"].value == 0.3
    assert by_name["tagging", "families"].n == 3
    assert by_name["tagging", "families"].unit == "families"
    assert by_name["tagging", "family/Bantu"].aggregate == "family"
    assert not [key for key in by_name if key[0] == "translation" and key[1] == "all"]


def test_the_table_is_sorted_within_groups(capsys):
    show(judged(), Groups(("eng_Latn",), families=FAMILIES))
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines() if line.strip()]
    firsts = [line[0] for line in table]
    assert firsts[:4] == ["task", "tagging.en_x", "tagging.en_y", "Bantu"]
    assert table[1][1:3] == ["eng_Latn", "(source)"]
    assert "tagging.en_x eng_Latn (source) 7 90.0 [80.0, 100.0]" in " ".join(out.split())
    assert "no known family (1)" in out and "mean of families" in out
    assert "mean without the source" in out and "wrong_language" in out
    show(judged(), Groups())
    assert "without the source" not in capsys.readouterr().out


def test_a_narrow_terminal_keeps_the_numbers_whole(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    show(judged(), Groups(("eng_Latn",)))
    out = capsys.readouterr().out
    assert "Intervals are in results.jsonl" in " ".join(out.split())
    assert "90.0" in out and "90.0 [" not in out and "…" not in out


def test_all_shares_are_percents_and_baselines_have_lines(capsys):
    """BLEU, of 100, and accuracy, of 1, are told on one scale; a ratio is told as it is."""
    found = [
        Judged(
            "translation", "swh_Latn", metric, Score(value, 7, None, None, {}), "eng_Latn", method
        )
        for method, values in (("", (31.4, 0.5, 1.2)), ("baseline/copy", (2.0, 0.25, 0.9)))
        for metric, value in zip(("bleu", "exact_match", "length_ratio"), values, strict=True)
    ]
    show(found, Groups())
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    heading = "task language examples bleu % exact_match % length_ratio"
    assert lines[0] == heading.split()
    assert lines[1] == ["translation", "eng_Latn", ">", "swh_Latn", "7", "31.4", "50.0", "1.2"]
    assert lines[2] == ["copy", "2.0", "25.0", "0.9"]
