"""Learning rates against values computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.optim.schedules import ScheduleConfig, learning_rate, numbers_of
from jaxlt.errors import UserError


@pytest.mark.parametrize(
    "config,values",
    [
        (ScheduleConfig(learning_rate=0.5), {0: 0.5, 10**6: 0.5}),
        (ScheduleConfig(learning_rate=0.5, warmup_steps=10), {0: 0, 5: 0.25, 10: 0.5, 99: 0.5}),
        (
            ScheduleConfig("rsqrt", 1.0, warmup_steps=10_000),
            {0: 0.01, 9_999: 0.01, 10_000: 0.01, 40_000: 0.005, 1_000_000: 0.001},
        ),
        (ScheduleConfig("rsqrt", 2.0), {0: 2.0, 1: 2.0, 4: 1.0}),
        (
            ScheduleConfig("linear", 1.0, 10, total_steps=110, final_scale=0.1),
            {5: 0.5, 10: 1.0, 60: 0.55, 110: 0.1, 500: 0.1},
        ),
        (ScheduleConfig("linear", 1.0, 10, decay_steps=20), {20: 0.5, 30: 0.0, 31: 0.0}),
        (
            ScheduleConfig("cosine", 2.0, total_steps=100),
            {0: 2.0, 25: 1 + math.cos(math.pi / 4), 50: 1.0, 100: 0.0},
        ),
        (
            ScheduleConfig("wsd", 1.0, 10, total_steps=100, decay_steps=20, final_scale=0.5),
            {1: 0.1, 10: 1.0, 80: 1.0, 90: 0.75, 100: 0.5, 120: 0.5},
        ),
    ],
)
def test_values(config, values):
    for step, want in values.items():
        got = learning_rate(config, step)
        assert isinstance(got, float)
        assert got == pytest.approx(want, abs=1e-12)
    steps = np.array(list(values))
    np.testing.assert_allclose(learning_rate(config, steps), list(values.values()), atol=1e-12)
    on_device = learning_rate(config, jnp.asarray(steps))
    assert on_device.dtype == jnp.float32
    np.testing.assert_allclose(on_device, list(values.values()), rtol=1e-6, atol=1e-7)


def test_one_compilation_for_all_schedules():
    follow = jax.jit(learning_rate)
    for config in (
        ScheduleConfig("rsqrt", 1.0, 10),
        ScheduleConfig("cosine", 0.5, 2, total_steps=40),
        ScheduleConfig("wsd", 0.5, 2, total_steps=40, decay_steps=10),
        ScheduleConfig(learning_rate=0.1),
    ):
        steps = np.arange(50, dtype=np.int32)
        found = follow(jax.tree.map(jnp.float32, numbers_of(config)), steps)
        np.testing.assert_allclose(found, learning_rate(config, steps), rtol=1e-5, atol=1e-7)
    assert follow._cache_size() == 1


@pytest.mark.parametrize(
    "settings,text",
    [
        ({"name": "cosin"}, "Did you mean 'cosine'"),
        ({"learning_rate": -1.0}, "ScheduleConfig.learning_rate"),
        ({"learning_rate": math.nan}, "ScheduleConfig.learning_rate"),
        ({"warmup_steps": -1}, "ScheduleConfig.warmup_steps"),
        ({"final_scale": 2.0}, "ScheduleConfig.final_scale"),
        ({"name": "linear"}, "ScheduleConfig.total_steps"),
        ({"name": "cosine", "total_steps": 0}, "ScheduleConfig.total_steps"),
        (
            {"name": "cosine", "total_steps": 10, "warmup_steps": 10},
            "ScheduleConfig.warmup_steps=10",
        ),
        ({"name": "wsd", "total_steps": 10}, "ScheduleConfig.decay_steps"),
        ({"name": "wsd", "decay_steps": 10}, "ScheduleConfig.total_steps"),
        ({"name": "wsd", "total_steps": 10, "decay_steps": 8, "warmup_steps": 3}, "at least 11"),
    ],
)
def test_impossible_settings(settings, text):
    with pytest.raises(UserError, match=text):
        ScheduleConfig(**settings)


@pytest.mark.parametrize("share", [{"warmup_share": 0.1}, {"total_steps": "run"}])
def test_what_is_a_share_of_the_run_has_to_be_made_steps_first(share):
    with pytest.raises(UserError, match=f"{next(iter(share))} = .* a number of steps first"):
        learning_rate(ScheduleConfig(warmup_steps=10, **share), 0)
    assert learning_rate(ScheduleConfig("rsqrt", 1.0, 4, warmup_share=0.1), 0) == 0.5
