"""What a step will take: read from compiled programs, and from what compilers say of memory."""

import dataclasses
import json

import jax
import pytest

from jaxlt.engine.log.flops import model_flops
from jaxlt.engine.loop import program_of
from jaxlt.plan.aot import abstract_batch, compile_train
from jaxlt.plan.estimate import (
    Machine,
    Work,
    checkpoint_bytes,
    estimate,
    memory_of,
    notes,
    out_of_memory,
    present_machine,
    read_estimate,
)
from jaxlt.plan.topologies import parse_topology
from tests.engine import jobs

MODEL = {"emb_dim": 64, "mlp_dim": 128, "vocab_rows": 256}
OOM = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
    "required for HLO temporaries (97.91G) exceeds available HBM (15.75G). HLO module: jit_step."
)


def compiled_step(model):
    """(program, compiled step, work) of a small job on eight devices."""
    program = program_of(jobs.job(model=model, optimizer={"name": "sgd"}))
    compiled = compile_train(program, abstract_batch(program, 8, 32, 16))
    flops = model_flops(program.spec.model, program.layout, 8, 32, 16)
    return program, compiled, Work(8, 8 * 48, flops, 100)


@pytest.fixture(scope="module")
def planned():
    """The smallest job, compiled once for all tests."""
    return compiled_step(MODEL)


def machine():
    """A chip of round numbers, of which there is one machine."""
    chip = dataclasses.replace(
        parse_topology("v5e:2x2").chip, name="cpu", peak=1e9, hbm=2**30, hbm_bandwidth=1e9, link=1e9
    )
    return Machine(chip)


def test_the_compiled_program_does_the_work_that_was_counted_by_hand(planned):
    program, compiled, work = planned
    found = estimate(program, work, machine(), lambda: compiled)
    assert found.fits and found.headroom == 2**30 - found.needed > 0
    assert found.program_flops == pytest.approx(found.model_flops, rel=0.1)
    assert found.memory == memory_of(compiled)
    assert found.traffic["all-reduce"]["nbytes"] > 0  # gradients over eight devices
    best, worst = found.step
    assert 0 < best <= worst <= found.compute + found.communication + 1e-9
    assert found.tokens_per_second[1] == pytest.approx(work.tokens / worst)
    assert found.mfu[1] == pytest.approx(work.flops / (worst * 8 * 1e9))
    assert found.days[1] == pytest.approx(100 * worst / 86400)
    assert found.chip_hours[1] == pytest.approx(8 * 100 * worst / 3600)
    assert found.costliest and found.costliest[0][1] >= found.costliest[-1][1]


@pytest.mark.slow
def test_recomputation_shows_in_the_programs_work(quick_compile):
    program, compiled, work = compiled_step(MODEL | {"remat": "full"})
    again = estimate(program, work, machine(), lambda: compiled)
    assert 1.1 < again.program_flops / again.model_flops < 4 / 3 + 0.1


def test_an_estimate_survives_json(planned):
    program, compiled, work = planned
    found = estimate(program, work, machine(), lambda: compiled)
    told = json.loads(json.dumps(dataclasses.asdict(found)))
    assert dataclasses.asdict(read_estimate(told)) == dataclasses.asdict(found) | {
        "costliest": tuple([list(one) for one in found.costliest])
    }


def test_a_program_without_text_is_read_from_what_was_dumped(planned, tmp_path):
    program, compiled, work = planned

    class Silent:
        memory_analysis = staticmethod(compiled.memory_analysis)

        def as_text(self):
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError, match="no text"):
        estimate(program, work, machine(), Silent, str(tmp_path))
    file = tmp_path / "module_0000.jit__train_step.x.after_codegen.txt"
    file.write_text(compiled.as_text())
    found = estimate(program, work, machine(), Silent, str(tmp_path))
    assert found.step == estimate(program, work, machine(), lambda: compiled).step


def test_out_of_memory_is_a_result(planned):
    program, _, work = planned

    def fails():
        raise jax.errors.JaxRuntimeError(OOM)

    found = estimate(program, work, machine(), fails)
    assert not found.fits and not found.failure and found.memory == {}
    assert found.needed == int(97.91 * 2**30) and found.limit == int(15.75 * 2**30)
    assert found.headroom < 0 and found.checkpoint == checkpoint_bytes(program) > 0


def test_another_failure_is_told(planned):
    program, _, work = planned

    def fails():
        raise jax.errors.JaxRuntimeError("INTERNAL: Mosaic failed\nmore")

    found = estimate(program, work, machine(), fails)
    assert not found.fits and found.failure == "INTERNAL: Mosaic failed\nmore"


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (OOM, (int(97.91 * 2**30), int(15.75 * 2**30))),
        ("Ran out of memory in memory space hbm. Used 2.5G of 512M hbm.", (5 * 2**29, 2**29)),
        ("RESOURCE_EXHAUSTED: no numbers", (0, 0)),
        ("INTERNAL: something else", None),
    ],
)
def test_messages_about_memory(message, wanted):
    assert out_of_memory(message) == wanted


def test_the_checkpoint_holds_what_trains():
    everything = checkpoint_bytes(program_of(jobs.job(model=MODEL)))
    half = checkpoint_bytes(program_of(jobs.job(model=MODEL, trainable=("params/decoder/.*",))))
    assert 0 < half < everything


def test_slices_without_replicas_are_warned_of():
    topology = parse_topology("2*v5e:2x2")
    found = Machine(topology.chip, topology)
    assert any("MeshConfig.replica = 1" in note for note in notes(found, {"replica": 1}))
    assert len(notes(found, {"replica": 2})) == 1


def test_the_devices_at_hand_are_measured():
    found = present_machine().chip
    assert found.peak > 1e8 and found.hbm_bandwidth > 1e7 and found.clock == 0
