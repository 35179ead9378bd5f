"""What benchmarks/gpu.py runs in processes of their own: the peak, jaxlt's step, torch's step.

    python benchmarks/gpu_sides.py CASE.json

CASE.json holds a `Case`; the last line of the output is `done {json}`. Neither TensorFlow nor seqio
nor gin is needed: batches are made here.
"""

import dataclasses
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import hf_mt5, texts

# (vocabulary, width, MLP, heads, layers a stack, head's width): mT5's, and one for tests.
SHAPES = {
    "tiny": (512, 32, 64, 2, 2, 16),
    "base": (250_112, 768, 2048, 12, 12, 64),
    "large": (250_112, 1024, 2816, 16, 24, 64),
    "xl": (250_112, 2048, 5120, 32, 24, 64),
}
METHODS = ("full", "bottleneck", "lora")
REDUCTION, RANK = 16, 8
MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "OutOfMemoryError", "CUDA_ERROR_OUT_OF_MEMORY")


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement.

    side: 'peak', 'jaxlt' or 'hf'. batch: 'packed' rows hold several texts, 'whole' ones a long one.
    options: of XLA's compiler.
    """

    side: str
    shape: str = "tiny"
    method: str = "full"
    rows: int = 4
    inputs: int = 512
    targets: int = 128
    batch: str = "packed"
    attention: str = "plain"
    remat: str = "none"
    options: tuple[tuple[str, Any], ...] = ()
    device: str = "gpu"
    turns: int = 5
    steps: int = 5  # a turn


def out_of_memory(text: str) -> bool:
    """Says whether an error is about the device's memory."""
    return any(word in text for word in MEMORY)


def timed(run: Callable[[int], None], case: Case) -> dict[str, float]:
    """run(n) does n steps and waits for the last: seconds a step, median and spread over turns."""
    run(2)
    taken = []
    for _ in range(case.turns):
        began = time.perf_counter()
        run(case.steps)
        taken.append((time.perf_counter() - began) / case.steps)
    return {"seconds": statistics.median(taken), "fastest": min(taken), "slowest": max(taken)}


def whole_batch(case: Case) -> dict[str, Any]:
    """Rows that a text fills, random but the same everywhere; numpy arrays."""
    return texts(case.rows, case.inputs, case.targets, SHAPES[case.shape][0])


def packed_batch(case: Case) -> dict[str, Any]:
    """Rows of several examples each, random but the same everywhere; numpy arrays."""
    import numpy as np

    from jaxlt.data.rows.packing import join, pack

    rng = np.random.default_rng(0)
    count = case.rows * 8
    # Of a third of a row at most, targets as long as their inputs: rows come out nearly full.
    shares = rng.uniform(1 / 12, 1 / 3, count)
    sizes = [np.ceil(shares * width).astype(np.int64) for width in (case.inputs, case.targets)]
    widths = case.inputs, case.targets
    plan = pack(np.stack(sizes, 1), widths, np.zeros(count, np.int64))
    assert plan.rows >= case.rows, "too few examples to fill the batch"
    chosen = plan.members[: plan.starts[case.rows]]
    row = np.repeat(np.arange(case.rows), np.diff(plan.starts[: case.rows + 1]))

    def text(width: int, lengths: np.ndarray) -> np.ndarray:
        tokens = rng.integers(3, SHAPES[case.shape][0], (len(lengths), width)).astype(np.int32)
        return np.where(np.arange(width) < lengths[:, None], tokens, 0)

    source, target = (
        text(w, s[chosen]) for w, s in zip((case.inputs, case.targets), sizes, strict=True)
    )
    fields = {
        "encoder_input_tokens": source,
        "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))) * (target > 0),
        "decoder_target_tokens": target,
        "decoder_loss_weights": (target > 0).astype(np.float32),
        "target_bytes": (target > 0).sum(-1).astype(np.int32),
    }
    batch = join(fields, row, case.rows, np.zeros(len(row), np.int32))
    language = np.zeros(case.rows, np.int32)
    return batch | {"language": language, "row": np.arange(case.rows, dtype=np.int32)}


def peak_side(case: Case) -> dict[str, Any]:
    """FLOP a second of a bf16 matrix product of random numbers: jax's, and torch's if there is."""
    import jax
    import jax.numpy as jnp

    size = 8192 if case.device == "gpu" else 256
    keys = jax.random.split(jax.random.key(0), 2)
    a, b = (jax.random.normal(key, (size, size), jnp.bfloat16) for key in keys)
    product = jax.jit(jnp.matmul)

    def run(count: int) -> None:
        for _ in range(count):
            out = product(a, b)
        out.block_until_ready()

    found = {"jax": 2 * size**3 / timed(run, case)["fastest"]}
    device = jax.devices()[0]
    facts = {
        "device": device.device_kind,
        "platform": device.platform,
        "jax_version": jax.__version__,
    }
    try:
        import torch
    except ImportError:
        return facts | {"peak": found["jax"], "peaks": found}
    where = "cuda" if case.device == "gpu" else "cpu"
    if where == "cpu" or torch.cuda.is_available():
        x, y = (torch.randn(size, size, device=where, dtype=torch.bfloat16) for _ in range(2))

        def run_torch(count: int) -> None:
            for _ in range(count):
                x @ y
            wait(case)

        found["torch"] = 2 * size**3 / timed(run_torch, case)["fastest"]
    facts["torch_version"] = torch.__version__
    return facts | {"peak": max(found.values()), "peaks": found}


def wait(case: Case) -> None:
    """Until torch's work is done."""
    import torch

    if case.device == "gpu":
        torch.cuda.synchronize()


