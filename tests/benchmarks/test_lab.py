"""The rows of the laboratory that are committed: whole, and what is claimed of them holds."""

import argparse
import json

import pytest

from benchmarks.lab import ARMS, CLAIMS, ROOT, Lab, claimed

SEEDS = [0, 1, 2, 3, 4]


def lab(folder, part, out=ROOT / "results" / "lab"):
    return Lab(argparse.Namespace(out=out, arms=list(ARMS)), folder, part)


@pytest.mark.parametrize("part", sorted({claim[0] for claim in CLAIMS}))
def test_what_is_claimed_of_the_committed_rows_holds(part, tmp_path, capsys):
    found = lab(tmp_path, part)
    arms = {arm for claim in CLAIMS for arm in claim[2:] if claim[0] == part}
    measured = {(row["seed"], row["arm"]) for row in found.rows}
    assert measured >= {(seed, arm) for seed in SEEDS for arm in arms}
    assert claimed(found, SEEDS)
    assert capsys.readouterr().out.count("holds. The effect of") == len(
        [claim for claim in CLAIMS if claim[0] == part]
    )
    assert not found.wants(0, "untrained") and found.wants(5, "untrained")


def test_a_claim_without_rows_is_incomplete(tmp_path, capsys):
    row = {"part": "ewt", "seed": 0, "arm": "mlm", "language": "eng_Latn", "value": 0.7}
    (tmp_path / "ewt.jsonl").write_text(json.dumps(row) + "\n")
    assert not claimed(lab(tmp_path, "ewt", tmp_path), SEEDS)
    assert "incomplete" in capsys.readouterr().out
