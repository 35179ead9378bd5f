"""Banks that move slot by slot: many languages in one run, as each in a run of its own."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.config import DEFAULT_RULES, MeshConfig, TrainConfig
from jaxlt.engine.loop import program_of
from jaxlt.engine.loss.adversary import Adversary
from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.optim.pace import pace_of_banks, spare
from jaxlt.engine.optim.schedules import ScheduleConfig, learning_rate, numbers_of
from jaxlt.engine.step import Hyper, build
from jaxlt.errors import UserError
from jaxlt.models.traced import given
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import stack, unstack
from jaxlt.modules.site import owner, plug
from jaxlt.plan.aot import abstract_batch, compile_train
from tests.conftest import (
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)
from tests.engine.jobs import assert_identical, content, job, logged, run, small_job

pytestmark = pytest.mark.usefixtures("quick_compile")

LANGUAGES, ROWS, SLOTS = 4, 2, 12
PLUG = {"reduction_factor": 2, "sites": "mlp_out"}
SIZES = {"decoder_layers": 0}  # an encoder alone compiles in half the time
BANK = make_config(plugs=(plug(Bottleneck, "lang", key="source", routes=SLOTS, **PLUG),), **SIZES)
ALONE = make_config(plugs=(plug(Bottleneck, "lang", **PLUG),), **SIZES)
SLOT = (5, 0, 11, 7)  # of each language
FLAT, GRADIENTS = random_params(BANK), random_params(BANK, seed=1)
OPTIMIZERS = {
    "adamw": OptimizerConfig("adamw", weight_decay=0.1, clip_norm=0.05),
    "adafactor": OptimizerConfig("adafactor", min_factored=4, weight_decay=0.1, clip_norm=0.05),
    "muon": OptimizerConfig("muon", momentum=0.95, weight_decay=0.1, clip_norm=0.05),
    # One memory a matrix, and a step that goes by norms of whole matrices.
    "chain": OptimizerConfig(
        "chain",
        chain=(("scale_by_novograd", ()), ("clip_by_block_rms", (("threshold", 0.5),))),
        weight_decay=0.1,
    ),
}
SCHEDULE = ScheduleConfig("linear", 0.02, warmup_steps=2, total_steps=6)
# Languages by step: each has another number of steps when the run ends; the last step has them all.
PRESENT = [(0, 1, 2, 3), (0, 2), (0, 1, 2), (2,), (0, 1, 2, 3)]
TEXTS = {(n, s): make_mlm_batch(ROWS, seed=10 * n + s) for n in range(LANGUAGES) for s in range(5)}


def spec(config=BANK, name="adamw", **changes):
    given = {
        "optimizer": OPTIMIZERS[name],
        "trainable": ("modules/.*",),
        "loss": LossConfig(normalize="languages" if config is BANK else "tokens"),
        "languages": LANGUAGES if config is BANK else None,
    }
    return make_spec(config, **(given | changes))


def mixed(step, present, rows=ROWS * LANGUAGES):
    """The texts of several languages as one batch, filled up with rows without any target."""
    parts = [TEXTS[n, step] | {"language": np.full(ROWS, SLOT[n], np.int32)} for n in present]
    batch = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    missing = rows - len(batch["language"])
    filled = {k: np.concatenate([v, v[:1].repeat(missing, 0)]) for k, v in batch.items()}
    filled["encoder_loss_weights"][rows - missing :] = 0
    return filled


def slot_of(flat, n):
    """One language's modules out of a bank."""
    return {k: np.asarray(v)[:, SLOT[n]] for k, v in flat.items() if k.startswith("modules/")}


def train(program, flat, batches, clock="own", first=None):
    """Trains a step a batch by the schedule; returns the last state and metrics."""
    state, metrics = first if first is not None else place_state(program, flat), {}
    numbers = jax.tree.map(jnp.float32, numbers_of(SCHEDULE)) if clock == "own" else None
    for step, batch in enumerate(batches):
        rate = jnp.float32(learning_rate(SCHEDULE, step))
        given = Hyper(rate, jnp.uint32(0), schedule=numbers)
        state, metrics = program.train(state, place_batch(program, batch), given)
    return state, metrics


