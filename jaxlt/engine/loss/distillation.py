"""Distillation: another trained model is followed. `LossConfig.auxiliary = [@Distillation()]`.

Distillation.teacher = 'runs/large'           # a run's folder, or one of its checkpoints
Distillation.model = @teacher/T5Config()      # where its sizes are not the student's
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxlt.engine.checkpoint import store
from jaxlt.engine.checkpoint.base import CheckpointBase
from jaxlt.engine.checkpoint.fit import explain
from jaxlt.engine.loss.losses import chunk_length
from jaxlt.engine.objective import Network, at_places
from jaxlt.engine.open import Auxiliary
from jaxlt.engine.partitioning import batch_shards
from jaxlt.errors import UserError, check_one_of
from jaxlt.identity import PLACED
from jaxlt.models.config import BiLSTMConfig, T5Config
from jaxlt.models.encoder import PLACES, target_fields
from jaxlt.models.init import Leaf, describe
from jaxlt.models.manual import by_hand
from jaxlt.models.t5 import logits_of
from jaxlt.modules.delta_files import Stored
from jaxlt.modules.layout import is_scanned, layer_name

Array = jax.Array
Batch = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Distillation(Auxiliary):
    """The model is drawn to what a teacher makes of the same batch, without dropout.

    The teacher is the backbone of a run (its heads, modules and deltas are no part of it); it reads
    the student's tokens, and stays as it is.

    of: 'logits': temperature^2 * KL(teacher || student) of softmax(logits / temperature), the mean
        over target tokens; `distillation/agree`: how often both have the same best. 'states': the
        mean square of the difference of the encoder's states, over tokens.
    model: the teacher's config; None: the student's own, without what is plugged in.
    """

    teacher: str = dataclasses.field(default="", metadata=PLACED)
    of: str = "logits"
    temperature: float = 1.0
    model: T5Config | None = None
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            raise UserError("Distillation.teacher is not set: give the folder of a jaxlt run.")
        check_one_of("Distillation.of", self.of, ("logits", "states"))
        if not self.temperature > 0:
            raise UserError(f"Distillation.temperature is {self.temperature}; it is above 0.")

    def check(self, model: Any) -> None:
        """The teacher has to give what the student is compared with."""
        if isinstance(model, BiLSTMConfig):
            raise UserError("Distillation follows a T5Config, and this model is a BiLSTM.")
        if self.of == "logits" and model.heads:
            raise UserError(
                "Distillation follows logits over a vocabulary, and this model has heads: set "
                "Distillation.of = 'states', or leave T5Config.heads out."
            )
        teacher = self._teacher(model)
        for field in ("emb_dim",) if self.of == "states" else ("vocab_rows", "is_encoder"):
            own, other = getattr(model, field), getattr(teacher, field)
            if own != other:
                raise UserError(
                    f"Distillation.of = '{self.of}' needs a teacher of the same {field} as the "
                    f"student: T5Config.{field} is {other} of the teacher and {own} of the student."
                )

    def leaves(self, model: Any) -> Mapping[str, Leaf]:
        """The teacher's parameters, 'params/...', read from its checkpoint."""
        found = describe(self._teacher(model))
        return {
            name: dataclasses.replace(
                leaf, init=Saved(self.teacher, name.removeprefix("params/"), leaf.shape)
            )
            for name, leaf in found.items()
            if self.of == "logits" or not name.startswith("params/mlm_head/")
        }

    def __call__(
        self, network: Network, params: dict[str, Any], batch: Batch, key: Any
    ) -> tuple[Array, dict[str, Array]]:
        model = network.objective.model
        teacher = network.of(self._teacher(model))
        own = jax.lax.stop_gradient(network.own(self, params))
        if self.of == "states":
            with by_hand(None):
                wanted = teacher.states(own, batch, None).astype(jnp.float32)
            apart = network.states(params, batch, key).astype(jnp.float32) - wanted
            there = (batch["encoder_input_tokens"] > 0).astype(jnp.float32)
            return jnp.sum(jnp.mean(jnp.square(apart), -1) * there), {"weight_sum": jnp.sum(there)}
        weights = batch[target_fields(model)[1]].astype(jnp.float32)
        student = network.hidden(params, batch, key)
        with by_hand(None):
            followed = teacher.hidden(own, batch, None)
        states = [student.states, followed.states, weights]
        if PLACES in batch:
            states = [at_places(x, batch[PLACES]) for x in states]
        rows, length = states[2].shape
        vocab = student.kernel.shape[0 if student.transposed else 1]
        shards = batch_shards(network.objective.mesh)
        size = chunk_length(network.objective.loss, 2 * rows, length, vocab, shards)  # of both

        def add(sums: Any, chunk: Any) -> tuple[Any, None]:
            ours, theirs = (
                logits_of(hidden._replace(states=x))
                for hidden, x in zip((student, followed), chunk[:2], strict=True)
            )
            lost, agree = divergence(ours, theirs, self.temperature)
            return (sums[0] + jnp.sum(lost * chunk[2]), sums[1] + jnp.sum(agree * chunk[2])), None

        zero = jnp.float32(0.0)
        chunks = tuple(_in_chunks(x, size or length) for x in states)
        (total, agree), _ = jax.lax.scan(jax.checkpoint(add), (zero, zero), chunks)
        return total, {"weight_sum": jnp.sum(weights), "agree": agree}

    def _teacher(self, model: Any) -> T5Config:
        """The teacher's config; of 'states' that of its encoder alone."""
        whole = self.model or model
        off = {f.name: 0.0 for f in dataclasses.fields(whole) if f.name.endswith("dropout")}
        layers = 0 if self.of == "states" else whole.decoder_layers
        taught: T5Config = dataclasses.replace(
            whole, plugs=(), deltas=(), heads=(), decoder_layers=layers, **off
        )
        return taught


