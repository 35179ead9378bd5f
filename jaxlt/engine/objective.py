"""What a step descends: the loss of a batch, its sums by name, and its gradients.

    objective = Objective(model, loss, mesh, rules)
    total, sums = objective(params, batch, key)       # summed over the batch, not yet normalised
    grads, sums = objective.gradients(trainable, frozen, batch, (), key, scale)
    rows = objective.rows(params, batch)              # held-out: sums a row, and heads' predictions

params are flat. All that an objective holds is fixed while tracing.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxlt.engine.config import LossConfig, Rules
from jaxlt.engine.loss.losses import by_language, cross_entropy, language_sums, normalizer
from jaxlt.engine.loss.shared import cross_entropy_shared
from jaxlt.engine.open import LOSSES, Auxiliary, Parts
from jaxlt.engine.optim.routes import Cut, cut_down
from jaxlt.engine.partitioning import batch_parts, batch_shards, spec_for
from jaxlt.errors import UserError, nearest
from jaxlt.models.config import BiLSTMConfig, ModelConfig
from jaxlt.models.encoder import PLACES, loss_weights, model_of, target_fields
from jaxlt.models.heads import heads_loss, heads_predictions
from jaxlt.models.init import unflatten
from jaxlt.models.layers import constrain, make_context
from jaxlt.models.manual import Manual, by_hand, manual_now
from jaxlt.models.t5 import Hidden
from jaxlt.models.traced import Traced, now
from jaxlt.modules.deltas import applied

# Batch field [B, T]: the loss's weights where they are not the data's; under heads a row's, [B].
LOSS_WEIGHTS = "loss_weights"
Batch = Mapping[str, jax.Array]
Flat = dict[str, Any]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Network:
    """How a loss beside the main one reads the model, whatever banks have been cut down."""

    objective: "Objective"
    cuts: tuple[Cut, ...]

    def states(self, params: Flat, batch: Batch, key: jax.Array | None) -> jax.Array:
        """[B, S, D] of the encoder's tokens; key: of dropout."""
        states = self.objective.forward(params, batch, key, self.cuts, "encode")
        return states[:, -batch["encoder_input_tokens"].shape[1] :]

    def hidden(self, params: Flat, batch: Batch, key: jax.Array | None) -> Hidden:
        """The states before the logits and the logits' kernel, of a model without heads."""
        hidden: Hidden = self.objective.forward(params, batch, key, self.cuts, "hidden")
        return hidden

    def own(self, one: Auxiliary, params: Flat) -> Flat:
        """Of all parameters those that are a loss's own, by the names that it gave them."""
        start = f"{LOSSES}{one.name}/"
        return {n.removeprefix(start): v for n, v in params.items() if n.startswith(start)}

    def of(self, model: ModelConfig) -> "Network":
        """The same of another model, which has no banks and does not train."""
        return Network(dataclasses.replace(self.objective, model=model, manual=None), ())


