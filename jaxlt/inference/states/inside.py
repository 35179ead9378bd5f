"""A trained model from inside: scores, states, moments, gradients; interventions and new modules.

predictor.hidden(batch, [-1], "mean")                                            # {12: [B, D]}
quiet = plug(Ablate, "quiet", key="neurons", routes=9)                           # nine sets
edited = predictor.with_plugs(quiet, values={"quiet": {"keep": keep}})           # [9, F]
edited.at("neurons", 4).score(batch)["row_nll"]
edited.at("neurons", 5).decode_tokens(rows, length=32)                           # no compiling
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlt.engine.batch_checks import check_fields, slots_of
from jaxlt.engine.config import BATCH_AXES
from jaxlt.engine.objective import Objective
from jaxlt.engine.partitioning import batch_shards, place_rows
from jaxlt.engine.state import Flat, draw_params
from jaxlt.engine.step import Program, build, mesh_context
from jaxlt.errors import UserError, nearest, some_of
from jaxlt.inference.states import capture
from jaxlt.inference.states.moments import Moments, moments
from jaxlt.models.config import BiLSTMConfig, ModelConfig, T5Config
from jaxlt.models.head_parts import read_field
from jaxlt.modules.interventions import filled
from jaxlt.modules.routing import ALL, FIELDS, LAYER, SLOT, check_indices
from jaxlt.modules.site import Plug


@dataclasses.dataclass(frozen=True)
class Inside:
    """A program and its parameters on the devices, and the slots that every row goes through."""

    program: Program
    params: Flat  # base and modules
    # Batch fields of slots, int32 []: see `at`.
    slots: dict[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.program.spec.model

    def score(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns sums a row, without dropout: row_nll, row_correct, row_weight, ...: each [B].

        batch: host arrays [B, ...], any B; the fields of training.
        """
        rows, given = self._given(batch)
        out = self.program.evaluate(self.params, given)
        return {name: np.asarray(values)[:rows] for name, values in out.items()}

    def _given(self, batch: Mapping[str, np.ndarray]) -> tuple[int, dict[str, Any]]:
        """Host rows, checked -> (how many they are, the same on the devices with `slots`)."""
        check_fields(batch, slots_of(self.config))
        mesh, rows = self.program.spec.mesh, len(batch[read_field(batch)])
        count = -(-rows // batch_shards(mesh)) * batch_shards(mesh)
        return rows, placed(batch, count, mesh) | self.slots

    def hidden(
        self,
        batch: Mapping[str, np.ndarray],
        layers: Iterable[int] | int | None = None,
        reduce: str | None = None,
        **where: Any,
    ) -> dict[int, Any]:
        """Returns {layer: states}, [B, T, D], without dropout; by reduce = 'mean' [B, D].

        layers: 0 the embeddings, n what the n-th block makes of them, before the final norm;
        negative from the end; None for all. The mean is over tokens that are no padding. where, as
        `capture.look` has it: stack = 'decoder'; site = 'mlp_inner' (neurons), 'attention/weights'
        [B, H, T, T], ...; words = True for states at words' first tokens [B, W, D].
        """
        look = capture.look(self.config, batch, layers, **where)
        rows, given = self._given(batch)
        with self._mesh():
            found = capture.hidden(self.config, self.params, given, look, reduce)
        return capture.on_host(found, rows)

    def moments(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        layers: Iterable[int] | int | None = None,
        **where: Any,
    ) -> dict[int, Moments]:
        """Returns {layer: Moments}: count, sum and Gram matrix of a corpus's states.

        batches: of the host, [B, ...]; each shape is compiled once. The rest as `hidden` has it.
        """
        mesh, stream = self.program.spec.mesh, iter(batches)
        first = next(stream, None)
        if first is None:
            raise UserError("There are no moments of no batches: the corpus is empty.")
        look = capture.look(self.config, first, layers, **where)

        def checked() -> Iterator[Mapping[str, np.ndarray]]:
            for batch in itertools.chain([first], stream):
                check_fields(batch, slots_of(self.config))
                yield batch

        split = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))

        def place(values: np.ndarray) -> jax.Array:
            more = -values.shape[1] % batch_shards(mesh)
            widths = [(0, 0), (0, more)] + [(0, 0)] * (values.ndim - 2)
            return jax.device_put(np.pad(values, widths), split)

        with self._mesh():
            return moments(self.config, self.params, checked(), look, self.slots, place)

    def gradients(
        self,
        batch: Mapping[str, np.ndarray],
        layers: Iterable[int] | int | None = None,
        **where: Any,
    ) -> dict[int, Any]:
        """Returns {layer: [B, T, D]}: how the batch's summed loss changes with its states.

        batch: with the fields of training. The rest as `hidden` has it.
        """
        spec, look = self.program.spec, capture.look(self.config, batch, layers, **where)
        rows, given = self._given(batch)
        objective = Objective(self.config, spec.loss, spec.mesh, spec.rules)
        with self._mesh():
            return capture.on_host(capture.gradients(objective, self.params, given, look), rows)

    def _mesh(self) -> Any:
        return mesh_context(self.program.spec.mesh, self.program.spec.rules)

    def with_plugs(
        self,
        *plugs: Plug,
        values: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        seed: int = 0,
    ) -> Self:
        """Returns the same model with interventions or new modules plugged in, after its own.

        values: {plug: {constant: array}}, as `jaxlt.modules.interventions.filled` takes them; what
        is not given is drawn. Many interventions of one kind are slots of one bank, whose plug goes
        by a key of its own (routes = 1144, key = 'subspace'): `at` chooses, and compiles nothing.
        """
        spec = self.program.spec
        if isinstance(spec.model, BiLSTMConfig):
            named = some_of([f"'{p.name}' ({p.method.__name__})" for p in plugs])
            raise UserError(
                f"{named} cannot be plugged into a BiLSTM: plugs work at the sites of a T5's "
                "layers, and it has none. Its states can be looked at: hidden, moments, gradients."
            )
        model = dataclasses.replace(spec.model, plugs=(*spec.model.plugs, *plugs))
        program = build(dataclasses.replace(spec, model=model))
        layout, constants = program.layout, dict[str, np.ndarray]()
        for name, given in (values or {}).items():
            constants |= filled(layout.leaves, name, given)
        known = self.params.keys() | constants.keys()
        params = self.params | draw_params(
            layout, [n for n in layout.leaves if n not in known], seed
        )
        params |= {n: jax.device_put(v, layout.shardings[n]) for n, v in constants.items()}
        return dataclasses.replace(self, program=program, params=params)

    def at(self, key: str, slot: int, layer: int | None = None) -> Self:
        """Returns the same with every row through one slot of the plugs that go by `key`.

        layer: the one place of a stack that they work in, numbered as in `hidden`; None for all.
        Slots and layers are arrays: what was compiled for one serves the others.
        """
        own = [p for p in self.config.plugs if p.routes and p.key not in (*FIELDS, ALL)]
        here = [p for p in own if p.key == key]
        if not here:
            keys = sorted({str(p.key) for p in own})
            raise UserError(
                f"No plug goes by the key '{key}' (keys of slots: {', '.join(keys) or 'none'})."
                f"{nearest(key, keys)}"
            )
        check_indices(np.asarray(slot), min(p.routes for p in here), f"The key '{key}':")
        slots = {n: v for n, v in self.slots.items() if n not in (SLOT + key, LAYER + key)}
        slots[SLOT + key] = np.asarray(slot, np.int32)
        if layer is not None:
            assert isinstance(self.config, T5Config)  # others have no plugs
            most = max(self.config.layers_of(stack) for p in here for stack in p.stacks)
            if not 0 <= layer <= most or any(p.method.shared for p in here):
                raise UserError(
                    f"Key '{key}' cannot work in layer {layer} alone: layers are 0, outside of "
                    f"them, to {most}, and weights that several sites share work in all."
                )
            slots[LAYER + key] = np.asarray(layer, np.int32)
        return dataclasses.replace(self, slots=slots)


def placed(batch: Mapping[str, np.ndarray], count: int, mesh: Mesh) -> dict[str, jax.Array]:
    """Host rows [B, ...] on the devices, numbered, the last one again up to `count` of them."""
    more = count - len(next(iter(batch.values())))
    fields = {
        name: np.pad(values, [(0, more)] + [(0, 0)] * (np.ndim(values) - 1), mode="edge")
        for name, values in batch.items()
    }
    fields["row"] = np.arange(count, dtype=np.int32)
    return place_rows([(0, fields)], count, mesh)