def divergence(ours: Array, theirs: Array, temperature: float) -> tuple[Array, Array]:
    """Logits [..., V] -> (temperature^2 * KL(theirs || ours), have both the same best) [...]."""
    p, q = (jax.nn.log_softmax(x / temperature, axis=-1) for x in (theirs, ours))
    lost = temperature**2 * jnp.sum(jnp.exp(p) * (p - q), axis=-1)
    return lost, (jnp.argmax(ours, -1) == jnp.argmax(theirs, -1)).astype(jnp.float32)


def _in_chunks(x: Array, size: int) -> Array:
    """[B, T, ...] -> [chunks, B, size, ...], T filled up with zeros."""
    count = -(-x.shape[1] // size)
    x = jnp.pad(x, ((0, 0), (0, count * size - x.shape[1])) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)


@dataclasses.dataclass(frozen=True)
class Saved(Stored):
    """The start of a leaf that is one of another run's backbone; path: of that run."""

    def __call__(self) -> np.ndarray:
        """Returns the array [*shape] of the run's newest checkpoint, layers stacked."""
        folder = store.absolute(epath.Path(self.path))
        base = _opened(self.path, tuple(store.steps_in(folder / "checkpoints")))
        name, shape = self.array, self.shape
        scanned = is_scanned(name)
        units = [layer_name(name, i) for i in range(shape[0])] if scanned else [name]
        for unit in units:
            found, wanted = base.shapes.get(unit), shape[1:] if scanned else shape
            if found != wanted:
                raise UserError(
                    f"Distillation.teacher = '{self.path}' has no parameter '{unit}' "
                    f"{list(wanted)} in its backbone{f', but {list(found)}' if found else ''}. "
                    f"Compare {explain(unit, found, wanted)}; a teacher of other sizes than the "
                    "student's is said by Distillation.model = @teacher/T5Config()."
                )
        values = [base.read(unit) for unit in units]
        return np.stack(values) if scanned else values[0]


@functools.lru_cache(maxsize=1)  # for all leaves of a teacher; a run that goes on is opened again
def _opened(path: str, steps: tuple[int, ...]) -> CheckpointBase:
    try:
        base = CheckpointBase(path)
    except UserError as error:
        raise UserError(f"Distillation.teacher: {error}") from None
    names = store.saved_leaves(store.read_record(epath.Path(base.origin["path"])))
    more = [n for n in names if n.startswith(("trainable/modules/", "trainable/deltas/"))]
    if more:
        raise UserError(
            f"Distillation.teacher = '{path}' trained modules or deltas ('{more[0]}'), which a "
            "teacher does not have: give a run that trained its backbone."
        )
    return base