MIXED = [mixed(step, present) for step, present in enumerate(PRESENT)]


MORE = [pytest.param(name, marks=pytest.mark.slow) for name in ("adafactor", "muon", "chain")]


@pytest.fixture(scope="module", params=["adamw", *MORE])
def name(request):
    return request.param


@functools.cache
def in_one_run(name="adamw"):
    """All languages in one run, its bank cut down to the slots of each batch."""
    return train(build(spec(name=name)), FLAT, MIXED)


@pytest.fixture(scope="module")
def together(name):
    """The same by either optimizer."""
    return in_one_run(name)


def alike(found, wanted, tolerance=1e-5):
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        bound = tolerance * max(float(np.abs(value).max()), 1e-3)
        np.testing.assert_allclose(found[key], value, atol=bound, rtol=0, err_msg=key)


def same_trees(found, wanted, tolerance):
    """Parameters and optimizer state of two runs."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        bound = tolerance * max(float(np.abs(b).max()), 1e-6)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=bound, rtol=0)


def test_many_in_one_run_equal_a_run_each(name, together):
    program = build(spec(ALONE, name))
    for n in range(LANGUAGES):
        own = [TEXTS[n, step] for step, present in enumerate(PRESENT) if n in present]
        flat = {k: v for k, v in FLAT.items() if k.startswith("params/")} | slot_of(FLAT, n)
        state, _ = train(program, flat, own, clock="run")
        moved = {k: np.asarray(v) - flat[k] for k, v in state.trainable.items()}
        now = slot_of(together[0].trainable, n)
        alike({k: now[k] - flat[k] for k in now}, moved, 1e-3)  # of the way gone
        alike(now, state.trainable, 1e-5)
        assert int(together[0].optimizer["routes"]["source"]["steps"][SLOT[n]]) == len(own)


def test_a_cut_bank_equals_a_whole_one(name, together):
    batches = [mixed(step, present, SLOTS) for step, present in enumerate(PRESENT)]
    state, metrics = train(build(spec(name=name, languages=None)), FLAT, batches)
    same_trees(together[0].trainable, state.trainable, 1e-6)
    same_trees(together[0].optimizer, state.optimizer, 1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], together[1]["grad_norm"], rtol=1e-5)


def bits_of(state, slot):
    """Parameters and optimizer state of one slot of a bank."""
    memory = state.optimizer["routes"]["source"]
    found = {"steps": np.asarray(memory["steps"])[slot]}
    for path, leaf in jax.tree_util.tree_flatten_with_path((state.trainable, memory["state"]))[0]:
        leaf = np.asarray(leaf)
        axis = 1 if leaf.ndim > 1 else 0
        if leaf.shape[axis : axis + 1] == (SLOTS,):
            found[jax.tree_util.keystr(path)] = leaf.take(slot, axis)
    return found


@pytest.mark.parametrize("rows", [ROWS * LANGUAGES, SLOTS], ids=["cut", "whole"])
def test_absence_keeps_every_bit(name, rows):
    program = build(spec(name=name, languages=LANGUAGES if rows < SLOTS else None))
    state, _ = train(program, FLAT, [mixed(0, PRESENT[0], rows)] * 2)  # all have been seen
    before = {slot: bits_of(state, slot) for slot in range(SLOTS)}
    assert len(before[0]) >= 7 or name == "adafactor"
    state, _ = train(program, FLAT, [mixed(1, (0, 2), rows)], first=state)
    for slot in range(SLOTS):
        after = bits_of(state, slot)
        if slot in (SLOT[0], SLOT[2]):
            assert after["steps"] == 3
            moving = [k for k in after if "ns_coeffs" not in k]  # Muon's constants
            assert all(np.any(after[k] != before[slot][k]) for k in moving)
        else:
            assert_identical(after, before[slot])
            assert after["steps"] == (2 if slot in SLOT else 0)


def test_accumulation_changes_nothing():
    together = in_one_run()
    state, metrics = train(build(spec(accumulate=4)), FLAT, MIXED)
    same_trees(together[0].trainable, state.trainable, 1e-5)
    np.testing.assert_allclose(metrics["loss"], together[1]["loss"], rtol=1e-5)


def test_eight_devices_equal_one(name, together):
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    state, metrics = train(build(spec(name=name, mesh=mesh)), FLAT, MIXED)
    np.testing.assert_allclose(metrics["loss"], together[1]["loss"], rtol=1e-5)
    same_trees(state.trainable, together[0].trainable, 1e-4)
    assert all(len(v.sharding.device_set) == 8 for v in jax.tree.leaves(state.optimizer))


@pytest.mark.slow
def test_a_bank_spread_over_devices_equals_one_that_is_cut_down():
    together = in_one_run()
    rules = tuple((k, "data" if k == "routes" else v) for k, v in DEFAULT_RULES)
    program = build(spec(mesh=MeshConfig(data=4, rules=rules)))
    (bank,) = program.optimizer.banks
    assert bank.spread
    state, metrics = train(program, FLAT, MIXED)
    np.testing.assert_allclose(metrics["loss"], together[1]["loss"], rtol=1e-5)
    same_trees(state.trainable, together[0].trainable, 1e-4)


def test_scanned_equals_unrolled(name, together):
    config = dataclasses.replace(BANK, scan_layers=False)
    loss = LossConfig(normalize="languages")
    program = build(spec(config, name, languages=LANGUAGES, loss=loss))
    state, _ = train(program, unstack(FLAT), MIXED)
    same_trees(stack(state.trainable), together[0].trainable, 1e-5)
    unrolled, scanned = (s.optimizer["routes"]["source"]["state"] for s in (state, together[0]))
    if name == "adamw":
        unrolled, scanned = unrolled["nu"], scanned["nu"]
    else:
        unrolled, scanned = (s.get("param_states", s) for s in (unrolled, scanned))
        if name == "adafactor":
            assert any(slots["v_row"].shape != (1,) for slots in scanned.values())  # factored
        unrolled, scanned = (  # all but adafactor's [1] that hold nothing
            {f"{n}/{k}": a for n, slots in s.items() for k, a in slots.items() if a.shape != (1,)}
            for s in (unrolled, scanned)
        )
    same_trees(stack(unrolled), scanned, 1e-5)


def test_a_step_that_is_not_finite_moves_no_slot():
    program = build(spec(skip_nonfinite=True))
    state, _ = train(program, FLAT, MIXED[:1])
    before = jax.device_get((state.trainable, state.optimizer))
    bad = MIXED[1] | {"encoder_loss_weights": MIXED[1]["encoder_loss_weights"].copy()}
    bad["encoder_loss_weights"][0, 0] = np.inf
    state, metrics = train(program, FLAT, [bad], first=state)
    assert not metrics["ok"]
    jax.tree.map(np.testing.assert_array_equal, (state.trainable, state.optimizer), before)


def test_the_loss_is_reported_as_the_mean_over_languages():
    program = build(spec(ALONE))
    each = [TEXTS[n, 4] for n in range(LANGUAGES)]
    flat = {k: v for k, v in FLAT.items() if k.startswith("params/")}
    bank = build(spec())
    found = train(bank, FLAT, [mixed(4, range(LANGUAGES))])[1]
    losses, tokens = [], []
    for n, batch in enumerate(each):
        metrics = train(program, flat | slot_of(FLAT, n), [batch], clock="run")[1]
        losses.append(float(metrics["loss"]))
        tokens.append(float(metrics["target_tokens"]))
    np.testing.assert_allclose(found["loss"], np.mean(losses), rtol=1e-5)
    assert found["target_tokens"] == sum(tokens)


@pytest.mark.slow
def test_a_step_needs_no_more_memory_for_a_larger_bank():
    needed = []
    for size in (16, 64):
        plugs = (plug(Bottleneck, "lang", key="source", routes=size, **PLUG),)
        program = build(spec(dataclasses.replace(BANK, plugs=plugs), languages=LANGUAGES))
        rows = ROWS * LANGUAGES
        batch = abstract_batch(program, rows, 9, 0)
        needed.append(compile_train(program, batch).memory_analysis())
        held = jax.tree.leaves(program.layout.abstract(program.layout.trainable))
        assert needed[-1].alias_size_in_bytes > 3 * sum(4 * math.prod(a.shape) for a in held)
    assert needed[0].temp_size_in_bytes == needed[1].temp_size_in_bytes


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_rates_by_name_are_those_of_shared_leaves_and_of_banks(name):
    """A leaf with a factor of 4 moves as at 4 times the rate."""
    trainable = ("modules/.*", "params/mlm_head/.*")
    rates = ((".*/down", 4.0), ("params/.*", 4.0))
    own = dataclasses.replace(OPTIMIZERS[name], rates=rates)
    leaves = [n for n in FLAT if n.startswith(("modules/", "params/mlm_head/"))]
    params, grads = ({n: jnp.asarray(tree[n]) for n in leaves} for tree in (FLAT, GRADIENTS))

    def moved(config, rate):
        program = build(spec(name=name, optimizer=config, trainable=trainable))
        optimizer = program.optimizer
        banks = {b.name: jnp.full(b.size, rate) for b in optimizer.banks}
        assert banks.keys() == {"source"}
        update = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p, rate, banks)[0])
        with given(program.values):
            return update(grads, params)

    plain = OPTIMIZERS[name]
    found, once, fourfold = moved(own, 0.01), moved(plain, 0.01), moved(plain, 0.04)
    for leaf, value in found.items():
        wanted = fourfold if leaf.endswith("/down") or leaf.startswith("params/") else once
        np.testing.assert_allclose(value, wanted[leaf], rtol=1e-6, err_msg=leaf)
        assert np.any(value != FLAT[leaf]), leaf


def test_pads_of_a_route_by_token_are_absent():
    program = build(spec(languages=None))
    batch = {
        "encoder_input_tokens": jnp.int32([[4, 5, 0], [6, 0, 0]]),
        "language": jnp.int32([[3, 3, 1], [8, 2, 2]]),
    }
    slots, cut = program.optimizer.slots(batch, 2)
    assert not cut and slots["source"].chosen is None  # tokens are not cut down to
    assert np.flatnonzero(slots["source"].present).tolist() == [3, 8]


def test_banks_by_key_and_size():
    plugs = (
        plug(Bottleneck, "a", key="source", routes=4, **PLUG),
        plug(Bottleneck, "b", key="target", routes=6, **PLUG),
        plug(Bottleneck, "c", key="source", routes=8, **PLUG),
        plug(Bottleneck, "d", key="all", routes=3, **PLUG),
        plug(Bottleneck, "e", **PLUG),
    )
    program = build(make_spec(make_config(plugs=plugs, **SIZES), trainable=("modules/.*",)))
    banks = {b.name: b for b in program.optimizer.banks}
    assert set(banks) == {"source_4", "source_8", "target"}
    owners = {name: {owner(leaf) for leaf in bank.axes} for name, bank in banks.items()}
    assert owners == {"source_4": {"a"}, "source_8": {"c"}, "target": {"b"}}
    state = jax.eval_shape(
        program.optimizer.init, program.layout.abstract(program.layout.trainable)
    )
    assert {owner(n) for n in state["shared"]["param_states"]} == {"d", "e"}
    batch = {k: jnp.int32([0, 2, 2, 3, 1]) for k in ("language", "target_language")}
    slots, cut = program.optimizer.slots(batch | {"encoder_input_tokens": jnp.ones((5, 3))}, None)
    assert slots["source_4"].chosen is None and slots["source_4"].present.all()
    assert slots["source_8"].chosen.tolist() == [0, 1, 2, 3, 8]
    assert {bank.name: found.tolist() for bank, found in cut} == {
        "source_8": [0, 1, 2, 3, 8],
        "target": [0, 1, 2, 3, 6],
    }
    assert slots["target"].chosen.tolist() == [0, 1, 2, 3, 6]


# --- through the loop ----------------------------------------------------------------------------

NAMES = ("aa", "bb", "cc", "dd")


def source(languages=NAMES[:3], rows=32, batch_size=8):
    texts = make_mlm_batch(rows, seed=5)
    texts["language"] = np.random.default_rng(5).integers(0, len(languages), rows).astype(np.int32)
    return ArrayBatches(texts, batch_size, languages=languages)


def bank_job(**changes):
    given = {
        "model": {"plugs": BANK.plugs},
        "schedule": dataclasses.asdict(SCHEDULE) | {"total_steps": 20},
        "trainable": ("modules/.*",),
    }
    return small_job(**(given | changes))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of six steps in one go."""
    return run(bank_job(), tmp_path_factory.mktemp("straight"), source())


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer", [{}, {"name": "muon", "clip_norm": 1.0}], ids=["adamw", "muon"]
)
def test_going_on_is_bit_identical(straight, tmp_path, optimizer):
    whole = straight
    if optimizer:
        whole = run(bank_job(optimizer=optimizer), tmp_path / "whole", source())
    run(bank_job(steps=3, every=3, optimizer=optimizer), tmp_path / "parts", source())
    ended = run(bank_job(optimizer=optimizer), tmp_path / "parts", source())
    assert_identical(content(ended), content(whole))