@dataclasses.dataclass(frozen=True)
class Objective:
    """Language modelling, or the losses of the model's heads.

    manual: how a training step runs the layers by hand, where it does. accumulate,
    rows_per_device: in how many parts `gradients` takes a batch. between: of what it gives
    gradients side by side, [K, ...], in place of their sum.
    """

    model: ModelConfig
    loss: LossConfig
    mesh: Mesh
    rules: Rules
    manual: Manual | None = None
    accumulate: int = 1
    rows_per_device: int | None = None
    between: Parts | None = None

    @functools.cached_property
    def network(self) -> Any:
        """What the model's config describes, as a module of flax."""
        return model_of(self.model)

    def __call__(
        self,
        params: Flat,
        batch: Batch,
        key: jax.Array | None = None,
        cuts: tuple[Cut, ...] = (),
    ) -> tuple[jax.Array, Metrics]:
        """Summed, not yet normalised loss of a batch, and its sums for reporting.

        key: of dropout, where there is to be any. cuts: the banks among `params` that have been
        cut down to some of their slots.
        """
        if self.model.heads:
            outputs = self.forward(params, batch, key, cuts, "outputs")
            return heads_loss(self.model.heads, outputs, batch, batch.get(LOSS_WEIGHTS))
        hidden = self.forward(params, batch, key, cuts, "hidden")
        targets, weights = target_fields(self.model)
        given = (batch[targets], batch.get(LOSS_WEIGHTS, batch[weights]), batch[weights])
        if PLACES in batch:
            hidden = hidden._replace(states=at_places(hidden.states, batch[PLACES]))
            target, weight, counted = (at_places(x, batch[PLACES]) for x in given)
            given = (target, weight, counted)
        manual = manual_now()
        divided = manual and hidden.kernel.shape[0] % self.mesh.shape[manual.axis] == 0
        if manual and divided and not hidden.transposed:
            return cross_entropy_shared(
                self.loss, manual, self.mesh, hidden.states, hidden.kernel, *given
            )
        return cross_entropy(
            self.loss,
            hidden.states,
            hidden.kernel,
            *given[:2],
            counted=given[2],
            transposed=hidden.transposed,
            batch_shards=batch_shards(self.mesh),
            vocab_shards=self._vocab_shards(),
        )

    def gradients(
        self,
        trainable: Flat,
        frozen: Flat,
        batch: Batch,
        cuts: tuple[Cut, ...],
        key: jax.Array | None,
        scale: jax.Array,
    ) -> tuple[Flat, Metrics]:
        """Gradients of scale * summed loss / normaliser, and the sums; accumulated where asked."""
        weights = loss_weights(self.model, batch)
        divisor = reported = normalizer(self.loss, weights, len(weights))
        if self.loss.normalize == "languages":
            batch, languages = self._by_language(batch, weights)
            reported = jnp.maximum(languages, 1).astype(jnp.float32)

        count = batch_parts(len(weights), self.mesh, self.accumulate, self.rows_per_device)
        wholes = (
            None if count == 1 else self._weights_beside({**frozen, **trainable}, batch, key, cuts)
        )

        def loss(params: Flat, part: Batch, only: int | None = None) -> tuple[jax.Array, Metrics]:
            whole = {**frozen, **params}
            with by_hand(self.manual):
                total, sums = self(whole, part, key, cuts)
                more, told = self._beside(whole, part, key, cuts, wholes)
            report = {"loss_sum": total, **told}
            report |= {k: sums[k] for k in ("nll_sum", "z_sum", "correct_sum", "weight_sum")}
            values = [total * (scale / divisor), *(scale * mean for mean in more)]
            return functools.reduce(jnp.add, values) if only is None else values[only], report

        def grads_of(part: Batch, only: int | None = None) -> tuple[Flat, Metrics]:
            return _accumulated(functools.partial(loss, only=only), trainable, part, count)

        if self.between is None:
            grads, sums = grads_of(batch)
        elif self.between.of == "objectives":
            each = [grads_of(batch, i) for i in range(1 + len(self.loss.auxiliary))]
            grads, sums = jax.tree.map(lambda *g: jnp.stack(g), *(g for g, _ in each)), each[0][1]
        else:
            grads, sums = self._by_group(grads_of, batch)
        return grads, sums | {"divisor": reported}

    def _beside(
        self,
        params: Flat,
        batch: Batch,
        key: jax.Array | None,
        cuts: tuple[Cut, ...],
        wholes: Mapping[str, jax.Array] | None = None,
    ) -> tuple[list[jax.Array], Metrics]:
        """The weighted means of the losses beside the main one; '<name>/<sum>': their sums.

        wholes: what to divide by, where this batch is a part of one; else its own weights.
        """
        costs: list[jax.Array] = []
        told: Metrics = {}
        for one in self.loss.auxiliary:
            total, sums = one(Network(self, cuts), params, batch, key)
            if "weight_sum" not in sums:
                raise UserError(
                    f"The objective {type(one).__name__} returned no 'weight_sum' among its sums "
                    f"({', '.join(sums) or 'none'}): what its sum over a batch is to be divided "
                    f"by, such as how many rows it is over.{nearest('weight_sum', sums)}"
                )
            sums = jax.lax.stop_gradient({"sum": total, **sums})
            told |= {f"{one.name}/{k}": v for k, v in sums.items()}
            weight = sums["weight_sum"] if wholes is None else wholes[one.name]
            costs.append(total * (now(one.weight) / jnp.where(weight > 0, weight, 1.0)))
        return costs, told

    def _weights_beside(
        self, params: Flat, batch: Batch, key: jax.Array | None, cuts: tuple[Cut, ...]
    ) -> Metrics:
        """The weights of a whole batch by objective; where these need no pass, none is compiled."""
        with by_hand(self.manual):
            _, told = self._beside(params, batch, key, cuts)
        return {one.name: told[f"{one.name}/weight_sum"] for one in self.loss.auxiliary}

    def _by_group(self, grads_of: Any, batch: Batch) -> tuple[Flat, Metrics]:
        """Gradients [K, ...] of each language of a batch, and the sums of all."""
        assert self.between is not None
        language = batch.get("language")
        if language is None:
            raise UserError("PCGrad between languages needs the batch's field 'language'.")
        _, place = jnp.unique(language, size=language.size, return_inverse=True)
        group = jnp.minimum(place.reshape(language.shape), self.between.most - 1)
        weights = batch.get(LOSS_WEIGHTS)
        if weights is None:
            weights = (
                jnp.ones(len(language)) if self.model.heads else batch[target_fields(self.model)[1]]
            )
        if group.ndim < weights.ndim:
            group = group[:, None]

        def of(index: jax.Array) -> tuple[Flat, Metrics]:
            return grads_of({**batch, LOSS_WEIGHTS: jnp.where(group == index, weights, 0)})

        grads, sums = jax.lax.map(of, jnp.arange(min(self.between.most, len(language))))
        # What is counted goes by the data's weights, so each pass has counted all of it.
        return grads, {n: jnp.sum(v) if n == "loss_sum" else v[0] for n, v in sums.items()}

    def rows(self, params: Flat, batch: Batch) -> Metrics:
        """Per-row sums without dropout, the fields that tell whose they are, heads' predictions."""
        predictions: Metrics = {}
        if self.model.heads:
            outputs = self.forward(params, batch, None, (), "outputs")
            _, sums = heads_loss(self.model.heads, outputs, batch)
            predictions = heads_predictions(self.model.heads, outputs, batch)
        else:
            _, sums = self(params, batch)
        weight = jnp.sum(loss_weights(self.model, batch), axis=-1)
        out = {"row_nll": sums["row_nll"], "row_correct": sums["row_correct"], "row_weight": weight}
        out["language"] = batch.get("language", jnp.zeros(weight.shape, jnp.int32))
        if "target_bytes" in batch:
            out["target_bytes"] = batch["target_bytes"]
        return out | predictions

    def forward(
        self,
        params: Flat,
        batch: Batch,
        key: jax.Array | None,
        cuts: tuple[Cut, ...],
        method: str,
    ) -> Any:
        """What a method of the model makes of a batch."""
        params = {n: v for n, v in params.items() if not n.startswith(LOSSES)}
        rates = dropouts(self.model)
        ctx = make_context(batch, key if any(rates.values()) else None)
        if ctx.dropout_key is not None:
            keeps = {rate.name: now(rate) for rate in rates.values() if isinstance(rate, Traced)}
            ctx = ctx.replace(keeps=keeps)
        if self.model.deltas:
            params = applied(params, self.model.deltas, key)
        if cuts:
            params, ids = cut_down(params, ctx.ids, cuts)
            ctx = ctx.replace(ids=ids)
        return self.network.apply(unflatten(params), batch, ctx, method=method)

    def _vocab_shards(self) -> int:
        """How many ways the logits are split over the vocabulary."""
        assert not isinstance(self.model, BiLSTMConfig)  # it has no logits over a vocabulary
        axes = spec_for((self.model.vocab_rows,), ("vocab",), self.rules, self.mesh)[0] or ()
        return math.prod(self.mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes))

    def _by_language(self, batch: Batch, weights: jax.Array) -> tuple[Batch, jax.Array]:
        """The batch with LOSS_WEIGHTS by which each language's loss is its mean; how many."""
        if not self.model.heads:
            weights, count = by_language(weights, batch["language"])
        else:  # all labels of a row are of one language, so rows are what is weighed
            of_rows = jnp.sum(weights, axis=-1, keepdims=True)
            own, count = language_sums(of_rows, batch["language"])
            weights = 1.0 / own
        return {**batch, LOSS_WEIGHTS: weights}, count


