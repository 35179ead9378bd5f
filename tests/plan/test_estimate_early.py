"""Memory and traffic are read as soon as the compiler has written them down."""

import threading

import pytest

from jaxlt.engine.loop import program_of
from jaxlt.plan.estimate import Machine, Work
from jaxlt.plan.estimate_early import early_estimate, total_bytes
from jaxlt.plan.topologies import parse_topology
from tests.engine import jobs

REPORT = """Memory Space: default (color=0)
Total bytes: {total} (12.66MiB)
  cumulative_size;       size;       offset; used_by_n_values; shapes_list

Memory Space: vmem (color=1)
Total bytes: 77 (77B)
"""
PROGRAM = """HloModule jit__train_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

ENTRY %main (x: f32[8,16]) -> f32[8,16] {
  %x = f32[8,16]{1,0} parameter(0)
  ROOT %r = f32[8,16]{1,0} all-reduce(%x), replica_groups={}, to_apply=%sum
}
"""


def early(tmp_path, compile_step):
    """The early estimate of a small job; its devices stand for a topology's."""
    program = program_of(jobs.job())
    machine = Machine(parse_topology("v5e:2x4").chip)
    return early_estimate(program, Work(8, 96, 1e6, 10), machine, compile_step, str(tmp_path))


def write(folder, total=1000):
    """What a compiler writes before it generates code, in its order."""
    stem = "module_0000.jit__train_step.cl_1."
    for name, text in (
        ("after_optimizations-memory-usage-report.txt", REPORT.format(total=total)),
        ("after_optimizations.txt", PROGRAM),
        ("after_optimizations_after_buffer_assignment.txt", PROGRAM),
    ):
        (folder / (stem + name)).write_text(text)


@pytest.fixture
def endless():
    """A compiler that goes on for as long as the test."""
    over = threading.Event()
    yield lambda folder, total: (write(folder, total), over.wait(30))
    over.set()


@pytest.mark.parametrize(("total", "fits"), [(1000, True), (2**40, False)])
def test_the_compiler_is_not_awaited(tmp_path, endless, total, fits):
    found = early(tmp_path, lambda: endless(tmp_path, total))
    assert (found.needed, found.fits, sum(found.memory.values())) == (total, fits, total)
    sent = 2 * 8 * 16 * 4 * 7 / 8  # an all-reduce over eight devices
    assert found.traffic == {"all-reduce": {"count": 1.0, "nbytes": sent}}
    assert found.reduced == sent and found.step == (0.0, 0.0)


def test_what_a_compiler_raises_is_a_result(tmp_path):
    def fail():
        raise RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory. Used 20.00G of 15.75G hbm.")

    found = early(tmp_path, fail)
    assert not found.fits and found.needed == 20 * 2**30 and not found.failure


def test_a_mistake_of_ours_is_raised(tmp_path):
    def fail():
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        early(tmp_path, fail)


def test_a_report_without_a_total_is_an_error():
    assert total_bytes(REPORT.format(total=5)) == 5
    with pytest.raises(ValueError, match="no total"):
        total_bytes("Memory Space: vmem (color=1)\nTotal bytes: 77")