def test_another_language_compiles_nothing(straight, tmp_path):
    before = straight.program.jitted._cache_size()
    rates = (("dd", 0.5),)
    more = run(bank_job(route_rates=rates), tmp_path, source(NAMES))
    assert more.program is straight.program
    assert more.program.jitted._cache_size() == before
    assert np.asarray(more.state.optimizer["routes"]["source"]["steps"])[3] > 0


def test_a_language_whose_rate_is_zero_stays(straight, tmp_path):
    given = bank_job(route_rates=(("bb", 0.0),))
    ended = run(given, tmp_path, source())
    for key, value in ended.state.trainable.items():
        slots, others = np.asarray(value), np.asarray(straight.state.trainable[key])
        np.testing.assert_array_equal(slots[:, 3:], others[:, 3:])
        np.testing.assert_array_equal(slots[:, [0, 2]], others[:, [0, 2]])
        assert key.endswith("up") <= (not np.any(slots[:, 1])), key  # it starts at zero
        assert np.any(slots[:, 1] != others[:, 1])

    taken = np.zeros(3, int)
    for step, row in enumerate(logged(tmp_path)):  # what the log says is what the slots had
        here = np.unique(source().rows(step, 0, 8)["language"])
        used = [learning_rate(given.schedule, int(taken[i])) * (i != 1) for i in here]
        taken[here] += 1
        assert row["learning_rate"] == row["learning_rate/source"]
        assert row["learning_rate"] == pytest.approx(np.mean(used), rel=1e-6)


