"""The timeline of a step, on programs small enough to reckon by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxlt.plan.collectives import shared_memory
from jaxlt.plan.hlo_costs import Rates, moved, source_of, step_costs
from jaxlt.plan.hlo_text import parse
from tests.plan.test_collectives import laid_out

NETWORK = laid_out("v5e:2x2")  # lines of two: one link of 50 GB/s a side
CLOCK = Rates(memory=1e12, clock=1e9)
GROUPS = "channel_id={}, replica_groups={{{{0,1,2,3}}}}, dimensions={{0}}"
F = "f32[1000000]{0:T(1024)}"


def cycles(count: int) -> str:
    return f'backend_config={{"window_config":{{"estimated_cycles":"{count}"}}}}'


def program(entry: str, *computations: str) -> str:
    body = "\n".join(f"  {line.strip()}" for line in entry.strip().splitlines())
    head = f"ENTRY %main (p: {F}) -> {F} {{\n  %p = {F} parameter(0)\n"
    return "\n\n".join(("HloModule jit_step", *computations, head + body + "\n}\n"))


ADD = f"%add (a: {F}) -> {F} {{\n  %a = {F} parameter(0)\n  ROOT %s = {F} add(%a, %a)\n}}"


def costs(entry: str, *computations: str):
    return step_costs(parse(program(entry, ADD, *computations)), CLOCK, NETWORK)


def test_fusions_take_their_cycles():
    found = costs(f"ROOT %x = {F} fusion(%p), kind=kLoop, calls=%add, {cycles(5_000_000)}")
    assert found.elapsed == found.other == pytest.approx(5e-3)
    assert found.matrix == found.communication == 0 and found.other_bytes == 8e6


@pytest.mark.parametrize(
    "stated",
    [
        '{"flops":"2000000000","transcendentals":"5","bytes_accessed":"3000000"}',
        '{"bytes_accessed":"3000000","flops":"2000000000","transcendentals":"5"}',
    ],
    ids=["as handed over", "as dumped"],
)
def test_kernels_written_by_hand_take_what_they_state(stated):
    """Of them the compiler has no count; whichever of products and memory takes longer."""
    call = f"""ROOT %k = {F} custom-call(%p), custom_call_target="tpu_custom_call",
        backend_config={{"custom_call_config":{{"body":"aGk=","cost_estimate":{stated}}}}}"""
    text = parse(program(" ".join(call.split())))
    for kernel, wanted in ((1e12, 2e-3), (1e15, 3e-6)):
        found = step_costs(text, dataclasses.replace(CLOCK, kernel=kernel), NETWORK)
        assert found.flops == 2e9 and found.other == 0
        assert found.elapsed == found.matrix == pytest.approx(wanted)
    assert step_costs(text, CLOCK, NETWORK).elapsed == 0


def test_a_blocking_collective_stops_the_line():
    found = costs(
        f"""%x = {F} fusion(%p), kind=kLoop, calls=%add, {cycles(5_000_000)}
        ROOT %r = {F} all-reduce(%x), {GROUPS.format(1)}, to_apply=%add"""
    )
    wanted = NETWORK.cost("all-reduce", 4e6, (0, 1, 2, 3)).seconds
    traffic = found.traffic["all-reduce"]
    assert found.elapsed == pytest.approx(5e-3 + wanted)
    for seconds in (traffic.blocking, traffic.exposed, traffic.seconds):
        assert seconds == pytest.approx(wanted)
    assert traffic.nbytes == 6e6 and traffic.count == 1


@pytest.mark.parametrize("work", [10_000, 5_000_000])
def test_a_started_collective_runs_beside_the_work(work):
    found = costs(
        f"""%g = ({F}, f32[4000000]{{0}}) all-gather-start(%p), {GROUPS.format(1)}
        %x = {F} fusion(%p), kind=kLoop, calls=%add, {cycles(work)}
        ROOT %d = f32[4000000]{{0}} all-gather-done(%g)"""
    )
    wanted = NETWORK.cost("all-gather", 16e6, (0, 1, 2, 3)).seconds
    assert found.elapsed == pytest.approx(max(wanted, work / 1e9))
    assert found.traffic["all-gather"].exposed == pytest.approx(max(0, wanted - work / 1e9))
    assert found.traffic["all-gather"].blocking == 0


def test_loops_multiply():
    loop = f"""
