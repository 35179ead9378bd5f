"""`jaxlt plan --topology`: steps for TPUs that are not there, in processes of their own."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.config import load
from jaxlt.errors import UserError
from jaxlt.plan import compile as plan_compile
from jaxlt.plan.compile import advice, compile_for, environment
from jaxlt.plan.estimate import Estimate, read_estimate
from jaxlt.plan.table import lines_of

TINY = ("--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin")
SMALL = (
    "T5Config.encoder_layers=1",
    "T5Config.decoder_layers=1",
    "INPUTS_LENGTH=128",  # whole blocks of attention's kernel: it computes what it pads
    "TARGETS_LENGTH=128",
    "BATCH_SIZE=16",
    "MeshConfig.data=1",
    "MeshConfig.fsdp=-1",
)
HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
GIVEN = {
    "machine": "v5e:4x4",
    "devices": 16,
    "mesh": {"replica": 1, "data": 16, "fsdp": 1, "tensor": 1},
    "rows": 32,
    "tokens": 1000,
    "limit": 2**34,
    "memory": {},
}


def stated(**changes) -> Estimate:
    return Estimate(**(GIVEN | {"fits": False, "needed": 2**35} | changes))


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed here")
def test_without_libtpu_the_extra_is_named(capsys):
    assert main(["plan", *TINY, "--topology=v5e:2x2"]) == 2
    assert "pip install 'jaxlt[plan]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_for_gpus_is_known_by_its_memory(capsys):
    """Compiled for two CPU devices: parameters shared by both, memory counted, no times."""
    overrides = [f"--gin.{one}" for one in (*SMALL, "T5Config.emb_dim=64", "DTYPE=float16")]
    assert main(["plan", *TINY, *overrides, "--topology=2*gpu:16GB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["machine"], found["devices"], found["mesh"]["fsdp"]) == ("2*gpu:16GB", 2, 2)
    assert found["fits"] and found["limit"] == int(0.95 * 16e9)
    assert found["needed"] == sum(found["memory"].values())
    parameters = found["checkpoint"] / 2  # a device's half; float32, and Adafactor's memory
    assert parameters * 0.9 < found["memory"]["arguments"] < parameters * 1.3
    assert found["step"] == [0.0, 0.0] and "CPU devices" in found["notes"][0]
    del found["headroom"]
    lines = "\n".join(lines_of(read_estimate(found)))
    assert "FITS" in lines and "TFLOP by hand" in lines and "time of a step" not in lines


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--topology=v5e:2x2", "--modules"), "--modules counts without it"),
        (("--search",), "on a --topology"),
        (("--topology=v5e:2x2", "--search", "--dump=x"), "of one configuration"),
        (("--topology=v5e:2x2", "--search", "--quick"), "compares times"),
        (("--topology=gpu:80GB", "--search"), "compares times"),
        (("--quick",), "about a --topology"),
        (("--topology=gpu:82GB",), "The nearest is gpu:80GB"),
        (("--topology=5e:2x2",), "names no chip"),
        (("--topology=v5e:2x2", "--search", "--meshes", "fsdp=5"), "does not come to the 4 chips"),
    ],
)
def test_flags_that_do_not_go_together(flags, said, capsys):
    assert main(["plan", *TINY, *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def answered(monkeypatch, answer, status=0, log=""):
    """Lets `compile_for` meet a worker that says this."""

    def run(command, env, stdout, stderr, check):
        assert command[1:3] == ["-m", "jaxlt.plan.worker"]
        request = json.loads(Path(command[3]).read_text())
        assert request["topology"] == "v5e:4x4" and env["JAX_PLATFORMS"] == "cpu"
        assert request["dumped"] in env["XLA_FLAGS"] and not request["quick"]
        stdout.write(log.encode())
        if answer is not None:
            Path(command[4]).write_text(json.dumps(answer))
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(plan_compile.subprocess, "run", run)


def test_a_workers_user_error_is_ours(monkeypatch):
    answered(monkeypatch, {"error": "The mesh does not fit"})
    with pytest.raises(UserError, match="does not fit"):
        compile_for("v5e:4x4", [], [], [])


def test_the_compilers_files_are_kept_where_asked(monkeypatch, tmp_path):
    seen = {}

    def run(command, env, **_):
        seen.update(json.loads(Path(command[3]).read_text()))
        Path(command[4]).write_text(json.dumps({"error": "enough"}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(plan_compile.subprocess, "run", run)
    with pytest.raises(UserError, match="enough"):
        compile_for("v5e:4x4", [], [], [], dump=str(tmp_path / "kept"))
    assert seen["dumped"] == str(tmp_path / "kept")


def test_a_worker_that_dies_is_a_result(monkeypatch):
    answered(monkeypatch, None, -9, "one\n\nlast words\n")
    found = compile_for("v5e:4x4", [], [], [])
    assert not found.fits and "status -9" in found.failure and "host's memory" in found.failure
    assert found.failure.endswith("last words")
    assert "DOES NOT COMPILE:" in lines_of(found)


def test_the_worker_finds_this_jaxlt(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    paths = environment("dumped")["PYTHONPATH"].split(":")
    assert (Path(paths[0]) / "jaxlt" / "plan" / "worker.py").exists()
    assert paths[-1] == "elsewhere"
    assert environment("dumped", "--more")["XLA_FLAGS"].endswith(" --more")


def test_what_does_not_fit_comes_with_what_to_change():
    files = ("models/tiny.gin", "runs/pretrain.gin")
    run = load(files, ["BATCH_SIZE=32"], (), {"WORKDIR": "", "TEXT": ""})
    text = "\n".join(advice(run, GIVEN["mesh"]))
    assert "T5Config.remat = 'dots' or 'full' (now 'none')" in text
    assert "MeshConfig.fsdp = 16, MeshConfig.data = 1 (now 1 and 16)" in text
    assert "TrainConfig.accumulate = 2" in text and "BATCH_SIZE; now 32" in text
    lines = "\n".join(lines_of(stated(), advice(run, GIVEN["mesh"])))
    assert "DOES NOT FIT: 32.00 GiB of 16.00 GiB (200%), 16.00 GiB too much" in lines
    assert "what to change" in lines and "accumulate" in lines


def test_with_a_row_a_device_the_mesh_has_to_change():
    files = ("models/tiny.gin", "modules/bottleneck.gin", "runs/adapt.gin")
    fallbacks = {"WORKDIR": "", "TEXT": "", "INIT_FROM": None}
    run = load(files, ["BATCH_SIZE=16", "T5Config.remat='full'"], (), fallbacks)
    text = "\n".join(advice(run, {"replica": 1, "data": 1, "fsdp": 16, "tensor": 1}))
    assert "MeshConfig.tensor = 2 (now 1)" in text and "accumulate" not in text
    assert "TrainConfig.frozen_dtype = 'bfloat16'" in text and "remat" not in text
    train = dataclasses.replace(run.train, frozen_dtype="bfloat16")
    text = "\n".join(advice(dataclasses.replace(run, train=train), GIVEN["mesh"]))
    assert "TrainConfig.frozen_dtype = 'int8' (now 'bfloat16')" in text


@pytest.mark.plan
@pytest.mark.skipif(not HAS_LIBTPU, reason="needs libtpu: pip install 'jaxlt[plan]'")
def test_a_tiny_step_for_four_chips(capsys):
    """Its memory and its traffic: gathered weights, and gradients that somebody has to add up."""
    overrides = [f"--gin.{one}" for one in SMALL]
    assert main(["plan", *TINY, *overrides, "--topology=v5e:2x2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] and 0 < found["needed"] < found["limit"] == int(15.75 * 2**30)
    assert found["mesh"] == {"replica": 1, "data": 1, "fsdp": 4, "tensor": 1}
    work = found["program_flops"] / found["model_flops"]
    assert 0.95 < work < 1.3
    kinds = " ".join(found["traffic"])
    assert "all-gather" in kinds and ("reduce-scatter" in kinds or "all-reduce" in kinds)
    moved = sum(t["nbytes"] for t in found["traffic"].values())
    parameters = found["checkpoint"] / 4  # float32, Adafactor's memory is small beside them
    # A device's share of one gather and one scatter of everything, in two bytes a value, at least.
    assert moved > 2 * 2 * parameters * 3 / 4 * 0.5
    best, worst = found["step"]
    assert 0 < best <= worst < 1
    assert found["compute"] == pytest.approx(found["matrix"] + found["vector"])


@pytest.mark.plan
@pytest.mark.skipif(not HAS_LIBTPU, reason="needs libtpu: pip install 'jaxlt[plan]'")
def test_what_is_too_large_is_a_result(capsys):
    overrides = [f"--gin.{one}" for one in SMALL] + ["--gin.T5Config.vocab_rows=40000000"]
    assert main(["plan", *TINY, *overrides, "--topology=v5e:2x2"]) == 1
    text = capsys.readouterr().out
    assert "DOES NOT FIT" in text and "of 15.75 GiB" in text and "what to change" in text


@pytest.mark.slow
def test_a_plan_needs_no_tensorflow():
    """Neither the plan of a run nor its worker imports it."""
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'seqio', 'tensorflow_text'): sys.modules[name] = None\n"
        "import jaxlt.plan.worker\n"
        "from jaxlt.commands.main import main\n"
        f"sys.exit(main(['plan', *{list(TINY)}]))"
    )
    env = environment("dumped") | {"XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