def test_clocks_by_what_trains():
    alone, joined = program_of(bank_job()), program_of(bank_job(trainable=(".*",)))
    assert pace_of_banks(bank_job(), alone, NAMES)["schedule"] is not None
    assert "schedule" not in pace_of_banks(bank_job(), joined, NAMES)
    heard = dataclasses.replace(bank_job(), loss=LossConfig(auxiliary=(Adversary(languages=4),)))
    assert "schedule" in pace_of_banks(heard, program_of(heard), NAMES)  # as without it
    assert "schedule" not in pace_of_banks(bank_job(route_clock="run"), alone, NAMES)
    assert "schedule" in pace_of_banks(bank_job(route_clock="own"), joined, NAMES)
    assert pace_of_banks(job(), program_of(job()), NAMES) == {}


def test_spare_languages():
    assert spare(BANK, NAMES) == spare(BANK, NAMES * 2) == 8
    assert spare(BANK, NAMES * 3) is None  # as many as there are slots
    assert spare(make_config(), NAMES) is None


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"route_clock": "owm"}, "Did you mean 'own'"),
        ({"route_rates": (("aa", -1.0),)}, "0 or more"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(UserError, match=text):
        TrainConfig(1, **settings)


@pytest.mark.parametrize(
    "given, text",
    [
        (bank_job(route_rates=(("ab", 1.0),)), "no language of this run"),
        (job(route_rates=(("aa", 1.0),)), "has a slot a language"),
    ],
)
def test_rates_of_nothing(given, text):
    with pytest.raises(UserError, match=text):
        pace_of_banks(given, program_of(given), NAMES)
