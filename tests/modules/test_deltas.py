"""Weight deltas in a model: what is added, what trains, what stays bit for bit, files and gin."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxlt import config as configs
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.checkpoint.fingerprint import fingerprint_of
from jaxlt.engine.loop import program_of
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.engine.step import build, objective_of
from jaxlt.errors import UserError
from jaxlt.inference.predictor import open_predictor
from jaxlt.models.init import describe, draw
from jaxlt.modules import delta_files
from jaxlt.modules.delta_files import INDICES, VALUES
from jaxlt.modules.deltas import Delta, applied, changes, check_start, delta, penalty
from jaxlt.modules.layout import stack, unstack
from jaxlt.modules.magnitude import largest, random_scores, sparsify
from tests.conftest import (
    forward,
    hyper,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")
ENCODER = {"decoder_layers": 0}
WO = "params/encoder/layers/mlp/wo/kernel"
EMBEDDING = "params/token_embedder/embedding"


def sparse_file(path, count=60, seed=0, values=True, **facts):
    """A delta of random entries of the tiny model, with values of the weights' own size."""
    shapes = {n: leaf.shape for n, leaf in describe(make_config()).items()}
    dense = {n: s for n, s in shapes.items() if n in (WO, EMBEDDING)}
    rng = np.random.default_rng(seed)
    drawn = {n + VALUES: rng.normal(size=s).astype(np.float32) for n, s in dense.items()}
    scores = random_scores(drawn, seed)
    delta_files.save(path, sparsify(drawn, count, scores=scores), facts)
    arrays = {
        n.removesuffix(INDICES) + VALUES: rng.normal(size=i.size).astype(np.float32) * 0.2
        for n, i in sparsify(drawn, count, scores=scores).items()
    }
    if values:
        delta_files.save(path, sparsify(drawn, count, scores=scores) | arrays, facts)
    return str(path)


def with_deltas(*deltas, **changes_):
    return make_config(deltas=tuple(deltas), **changes_)


def full_params(config, seed=0):
    """Random backbone, deltas as they start; of unrolled models the layers of the scanned one."""
    scanned = dataclasses.replace(config, scan_layers=True)
    flat = random_params(dataclasses.replace(scanned, deltas=()), seed)
    if not config.scan_layers:
        flat = {n: np.asarray(v) for n, v in unstack(flat).items()}
    leaves = {n: leaf for n, leaf in describe(config).items() if n.startswith("deltas/")}
    start = lambda leaf, n: draw(leaf, n, jax.random.key(0), leaf.dtype or jnp.float32)  # noqa: E731
    drawn = jax.jit(lambda: {n: start(leaf, n) for n, leaf in leaves.items()})()
    return flat | jax.device_get(drawn)


def by_hand(flat, path, scale=1.0):
    """theta0 + scale * phi, number by number."""
    arrays, _ = delta_files.load(path)
    out = {n: np.array(v) for n, v in flat.items() if n.startswith("params/")}
    for name, indices in arrays.items():
        if name.endswith(INDICES):
            param = name.removesuffix(INDICES)
            line = out[param].reshape(-1)
            for i, value in zip(indices, arrays[param + VALUES], strict=True):
                line[i] += np.float32(scale) * value
    return out