%body (q: (s32[], {F})) -> (s32[], {F}) {{
  %q = (s32[], {F}) parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one), {cycles(0)}
  %v = {F} get-tuple-element(%q), index=1
  %x = {F} fusion(%v), kind=kLoop, calls=%add, {cycles(1_000_000)}
  %r = {F} all-reduce(%x), {GROUPS.format(1)}, to_apply=%add
  ROOT %t = (s32[], {F}) tuple(%next, %r)
}}

%condition (q: (s32[], {F})) -> pred[] {{
  %q = (s32[], {F}) parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  %n = s32[] constant(24)
  ROOT %c = pred[] compare(%i, %n), direction=LT
}}"""
    found = costs(
        f"""%zero = s32[] constant(0)
        %t = (s32[], {F}) tuple(%zero, %p)
        %w = (s32[], {F}) while(%t), condition=%condition, body=%body
        ROOT %x = {F} get-tuple-element(%w), index=1""",
        loop,
    )
    one = NETWORK.cost("all-reduce", 4e6, (0, 1, 2, 3)).seconds
    assert found.elapsed == pytest.approx(24 * (1e-3 + one)) and found.unknown_loops == 0
    assert found.traffic["all-reduce"].count == 24


def chained(name: str, target: str, channel: int = 7) -> str:
    """A fusion's computation that holds a part of a gather carried on from fusion to fusion."""
    return f"""
%{name} (a: {F}) -> {F} {{
  %a = {F} parameter(0)
  %g = f32[4000000]{{0}} all-gather(%a), {GROUPS.format(channel)}
  ROOT %c = {F} custom-call(%a, %g), custom_call_target="{target}"
}}"""


def test_a_gather_carried_from_fusion_to_fusion_counts_once():
    found = costs(
        f"""%s = {F} fusion(%p), kind=kCustom, calls=%begin
        %x = {F} fusion(%s), kind=kOutput, calls=%go_on, {cycles(20_000)}
        %y = {F} fusion(%x), kind=kOutput, calls=%go_on, {cycles(20_000)}
        ROOT %d = {F} fusion(%y), kind=kCustom, calls=%end""",
        chained("begin", "AsyncCollectiveStart"),
        chained("go_on", "Other"),
        chained("end", "AsyncCollectiveDone"),
    )
    wanted = NETWORK.cost("all-gather", 16e6, (0, 1, 2, 3)).seconds
    assert found.traffic["all-gather"].count == 1
    assert found.traffic["all-gather"].nbytes == 12e6
    assert found.traffic["all-gather"].exposed == pytest.approx(wanted - 4e-5)


def test_a_fused_all_reduce_of_which_a_part_is_kept_is_a_reduce_scatter():
    inner = f"""
%all-reduce-scatter.1 (a: {F}) -> f32[250000] {{
  %a = {F} parameter(0)
  %z = s32[] constant(0)
  %r = {F} all-reduce(%a), {GROUPS.format(3)}, to_apply=%add
  ROOT %d = f32[250000]{{0}} dynamic-slice(%r, %z), dynamic_slice_sizes={{250000}}
}}"""
    found = costs(
        "ROOT %x = f32[250000]{0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1", inner
    )
    assert found.traffic["reduce-scatter"].nbytes == 3e6
    assert found.elapsed == found.traffic["reduce-scatter"].blocking


def test_permutes_in_both_directions_share_the_time():
    up = "source_target_pairs={{0,1},{2,3}}"
    down = "source_target_pairs={{1,0},{3,2}}"
    found = costs(
        f"""%a = ({F}, {F}) collective-permute-start(%p), channel_id=1, {up}
        %b = ({F}, {F}) collective-permute-start(%p), channel_id=2, {down}
        %c = {F} collective-permute-done(%a)
        ROOT %d = {F} collective-permute-done(%b)"""
    )
    assert found.elapsed == pytest.approx(4e6 / 50e9)
    assert found.traffic["collective-permute"].seconds == pytest.approx(8e6 / 50e9)


