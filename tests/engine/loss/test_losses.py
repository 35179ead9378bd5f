"""The losses: T5X's formula written plainly in numpy, the plain form, and the chunked one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxlt.engine.loss import losses
from jaxlt.errors import UserError

KEYS = ("nll_sum", "z_sum", "weight_sum", "correct_sum", "row_nll", "row_correct")


def example(batch=3, length=7, emb=16, vocab=37, seed=0, dtype=jnp.float32):
    """Returns hidden [B, T, D], kernel [D, V], targets [B, T], weights [B, T] with some zeros."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(batch, length, emb))
    kernel = rng.normal(size=(emb, vocab)) * 0.5
    targets = rng.integers(0, vocab, (batch, length)).astype(np.int32)
    weights = rng.integers(0, 3, (batch, length)) * 0.5
    return jnp.asarray(hidden, dtype), jnp.asarray(kernel, dtype), targets, np.float32(weights)


def t5x_loss(hidden, kernel, targets, weights, z_loss, label_smoothing):
    """T5X's compute_weighted_cross_entropy with its one-hot targets, in float64."""
    logits = np.float64(hidden) @ np.float64(kernel)
    vocab = logits.shape[-1]
    high, low = 1.0 - label_smoothing, label_smoothing / (vocab - 1)
    constant = -(high * np.log(high) + (vocab - 1) * low * np.log(low + 1e-20))
    soft = np.where(np.arange(vocab) == targets[..., None], high, low)
    peak = logits.max(-1, keepdims=True)
    log_z = np.log(np.exp(logits - peak).sum(-1, keepdims=True)) + peak
    loss = -(soft * (logits - log_z)).sum(-1)
    z = z_loss * np.square(log_z[..., 0])
    nll = log_z[..., 0] - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return {
        "loss": ((loss + z - constant) * weights).sum(),
        "z_sum": (z * weights).sum(),
        "nll_sum": (nll * weights).sum(),
        "row_nll": (nll * weights).sum(-1),
        "weight_sum": weights.sum(),
        "correct_sum": ((logits.argmax(-1) == targets) * weights).sum(),
        "row_correct": ((logits.argmax(-1) == targets) * weights).sum(-1),
    }


def called(form, hidden, kernel, *rest, z_loss=0.0, label_smoothing=0.0, **kw):
    """What a loss gives, with its extras for the kernel's vocabulary."""
    vocab = kernel.shape[0 if kw.get("transposed") else 1]
    extras = losses.extras_of(losses.LossConfig(z_loss, label_smoothing), vocab)
    return form(hidden, kernel, *rest, extras=extras, **kw)


def at_once(form, *arrays, **kw):
    """What a loss gives, compiled whole: by operation it would take five times as long."""
    return jax.jit(functools.partial(called, form, **kw))(*arrays)


def gradients(loss, hidden, kernel, *rest, **kw):
    def scalar(h, k):
        value, sums = called(loss, h, k, *rest, **kw)
        return value / 3.0, (value, sums)

    grads, (value, sums) = jax.jit(jax.grad(scalar, (0, 1), has_aux=True))(hidden, kernel)
    return value, sums, grads


def assert_near(got, want, tolerance=1e-5):
    """Largest difference against the largest entry."""
    got, want = np.float64(got), np.float64(want)
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max() + 1e-30


@pytest.mark.parametrize("z_loss,smoothing", [(0, 0), (1e-2, 0), (1e-4, 0.1)])
@pytest.mark.parametrize("form", ["plain", "chunked"])
def test_matches_t5x_formula(form, z_loss, smoothing):
    data = example()
    want = t5x_loss(*data, z_loss, smoothing)
    kw = {"z_loss": z_loss, "label_smoothing": smoothing}
    if form == "plain":
        value, sums = at_once(losses.cross_entropy_plain, *data, **kw)
    else:
        value, sums = at_once(losses.cross_entropy_chunked, *data, chunk=3, **kw)
    assert_near(value, want["loss"])
    for key in KEYS:
        assert_near(sums[key], want[key])
    assert set(sums) == set(KEYS)


