"""Programs are kept on disk for the next run, where the user says."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt import config
from jaxlt.engine import compilation
from jaxlt.engine.loop import program_of
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.plan.aot import abstract_batch, compile_train
from tests.conftest import make_config, make_spec
from tests.engine import jobs

COMPILE = """
import jax, jax.numpy as jnp
from jaxlt.engine import compilation
compilation.prepare()
compilation.prepare()
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))

def deep(x):
    for _ in range(40):
        x = jnp.tanh(x @ x) + jnp.sin(x).sum(0)
    return x

jax.jit(deep)(jnp.ones((8, 8))).block_until_ready()
print("hit" if "/jax/compilation_cache/cache_hits" in hits else "miss")
print(jax.config.jax_compilation_cache_dir)
"""


def compiled(**variables: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION", "JAXLT"))}
    code = [sys.executable, "-c", COMPILE]
    out = subprocess.run(code, env=env | variables, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


def test_a_second_process_finds_what_the_first_compiled_and_jax_own_variable_wins(tmp_path):
    folder, other = str(tmp_path / "compiled"), str(tmp_path / "other")
    assert compiled(JAXLT_CACHE=str(tmp_path)) == ["miss", folder]
    assert any((tmp_path / "compiled").iterdir())
    assert compiled(JAXLT_CACHE=other, JAX_COMPILATION_CACHE_DIR=folder) == ["hit", folder]
    assert not (tmp_path / "other").exists()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path))
    assert compilation.cache_folder() == tmp_path / "compiled"
    monkeypatch.delenv("JAXLT_CACHE")
    assert compilation.cache_folder().parts[-3:] == (".cache", "jaxlt", "compiled")


def test_deterministic_asks_the_gpu_compiler(monkeypatch):
    monkeypatch.setattr(compilation, "_ready", True)
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    compilation.prepare(deterministic=True)
    assert os.environ["XLA_FLAGS"] == "--a=1 --xla_gpu_deterministic_ops=true"


def test_memory_is_handed_back_after_long_compilations_only(monkeypatch):
    called = []
    monkeypatch.setattr(compilation.ctypes, "CDLL", lambda name: called.append(name) or _Libc())
    compilation._after_compiling("/jax/core/compile/backend_compile_duration", 0.1)
    compilation._after_compiling("/jax/other", 9.0)
    assert called == []
    compilation._after_compiling("/jax/core/compile/backend_compile_duration", 2.0)
    assert called == (["libc.so.6"] if sys.platform == "linux" else [])


class _Libc:
    def malloc_trim(self, pad: int) -> int:
        return 1


OPTION = ("xla_gpu_enable_latency_hiding_scheduler", True)  # CPUs take it, and do without it


def test_options_are_those_of_the_platform():
    given = compilation.CompilerConfig(cpu=(OPTION,), tpu=(("xla_tpu_anything", 1),))
    assert compilation.options_of(given, jax.devices()) == (OPTION,)
    assert compilation.options_of(compilation.CompilerConfig(), np.array(jax.devices())) == ()


def test_options_of_every_kind_of_value_are_taken():
    values = (
        ("xla_gpu_all_reduce_combine_threshold_bytes", 2**27),
        ("xla_gpu_enable_command_buffer", ""),
        ("xla_gpu_graph_min_graph_size", 1),
        ("xla_cpu_fast_math_honor_nans", False),
    )
    assert compilation.options_of(compilation.CompilerConfig(cpu=values), jax.devices()) == values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((("--xla_gpu_autotune_level", 1),), "Did you mean 'xla_gpu_autotune_level'"),
        ((OPTION, OPTION), "gives 'xla_gpu_enable_latency_hiding_scheduler' more than once"),
    ],
)
def test_options_are_xlas_and_stand_once(options, said):
    with pytest.raises(UserError, match=said):
        compilation.CompilerConfig(gpu=options)


def test_the_compiler_refuses_what_it_does_not_know():
    wrong = compilation.CompilerConfig(cpu=(("xla_gpu_enable_latency_hiding_schedule", True),))
    with pytest.raises(
        UserError, match=r"CompilerConfig.cpu = .*No such compile option: 'xla_gpu_"
    ):
        compilation.options_of(wrong, jax.devices())
    with pytest.raises(UserError, match="Did you mean 'xla_gpu_enable_latency_hiding_scheduler'"):
        compilation.options_of(wrong, jax.devices())


def test_steps_are_compiled_with_them(monkeypatch):
    asked = []
    real = jax.jit
    monkeypatch.setattr(jax, "jit", lambda *a, **k: asked.append(k) or real(*a, **k))
    alone = make_config(mlp_dim=28)  # which no other test has compiled
    build(make_spec(alone, compiler_options=(OPTION,)))
    build(make_spec(alone))
    assert [k["compiler_options"] for k in asked if "compiler_options" in k] == [
        dict([OPTION]),
        dict([OPTION]),
        None,
        None,
    ]


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_the_shipped_options_are_known_names(name):
    run = config.load(
        ["models/tiny.gin", "runs/pretrain.gin", f"platforms/{name}.gin"],
        ["TEXT='t'", "WORKDIR='w'"],
    )
    options = getattr(run.train.compiler, name)
    assert options and {option for option, _ in options} <= set(compilation.KNOWN)
    if name == "gpu":  # all platforms' compilers share their names, but for TPUs
        assert (
            compilation.options_of(compilation.CompilerConfig(cpu=options), jax.devices())
            == options
        )
    assert program_of(dataclasses.replace(jobs.job(), train=run.train)).spec.compiler_options == ()


def test_a_plan_compiles_with_them():
    program = build(make_spec(compiler_options=(("xla_nonsense", True),)))
    batch = abstract_batch(program, 4, 8, 8)
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_nonsense'"):
        compile_train(program, batch)


@pytest.mark.slow
@pytest.mark.skipif(not compilation._MAPS.exists(), reason="only Linux bounds a process's maps")
def test_programs_are_forgotten_before_the_system_has_no_room_for_them(tmp_path, monkeypatch):
    def mapped():
        return len(compilation._MAPS.read_bytes().splitlines())

    programs = [jax.jit(lambda x, n=n: (x * n + jnp.sin(x)).sum()) for n in range(20)]
    assert not compilation.room(share=1.0)
    before = mapped()
    values = [float(program(jnp.ones(3))) for program in programs]
    held = mapped()
    assert held >= before + len(programs)
    bound = tmp_path / "max_map_count"
    bound.write_text(f"{held * 2}\n")
    monkeypatch.setattr(compilation, "_MAP_BOUND", bound)
    assert not compilation.room(share=0.9)
    assert compilation.room(share=0.25)
    assert mapped() <= held - len(programs)
    assert [float(program(jnp.ones(3))) for program in programs] == values
    bound.write_text(f"{mapped()}\n")  # as before a program that is to be made
    made = compilation.remembered(2, "programs")(lambda size: size)
    assert made(3) == 3 and mapped() <= held - len(programs)
    monkeypatch.setattr(compilation, "_MAPS", tmp_path / "of_another_system")
    assert not compilation.room(share=0.0)