def means(name: str, sums: Metrics) -> Metrics:
    """What is told of a loss beside the main one: its mean under its name, and of its other sums.

    {'a/sum': 6, 'a/weight_sum': 3, 'a/correct': 2} -> {'a': 2, 'a/correct': 0.667}
    """
    own = {n.partition("/")[2]: v for n, v in sums.items() if n.startswith(f"{name}/")}
    weight = own.pop("weight_sum")
    divided = {k: v / jnp.maximum(weight, 1.0) for k, v in own.items()}
    return {name: divided.pop("sum"), **{f"{name}/{k}": v for k, v in divided.items()}}


def dropouts(model: ModelConfig) -> dict[str, float]:
    """The rates of dropout of a model and its heads, by the names that they go by as marks."""
    fields = [f.name for f in dataclasses.fields(model) if f.name.endswith("dropout")]
    rates = {f"model.{field}": getattr(model, field) for field in fields}
    return rates | {f"heads.{head.name}.dropout": head.dropout for head in model.heads}


def at_places(values: jax.Array, places: jax.Array) -> jax.Array:
    """What stands at each row's places: [B, T, ...] at [B, P] -> [B, P, ...]."""
    return jnp.take_along_axis(values, places.reshape(*places.shape, *(1,) * (values.ndim - 2)), 1)


def _accumulated(
    loss: Callable[[Flat, Batch], tuple[jax.Array, Metrics]],
    trainable: Flat,
    batch: Batch,
    count: int,
) -> tuple[Flat, Metrics]:
    """(gradients, sums) of a loss over a batch that is taken in `count` parts."""
    grad = jax.grad(loss, has_aux=True)
    if count == 1:
        return grad(trainable, batch)

    def add(total: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, grad(trainable, part)), None

    parts = _microbatches(batch, count)
    zeros = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype),
        jax.eval_shape(grad, trainable, {k: v[0] for k, v in parts.items()}),
    )
    return jax.lax.scan(add, zeros, parts)[0]


def _microbatches(batch: Batch, count: int) -> Batch:
    """[B, ...] -> [count, B / count, ...]; microbatch a takes rows a, a + count, ...

    Strided, so that each device's rows stay on it; which rows meet does not matter to the sum.
    """

    def split(x: jax.Array) -> jax.Array:
        x = jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)
        return constrain(x, None, "batch", *(None,) * (x.ndim - 2))

    return {name: split(x) for name, x in batch.items()}
