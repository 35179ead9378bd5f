"""The topologies' presets: their plans fit, and gradients travel as cheaply as they can.

Counted in the compiler's own program for TPUs that are not there; nothing runs on one.
"""

import importlib.util
import json
import subprocess
import sys

import pytest

from jaxlt.commands.main import main
from jaxlt.plan.compile import environment

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install 'jaxlt[plan]'"
)
GRADIENTS = 1.2  # bytes sent, over those of a reduce-scatter


def planned(capsys, *flags: str) -> dict:
    """The figures of a plan that has to fit."""
    assert main(["plan", *flags, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def preset(size: str, name: str) -> tuple[str, ...]:
    """T5's pretraining of a size on a topology's preset."""
    files = (f"models/{size}.gin", "runs/pretrain.gin", f"topologies/{name}.gin")
    return tuple(f"--gin_file={file}" for file in files)


@pytest.mark.plan
@needs_libtpu
@pytest.mark.parametrize(
    ("size", "name", "topology", "rows"),
    [
        ("mt5_small", "v5e_16x16", "v5e:16x16", 4),
        ("mt5_base", "v5p_4x4x4", "v5p:4x4x4", 16),
    ],
)
def test_a_preset_fits_and_its_gradients_are_scattered(size, name, topology, rows, capsys):
    found = planned(capsys, *preset(size, name), f"--topology={topology}", "--quick")
    assert found["fits"] and 0 < found["needed"] < found["limit"]
    assert found["mesh"]["fsdp"] == 64 and found["rows"] == rows * found["devices"]
    assert 0.9 < found["program_flops"] / found["model_flops"] < 1.5
    assert found["reduced"] <= GRADIENTS * found["reduced_ideal"]


@pytest.mark.plan
@needs_libtpu
def test_what_is_known_before_code_is_generated_stays_so(capsys):
    """--quick against the whole: the same traffic and work, the memory but for the program."""
    sizes = (
        "T5Config.encoder_layers=2",
        "T5Config.decoder_layers=2",
        "INPUTS_LENGTH=64",
        "BATCH_SIZE=16",
        "MeshConfig.data=1",
        "MeshConfig.fsdp=-1",
    )
    files = ("--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin")
    flags = (*files, *(f"--gin.{s}" for s in sizes), "--topology=v5e:2x2")
    whole, quick = planned(capsys, *flags), planned(capsys, *flags, "--quick")
    assert quick["program_flops"] == pytest.approx(whole["program_flops"])
    assert quick["reduced"] == pytest.approx(whole["reduced"])
    assert quick["traffic"].keys() == whole["traffic"].keys()
    for kind, traffic in quick["traffic"].items():
        assert traffic["nbytes"] == pytest.approx(whole["traffic"][kind]["nbytes"])
        assert traffic["count"] == whole["traffic"][kind]["count"]
    without = whole["needed"] - whole["memory"]["program"]
    assert quick["needed"] == pytest.approx(without, rel=0.1)
    assert quick["step"] == [0.0, 0.0] and quick["compile_seconds"] < whole["compile_seconds"]


MESHES = """
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.plan.topologies import parse_topology
for name in ("v6e:16x16", "2*v5e:16x16", "v5p:8x8x8"):
    topology = parse_topology(name)
    mesh = make_mesh(MeshConfig(topology.slices, -1, 64), topology.devices())
    group = [d.coords for d in mesh.devices[0, 0, :, 0]]
    print(*sorted(len(set(along)) for along in zip(*group)))
"""


@pytest.mark.plan
@needs_libtpu
def test_chips_that_share_parameters_lie_side_by_side():
    """64 of a slice: four rows where no whole sides come to it, a plane where they do."""
    done = subprocess.run(
        [sys.executable, "-c", MESHES],
        env=environment("dumped") | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["1 4 16", "1 4 16", "1 8 8"], done.stderr


@pytest.mark.plan_nightly
@needs_libtpu
def test_four_thousand_chips(capsys):
    """mT5-XXL on a cube of v5p: planes of 256 chips share the parameters."""
    flags = ("--gin.BATCH_SIZE=32768", "--gin.MeshConfig.fsdp=256", "--topology=v5p:16x16x16")
    found = planned(capsys, *preset("mt5_xxl", "v5p_8x8x8"), *flags, "--quick")
    assert (found["devices"], found["mesh"]["data"]) == (4096, 16)
    assert found["fits"] and found["reduced"] <= GRADIENTS * found["reduced_ideal"]
