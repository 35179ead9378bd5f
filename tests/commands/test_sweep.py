"""Runs over axes by the command line: trained, evaluated, and extended without a repetition."""

from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.experiments import ledger

SIZES = {
    "T5Config.emb_dim": 16, "T5Config.mlp_dim": 16, "T5Config.encoder_layers": 1,
    "T5Config.vocab_rows": 384, "BATCH_SIZE": 8, "TRAIN_STEPS": 2, "VOCABULARY": "bytes",
    "TEXT": "text",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_a_sweep_grows_without_repeating_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    for code in ("qaa_Latn", "qab_Latn"):
        lines = (f"{code} says a line of {n} words or so" for n in range(400))
        (tmp_path / "text" / f"{code}.txt").write_text("\n".join(lines))
    files = ["models/lab_mlm.gin", "runs/lab_mlm.gin", "own.gin"]
    argv = ["sweep", *files, *(f"--gin.{name}={value}" for name, value in SIZES.items())]

    def run(rates: list[float], seeds: int) -> str:
        text = f"sweep.cross = {{'LEARNING_RATE': {rates}}}\nsweep.split = 'validation'\n"
        (tmp_path / "own.gin").write_text(f"{text}sweep.seeds = {seeds}\n")
        assert main([*argv, "--worker"]) == 0
        return capsys.readouterr().err

    assert run([0.001], 1).count("done (") == 2
    grown = run([0.001, 0.003], 1)
    assert grown.count("done (") == 2 and "LEARNING_RATE=0.003/0/train: done" in grown
    assert run([0.001, 0.003], 1).count("done (") == 0
    told = ledger.of_folder(tmp_path / "studies" / "sweep")
    assert (told.done, told.stages) == (4, 4)
    losses = {row.cell: row.value for row in told.rows if row.metric == "bpb" and row.method}
    assert len(set(losses.values())) == 2
    assert list((tmp_path / "studies/sweep/cache/splits").glob("*.json"))  # pinned to the study
    assert main(["sweep", "status", *argv[1:]]) == 0
    assert "4 stages: 4 done." in capsys.readouterr().out
