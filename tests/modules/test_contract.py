"""The contract that every method keeps. A new method is one more row in METHODS."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import build, manual_of
from jaxlt.inference.compose import Composed
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, draw, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.bitfit import BitFit
from jaxlt.modules.bottleneck import Bottleneck, Parallel, Pfeiffer
from jaxlt.modules.ensemble import Ensemble
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.fusion import Fusion
from jaxlt.modules.ia3 import IA3
from jaxlt.modules.interventions import Ablate, MeanShift, Project
from jaxlt.modules.language_layer import LanguageLayer
from jaxlt.modules.layout import unstack
from jaxlt.modules.library import open_module, save
from jaxlt.modules.lora import LoRA
from jaxlt.modules.nice import Nice
from jaxlt.modules.norm_scale import NormScale
from jaxlt.modules.prefix import Prefix
from jaxlt.modules.routing import Ids, Route
from jaxlt.modules.site import Method, plug
from jaxlt.modules.soft_prompt import SoftPrompt
from jaxlt.modules.x_mod import XMod
from tests.conftest import (
    forward,
    hyper,
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)
from tests.engine.plain_decoding import stepped_logits

pytestmark = pytest.mark.usefixtures("quick_compile")


@dataclasses.dataclass(frozen=True)
class Row:
    """A method as the contract sees it.

    starts_as_identity: a new plug changes nothing. slow: a variant; the others have a mechanism of
    their own. on_devices: on meshes of every shape. routed: as a bank of which every row of a batch
    has its own slot. among: settings where it shares a model with others; alone it has all.
    """

    name: str
    method: type[Method]
    settings: dict[str, Any]
    starts_as_identity: bool = True
    slow: bool = False
    on_devices: bool = False
    routed: bool = True
    among: dict[str, Any] = dataclasses.field(default_factory=dict)


INNER = plug(Bottleneck, "inner", reduction_factor=4)
METHODS = [
    Row(
        "houlsby",
        Bottleneck,
        {"reduction_factor": 4},
        on_devices=True,
        among={"sites": ("attn_out",)},
    ),
    Row("nice", Nice, {}, on_devices=True),
    Row("lora", LoRA, {"rank": 4, "scaling": "rsqrt"}, among={"sites": ("query",)}),
    Row("ia3", IA3, {}, slow=True),
    Row("pfeiffer", Pfeiffer, {"reduction_factor": 4}, slow=True),
    Row("parallel", Parallel, {"norm": "plain"}, slow=True),
    Row("learned_parallel", Parallel, {"learned_scale": True}, slow=True),
    Row("lora_everywhere", LoRA, {"sites": ("key", *BitFit.places)}, slow=True),
    Row("bitfit", BitFit, {}, slow=True),
    Row("norm_scale", NormScale, {}, slow=True),
    Row("x_mod", XMod, {}, slow=True),
    Row("x_mod_shared_norm", XMod, {"norm": "shared"}, slow=True),
    Row("language_layer", LanguageLayer, {}, starts_as_identity=False, slow=True),
    Row("language_difference", LanguageLayer, {"start": "shared"}, slow=True),
    Row("prefix", Prefix, {"length": 3}, starts_as_identity=False),
    Row("soft_prompt", SoftPrompt, {"length": 3}, starts_as_identity=False),
    Row("fusion", Fusion, {"inner": INNER, "count": 3}, among={"sites": ("mlp_out",)}),
    Row("project", Project, {"rank": 8}, starts_as_identity=False),
    Row("prefix_network", Prefix, {"length": 3, "hidden": 4}, False, slow=True),
    Row("ensemble", Ensemble, {"inner": INNER, "count": 3}, slow=True),
    Row("mean_shift", MeanShift, {"scale": 0.5}, slow=True),
    Row("ablate", Ablate, {}, slow=True),
]
SLOTS = 4
BASE = Fingerprint("b")
PRESENT = (0, 1, 3)  # slot 2 is in no batch
BATCH = make_batch(8) | {"language": np.array([0, 3, 1, 0, 3, 3, 1, 0], np.int32)}
WEIGHT = np.random.default_rng(3).normal(size=(8, 7, 40)).astype(np.float32)
MASKED = make_mlm_batch(8, 7) | {"language": BATCH["language"]}  # for an encoder alone
MESHES = {
    "mixed": MeshConfig(data=2, fsdp=2, tensor=2),
    "data": MeshConfig(data=8),
    "fsdp": MeshConfig(data=1, fsdp=8),
    "tensor": MeshConfig(data=1, tensor=8),
}


class Case:
    """Rows of the table in one model, and what several checks share."""

    def __init__(self, *rows: Row, optimizer: str = "adafactor", **sizes: int):
        self.rows = rows
        self.starts_as_identity = all(row.starts_as_identity for row in rows)
        routing = {"key": "source", "routes": SLOTS}
        self.plugs = tuple(
            plug(row.method, row.name, **row.settings, **(routing if row.routed else {}))
            for row in rows
        )
        self.config = make_config(plugs=self.plugs, **sizes)
        # Unlike the seed's draw, no value is zero, so that every path carries a gradient.
        self.flat = random_params(self.config)
        self.modules = {n for n in self.flat if n.startswith("modules/")}
        self.leaves = describe(self.config)
        axes = {n: self.leaves[n].axes for n in self.modules}
        self.slotted = {n: a.index("routes") for n, a in axes.items() if "routes" in a}
        self.optimizer = OptimizerConfig(optimizer)

    def spec(self, **changes):
        given = {"trainable": ("modules/.*",), "optimizer": self.optimizer}
        return make_spec(self.config, **(given | changes))


def among(*rows: Row, **changes: Any) -> list[Row]:
    """The rows as they are where they share a model with others."""
    return [dataclasses.replace(row, settings=row.settings | row.among, **changes) for row in rows]


# Methods share models by how they start: those with a mechanism of their own run every time, and
# variants among the slow tests, beside the first as single modules without a bank.
ALONE = Row("alone", Bottleneck, {"reduction_factor": 4, "sites": ("mlp_out",)}, routed=False)
BY_START = {
    start: [row for row in METHODS if row.starts_as_identity == (start == "same")]
    for start in ("same", "other")
}
MECHANISMS, VARIANTS = (
    {start: [row for row in rows if row.slow == slow] for start, rows in BY_START.items()}
    for slow in (False, True)
)
GROUPS = [
    pytest.param([*among(*MECHANISMS["same"]), ALONE], id="all-same"),
    pytest.param(among(*MECHANISMS["other"]), id="all-other"),
    *(
        pytest.param(
            [*among(*rows), *among(*MECHANISMS[start], routed=False)],
            id=f"variants-{start}",
            marks=pytest.mark.slow,
        )
        for start, rows in VARIANTS.items()
    ),
]


@pytest.fixture(
    scope="module",
    params=[
        *GROUPS,
        *(pytest.param([row], id=row.name, marks=pytest.mark.slow) for row in METHODS),
    ],
)
def case(request):
    """Methods in one model; for what a program forward and back shows, each alone too."""
    return Case(*request.param)


@pytest.fixture(scope="module")
def half(case):
    """The same in an encoder alone, for what takes programs of its own: half of the compiling."""
    return Case(*case.rows, decoder_layers=0)


# What takes a program of its own: of methods that share a model.
grouped = pytest.mark.parametrize("case", GROUPS, indirect=True)
# A variant has its method's mechanisms.
of_mechanisms = pytest.mark.parametrize("case", GROUPS[:2], indirect=True)


EMBEDDING = "params/token_embedder/embedding"  # what reaches it has come through everything


@functools.cache
def quick_options():
    """Options by which a CPU program compiles in less than half of the time, if XLA has them."""
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0.0)
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return options


def outcome_of(config):
    """Returns a compiled (flat, batch, weight) -> (logits, gradients of sum(logits * weight)).

    The gradients are those of the modules and of the embedding.
    """
    model = model_of(config)

    def loss(wanted, rest, batch, weight):
        logits = model.apply(unflatten(wanted | rest), batch, make_context(batch))
        return jnp.sum(logits * weight), logits

    grad = jax.jit(jax.grad(loss, has_aux=True), compiler_options=quick_options())

    def run(flat, batch, weight):
        wanted = {n: v for n, v in flat.items() if n.startswith("modules/") or n == EMBEDDING}
        rest = {n: v for n, v in flat.items() if n not in wanted}
        grads, logits = jax.device_get(grad(wanted, rest, batch, weight))
        return logits, grads

    return run


@pytest.fixture(scope="module")
def plain_logits():
    """What the backbone without any plug says; its parameters are those of every case."""
    return forward(make_config(), random_params(make_config()), BATCH)


@pytest.fixture(scope="module")
def run(case):
    return outcome_of(case.config)


@pytest.fixture(scope="module")
def whole(case, run):
    """Logits and gradients of the whole batch."""
    return run(case.flat, BATCH, WEIGHT)


@pytest.fixture(scope="module")
def plain(half):
    """Logits and gradients by the encoder alone, its layers scanned, nothing computed again."""
    return outcome_of(half.config)(half.flat, MASKED, WEIGHT)


def same_otherwise(config, flat, wanted):
    """Logits and gradients by another way to compute them are those of the plain one."""
    logits, grads = outcome_of(config)(flat, MASKED, WEIGHT)
    close(logits, wanted[0])
    assert set(grads) == set(wanted[1])
    for name, value in wanted[1].items():
        close(grads[name], value, name)


def close(found, wanted, name="", tolerance=1e-5):
    bound = tolerance * max(float(np.abs(wanted).max()), 1e-3)
    np.testing.assert_allclose(found, wanted, atol=bound, rtol=0, err_msg=name)


def test_base_is_the_same_with_and_without(case):
    assert case.modules
    base = {n: leaf for n, leaf in case.leaves.items() if n.startswith("params/")}
    assert base == describe(make_config())


def test_starts_as_identity(case, run, plain_logits):
    if not case.starts_as_identity:
        pytest.skip("this does not claim to start as the identity")
    key = jax.random.key(0)
    fresh = case.flat | {n: draw(case.leaves[n], n, key) for n in case.modules}
    close(run(fresh, BATCH, WEIGHT)[0], plain_logits, tolerance=1e-6)


def test_it_does_something(case, whole, plain_logits):
    assert np.abs(whole[0] - plain_logits).max() > 1e-3
    assert all(np.any(whole[1][n]) for n in case.modules)


def test_a_batch_equals_one_example_at_a_time(case, run, whole):
    total = {n: np.zeros_like(v) for n, v in whole[1].items()}
    for i in range(8):  # alone with copies of itself, which weigh nothing: nothing is compiled
        one = {n: np.repeat(v[i : i + 1], 8, axis=0) for n, v in BATCH.items()}
        weight = np.concatenate([WEIGHT[i : i + 1], np.zeros_like(WEIGHT[1:])])
        logits, grads = run(case.flat, one, weight)
        close(logits[0], whole[0][i])
        total = {n: v + grads[n] for n, v in total.items()}
    for name, value in whole[1].items():
        close(total[name], value, name)


@pytest.mark.slow
@grouped
def test_scan_equals_unrolled(half, plain):
    config = dataclasses.replace(half.config, scan_layers=False)
    same_otherwise(config, unstack(half.flat), (plain[0], unstack(plain[1])))


@grouped
def test_cached_decoding_equals_teacher_forcing(case, whole):
    text = BATCH["decoder_target_tokens"] > 0
    close(np.asarray(stepped_logits(case.config, case.flat, BATCH))[text], whole[0][text])


def test_an_absent_language_has_no_gradient(case, whole):
    for name, axis in case.slotted.items():
        by_slot = np.moveaxis(whole[1][name], axis, 0)  # [L, R, ...] -> [R, L, ...]
        assert not np.any(by_slot[2]), name
        assert all(np.any(by_slot[slot]) for slot in PRESENT), name


def test_save_and_load(case, run, whole, tmp_path):
    """Each slot goes into a library, and all come back from it."""
    axes, saved = {n: leaf.axes for n, leaf in describe(case.config).items()}, {}
    flat = {n: case.flat[n] for n in case.modules}
    for p in case.plugs:
        for slot in range(SLOTS) if p.routes else [None]:
            save(tmp_path, f"{p.name}/{slot}", p, flat, slot, axes=axes, base=BASE)
            saved.setdefault(p.name, []).append(open_module(tmp_path, f"{p.name}/{slot}"))
    again = case.flat | Composed(case.config, saved).values(BASE)
    np.testing.assert_array_equal(run(again, BATCH, WEIGHT)[0], whole[0])


EXTRA = {"remat": {"remat": "full"}, "blocks": {}, "ragged": {}}


@pytest.mark.slow
@of_mechanisms
@pytest.mark.parametrize("kind", EXTRA)
def test_remat_and_routing_implementations_agree(half, plain, kind):
    plugs = half.plugs
    if kind != "remat":
        plugs = tuple(dataclasses.replace(p, routing=kind) for p in plugs)
    config = dataclasses.replace(half.config, plugs=plugs, **EXTRA[kind])
    same_otherwise(config, half.flat, plain)


@grouped
def test_one_language_for_the_whole_batch_equals_rows_of_it(case, run):
    rows = run(case.flat, BATCH | {"language": np.full(8, 3, np.int32)}, WEIGHT)
    model, variables = model_of(case.config), unflatten(case.flat)
    uniform = {n: v for n, v in BATCH.items() if n != "language"}
    ctx = make_context(uniform).replace(ids=Ids({"source": Route(jnp.int32(3))}))
    close(np.asarray(jax.jit(model.apply)(variables, uniform, ctx)), rows[0])


def steps(program, flat, languages, batch=MASKED, rate=0.01):
    """Trains a step for each list of languages; returns the last state and the losses."""
    state, losses = place_state(program, flat), []
    for rows in languages:
        placed = place_batch(program, batch | {"language": np.asarray(rows, np.int32)})
        state, metrics = program.train(state, placed, hyper(rate))
        losses.append(float(metrics["loss"]))
    return state, np.array(losses)


def remembered(state):
    """The names of the leaves that Adafactor has state for, in a bank or not."""
    memory = state.optimizer
    if "routes" not in memory:
        return set(memory["param_states"])
    banks = [bank["state"] for bank in memory["routes"].values()]
    return {name for part in (memory["shared"], *banks) for name in part["param_states"]}


LANGUAGES = [BATCH["language"], np.zeros(8), [3, 3, 3, 3, 1, 1, 1, 1]]
RATE = 10.0  # of plain descent: a step is large beside the rounding of what it is taken from


@pytest.fixture(scope="module")
def trained(half):
    """Three steps with other languages each, the modules alone trainable.

    A bank is cut down to three slots: more than that no batch goes through.
    """
    program = build(half.spec(languages=len(PRESENT)))
    compiled = program.jitted._cache_size()
    return program, compiled, *steps(program, half.flat, LANGUAGES)


@grouped
def test_only_its_own_subtree_trains(half, trained):
    program, _, state, _ = trained
    assert set(state.trainable) == set(program.layout.trainable) == half.modules
    assert remembered(state) == half.modules
    for name, value in state.frozen.items():
        np.testing.assert_array_equal(value, half.flat[name], err_msg=name)
    for name, value in state.trainable.items():
        assert np.any(np.asarray(value) != half.flat[name]), name


@grouped
def test_compiles_once(trained):
    program, before, *_ = trained
    assert program.jitted._cache_size() - before == 1


@grouped
def test_an_absent_language_is_bit_unchanged(half, trained):
    state = trained[2]
    for name, axis in half.slotted.items():
        now, before = np.asarray(state.trainable[name]), half.flat[name]
        now, before = np.moveaxis(now, axis, 0), np.moveaxis(before, axis, 0)
        np.testing.assert_array_equal(now[2], before[2], err_msg=name)
        assert all(np.any(now[slot] != before[slot]) for slot in PRESENT), name


@pytest.mark.slow
@of_mechanisms
def test_a_bank_that_is_cut_down_equals_a_whole_one(half, trained):
    state, losses = steps(build(half.spec()), half.flat, LANGUAGES)
    np.testing.assert_allclose(losses, trained[3], rtol=1e-6)
    for name, value in trained[2].trainable.items():
        close(np.asarray(value), np.asarray(state.trainable[name]), name, 1e-6)
    for kept, wanted in zip(
        jax.tree.leaves(trained[2].optimizer), jax.tree.leaves(state.optimizer), strict=True
    ):
        np.testing.assert_allclose(kept, wanted, rtol=1e-4, atol=1e-12)


@pytest.mark.slow
@grouped
def test_eight_devices_equal_one(half, trained):
    check_devices(half, trained, "mixed")


@pytest.fixture(scope="module")
def two():
    """Two methods in an encoder, and where three steps of it on one device end."""
    case = Case(*(row for row in METHODS if row.on_devices), optimizer="sgd", decoder_layers=0)
    program = build(case.spec(languages=len(PRESENT)))
    return case, (program, 0, *steps(program, case.flat, LANGUAGES, rate=RATE))


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["mixed", "data", "fsdp", "tensor"])
def test_eight_devices_of_every_shape_equal_one(two, mesh):
    check_devices(*two, mesh, RATE)


def by_night(group):
    """A variant has its method's banks; the methods themselves are by hand among the slow tests."""
    mark = pytest.mark.nightly(
        "tests/models/test_manual.py::"
        "test_gradients_leave_in_parts_and_a_device_gathers_the_slots_of_its_rows_alone"
    )
    marks = [mark] if group.marks else [pytest.mark.slow]
    return pytest.param(*group.values, id=group.id, marks=marks)


