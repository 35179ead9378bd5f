"""Programs' texts are read as they are written."""

import jax
import jax.numpy as jnp
import pytest

from jaxlt.plan.hlo_text import arrays_of, parse

LOOP = """HloModule jit_step, is_scheduled=true

%condition.1 (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8]{0:T(128)}) parameter(0)
  %bound = s32[]{:T(128)} constant(9)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %less = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%body.1 (q: (s32[], f32[8])) -> (s32[], f32[8]) {
  %q = (s32[]{:T(128)}, f32[8]{0:T(128)}) parameter(0)
  %two = s32[]{:T(128)} constant(2)
  %j = s32[]{:T(128)} get-tuple-element(%q), index=0
  %next = s32[]{:T(128)} add(%j, %two)
  %seen = s32[]{:T(128)} copy(%next)
  %x = f32[8]{0:T(128)S(1)} get-tuple-element(%q), index=1
  %f.1 = f32[8]{0:T(128)S(1)} fusion(%x, /*index=1*/%x), kind=kLoop, calls=%g, backend_config={"window_config":{"estimated_cycles":"700"}}
  ROOT %out = (s32[]{:T(128)}, f32[8]{0:T(128)}) tuple(%seen, %f.1)
}

%g (a: f32[8], b: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %b = f32[8]{0} parameter(1)
  ROOT %sum = f32[8]{0} add(%a, %b)
}

ENTRY %main.1 (y: f32[8]) -> (s32[], f32[8]) {
  %y = f32[8]{0:T(128)} parameter(0)
  %one = s32[]{:T(128)} constant(1)
  %start = s32[]{:T(128)} copy(%one)
  %t = (s32[]{:T(128)}, f32[8]{0:T(128)}) tuple(%start, %y)
  ROOT %while.1 = (s32[]{:T(128)}, f32[8]{0:T(128)}) while(%t), condition=%condition.1, body=%body.1, metadata={op_name="a(b)"}
}
"""  # noqa: E501


def test_shapes_are_read_with_where_they_live():
    first, second, third = arrays_of("(bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, pred[3], s4[6]{0})")
    assert (first.dtype, first.dims, first.space, first.nbytes) == ("bf16", (4, 8), 1, 64)
    assert (second.nbytes, second.space, third.nbytes) == (3, 0, 3)
    assert arrays_of("f32[]")[0].nbytes == 4 and arrays_of("token[]")[0].nbytes == 0


def test_a_tpu_program_is_read():
    module = parse(LOOP)
    assert module.entry.name == "main.1" and module.entry.root.name == "while.1"
    loop = module.entry.root
    assert loop.called("body") == ["body.1"] and loop.called("condition") == ["condition.1"]
    fusion = module.computations["body.1"].by_name["f.1"]
    assert fusion.operands == ("x", "x") and fusion.cycles == 700
    assert fusion.called() == ["g"] and fusion.attribute("kind") == "kLoop"
    assert module.computations["g"].root.cycles is None


def test_trips_count_from_start_to_bound_by_steps():
    module = parse(LOOP)
    assert module.trips(module.entry, module.entry.root) == 4  # 1, 3, 5, 7


def test_trips_that_nothing_tells_are_unknown():
    module = parse(LOOP.replace("%bound = s32[]{:T(128)} constant(9)", "%bound = s32[] iota()"))
    assert module.trips(module.entry, module.entry.root) is None


@pytest.mark.parametrize("length", [3, 17])
def test_trips_of_a_compiled_scan(length):
    def scanned(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c) @ c, None), x, None, length=length)[0]

    text = jax.jit(scanned).lower(jnp.ones((4, 4))).compile().as_text()
    module = parse(text)
    loops = [
        (c, i) for c in module.computations.values() for i in c.instructions if i.opcode == "while"
    ]
    assert [module.trips(c, i) for c, i in loops] == [length]


def test_a_text_without_entry_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        parse("HloModule nothing")
