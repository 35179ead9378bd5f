"""Traces of the profiler: what devices of each kind leave in them, and what is read from it."""

import pytest
from jax.profiler import ProfileData

from jaxlt.plan.xplane import Event, Frames, alone, covered, fields, read_trace


def field(number, value):
    """A field of a protocol buffer: an int, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def escaped(content):
    """Bytes as the text form of a protocol buffer has them."""
    return "".join(f"\\{byte:03o}" for byte in content)


def program(*instructions):
    """An HloProto of (name, opcode, op_name, frame) each, and its list of frames."""
    body = b""
    for name, opcode, op_name, frame in instructions:
        metadata = field(2, op_name) + field(15, frame)
        body += field(2, field(1, name) + field(2, opcode) + field(7, metadata))
    files = field(1, "/lib/site-packages/flax/linen.py") + field(1, "/home/me/jaxlt/layers.py")
    places = field(3, field(1, 1) + field(3, 7)) + field(3, field(1, 2) + field(3, 320))
    frames = field(4, field(1, 2)) + field(4, field(1, 1) + field(2, 1))
    return field(
        1, field(1, "jit__train_step") + field(3, body) + field(17, files + places + frames)
    )


def trace(tmp_path, planes, *instructions):
    """Writes a trace of these planes, with one program of number 38."""
    proto = escaped(program(*instructions))
    metadata = (
        'planes { name: "/host:metadata" event_metadata { key: 38 value { id: 38 '
        f'name: "jit__train_step(38)" stats {{ metadata_id: 4 bytes_value: "{proto}" }} }} }} }}'
    )
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(ProfileData.text_proto_to_serialized_xspace(metadata + planes))
    return str(path)


def event(metadata, start, length, stats=""):
    """In microseconds."""
    return (
        f"events {{ metadata_id: {metadata} offset_ps: {start * 10**6} "
        f"duration_ps: {length * 10**6} {stats} }} "
    )


def named(**names):
    """Metadata of events, by number: _1='fusion'."""
    return " ".join(
        f'event_metadata {{ key: {key[1:]} value {{ id: {key[1:]} name: "{name}" }} }}'
        for key, name in names.items()
    )


STATS = (
    'stat_metadata { key: 1 value { id: 1 name: "hlo_op" } } '
    'stat_metadata { key: 2 value { id: 2 name: "program_id" } } '
)
WI = ("dot.1", "dot", "jit(f)/transpose(jvp(T5))/encoder/mlp/wi_0/dot_general", 2)


def test_a_tpus_loops_give_their_time_to_what_is_inside(tmp_path):
    plane = (
        'planes { name: "/device:TPU:0" '
        f'lines {{ name: "XLA Modules" {event(9, 0, 100)} }} '
        f'lines {{ name: "XLA Ops" {event(1, 0, 40)} {event(2, 5, 10)} {event(2, 20, 10)} '
        f"{event(3, 60, 40)} }} "
        + named(
            _1="%while.3 = (f32[2]) while(%tuple), body=%b",
            _2="%dot.1 = f32[2] dot(%a, %b)",
            _3="%fusion.7 = f32[2] fusion(%a)",
            _9="jit__train_step",
        )
        + " }"
    )
    rest = ("fusion.7", "fusion", "jit(f)/while/body/decoder/mlp/mul", 0)
    while_ = ("while.3", "while", "jit(f)/while", 0)
    costs = read_trace(trace(tmp_path, plane, WI, rest, while_))
    assert (costs.devices, costs.window, costs.busy) == (1, 1e-4, 8e-5)
    assert costs.idle == pytest.approx(0.2)
    first, second = costs.ops
    assert (first.name, first.seconds, first.count) == ("fusion.7", 4e-5, 1)
    assert (first.source, first.place) == ("decoder/mlp/mul", "")
    assert (second.name, second.seconds, second.count) == ("dot.1", 2e-5, 2)
    assert second.source == "backward encoder/mlp/wi_0/dot_general"
    assert (second.place, second.program) == ("layers.py:320", "jit__train_step")


def test_gpus_run_streams_beside_each_other(tmp_path):
    stats = 'stats { metadata_id: 1 str_value: "dot.1" } stats { metadata_id: 2 int64_value: 38 }'
    plane = (
        'planes { name: "/device:GPU:%d" '
        f'lines {{ name: "Stream #13(Compute)" {event(1, 10, 30, stats)} '
        f"{event(3, 80, 10)} }} "
        f'lines {{ name: "Stream #14(MemcpyD2D)" {event(2, 20, 40)} }} '
        + named(_1="sm90_gemm_bf16", _2="MemcpyD2D", _3="loop_add_fusion_5")
        + STATS
        + "}"
    )
    graph = ("loop_add_fusion.5", "fusion", "jit(f)/add", 0)  # a kernel named by its instruction
    costs = read_trace(trace(tmp_path, plane % 0 + plane % 1, WI, graph))
    assert costs.devices == 2
    assert (costs.window, costs.busy) == (pytest.approx(8e-5), pytest.approx(6e-5))
    assert [(op.name, op.seconds, op.count) for op in costs.ops] == [
        ("MemcpyD2D", 8e-5, 2),
        ("dot.1", 6e-5, 2),
        ("loop_add_fusion_5", 2e-5, 2),
    ]
    assert [op.source for op in costs.ops][1:] == ["backward encoder/mlp/wi_0/dot_general", "add"]


def test_a_trace_without_operations_is_an_answer(tmp_path):
    line = f'lines {{ name: "python" {event(1, 0, 5)} }}'
    plane = f'planes {{ name: "/host:CPU" {line} {named(_1="f")} }}'
    costs = read_trace(trace(tmp_path, plane))
    assert (costs.ops, costs.devices, costs.idle) == ((), 0, 0.0)


def test_time_alone_and_time_covered():
    line = [
        Event(0, 10, "", "a"),
        Event(2, 4, "", "b"),
        Event(3, 4, "", "c"),
        Event(9, 12, "", "d"),
    ]
    assert {e.name: seconds for e, seconds in alone(line)} == {"a": 7, "b": 1, "c": 1, "d": 3}
    assert covered([*line, Event(20, 25, "", "e")]) == 17


def test_places_are_those_of_the_caller_of_a_library():
    assert Frames(b"").place(3) == ""
    only = field(1, "/x/site-packages/jax/numpy.py") + field(3, field(1, 1) + field(3, 9))
    assert Frames(only + field(4, field(1, 1))).place(1) == "numpy.py:9"


def test_all_kinds_of_fields_are_stepped_over():
    message = field(1, 300) + b"\x11" + b"x" * 8 + b"\x1d" + b"y" * 4 + field(4, "z")
    assert [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(message))] == [
        (1, 300),
        (2, b"x" * 8),
        (3, b"y" * 4),
        (4, b"z"),
    ]
