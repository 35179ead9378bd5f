"""`jaxlt convert`: the same bits in every format, and nothing is overwritten unasked."""

import dataclasses
import itertools
import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from jaxlt.commands import main as cli
from jaxlt.config import load
from jaxlt.convert.export import write_hf, write_t5x
from jaxlt.convert.source import settings_from_shapes
from jaxlt.errors import UserError
from jaxlt.inference import opening
from jaxlt.inference.backbone import content_hash, gin_lines, open_backbone, shipped_models
from jaxlt.inference.converting import convert
from tests.convert.conftest import same, t5_shapes

SHAPES = t5_shapes(layers=(2, 1))


def params(dtype="float32"):
    rng = np.random.default_rng(3)
    return {n: rng.standard_normal(s).astype(np.dtype(dtype)) for n, s in SHAPES.items()}


def write(folder, form, values):
    """Writes a source of one of the formats; 'jaxlt' by way of T5X."""
    if form == "hf":
        write_hf(folder, values, settings_from_shapes(SHAPES, ""))
    else:
        write_t5x(folder, values)
    (folder / "spiece.model").write_bytes(b"pieces")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A T5X checkpoint that nobody changes."""
    return write(tmp_path_factory.mktemp("convert") / "source", "t5x", params())


@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16])
def test_round_trips_between_all_formats_keep_every_bit(tmp_path, capsys, dtype):
    values = params(dtype)
    paths = {form: write(tmp_path / form, form, values) for form in ("hf", "t5x")}
    assert cli.main(["convert", str(paths["t5x"]), str(tmp_path / "jaxlt"), "--to=jaxlt"]) == 0
    paths["jaxlt"] = tmp_path / "jaxlt"
    hashes = {content_hash(open_backbone(str(path)))[0] for path in paths.values()}
    assert len(hashes) == 1
    pairs = itertools.product(paths, paths)
    if dtype != "float32":  # once around
        pairs = (("hf", "t5x"), ("t5x", "jaxlt"), ("jaxlt", "hf"))
    for source, to in pairs:
        target = tmp_path / f"{source}_to_{to}"
        assert cli.main(["convert", str(paths[source]), str(target), f"--to={to}"]) == 0
        assert hashes.copy().pop() in capsys.readouterr().out
        same(opening.open_base(str(target)), values)
        assert (target / "spiece.model").read_bytes() == b"pieces"
        settings = open_backbone(str(target)).settings
        assert settings["num_heads"] == 3 and settings["relpos_max_distance"] == 128
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_trained_run_and_a_run_from_it(tiny_run, run_flags, tmp_path, capsys):
    hf, base = tmp_path / "hf", tmp_path / "base"
    assert cli.main(["convert", str(tiny_run), str(hf), "--to=hf"]) == 0
    assert cli.main(["convert", str(hf), str(base), "--to=jaxlt"]) == 0
    tokenizer = json.loads((hf / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "ByT5Tokenizer"
    capsys.readouterr()
    assert cli.main(["eval", f"--workdir={tiny_run}", "--no_results"]) == 0
    expected = capsys.readouterr().out.splitlines()[1:]
    for place in (hf, base):  # what INIT_FROM takes is the trained model
        flags = [*run_flags(tmp_path / "new"), f"--gin.INIT_FROM={place}"]
        flags += ["--gin.run.init_from=%INIT_FROM", "--step=0", "--no_results"]
        assert cli.main(["eval", *flags]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == expected
    steps = [content_hash(open_backbone(str(tiny_run / "checkpoints" / s)))[0] for s in ("2", "4")]
    newest, _ = content_hash(open_backbone(str(tiny_run)))
    assert newest == steps[1] != steps[0]


def test_inspect(tiny_run, tmp_path, capsys):
    assert cli.main(["convert", "--inspect", str(tiny_run)]) == 0
    out = capsys.readouterr().out
    assert "4 steps on aa_Latn, bb_Latn" in out and "bytes (UTF-8" in out
    run = load([str(tiny_run / "config.gin")])
    assert content_hash(open_backbone(str(tiny_run)))[0] in out
    lines = out[out.index("T5Config:") :].split("\n\n")[0]
    (tmp_path / "model.gin").write_text("\n".join(line[2:] for line in ("  " + lines).split("\n")))
    again = load([str(tiny_run / "config.gin"), str(tmp_path / "model.gin")])
    assert again.model == run.model


def test_shipped_models_are_known_again():
    for name in ("mt5_small.gin", "byt5_base.gin", "umt5_small.gin", "tiny.gin"):
        given = {"WORKDIR": "", "TEXT": "", "VOCABULARY": "bytes"}
        model = load([f"models/{name}", "runs/pretrain.gin"], fallbacks=given).model
        names = ("vocab_rows", "emb_dim", "mlp_dim", "num_heads", "head_dim", "relpos_per_layer")
        settings = {k: getattr(model, k) for k in (*names, "encoder_layers", "decoder_layers")}
        assert shipped_models(settings) == [name]
        assert f"    emb_dim = {model.emb_dim}" in gin_lines(settings)


def test_overwriting_is_asked_for_and_happens_last(tmp_path, capsys, monkeypatch):
    source = write(tmp_path / "source", "t5x", params())
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    call = ["convert", str(source), str(target), "--to=hf"]
    assert cli.main(call) == 2
    assert "is there already" in " ".join(capsys.readouterr().err.split())
    lost = next(source.glob("target.encoder.layers_1.mlp.wo.kernel*/*.*"))
    content = lost.read_bytes()
    lost.write_bytes(content[: len(content) // 2])
    assert cli.main([*call, "--overwrite"]) == 2  # the source is damaged: nothing is touched
    assert "damaged" in capsys.readouterr().err
    assert [p.name for p in target.iterdir()] == ["precious"]
    lost.write_bytes(content)
    assert cli.main([*call, "--overwrite"]) == 0
    assert not (target / "precious").exists()
    same(opening.open_base(str(target)), params())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOURCE"], "Converting needs TARGET"),
        (["SOURCE", "new"], "--to=hf, t5x or jaxlt"),
        (["SOURCE", "--inspect", "--to=hf"], "leave --to out"),
        (["SOURCE/..", "--inspect"], "no checkpoint that jaxlt knows"),
        (["SOURCE", "SOURCE/inside", "--to=hf"], "lie in one another"),
        (["SOURCE", "gs://bucket/x", "--to=hf"], "TARGET is a local folder"),
        (["SOURC", "new", "--to=hf"], "Did you mean 'source'"),
    ],
)
def test_errors(source, capsys, arguments, message):
    replaced = [
        a.replace("SOURC", f"{source.parent}/sourc").replace("sourcE", "source") for a in arguments
    ]
    assert cli.main(["convert", *replaced]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_what_a_format_cannot_hold_is_said(source, tmp_path):
    backbone = open_backbone(str(source))
    layered = dataclasses.replace(backbone, settings={**backbone.settings, "norm": "layer"})
    for to in ("hf", "t5x"):
        with pytest.raises(UserError, match=r"T5Config.norm = 'layer'.*--to jaxlt"):
            convert(layered, tmp_path / "out", to)
    wide = {**backbone.settings, "relpos_max_distance": 256}
    notes = convert(dataclasses.replace(backbone, settings=wide), tmp_path / "out", "t5x")
    assert any("T5Config.relpos_max_distance = 256" in note for note in notes)


@pytest.mark.slow
def test_it_needs_no_tensorflow(source, tmp_path):
    code = (
        "import sys; from jaxlt.commands.main import main;"
        f"assert main(['convert', {str(source)!r}, {str(tmp_path / 'x')!r}, '--to=jaxlt']) == 0;"
        f"import os; os.unlink({str(tmp_path / 'x' / 'spiece.model')!r});"
        f"assert main(['convert', '--inspect', {str(tmp_path / 'x')!r}]) == 0;"
        "print([m for m in ('tensorflow', 'seqio', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.splitlines()[-1:] == ["[]"], out.stderr
