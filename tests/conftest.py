"""What all tests share: eight fake devices on the CPU, tiny models, random batches, the data folder."""

import os
from pathlib import Path

# Before jax is imported: its backend reads these once.
_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=8".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax
import numpy as np
import pytest

from jaxlt.models.config import T5Config
from jaxlt.models.init import describe, unflatten

REPOSITORY = Path(__file__).resolve().parent.parent


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
    rows: int = 4, inputs: int = 9, targets: int = 7, vocab: int = 40, languages: int = 3, seed: int = 0
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


def make_mlm_batch(rows: int = 4, length: int = 9, vocab: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
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

    Values are the same scanned and unrolled only through `jaxlt.models.layout`.
    """
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.normal(size=shape)
        if name.endswith("scale"):
            return 1 + 0.1 * noise
        if "embedding" in name or name.endswith("bias"):
            return noise if "embedding" in name else 0.1 * noise
        inputs = shape[-2] * (config.head_dim if "query" in name and config.logit_scale == 1 else 1)
        return noise * inputs**-0.5

    leaves = describe(config)
    return {n: draw(n, leaf.shape).astype(np.float32) for n, leaf in sorted(leaves.items())}


def random_variables(config: T5Config, seed: int = 0) -> dict[str, dict]:
    """Returns `random_params`, nested as `model.apply` wants them."""
    return unflatten(random_params(config, seed))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $JAXLT_SHARED_DATA, or shared/data beside the repository."""
    given = os.environ.get("JAXLT_SHARED_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set JAXLT_SHARED_DATA to its folder")
    return folder


@pytest.fixture(scope="module")
def quick_compile():
    """Programs compiled in the module are optimised little: half the time of a test is compiling."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def tiny_config() -> T5Config:
    """The smallest T5 that still has every part."""
    return make_config()


@pytest.fixture
def tiny_batch() -> dict[str, np.ndarray]:
    """A random batch of four rows for `tiny_config`."""
    return make_batch()