@pytest.mark.parametrize(
    "chunk,shards,transposed",
    [(1, 1, True), (2, 2, False), (3, 1, False), (7, 4, True), (100, 3, False)],
)
def test_chunked_equals_plain(chunk, shards, transposed):
    hidden, kernel, targets, weights = example(batch=4)
    kernel = kernel.T if transposed else kernel
    kw = {"z_loss": 1e-2, "label_smoothing": 0.1, "transposed": transposed}
    want = gradients(losses.cross_entropy_plain, hidden, kernel, targets, weights, **kw)
    kw |= {"chunk": chunk, "batch_shards": shards}
    got = gradients(losses.cross_entropy_chunked, hidden, kernel, targets, weights, **kw)
    jax.tree.map(assert_near, got, want)


def test_finite_differences():
    hidden, kernel, targets, weights = example()
    kw = {"z_loss": 1e-2, "label_smoothing": 0.1}
    _, _, grads = gradients(
        losses.cross_entropy_chunked, hidden, kernel, targets, weights, chunk=2, **kw
    )
    rng = np.random.default_rng(1)
    for i, x in enumerate((hidden, kernel)):
        way = rng.normal(size=x.shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [np.float64(hidden), np.float64(kernel)]
            moved[i] = moved[i] + step * way
            ends.append(t5x_loss(*moved, targets, weights, 1e-2, 0.1)["loss"] / 3.0)
        assert_near(np.sum(np.float64(grads[i]) * way), (ends[0] - ends[1]) / 2e-5)


def test_bfloat16_inputs():
    hidden, kernel, targets, weights = example(emb=64, vocab=501, dtype=jnp.bfloat16)
    exact = gradients(
        losses.cross_entropy_plain, hidden.astype(jnp.float32), kernel.astype(jnp.float32),
        targets, weights, z_loss=1e-4,
    )  # fmt: skip
    for form, kw in (
        (losses.cross_entropy_plain, {}),
        (losses.cross_entropy_chunked, {"chunk": 3}),
    ):
        value, sums, grads = gradients(form, hidden, kernel, targets, weights, z_loss=1e-4, **kw)
        assert value.dtype == jnp.float32 and {g.dtype for g in grads} == {jnp.dtype(jnp.bfloat16)}
        assert_near(value, exact[0])  # the products are exact in float32, and so is the rest
        jax.tree.map(assert_near, sums, exact[1])
        for got, want in zip(grads, exact[2], strict=True):
            assert_near(got, want, 2**-7)  # bfloat16 keeps 8 bits


def test_float16_gradient_survives_small_entries():
    hidden, kernel, targets, weights = example(vocab=5000, dtype=jnp.float16)

    @jax.jit
    def slopes(h, k):
        scaled = lambda *a: losses.cross_entropy_chunked(*a, chunk=2)[0] * 1024.0  # noqa: E731
        return jax.grad(scaled, (0, 1))(h, k, targets, weights)

    wide = [x.astype(jnp.float32) for x in (hidden, kernel)]
    for got, want in zip(slopes(hidden, kernel), slopes(*wide), strict=True):
        assert got.dtype == jnp.float16
        assert_near(got, want, 2**-10)


@pytest.mark.parametrize("form", [losses.cross_entropy_plain, losses.cross_entropy_chunked])
def test_zero_weights(form):
    hidden, kernel, targets, weights = example()
    kw = {"chunk": 4} if form is losses.cross_entropy_chunked else {}
    value, sums, grads = gradients(form, hidden, kernel, targets, weights * 0, z_loss=1e-4, **kw)
    assert value == 0 and sums["weight_sum"] == 0
    assert all(not np.any(g) for g in grads)
    assert losses.normalizer(losses.LossConfig(), weights * 0, 3) == 1.0
    weights = weights.copy()
    weights[:, 4:] = 0
    cut = at_once(form, hidden[:, :4], kernel, targets[:, :4], weights[:, :4], **kw)
    jax.tree.map(assert_near, at_once(form, hidden, kernel, targets, weights, **kw), cut)


def test_weights_are_differentiable_and_the_sums_are_not():
    hidden, kernel, targets, weights = example()

    def value(form, w, **kw):
        loss, sums = called(form, hidden, kernel, targets, w, z_loss=1e-2, **kw)
        return loss + sums["nll_sum"] + sums["row_nll"].sum()

    got = jax.jit(jax.grad(lambda w: value(losses.cross_entropy_chunked, w, chunk=2)))(weights)
    assert_near(got, jax.jit(jax.grad(lambda w: value(losses.cross_entropy_plain, w)))(weights))


@pytest.mark.parametrize("moved", [(0,), (0, 1, 3)])
def test_it_changes_along_a_direction_as_the_plain_form_does(moved):
    given = list(example())
    along = tuple(jnp.sin(1.0 + given[i]) for i in moved)

    def change(form, **kw):
        def loss(*some):
            filled = dict(zip(moved, some, strict=True))
            arguments = [filled.get(i, value) for i, value in enumerate(given)]
            return called(form, *arguments, z_loss=1e-2, label_smoothing=0.1, **kw)[0]

        at = tuple(jnp.asarray(given[i]) for i in moved)
        return jax.jit(lambda at, along: jax.jvp(loss, at, along))(at, along)

    got = change(losses.cross_entropy_chunked, chunk=2)
    jax.tree.map(assert_near, got, change(losses.cross_entropy_plain))


def products(f, *args):
    """Counts the matrix products of the optimised program; also returns its text and result."""
    compiled = jax.jit(f).lower(*args).compile()
    text = compiled.as_text()
    return len(re.findall(r"= \S+ (?:dot|custom-call)\(", text)), text, compiled(*args)


def test_frozen_parts_cost_nothing():
    hidden, kernel, targets, weights = example(batch=2, length=8, emb=24, vocab=4001)

    def loss(h, k):
        return losses.cross_entropy_chunked(h, k, targets, weights, chunk=2)[0]

    both, *_ = products(jax.grad(loss, (0, 1)), hidden, kernel)
    only_hidden, text, slope = products(jax.grad(loss), hidden, kernel)
    only_kernel, *_ = products(jax.grad(loss, 1), hidden, kernel)
    none, *_ = products(loss, hidden, kernel)
    assert (both, only_hidden, only_kernel, none) == (3, 2, 2, 1)
    assert not re.search(r"f32\[(1,)?24,4001\]\S* (add|broadcast|dot)", text)  # no accumulator
    frozen = jax.grad(lambda h: loss(h, jax.lax.stop_gradient(kernel) * 1.0))
    count, _, found = products(frozen, hidden)
    assert count == 2
    assert_near(found, slope)


def test_logits_are_never_held():
    hidden, kernel, targets, weights = example(batch=4, length=64, emb=8, vocab=3001)
    _, text, _ = products(
        jax.grad(lambda h: losses.cross_entropy_chunked(h, kernel, targets, weights, chunk=4)[0]),
        hidden,
    )
    sizes = [np.prod([int(n) for n in s.split(",")]) for s in re.findall(r"f32\[([\d,]+)\]", text)]
    assert max(sizes) == 4 * 4 * 3001


def test_choice_by_size():
    data = example(batch=4, length=10, vocab=50)
    whole = 4 * 10 * 50 * 4
    chunks = {
        chunk_bytes: losses.chunk_length(losses.LossConfig(chunk_bytes=chunk_bytes), 4, 10, 50)
        for chunk_bytes in (whole, whole - 1, whole // 4, 1)
    }
    assert chunks == {whole: 0, whole - 1: 5, whole // 4: 2, 1: 1}
    assert losses.chunk_length(losses.LossConfig(chunk_bytes=whole // 2), 4, 10, 50, 2) == 0
    want = at_once(losses.cross_entropy_plain, *data, z_loss=1e-4)
    for chunk_bytes in chunks:
        config = losses.LossConfig(chunk_bytes=chunk_bytes)
        if chunk_bytes == whole // 4:
            found = jax.jit(functools.partial(losses.cross_entropy, config))(*data)
            jax.tree.map(assert_near, found, want)
        program = str(jax.make_jaxpr(lambda *a, c=config: losses.cross_entropy(c, *a))(*data))
        assert ("scan" in program) == (chunk_bytes < whole)


@pytest.mark.parametrize("by_token", [False, True])
def test_each_language_by_its_own_weights(by_token):
    _, _, _, weights = example(batch=4)
    weights[2] = 0
    language = np.array([7, 3, 5, 3])  # the one of row 2 has no targets
    given = np.repeat(language[:, None], weights.shape[1], 1) if by_token else language
    if by_token:
        given[0, :3] = 3
    found, count = jax.jit(losses.by_language)(weights, given)
    want = np.zeros_like(weights)
    wide = given if by_token else np.repeat(given[:, None], weights.shape[1], 1)
    for one in (3, 7):
        want[wide == one] = weights[wide == one] / weights[wide == one].sum()
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert int(count) == 2
    with pytest.raises(UserError, match="language of each row"):
        losses.by_language(jnp.asarray(weights), jnp.zeros((4, 2), jnp.int32))


@pytest.mark.parametrize("chunk", [0, 3])
def test_what_is_reported_has_weights_of_its_own(chunk):
    hidden, kernel, targets, weights = example()
    form = losses.cross_entropy_chunked if chunk else losses.cross_entropy_plain
    size = {"chunk": chunk} if chunk else {}
    scaled = weights * np.float32([[0.5], [0.1], [2.0]])
    value, sums, grads = gradients(form, hidden, kernel, targets, scaled, counted=weights, **size)
    want, _, wanted = gradients(losses.cross_entropy_plain, hidden, kernel, targets, scaled)
    _, counted, _ = gradients(losses.cross_entropy_plain, hidden, kernel, targets, weights)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for one, other in zip(grads, wanted, strict=True):
        assert_near(one, other)
    for key in KEYS:
        np.testing.assert_allclose(sums[key], counted[key], rtol=1e-5, err_msg=key)


def test_normalizer():
    weights = np.float32([[1, 0.5], [0, 0]])
    for setting, want in (
        ("tokens", 1.5),
        ("sequences", 2.0),
        ("none", 1.0),
        (1024 * 229.0, 234496.0),
    ):
        assert losses.normalizer(losses.LossConfig(normalize=setting), weights, 2) == want


@pytest.mark.parametrize(
    "setting,text",
    [
        ({"normalize": "token"}, "'tokens'"),
        ({"normalize": 0.0}, "LossConfig.normalize"),
        ({"label_smoothing": 1.0}, "LossConfig.label_smoothing"),
        ({"z_loss": -1.0}, "LossConfig.z_loss"),
        ({"chunk_bytes": 0}, "LossConfig.chunk_bytes"),
    ],
)
def test_bad_settings(setting, text):
    with pytest.raises(UserError, match=text):
        losses.LossConfig(**setting)


def collectives(compiled):
    """Yields (kind, entries of the largest array, in a loop?) of each collective of the program."""
    kinds = "all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter"
    for block in compiled.as_text().split("\n\n"):
        for shapes, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", block):
            sizes = [
                np.prod([int(n) for n in dims.split(",")])
                for dims in re.findall(r"\[([\d,]+)\]", shapes)
            ]
            yield kind, max(sizes, default=1), "ENTRY" not in block


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize(
    "form,fsdp,transposed",
    [("plain", 1, True), ("plain", 2, False), ("chunked", 1, False), ("chunked", 2, True)],
)
def test_sharded_rows_and_vocabulary(form, fsdp, transposed):
    emb, vocab, tensor = 24, 4096, 4 // fsdp
    names = ("data", "fsdp", "tensor")
    mesh = jax.make_mesh((2, fsdp, tensor), names, axis_types=(AxisType.Auto,) * 3)
    hidden, kernel, targets, weights = example(batch=8, length=12, emb=emb, vocab=vocab)
    kernel = kernel.T if transposed else kernel
    kw = {"z_loss": 1e-2, "label_smoothing": 0.1, "transposed": transposed}
    want = gradients(losses.cross_entropy_plain, hidden, kernel, targets, weights, **kw)
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    dims = ("tensor", "fsdp") if transposed else ("fsdp", "tensor")
    columns = NamedSharding(mesh, PartitionSpec(*dims))
    if form == "chunked":
        kw |= {"chunk": 3, "batch_shards": 2 * fsdp}

    def run(h, k, t, w):
        return gradients(getattr(losses, f"cross_entropy_{form}"), h, k, t, w, **kw)

    step = jax.jit(
        run,
        in_shardings=(rows, columns, rows, rows),
        out_shardings=(None, None, (rows, columns)),
    )
    compiled = step.lower(hidden, kernel, targets, weights).compile()
    jax.tree.map(assert_near, compiled(hidden, kernel, targets, weights), want)

    # Nothing as large as a device's columns of the kernel moves but these columns themselves: their
    # gradients are added over the rows' shards, and fsdp's parts are gathered. None in a loop.
    large = [(kind, loop) for kind, size, loop in collectives(compiled) if size >= vocab // tensor]
    assert ("all-reduce", False) in large
    allowed = {("all-reduce", False)} | ({("all-gather", False)} if fsdp > 1 else set())
    assert set(large) <= allowed
    assert max(size for _, size, _ in collectives(compiled)) <= emb * vocab // tensor