def test_a_sparse_delta_adds_its_values_where_they_belong(tmp_path):
    path = sparse_file(tmp_path / "a.safetensors")
    config = with_deltas(delta("lang", file=path, scale=0.5))
    flat = full_params(config)
    found = applied(flat, config.deltas)
    expected = by_hand(flat, path, 0.5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    untouched = [n for n in expected if n not in (WO, EMBEDDING)]
    assert all(found[n] is flat[n] for n in untouched)


def test_several_deltas_compose_to_the_dense_sum(tmp_path):
    paths = [sparse_file(tmp_path / f"{i}.safetensors", 50, seed=i) for i in range(2)]
    config = with_deltas(*(delta(f"d{i}", file=p) for i, p in enumerate(paths)), **ENCODER)
    flat, batch = full_params(config), make_mlm_batch()
    dense = by_hand(by_hand(flat, paths[0]), paths[1])
    both = build(make_spec(config))
    found = both.evaluate(flat, place_batch(both, batch))["row_nll"]
    targets, weights = batch["encoder_target_tokens"], batch["encoder_loss_weights"]

    def row_nll(params):
        logs = jax.nn.log_softmax(forward(make_config(**ENCODER), params, batch))
        return -np.sum(np.take_along_axis(logs, targets[..., None], -1)[..., 0] * weights, -1)

    np.testing.assert_allclose(found, row_nll(dense), rtol=1e-6)
    alone = row_nll({n: v for n, v in flat.items() if n.startswith("params/")})
    assert np.abs(found - alone).max() > 1e-2


@pytest.mark.slow
def test_an_unrolled_model_takes_the_same_file_and_gives_the_same(tmp_path):
    path = sparse_file(tmp_path / "a.safetensors")
    outputs, grads = [], []
    for scan in (True, False):
        config = with_deltas(delta("lang", file=path), scan_layers=scan, **ENCODER)
        flat = full_params(config)
        spec = make_spec(config, trainable=("deltas/.*",))
        assert set(build(spec).layout.trainable) == {
            "deltas/lang/encoder.layers.mlp.wo.kernel/values",
            "deltas/lang/token_embedder.embedding/values",
        }
        merged = applied(flat, config.deltas)
        outputs.append(merged if scan else stack(merged))
        program = build(spec)
        batch = place_batch(program, make_mlm_batch())
        values = {n: flat[n] for n in program.layout.trainable}
        rest = {n: v for n, v in flat.items() if n not in values}
        loss = lambda v: objective_of(spec)({**rest, **v}, batch)[0]  # noqa: B023, E731
        grads.append(jax.jit(jax.grad(loss))(values))
    for name, value in outputs[0].items():
        np.testing.assert_array_equal(value, outputs[1][name], err_msg=name)
    for name, value in grads[0].items():
        np.testing.assert_allclose(value, grads[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
        assert np.abs(value).max() > 0


def test_the_gradient_is_the_dense_one_at_the_indices(tmp_path):
    path = sparse_file(tmp_path / "a.safetensors")
    config = with_deltas(delta("lang", file=path))
    flat = full_params(config)
    weights = {n: jnp.asarray(np.random.default_rng(1).normal(size=flat[n].shape)) for n in (WO,)}
    leaf = config.deltas[0].leaf(WO)
    f = lambda v: jnp.sum(jnp.sin(applied({**flat, leaf: v}, config.deltas)[WO] * weights[WO]))  # noqa: E731
    found = jax.jit(jax.grad(f))(jnp.asarray(flat[leaf]))
    merged = applied(flat, config.deltas)[WO]
    dense = jax.grad(lambda w: jnp.sum(jnp.sin(w * weights[WO])))(jnp.asarray(merged))
    indices = flat[config.deltas[0].leaf(WO, INDICES)]
    np.testing.assert_allclose(found, dense.ravel()[indices], rtol=1e-5)


def test_a_sharded_leaf_is_changed_where_it_lies():
    item = Delta("x", kind="sparse", counts=((WO, 50),))
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    place = NamedSharding(mesh, PartitionSpec(None, "fsdp", "tensor"))
    shape = (3, 16, 8)
    chosen = np.random.default_rng(0).choice(math.prod(shape), 50, replace=False)
    indices, values = np.sort(chosen).astype(np.int32), jnp.arange(1.0, 51.0)
    weights = jax.device_put(np.zeros(shape, np.float32), place)

    def changed(w, v):
        leaves = {WO: w, item.leaf(WO, INDICES): jnp.asarray(indices), item.leaf(WO): v}
        return applied(leaves, (item,))[WO]

    with jax.set_mesh(mesh):
        forward = jax.jit(changed, out_shardings=place).lower(weights, values).compile()
        backward = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(changed(weights, v)))))
        text = forward.as_text() + backward.lower(values).compile().as_text()
    assert "all-gather" not in text and "all-to-all" not in text
    expected = np.zeros(math.prod(shape), np.float32)
    expected[indices] = values
    np.testing.assert_array_equal(np.asarray(forward(weights, values)).ravel(), expected)
    np.testing.assert_allclose(backward(values), np.cos(values), rtol=1e-5, atol=1e-6)


