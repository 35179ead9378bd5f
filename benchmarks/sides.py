"""Two or more sides of a comparison, as processes that take turns; and what benchmarks share.

Each side is a command that sets itself up, prints `ready {json}`, then answers every line `go` on
its standard input with `done {json}` of what it measured. Turns alternate, so a drift of the
machine's speed meets all sides alike. Ratios of medians are what is reported.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Side:
    """One running side."""

    def __init__(self, name: str, command: Sequence[str], cores: Sequence[int]):
        self.name = name
        threads = str(len(cores))
        own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.ready = self._read("ready")
        self.turns: list[dict[str, float]] = []

    def _read(self, word: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word + " "):
                return json.loads(line[len(word) + 1 :])
        raise SystemExit(f"The side '{self.name}' ended before it said '{word}'.")

    def turn(self) -> None:
        """Lets the side do one round of work."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.turns.append(self._read("done"))

    def median(self, key: str) -> float:
        """Median over the turns of what the side reported."""
        return statistics.median(t[key] for t in self.turns)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(step: Callable[[], None], facts: Mapping[str, Any], rounds: int = 1) -> None:
    """The worker's half: warms up, then does `rounds` steps a turn and reports process time."""
    step()
    step()
    print("ready " + json.dumps(dict(facts)), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(rounds):
            step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        done = {"cpu_s": cpu / rounds, "wall_s": wall / rounds, "peak_bytes": peak}
        print("done " + json.dumps(done), flush=True)


def take_turns(commands: Mapping[str, Sequence[str]], turns: int, threads: int) -> dict[str, Side]:
    """Starts the sides by their names, lets them take turns on so many cores, and ends them."""
    sides = {name: Side(name, command, range(threads)) for name, command in commands.items()}
    for _ in range(turns):
        for side in sides.values():
            side.turn()
    for side in sides.values():
        side.close()
    return sides


def flags(doc: str, **numbers: int) -> argparse.ArgumentParser:
    """The command line of a benchmark: --json, and a flag for each of these numbers."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=formatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


def keep(path: Path | None, figures: Any) -> None:
    """Writes figures as JSON where a file is named."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def one_core() -> None:
    """Pins this process to one of the cores that it may use, where the system lets it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


def texts(rows: int, inputs: int, targets: int, vocab: int, seed: int = 0) -> dict[str, Any]:
    """Random texts that fill their rows, all in language 0: the fields of a batch, in numpy."""
    import numpy as np

    rng = np.random.default_rng(seed)
    source, target = (
        rng.integers(3, vocab, (rows, width)).astype(np.int32) for width in (inputs, targets)
    )
    return {
        "encoder_input_tokens": source,
        "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": target,
        "decoder_loss_weights": np.ones(target.shape, np.float32),
        "target_bytes": np.full(rows, targets, np.int32),
        "language": np.zeros(rows, np.int32),
        "row": np.arange(rows, dtype=np.int32),
    }


# Settings of `tiny` on texts of 256 bytes.
TINY = ("TEXT=none", "WORKDIR=none", "INPUTS_LENGTH=256", "DTYPE=float32")
TINY += ("T5Config.scan_layers=False",)


class Trainer(NamedTuple):
    """The trainer's own compiled step over one batch: `step` does one, and waits for it."""

    step: Callable[[], None]
    program: Any
    batch: Any
    facts: dict[str, Any]


def trainer(model: Any, fields: Mapping[str, Any], normalize: Any = None, **spec: Any) -> Trainer:
    """Compiles AdamW's step of a model. spec: more of a StepSpec's settings (`trainable`)."""
    from jaxlt.engine import compilation

    compilation.prepare()
    import jax
    import jax.numpy as jnp

    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build

    mesh = make_mesh(MeshConfig())
    loss = LossConfig(normalize=normalize) if normalize else LossConfig()
    adamw = OptimizerConfig(name="adamw")
    program = build(StepSpec(model, loss, adamw, mesh, MeshConfig().rules, **spec))
    state = make_state(program.layout, program.optimizer, 0)
    batch = place_rows([(0, fields)], len(fields["row"]), mesh)
    hyper = Hyper(jnp.float32(1e-3), jnp.uint32(0))
    facts = {
        "trained": sum(a.size for a in jax.tree.leaves(state.trainable)),
        "frozen_bytes": sum(a.nbytes for a in jax.tree.leaves(state.frozen)),
        "jax": jax.__version__,
    }

    def step() -> None:
        nonlocal state
        state, _ = program.train(state, batch, hyper)
        jax.block_until_ready(state.trainable)

    return Trainer(step, program, batch, facts)


def hf_mt5(
    vocab: int, width: int, mlp: int, heads: int, layers: int, head: int, **more: Any
) -> Any:
    """Hugging Face's mT5 of these sizes, in torch."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(
        vocab_size=vocab,
        d_model=width,
        d_kv=head,
        d_ff=mlp,
        num_layers=layers,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        **more,
    )
    model = MT5ForConditionalGeneration(config)
    # mT5's logits layer is its own; newer transformers tie it whatever the config says.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model