def test_steps_of_a_product_are_told_apart_by_what_goes_round():
    """Parts of a weight are passed on as they came; a sum has the next product added."""
    pairs = "source_target_pairs={{0,1},{2,3},{1,0},{3,2}}"
    product = 'metadata={op_name="jit(f)/mlp/wi_0/dot_general"}'
    found = costs(
        f"""%c = {F} copy(%p)
        %a = ({F}, {F}) collective-permute-start(%c), channel_id=1, {pairs}, {product}
        %b = {F} collective-permute-done(%a)
        %e = ({F}, {F}) collective-permute-start(%b), channel_id=2, {pairs}, {product}
        %f = {F} collective-permute-done(%e)
        %x = {F} fusion(%f), kind=kLoop, calls=%add, {cycles(1)}
        %g = ({F}, {F}) collective-permute-start(%x), channel_id=3, {pairs}, {product}
        ROOT %d = {F} collective-permute-done(%g)"""
    )
    assert found.traffic["all-gather in steps"].nbytes == 8e6
    assert found.traffic["reduce-scatter in steps"].nbytes == 4e6


def test_what_crosses_slices_starts_at_its_send_and_ends_at_its_recv():
    meets = (
        'frontend_attributes={_xla_host_transfer_rendezvous="all-reduce.1",'
        '_xla_megascale_transfer_type="ALL_REDUCE"}'
    )
    text = program(
        f"""%token = token[] after-all()
        %s = ({F}, u32[], token[]) send(%p, %token), channel_id=2, {meets}
        %r = ({F}, u32[], token[]) recv(%token), channel_id=1, {meets}
        %x = {F} fusion(%p), kind=kLoop, calls=%add, {cycles(1_000_000)}
        %e = token[] send-done(%s)
        ROOT %d = ({F}, token[]) recv-done(%r)""",
        ADD,
    )
    found = step_costs(parse(text), CLOCK, laid_out("2*v5e:2x2"))
    seconds = 4e6 / 3.125e9
    assert found.elapsed == pytest.approx(seconds)
    assert found.traffic["across slices"].exposed == pytest.approx(seconds - 1e-3)


def test_without_cycles_products_and_bytes_count():
    def step(x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, None, length=5)[0]

    module = parse(jax.jit(step).lower(jnp.ones((64, 64))).compile().as_text())
    found = step_costs(module, Rates(memory=1e9, peak=1e9), shared_memory(1, 1e9))
    assert found.flops == 5 * 2 * 64**3
    assert found.matrix == pytest.approx(5 * 2 * 64**3 / 1e9, rel=0.2)
    assert found.elapsed == pytest.approx(found.matrix + found.other)


def test_of_what_is_sliced_or_updated_the_slice_counts():
    text = program(
        """%x = f32[1000]{0} fusion(%p), kind=kLoop, calls=%slice
        %y = f32[1000000]{0} fusion(%p, %x), kind=kLoop, calls=%update
        ROOT %z = f32[1000000]{0} copy(%y)""",
        """%slice (a: f32[1000000]) -> f32[1000] {
  %a = f32[1000000]{0} parameter(0)
  %i = s32[] constant(5)
  ROOT %s = f32[1000]{0} dynamic-slice(%a, %i), dynamic_slice_sizes={1000}
}""",
        """%update (a: f32[1000000], b: f32[1000]) -> f32[1000000] {
  %a = f32[1000000]{0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %i = s32[] constant(5)
  ROOT %u = f32[1000000]{0} dynamic-update-slice(%a, %b, %i)
}""",
    )
    module = parse(text)
    found = [moved(module, module.entry, i) for i in module.entry.instructions[1:]]
    assert found == [8000, 8000, 8e6]


def test_of_branches_the_longest_counts():
    branches = [
        f"%b{n} (a: {F}) -> {F} {{\n  %a = {F} parameter(0)\n"
        f"  ROOT %x = {F} fusion(%a), kind=kLoop, calls=%add, {cycles(n)}\n}}"
        for n in (1000, 3000)
    ]
    entry = f"%i = pred[] constant(true)\nROOT %x = {F} conditional(%i, %p, %p), "
    both = costs(entry + "branch_computations={%b1000, %b3000}", *branches)
    named = costs(entry + "true_computation=%b3000, false_computation=%b1000", *branches)
    assert both.elapsed == named.elapsed == pytest.approx(3e-6)


def test_names_say_where_work_comes_from():
    text = program(
        f"""ROOT %x = {F} fusion(%p), kind=kLoop, calls=%add, metadata={{op_name="jit(_train_step)/\
transpose(jvp(T5.hidden))/T5.decode/decoder/decoder.blocks/while/body/closed_call/checkpoint/\
rematted_computation/layers/layers.sublayer/mlp/wi_0/dot_general"}}""",
        ADD,
    )
    assert source_of(parse(text).entry.root) == "recomputed decoder/mlp/wi_0/dot_general"