@pytest.mark.parametrize("rows", map(by_night, GROUPS))
def test_by_hand_equals_the_compiler(rows):
    """Each device gathers the slots of its own rows: two of the three that the step has cut out."""
    case = Case(*rows, optimizer="sgd", decoder_layers=0)
    config = dataclasses.replace(case.config, scan_layers=True, remat="full")
    mesh, found = MeshConfig(data=2, fsdp=2), []
    for collectives in ("compiler", "hand"):
        given = {"trainable": ("modules/.*",), "optimizer": case.optimizer}
        given |= {"languages": len(PRESENT), "collectives": collectives}
        program = build(make_spec(config, mesh, **given))
        assert (manual_of(program.spec) is None) == (collectives == "compiler")
        state, losses = steps(program, case.flat, LANGUAGES[:1], rate=RATE)
        moved = {n: np.asarray(v) - case.flat[n] for n, v in state.trainable.items()}
        found.append((losses, moved))
    (losses, wanted), (others, moved) = found
    np.testing.assert_allclose(others, losses, rtol=1e-6)
    for name, value in wanted.items():
        close(moved[name], value, name, 1e-4)


def check_devices(case, trained, mesh, rate=0.01):
    """Three steps on a mesh of eight devices end where those on one ended."""
    program = build(case.spec(mesh=MESHES[mesh], languages=len(PRESENT)))
    state, losses = steps(program, case.flat, LANGUAGES, rate=rate)
    np.testing.assert_allclose(losses, trained[3], rtol=1e-5)
    for name, value in state.trainable.items():
        assert len(value.sharding.device_set) == 8
        close(np.asarray(value), np.asarray(trained[2].trainable[name]), name, 1e-4)