def test_leaves_are_listed_by_patterns_and_indices_never_train(tmp_path):
    config = with_deltas(Delta("all"), delta("lang", file=sparse_file(tmp_path / "a.safetensors")))
    leaves = describe(config)
    dense = [n for n in leaves if n.startswith("deltas/all/")]
    assert "deltas/all/token_embedder/embedding/values" in dense
    assert not [n for n in dense if "norm" in n or "logits" in n]
    assert leaves["deltas/all/encoder/layers/mlp/wo/kernel/values"].shape == leaves[WO].shape
    index = "deltas/lang/encoder.layers.mlp.wo.kernel/indices"
    assert leaves[index].dtype == "int32"
    program = build(make_spec(config, trainable=("deltas/.*",), frozen_dtype="bfloat16"))
    assert index in program.layout.frozen and program.layout.dtypes[index] == jnp.int32
    assert program.layout.dtypes[WO] == jnp.bfloat16
    assert all("deltas" in n for n in program.layout.trainable)


def test_a_dense_delta_of_zeros_changes_nothing_and_l1_pulls_to_zero():
    config = with_deltas(Delta("full", l1=0.1))
    flat = full_params(config)
    merged = applied(flat, config.deltas)
    assert all(np.array_equal(merged[n], flat[n]) for n in merged)
    leaf = config.deltas[0].leaf(WO)
    values = {leaf: jnp.asarray([[1.0, -2.0], [0.0, 0.5]])}
    assert float(penalty(config.deltas, values, 7)) == pytest.approx(0.1 * 3.5 / 7)
    grad = jax.grad(lambda v: penalty(config.deltas, v, 7))(values)[leaf]
    np.testing.assert_allclose(grad, 0.1 / 7 * np.asarray([[1, -1], [0, 1]]), rtol=1e-6)


@pytest.mark.slow
def test_the_penalty_joins_the_gradients_once_however_batches_are_split():
    norms = []
    for parts in (1, 2):
        given = {"trainable": ("deltas/.*",), "optimizer": OptimizerConfig("sgd")}
        spec = make_spec(with_deltas(Delta("full", l1=50.0), **ENCODER), **given)
        program = build(dataclasses.replace(spec, accumulate=parts))
        flat = full_params(spec.model)
        flat |= {n: v + 0.01 for n, v in flat.items() if n.startswith("deltas/")}
        state = place_state(program, flat)
        _, metrics = program.train(state, place_batch(program, make_mlm_batch()), hyper())
        assert float(metrics["penalty"]) > 0.1
        norms.append(float(metrics["grad_norm"]))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def adamw(**model):
    """A job of an encoder alone under AdamW with decay, that trains deltas alone."""
    return jobs.job(
        steps=4,
        every=2,
        model=ENCODER | model,
        optimizer={"name": "adamw", "weight_decay": 0.1},
        trainable=("deltas/.*",),
    )


def run(given, path, **kwargs):
    """Trains an encoder on rows with masked tokens."""
    rows = ArrayBatches(make_mlm_batch(22), 4, languages=jobs.LANGUAGES)
    return jobs.run(given, path, rows, **kwargs)


