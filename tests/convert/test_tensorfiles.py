"""The index of safetensors and msgpack files against the libraries that write them."""

import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from jaxlt.convert.tensorfiles import index_msgpack, index_safetensors, leaves
from jaxlt.errors import UserError

ARRAYS = {
    "f": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b": np.arange(6).astype(ml_dtypes.bfloat16).reshape(3, 2),
    "h": np.ones((5,), np.float16),
    "none": np.zeros((0, 4), np.float32),
    "i": np.array(7, np.int32),
}


def test_safetensors(tmp_path):
    save_file(ARRAYS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    slots = index_safetensors(str(tmp_path / "x.safetensors"))
    assert set(slots) == set(ARRAYS)
    for name, value in ARRAYS.items():
        assert slots[name].read().dtype == value.dtype
        np.testing.assert_array_equal(slots[name].read(), value)
        index = (slice(1, 2),) * value.ndim
        np.testing.assert_array_equal(slots[name].read_slice(index), value[index])


def test_msgpack_with_chunks_scalars_and_every_header(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 40)
    tree = {
        "deep": {"a": ARRAYS, "0": {"x" * 40: np.float32(3)}},
        "wide": {str(i): i for i in range(70000)},
        "long": ["t" * 300, "u" * 70000, b"v" * 300, None, True, -5, -40000, 2**40, 1.5, 2j],
    }
    path = tmp_path / "x.msgpack"
    path.write_bytes(serialization.msgpack_serialize(tree))
    read = dict(leaves(index_msgpack(str(path))))
    assert read["wide/69999"] == 69999
    assert len(read["deep/a/f"].parts) == 3
    assert read["long"][:2] == ["t" * 300, "u" * 70000]
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(read[f"deep/a/{name}"].read(), value)
    assert read["deep/0/" + "x" * 40].read() == np.float32(3)
    index = (slice(0, 1), slice(1, 3), slice(0, 2))
    np.testing.assert_array_equal(read["deep/a/f"].read_slice(index), ARRAYS["f"][index])


@pytest.mark.parametrize("kind", ["safetensors", "msgpack"])
def test_every_truncation_is_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    arrays = {k: v for k, v in ARRAYS.items() if v.size}
    if kind == "safetensors":
        save_file(arrays, path)
    else:
        path.write_bytes(serialization.msgpack_serialize(arrays))
    data = path.read_bytes()
    index = index_safetensors if kind == "safetensors" else index_msgpack
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=rf"x\.{kind}"):
            index(str(path))


def test_file_cut_after_indexing(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(ARRAYS, path)
    slots = index_safetensors(str(path))
    path.write_bytes(path.read_bytes()[:-40])
    last = max(slots.values(), key=lambda slot: slot.parts[0])
    with pytest.raises(UserError, match=r"x\.safetensors"):
        last.read()
    with pytest.raises(UserError, match=r"x\.safetensors"):
        last.read_slice((slice(None),) * len(last.shape))


def test_object_arrays_are_refused(tmp_path):
    inner = msgpack.packb(((1,), "object", b"12345678"))
    path = tmp_path / "x.msgpack"
    path.write_bytes(msgpack.packb({"a": msgpack.ExtType(1, inner)}))
    with pytest.raises(UserError, match="unknown type 'object'"):
        index_msgpack(str(path))


def test_bottomless_nesting_is_refused(tmp_path):
    path = tmp_path / "x.msgpack"
    path.write_bytes(b"\x91" * 5000)
    with pytest.raises(UserError, match="nested"):
        index_msgpack(str(path))


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
def test_noise_never_breaks_the_walker(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "noise.msgpack"
    path.write_bytes(data)
    for index in (index_msgpack, index_safetensors):
        try:
            tree = index(str(path))
        except UserError:
            continue
        assert isinstance(tree, dict)
