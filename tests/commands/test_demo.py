"""The demo: it learns, it adapts, it leaves the backbone alone, and it goes on where it was."""

import json
import re
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.data.synth.languages import UNSEEN


def change(text: str, language: str) -> tuple[float, float]:
    """(before, after) bits per byte of a language in the table."""
    (row,) = [line for line in text.splitlines() if language in line and "│" in line]
    before, after = re.findall(r" (\d+\.\d+) ", row)[:2]
    return float(before), float(after)


@pytest.mark.slow
def test_demo_learns_adapts_and_resumes(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    short = ["demo", "--workdir", str(tmp_path / "demo"), "--steps", "40", "--adapt_steps", "40"]
    assert main(short) == 0
    first = capsys.readouterr().out
    before, after = change(first, UNSEEN.code)
    assert before < 5.5  # 40 steps: well under the 8 bits of a guess, and of the first loss
    assert after < before - 0.02
    assert "bit for bit what it was" in first
    rows = [json.loads(r) for r in (tmp_path / "demo/pretrained/metrics.jsonl").open()]
    losses = [r["loss"] for r in rows if "loss" in r]
    assert losses[-1] < losses[0]
    assert main(short) == 0  # everything is done already: the same table, at once
    assert change(capsys.readouterr().out, UNSEEN.code) == (before, after)