@pytest.mark.slow
def test_lt_sft_from_the_first_phase_to_a_delta_that_composes(tmp_path):
    # (1) everything changes freely; theta0 stays
    first = run(adamw(deltas=(Delta("lang", l1=0.1),)), tmp_path / "full")
    theta0 = {n: np.asarray(v) for n, v in first.state.frozen.items()}
    made = changes(first.state.trainable, first.program.spec.model.deltas[0])
    assert sum(np.count_nonzero(v) for v in made.values()) > 3000
    # (2) exactly K of them
    mask = sparsify(made, 200)
    assert sum(map(len, mask.values())) == 200
    start = first.position.base_fingerprint
    delta_files.save(tmp_path / "mask.safetensors", mask, {"start": start})
    # (3) (4) back to theta0; only these train, with an optimizer for them alone
    item = delta("lang", file=str(tmp_path / "mask.safetensors"), l1=0.1)
    given = adamw(deltas=(item,))
    second = run(given, tmp_path / "sparse")
    state = second.state
    assert sum(v.size for v in state.trainable.values()) == 200
    sizes = [v.size for v in jax.tree.leaves(state.optimizer) if v.ndim]
    assert sum(sizes) == 2 * 200  # Adam's two moments
    assert all(np.array_equal(state.frozen[n], v) for n, v in theta0.items() if "params/" in n)
    merged = applied({**state.frozen, **state.trainable}, (item,))
    for param, value in merged.items():
        outside = np.ones(value.size, bool)
        outside[mask.get(param + INDICES, [])] = False
        before = theta0[param].ravel()
        after = np.asarray(value).ravel()
        assert after[outside].tobytes() == before[outside].tobytes(), param
        if not outside.all():
            assert np.mean(after[~outside] != before[~outside]) > 0.9, param
    # resumed equals uninterrupted
    run(dataclasses.replace(given, train=dataclasses.replace(given.train, steps=2)), tmp_path / "r")
    again = run(given, tmp_path / "r")
    jobs.assert_identical(jobs.content(again), jobs.content(second))
    # kept as a file, it is the same delta
    kept = changes({**state.frozen, **state.trainable}, item)
    kept = sparsify(kept, None, keep_values=True)
    delta_files.save(tmp_path / "phi.safetensors", kept, {"start": start})
    phi = delta("lang", file=str(tmp_path / "phi.safetensors"))
    composed = program_of(adamw(deltas=(phi,)), jax.devices()[:1])
    flat = theta0 | {
        n: draw(leaf, n, jax.random.key(0), leaf.dtype or jnp.float32)
        for n, leaf in composed.layout.leaves.items()
        if n.startswith("deltas/")
    }
    for name, value in applied(flat, (phi,)).items():
        np.testing.assert_array_equal(value, merged[name], err_msg=name)


@pytest.mark.slow
def test_scanned_unrolled_and_eight_devices_train_alike(tmp_path):
    item = delta("lang", file=sparse_file(tmp_path / "m.safetensors", values=False))
    told = []
    for i, (scan, mesh, devices) in enumerate(
        [(True, {}, 1), (False, {}, 1), (True, {"data": 2, "fsdp": 2, "tensor": 2}, 8)]
    ):
        given = adamw(deltas=(item,), scan_layers=scan)
        given = dataclasses.replace(given, mesh=MeshConfig(**mesh))
        result = run(given, tmp_path / str(i), devices=devices)
        assert all(np.any(v != 0) for v in result.state.trainable.values())
        told.append(jobs.logged(tmp_path / str(i)))
    for other in told[1:]:
        for a, b in zip(told[0], other, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-5)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-3)


@pytest.mark.slow
def test_a_sharded_run_gives_the_mask_of_an_unsharded_one(tmp_path):
    spec = make_spec(with_deltas(Delta("full")), trainable=("deltas/.*",))
    flat = full_params(spec.model)
    rng = np.random.default_rng(0)
    for name in [n for n in flat if n.startswith("deltas/")]:
        flat[name] = np.round(rng.normal(size=flat[name].shape) * 4).astype(np.float32)
    found = []
    for mesh in (None, MeshConfig(data=2, fsdp=2, tensor=2)):
        program = build(make_spec(spec.model, mesh, trainable=("deltas/.*",)))
        state = place_state(program, flat)
        made = changes(state.trainable, spec.model.deltas[0])
        found.append(largest(made, 777))
    assert sum(map(len, found[0].values())) == 777
    for name, indices in found[0].items():
        np.testing.assert_array_equal(indices, found[1][name])


