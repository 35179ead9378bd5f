"""What all tests share: eight fake devices, tiny models, random batches, the data folder."""
# ruff: noqa: E402 (the environment is set before jax is imported)

import contextlib
import functools
import gc
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before jax is imported: its backend reads these once.
_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=8".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Equal programs are compiled once for all workers and files, and for the next run of the tests.
REPOSITORY = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxlt.engine import compilation
from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
from jaxlt.engine.state import TrainState, new_loss_scale
from jaxlt.engine.step import Hyper, Program, StepSpec, state_shardings
from jaxlt.models.config import T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, unflatten
from jaxlt.models.layers import make_context

# A tiny trained run for the verbs that need one.
pytest_plugins = ["tests.trained_run"]

REPOSITORY = Path(__file__).resolve().parent.parent
PLAIN_KERNELS = "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"


@contextlib.contextmanager
def compiling() -> Iterator[list[str]]:
    """Yields the names of the programs that are compiled while it lasts."""
    names: list[str] = []

    def heard(event: str, seconds: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield names
    jax.monitoring.unregister_event_duration_listener(heard)


def pytest_configure(config: pytest.Config) -> None:
    """Lets quick tests, and the processes that they start, compile quickly.

    Most of their time is compiling, so programs are optimised little, and kernels written by
    XLA's older emitters. Slow and parity runs (`-m slow`) compile as users do, but for the
    programs of files that use `quick_compile`.
    """
    if "not slow" in config.getoption("markexpr") and PLAIN_KERNELS not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" {PLAIN_KERNELS}"
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ:  # jax was imported before
        jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What imports made is never garbage: it is no longer looked through, and the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def make_config(**changes) -> T5Config:
    """Returns the smallest T5 that still has every part: two layers a stack, two heads."""
    sizes = {
        "vocab_rows": 40,
        "emb_dim": 16,
        "mlp_dim": 24,
        "num_heads": 2,
        "head_dim": 8,
        "encoder_layers": 2,
        "decoder_layers": 2,
    }
    return T5Config(**(sizes | changes))


def make_batch(
    rows: int = 4,
    inputs: int = 9,
    targets: int = 7,
    vocab: int = 40,
    languages: int = 3,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Returns a random encoder-decoder batch; row r has padding on the right of both texts."""
    rng = np.random.default_rng(seed)

    def text(width: int) -> np.ndarray:
        tokens = rng.integers(3, vocab, (rows, width)).astype(np.int32)
        lengths = rng.integers(width // 2 + 1, width + 1, rows)
        return np.where(np.arange(width) < lengths[:, None], tokens, 0).astype(np.int32)

    source, target = text(inputs), text(targets)
    shifted = np.pad(target[:, :-1], ((0, 0), (1, 0)))
    return {
        "encoder_input_tokens": source,
        "decoder_input_tokens": np.where(target > 0, shifted, 0).astype(np.int32),
        "decoder_target_tokens": target,
        "decoder_loss_weights": (target > 0).astype(np.float32),
        "language": rng.integers(0, languages, rows).astype(np.int32),
        "target_bytes": (target > 0).sum(-1).astype(np.int32),
    }


def make_mlm_batch(
    rows: int = 4, length: int = 9, vocab: int = 40, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns a random batch for an encoder alone."""
    batch = make_batch(rows, length, length, vocab, seed=seed)
    tokens = batch["encoder_input_tokens"]
    return {
        "encoder_input_tokens": np.where((np.arange(length) % 3 == 1) & (tokens > 0), 2, tokens),
        "encoder_target_tokens": tokens,
        "encoder_loss_weights": ((np.arange(length) % 3 == 1) & (tokens > 0)).astype(np.float32),
        "language": batch["language"],
        "target_bytes": (tokens > 0).sum(-1).astype(np.int32),
    }


def random_params(config: T5Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns flat parameters drawn by numpy: quick, of T5's sizes, and nothing is zero.

    Values depend on name and shape, so plugs do not change the base; scanned and unrolled trees
    agree only through `jaxlt.modules.layout`.
    """

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(size=shape)
        if name.endswith("scale"):
            return 1 + 0.1 * noise
        if "embedding" in name or name.endswith("bias"):
            return noise if "embedding" in name else 0.1 * noise
        inputs = shape[-2] * (config.head_dim if "query" in name and config.logit_scale == 1 else 1)
        return noise * inputs**-0.5

    leaves = describe(config)
    return {n: draw(n, leaf.shape).astype(np.float32) for n, leaf in leaves.items()}


def random_variables(config: T5Config, seed: int = 0) -> dict[str, dict]:
    """Returns `random_params`, nested as `model.apply` wants them."""
    return unflatten(random_params(config, seed))


@functools.cache
def _forward(model: T5Config, method: str | None) -> Any:
    """The compiled (flat, batch, dropout_key) -> what a method of the model makes of a batch."""

    def run(flat: Any, batch: Any, key: Any) -> Any:
        ctx = make_context(batch, key)
        return model_of(model).apply(unflatten(flat), batch, ctx, method=method)

    return jax.jit(run)


def forward(
    model: T5Config,
    flat: dict[str, Any],
    batch: dict[str, np.ndarray],
    key: jax.Array | None = None,
    method: str | None = None,
) -> np.ndarray:
    """Returns the logits of a batch, or what `method` gives: compiled once a session and config."""
    return jax.device_get(_forward(model, method)(flat, batch, key))


def make_spec(model: T5Config | None = None, mesh: MeshConfig | None = None, **changes) -> StepSpec:
    """Returns the spec of a step: on one device, or on as many as the mesh asks for."""
    config = MeshConfig(data=1) if mesh is None else mesh
    devices = jax.devices()[: math.prod(config.sizes())]
    fields = {"loss": LossConfig(), "optimizer": OptimizerConfig()} | changes
    model = make_config() if model is None else model
    return StepSpec(model=model, mesh=make_mesh(config, devices), rules=config.rules, **fields)


def place_state(program: Program, flat: dict[str, np.ndarray]) -> TrainState:
    """Returns a state at step 0 with these parameters, sharded as the program wants it."""
    layout = program.layout
    params = {
        n: jax.device_put(np.asarray(v, layout.dtypes[n]), layout.shardings[n])
        for n, v in flat.items()
    }
    trainable = {n: params[n] for n in layout.trainable}
    shardings = state_shardings(layout, program.optimizer, program.loss_scaling)
    return TrainState(
        step=jax.device_put(jnp.int32(0), shardings.step),
        trainable=trainable,
        frozen={n: params[n] for n in layout.frozen},
        optimizer=jax.jit(program.optimizer.init, out_shardings=shardings.optimizer)(trainable),
        loss_scale=new_loss_scale(layout.mesh) if program.loss_scaling else None,
    )


def place_batch(program: Program, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Returns a batch on the program's mesh, its rows numbered."""
    rows = len(batch["encoder_input_tokens"])
    fields = batch | {"row": np.arange(rows, dtype=np.int32)}
    return place_rows([(0, fields)], rows, program.spec.mesh)


def hyper(learning_rate: float = 1e-2, seed: int = 0) -> Hyper:
    """Returns what may change without compiling again."""
    return Hyper(jnp.float32(learning_rate), jnp.uint32(seed))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $JAXLT_SHARED_DATA, or shared/data beside the repository."""
    given = os.environ.get("JAXLT_SHARED_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set JAXLT_SHARED_DATA to its folder")
    return folder


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """No worker holds more of them than Linux lets it; they are kept on disk, in each file."""
    compilation.room()
    yield
    if not jax.config.values["jax_enable_compilation_cache"]:  # by a run that was traced
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def quick_compile():
    """Programs compiled in the module are optimised little: most of a test is compiling.

    Their bits are others, so that none stays for a file that compiles as users do, or the reverse.
    """
    before = jax.config.values["jax_disable_most_optimizations"]
    if before:  # all of this process is compiled so
        yield
        return
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture
def tiny_config() -> T5Config:
    """The smallest T5 that still has every part."""
    return make_config()


@pytest.fixture
def tiny_batch() -> dict[str, np.ndarray]:
    """A random batch of four rows for `tiny_config`."""
    return make_batch()