def model_of(case: Case) -> Any:
    """jaxlt's config of a case."""
    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.lora import LoRA
    from jaxlt.modules.site import plug

    plugs = {
        "full": (),
        "bottleneck": (plug(Bottleneck, "task", reduction_factor=REDUCTION),),
        "lora": (plug(LoRA, "task", rank=RANK, sites=("query", "value")),),
    }[case.method]
    vocabulary, width, mlp, heads, layers, head = SHAPES[case.shape]
    return T5Config(
        vocabulary,
        width,
        mlp,
        heads,
        layers,
        layers,
        head_dim=head,
        dtype="bfloat16",
        remat=case.remat,
        attention=case.attention,
        plugs=plugs,
    )


def jaxlt_side(case: Case) -> dict[str, Any]:
    """The trainer's own compiled step; what is frozen is kept in bf16."""
    import jax
    import jax.numpy as jnp

    from jaxlt.engine.log.flops import step_flops
    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build

    model, frozen = model_of(case), case.method != "full"
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    spec = StepSpec(
        model,
        LossConfig(),
        OptimizerConfig(name="adamw"),
        mesh,
        MeshConfig().rules,
        trainable=("modules/.*",) if frozen else (".*",),
        frozen_dtype="bfloat16" if frozen else None,
        compiler_options=tuple((name, value) for name, value in case.options),
    )
    program = build(spec)
    state = make_state(program.layout, program.optimizer, 0)
    drawn = packed_batch(case) if case.batch == "packed" else whole_batch(case)
    batch = place_rows([(0, drawn)], case.rows, mesh)
    hyper = Hyper(jnp.float32(1e-4), jnp.uint32(0))
    losses = []

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = program.train(state, batch, hyper)
        losses.append(float(metrics["loss"]))
        jax.block_until_ready(state)

    times = timed(run, case)
    assert all(map(math.isfinite, losses)), losses
    layout = program.layout
    sizes = {n: math.prod(leaf.shape) for n, leaf in layout.leaves.items()}
    trained = sum(sizes[n] for n in layout.trainable)
    share = trained / sum(sizes.values())
    memory = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    text = [(drawn[n] > 0).mean() for n in ("encoder_input_tokens", "decoder_target_tokens")]
    return times | {
        "flops": step_flops(model, case.rows, case.inputs, case.targets, share),
        "trained": trained,
        "parameters": sum(sizes.values()),
        "peak_bytes": int(memory),
        "filled": [float(part) for part in text],
        "loss": losses[-1],
    }


def hf_model(case: Case) -> Any:
    """HF's model of a case, with modules written as plainly as torch has them."""
    import torch

    class Bottleneck(torch.nn.Module):
        """As libraries of adapters plug it in: after each sublayer, before the residual's sum."""

        def __init__(self, inner: torch.nn.Module, width: int):
            super().__init__()
            self.inner = inner
            self.down = torch.nn.Linear(width, width // REDUCTION, bias=False)
            self.up = torch.nn.Linear(width // REDUCTION, width, bias=False)

        def forward(self, x: Any) -> Any:
            y = self.inner(x)
            return y + self.up(torch.nn.functional.silu(self.down(y)))

    class LoRA(torch.nn.Module):
        """Of a projection."""

        def __init__(self, inner: Any):
            super().__init__()
            self.inner = inner
            self.a = torch.nn.Linear(inner.in_features, RANK, bias=False)
            self.b = torch.nn.Linear(RANK, inner.out_features, bias=False)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + self.b(self.a(x))

    model, width = hf_mt5(*SHAPES[case.shape], dropout_rate=0.0).train(), SHAPES[case.shape][1]
    if case.method == "full":
        return model
    model = model.to(torch.bfloat16).requires_grad_(False)
    for part in list(model.modules()):
        attends = hasattr(part, "relative_attention_num_buckets")
        if case.method == "bottleneck" and hasattr(part, "DenseReluDense"):
            part.DenseReluDense = Bottleneck(part.DenseReluDense, width)
        elif case.method == "bottleneck" and attends:
            part.o = Bottleneck(part.o, width)
        elif attends:
            part.q, part.v = LoRA(part.q), LoRA(part.v)
    return model


def hf_side(case: Case) -> dict[str, Any]:
    """HF's training step under bf16 autocast, on rows that are full without being packed."""
    import torch
    import transformers

    where = torch.device("cuda" if case.device == "gpu" else "cpu")
    torch.manual_seed(0)
    with where:  # parameters are drawn where they are needed
        model = hf_model(case)
    if case.remat != "none":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.config.use_cache = False
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    draw = lambda n: torch.randint(3, SHAPES[case.shape][0], (case.rows, n), device=where)  # noqa: E731
    inputs, targets = draw(case.inputs), draw(case.targets)

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(where.type, torch.bfloat16):
                loss = model(input_ids=inputs, labels=targets).loss
            loss.backward()
            optimizer.step()
        assert math.isfinite(loss.item())
        wait(case)

    times = timed(run, case)
    memory = torch.cuda.max_memory_allocated() if case.device == "gpu" else 0
    return times | {
        "trained": sum(p.numel() for p in trained),
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_bytes": memory,
        "attention": getattr(model.config, "_attn_implementation", None),
        "transformers_version": transformers.__version__,
    }


SIDES = {"peak": peak_side, "jaxlt": jaxlt_side, "hf": hf_side}


def main(path: str) -> None:
    """Measures one case; a lack of memory is an answer."""
    case = Case(**json.loads(Path(path).read_text(encoding="utf-8")))
    if case.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    if case.side == "peak":  # torch measures beside it
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        found = SIDES[case.side](case)
    except Exception as error:
        if not out_of_memory(f"{type(error).__name__} {error}"):
            raise
        found = {"out_of_memory": True}
    print("done " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