@pytest.mark.slow
def test_a_frozen_delta_beneath_is_read_from_its_file_and_may_be_exchanged(tmp_path):
    source = sparse_file(tmp_path / "source.safetensors", seed=1)
    target = sparse_file(tmp_path / "target.safetensors", count=80, seed=2)
    mask = sparse_file(tmp_path / "mask.safetensors", seed=3, values=False)
    task = delta("task", file=mask)
    given = jobs.job(
        steps=2,
        model={"deltas": (delta("source", file=source), task), "dropout": 0.0},
        optimizer={"name": "adamw"},
        trainable=("deltas/task/.*",),
    )
    result = jobs.run(given, tmp_path / "run")
    assert {n.split("/")[1] for n in result.state.trainable} == {"task"}
    swapped = dataclasses.replace(
        given, model=dataclasses.replace(given.model, deltas=(delta("source", file=target), task))
    )
    program = program_of(swapped, jax.devices()[:1])
    predictor = open_predictor(swapped, program, tmp_path / "run")
    theta = {n: np.asarray(v) for n, v in result.state.frozen.items() if n.startswith("params/")}
    phi = tmp_path / "task.safetensors"
    state = {**result.state.frozen, **result.state.trainable}
    kept = {n: np.asarray(v) for n, v in changes(state, task).items()}
    delta_files.save(phi, kept, {})
    expected = by_hand(by_hand(theta, target), phi)
    for name, value in applied(predictor.params, swapped.model.deltas).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(UserError, match=r"frozen deltas, .* is not what .* trained on"):
        jobs.run(
            dataclasses.replace(swapped, train=dataclasses.replace(given.train, steps=3)),
            tmp_path / "run",
        )


@pytest.mark.slow
def test_diff_pruning_trains_gates_and_is_cut_by_what_passes_them(tmp_path):
    item = Delta("diff", kind="diff", l0=0.01)
    given = adamw(deltas=(item,))
    result = run(given, tmp_path)
    flat = result.state.trainable
    alpha = item.leaf(WO, "/alpha")
    assert np.asarray(flat[alpha]).max() < 5.0  # the penalty closes gates
    made = changes(flat, item)
    assert jobs.logged(tmp_path)[0]["penalty"] > 0
    cut = sparsify(made, 50, keep_values=True)
    delta_files.save(tmp_path / "cut.safetensors", cut, {})
    tuned = adamw(deltas=(delta("diff", file=str(tmp_path / "cut.safetensors")),))
    after = run(tuned, tmp_path / "tuned")
    assert sum(v.size for v in after.state.trainable.values()) == 50
    assert all(np.all(np.asarray(v) != 0) for v in after.state.trainable.values())


def test_files_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="no file of a weight delta"):
        delta_files.save(path, {"params/a/other": np.ones(3)}, {})
    with pytest.raises(UserError, match="each larger than the last"):
        delta_files.save(path, {"params/a/indices": np.asarray([3, 3], np.int32)}, {})
    with pytest.raises(UserError, match="2 indices and values of shape"):
        arrays = {"params/a/indices": np.asarray([3, 4], np.int32)}
        delta_files.save(path, arrays | {"params/a/values": np.ones(3, np.float32)}, {})
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"no tensors here")
    with pytest.raises(UserError, match="no safetensors file"):
        delta("lang", file=str(path))
    with pytest.raises(UserError, match="no mask yet"):
        describe(with_deltas(delta("lang", file=str(tmp_path / "none.safetensors"))))
    good = sparse_file(path)
    with pytest.raises(UserError, match="Leave kind and counts to the file"):
        delta("lang", file=good, kind="dense")
    arrays, facts = delta_files.load(good)
    again = tmp_path / "b.safetensors"
    delta_files.save(again, arrays, facts)
    found, _ = delta_files.load(again)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[n], v) and found[n].dtype == v.dtype for n, v in arrays.items())


