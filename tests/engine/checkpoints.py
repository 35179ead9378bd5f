"""Small states to save and restore, and checkpoints of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
from jaxlt.modules import layout

D, F, LAYERS, ROWS = 16, 32, 3, 64


def place(devices: int, *spec):
    """A sharding over the first `devices` fake devices; spec falls back to replicated on one."""
    mesh = jax.make_mesh(
        (devices,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    return NamedSharding(mesh, P(*spec))


def parameters(layers: int = LAYERS, rows: int = ROWS, width: int = D, seed: int = 0):
    """Unrolled parameters as numpy: {'params/...': array}."""
    rng = np.random.default_rng(seed)
    flat = {"params/token_embedder/embedding": rng.normal(size=(rows, width))}
    for i in range(layers):
        flat[f"params/encoder/layers_{i}/mlp/wi_0/kernel"] = rng.normal(size=(width, F))
        flat[f"params/encoder/layers_{i}/pre_mlp_layer_norm/scale"] = rng.normal(size=(width,))
    return {n: v.astype(np.float32) for n, v in flat.items()}


def state(flat, devices: int = 8, scanned: bool = False):
    """What the engine saves: trainable, optimizer (a tuple of dicts by name), extra."""
    flat = layout.stack(flat, np.stack) if scanned else flat
    put = lambda v, d=None: jax.device_put(  # noqa: E731
        jnp.asarray(v, d), place(devices, *[None] * (np.ndim(v) - 1), *["x"] * (np.ndim(v) > 0))
    )
    trainable = {n: put(v) for n, v in flat.items()}
    moments = {n: put(v * 0.5, jnp.bfloat16) for n, v in flat.items()}
    optimizer = ({"count": jax.device_put(jnp.int32(7), place(devices))}, {"mu": moments})
    key = jax.device_put(jax.random.key_data(jax.random.key(3)), place(devices))
    return {"trainable": trainable, "optimizer": optimizer, "extra": {"key": key}}


def abstract(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


def assert_same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype and a.sharding == b.sharding
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def saved(tmp_path, tree, step=10, **config):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(**config))
    assert checkpoints.save(step, tree, {"position": step, "seed": 1})
    checkpoints.wait()
    return checkpoints