@pytest.mark.slow
def test_a_delta_of_another_model_or_backbone_is_refused(tmp_path):
    path = sparse_file(tmp_path / "a.safetensors", start="0badc0de")
    item = delta("lang", file=path)
    with pytest.raises(UserError, match="another backbone"):
        run(adamw(deltas=(item,)), tmp_path / "run")
    assert delta("lang", file=path, start="").start == ""
    gone = (("params/encoder/layers/mlp/wi/kernel", 3),)
    with pytest.raises(UserError, match=r"does not have.*Did you mean"):
        describe(with_deltas(Delta("x", kind="sparse", counts=gone, file=path)))
    small = with_deltas(Delta("x", kind="sparse", counts=((WO, 10**6),), file=path))
    with pytest.raises(UserError, match="of a model of other sizes"):
        describe(small)
    with pytest.raises(UserError, match="matches no parameter in full"):
        describe(with_deltas(Delta("x", params=("params/nothing.*",))))
    with pytest.raises(UserError, match="share a name"):
        with_deltas(Delta("x"), Delta("x"))
    for wrong in ({"name": "a/b"}, {"name": "x", "kind": "thin"}, {"name": "x", "l1": -1.0}):
        with pytest.raises(UserError):
            Delta(**wrong)


def test_an_encoder_alone_takes_its_own_of_what_was_made_on_an_encoder_decoder(tmp_path):
    path = str(tmp_path / "both.safetensors")
    decoder = WO.replace("encoder", "decoder")
    entries = np.arange(3, dtype=np.int32)
    made = {n + INDICES: entries for n in (WO, decoder)}
    made |= {n + VALUES: np.ones(3, np.float32) for n in (WO, decoder)}
    whole = full_params(make_config())
    backbone = fingerprint_of(whole)
    delta_files.save(path, made, delta_files.start_of(backbone))
    item = delta("lang", file=path)
    assert item.targets(describe(make_config())) == [decoder, WO]
    alone = make_config(decoder_layers=0, deltas=(item,))
    flat = full_params(alone)
    changed = {n for n, v in applied(flat, alone.deltas).items() if not np.array_equal(v, flat[n])}
    assert changed == {WO}

    encoder = fingerprint_of({n: v for n, v in whole.items() if "/decoder/" not in n})
    for found in (backbone, encoder):
        check_start([item], found)
    other = fingerprint_of({n: v + 1 for n, v in whole.items() if "/decoder/" not in n})
    with pytest.raises(UserError, match="another backbone"):
        check_start([item], other)
    unknown = dataclasses.replace(item, start_parts=())  # as files were before
    check_start([unknown], backbone)
    with pytest.raises(UserError, match="another backbone"):
        check_start([unknown], encoder)


def test_a_dense_file_is_a_task_vector_for_either_layout(tmp_path):
    rng = np.random.default_rng(0)
    shape = describe(make_config())[WO].shape
    tau = rng.normal(size=shape).astype(np.float32)
    path = str(tmp_path / "tau.safetensors")
    delta_files.save(path, {WO + VALUES: tau}, {})
    for scan in (True, False):
        config = with_deltas(delta("tau", file=path, scale=-0.5), scan_layers=scan)
        flat = full_params(config)
        merged = applied(flat, config.deltas)
        merged = merged if scan else stack(merged)
        before = full_params(with_deltas())[WO]
        np.testing.assert_allclose(merged[WO], before - 0.5 * tau, rtol=1e-6, atol=1e-7)
        assert len([n for n in flat if n.startswith("deltas/")]) == (1 if scan else 2)


def test_gin_makes_deltas_and_reads_them_back(tmp_path):
    mask = sparse_file(tmp_path / "m.safetensors", values=False, start="abc")
    files = ["models/tiny.gin", "runs/adapt.gin", "runs/lt_sft_sparse.gin"]
    said = ["TEXT=texts", "INIT_FROM=base", "WORKDIR=out", f"MASK={mask}"]
    run = configs.load([*files, "modules/language_delta.gin"], [*said, f"LANGUAGE_DELTA={mask}"])
    names = [(d.name, d.kind, d.file, d.l1) for d in run.model.deltas]
    assert names == [("source", "sparse", mask, 0.0), ("lang", "sparse", mask, 0.1)]
    assert sum(k for _, k in run.model.deltas[0].counts) == 60
    assert run.model.deltas[0].start == "abc"
    for text in (configs.operative_config(run), configs.text.render(run)):
        (tmp_path / "config.gin").write_text(text)
        assert configs.load([str(tmp_path / "config.gin")]) == run
