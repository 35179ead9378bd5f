"""A trained run as a function: its parameters on the devices at hand, without the optimizer.

    predictor = open_predictor(run, program_of(run), run.workdir, step="best", base=base)
    predictor.decode_tokens([ids_of_a_text, ids_of_another], length=32)
    predictor.score(batch)["row_nll"]

Rows are batched by length: they are sorted, a batch is as wide as its longest row asks for, and
widths are few, so that few shapes are compiled.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath

from jaxlt import progress
from jaxlt.data.inventory import Inventory
from jaxlt.data.near import nearest_language
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.fingerprint import fingerprint_of, modules_of
from jaxlt.engine.decode.config import EOS, DecodingConfig
from jaxlt.engine.decode.decoding import Decoded, decode
from jaxlt.engine.decode.trie import Trie
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import batch_shards, place_rows
from jaxlt.engine.resume import Position, frozen_part, position_of
from jaxlt.engine.state import BaseSource, Flat, draw_params, load_base
from jaxlt.engine.step import Program, mesh_context, without_losses
from jaxlt.errors import UserError
from jaxlt.inference.compose import Composed
from jaxlt.inference.states.inside import Inside
from jaxlt.metrics.result import Module
from jaxlt.models.config import T5Config
from jaxlt.modules.deltas import check_start
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.routing import FIELDS, check_indices

_NARROWEST = 16


class Codec(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str) -> np.ndarray:
        """Returns ids [n], without eos."""
        ...

    def decode(self, ids: np.ndarray) -> str:
        """Returns the text of ids."""
        ...


@dataclasses.dataclass(frozen=True)
class Predictor(Inside):
    """Parameters of a run at a step, and what is known of how they came about."""

    step: int
    seed: int
    languages: tuple[str, ...]  # names by the ids that routes go by; () where none are known
    start: Fingerprint  # of the backbone as the run found it
    vocabulary: str = ""  # fingerprint of the vocabulary it was trained with, where known
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)  # the run's last
    trained: int = 0  # parameters that the run trained
    # Modules of a library that fill plugs, by the plugs' names.
    chosen: dict[str, str] = dataclasses.field(default_factory=dict)
    inventory: Inventory | None = None  # names of the labels, where no folder holds them

    @property
    def base_fingerprint(self) -> str:
        """Of the whole backbone as the run found it."""
        return self.start.whole

    @functools.cached_property
    def modules(self) -> tuple[Module, ...]:
        """What is plugged into the backbone or added to it: names as resolved, content hashes."""
        return modules_of(self.config, self.params, self.chosen)

    @property
    def is_routed(self) -> bool:
        """True where a row's language or task decides which module serves it."""
        return any(self.routed_by(key) for key in FIELDS)

    def routed_by(self, key: str) -> bool:
        """Whether a plug goes by 'source', 'target' or 'task'."""
        return any(plug.routes and plug.key == key for plug in self.config.plugs)

    def backbone(self) -> Fingerprint:
        """Fingerprint of the backbone as it is here: a run may have trained it."""
        return fingerprint_of({n: v for n, v in self.params.items() if n.startswith("params/")})

    def language_id(self, name: str) -> int:
        """Returns the id of a language; an unknown one is a UserError."""
        if name not in self.languages:
            known = ", ".join(self.languages) or "none"
            raise UserError(
                f"The model was not trained on a language '{name}'."
                f"{nearest_language(name, self.languages)} Its languages: {known}."
            )
        return self.languages.index(name)

    def decode_tokens(
        self, rows: Sequence[np.ndarray], length: int, **settings: Any
    ) -> list[np.ndarray]:
        """`decode_best`, of which only each row's best tokens [<= length] are returned."""
        return [best[0] for best in self.decode_best(rows, length, **settings)]

    def decode_best(
        self,
        rows: Sequence[np.ndarray],
        length: int,
        *,
        batch_size: int = 32,
        languages: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        tasks: Sequence[int] | None = None,
        decoding: DecodingConfig | None = None,
        numbers: Sequence[int] | None = None,
        forced: Sequence[int] = (),
        trie: Trie | None = None,
        label_sets: Sequence[int] | None = None,
    ) -> list[list[np.ndarray]]:
        """Decodes; returns each row's best token sequences, as many as decoding.returns, in order.

        rows: input ids, each ended by eos. languages, targets, tasks: ids a row of the inputs'
        language, the outputs' and the task, where modules are routed by them. decoding: greedy
        unless given; draws depend on seed and number of a row alone (`numbers`; 0, 1, ... unless
        given). forced: tokens that each output begins with. trie: what may follow, and `label_sets`
        which of its sets a row decodes into. A sequence of `length` tokens has not ended.
        """
        how = dataclasses.replace(decoding or DecodingConfig(), length=length)
        by_row = {"language": languages, "target_language": targets, "task": tasks}
        model = self._decoder(rows, by_row)
        by_row |= {"row": numbers or range(len(rows)), "label_set": label_sets}
        shards = batch_shards(self.program.spec.mesh)
        batch_size = max(1, batch_size // shards) * shards
        longest = max((len(row) for row in rows), default=0)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        out: list[list[np.ndarray]] = [[]] * len(rows)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            width = next(w for w in widths(longest) if w >= len(rows[chosen[0]]))
            if model.positions == "absolute":
                width = min(width, model.max_positions)
            # The last batch is filled by its first row again: that one's end is waited for anyway.
            size = shards
            while size < len(chosen):
                size = min(2 * size, batch_size)
            several = chosen + [chosen[0]] * (size - len(chosen))
            fields = {"encoder_input_tokens": filled([rows[i] for i in several], width)}
            fields |= {
                name: np.array([values[i] for i in several], np.int32)
                for name, values in by_row.items()
                if values is not None
            }
            if len(forced):
                fields["decoder_prefix_tokens"] = np.tile(np.array(forced, np.int32), (size, 1))
            decoded = self._decoded(model, fields, how, trie)
            for r, i in enumerate(chosen):
                out[i] = _ended(decoded.tokens[r], decoded.scores[r])
            progress.advance(len(chosen))
        return out

    def _decoded(
        self,
        model: T5Config,
        fields: Mapping[str, np.ndarray],
        how: DecodingConfig,
        trie: Trie | None,
    ) -> Decoded:
        spec = self.program.spec
        rows = place_rows([(0, fields)], len(fields["encoder_input_tokens"]), spec.mesh)
        with mesh_context(spec.mesh, spec.rules):
            return decode(model, self.params, rows | self.slots, how, trie)

    def _decoder(
        self, rows: Sequence[np.ndarray], ids_of: Mapping[str, Sequence[int] | None]
    ) -> T5Config:
        """Returns the config of a model that decodes these rows, with these ids of them."""
        model = self.config
        if not isinstance(model, T5Config) or model.is_encoder:
            raise UserError(
                "This model is an encoder alone (T5Config.decoder_layers = 0): it has no decoder "
                "that could write text."
            )
        limit = model.max_positions
        if model.positions == "absolute" and any(len(row) > limit for row in rows):
            raise UserError(f"T5Config.max_positions = {limit} is less than the longest input.")
        for plug in self.config.plugs:
            if not (plug.routes and plug.key in FIELDS):
                continue
            ids = ids_of[FIELDS[plug.key]]
            if ids is None:
                what = {"source": "the language", "target": "the language of the output"}
                known = f"one of {', '.join(self.languages)}"
                raise UserError(
                    f"Plug '{plug.name}' goes by {what.get(plug.key, 'the task')}, so each text "
                    f"needs {known if plug.key in what else 'the number of one'}."
                )
            named = "Task" if plug.key == "task" else "Language"
            check_indices(np.asarray(ids, np.int64), plug.routes, named)
        return model


def _ended(tokens: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Sequences [N, T] of a row up to their ends; what a beam search only filled up with is out."""
    out = []
    for one in tokens[np.isfinite(scores)] if np.isfinite(scores[0]) else tokens[:1]:
        ends = np.flatnonzero(one == EOS)
        out.append(one[: ends[0] if len(ends) else len(one)])
    return out


def filled(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Rows of ids as one array [n, width], with padding (0) at their ends."""
    out = np.zeros((len(rows), width), np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def widths(longest: int) -> list[int]:
    """Widths of batches: 16, 32, 64, ... up to the first that holds `longest` tokens."""
    out = [_NARROWEST]
    while out[-1] < longest:
        out.append(2 * out[-1])
    return out


def encode(
    codec: Codec,
    text: str,
    limit: int,
    truncate: bool = False,
    what: str = "The text",
    advice: str = "Shorten it, or raise that length.",
) -> tuple[np.ndarray, bool]:
    """Returns ids [n <= limit] int32 ended by eos, and whether the text was cut.

    what, advice: how an error over a text that is too long names it, and what it ends with.
    """
    try:
        ids = codec.encode(text)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    if len(ids) >= limit and not truncate:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise UserError(
            f"{what} has {len(ids) + 1} tokens with the end mark, more than the {limit} that the "
            f"model reads (DataConfig.inputs_length): '{shown}'. {advice}"
        )
    kept = ids[: limit - 1]
    return np.append(kept, EOS).astype(np.int32), len(kept) < len(ids)


def open_predictor(
    job: Any,
    program: Program,
    workdir: epath.PathLike,
    step: int | str | None = None,
    base: BaseSource | None = None,
) -> Predictor:
    """Reads the run of a workdir: its newest checkpoint, that of a step, or the 'best'.

    base: where the frozen part was imported from (its content hash is checked); needed only where
    something is frozen. Step 0 is the run as it starts, whether or not it was saved: the base where
    there is one, the rest drawn from the seed.
    """
    program, checkpoints = without_losses(program), Checkpoints(workdir, job.checkpoint)
    chosen = resolve_step(checkpoints, step)
    if chosen == 0 and 0 not in checkpoints.steps():
        return _at_start(job, program, base)
    layout = program.layout
    wanted = {"trainable": layout.abstract(layout.trainable)}
    arrays, meta = checkpoints.restore(chosen, wanted, part=True)
    position = position_of(meta)
    frozen = frozen_part(job, program, checkpoints, base, position)
    return predictor_at(program, {**frozen, **arrays["trainable"]}, position)


def predictor_at(
    program: Program, params: Flat, position: Position, inventory: Inventory | None = None
) -> Predictor:
    """The run that is at a position with these parameters, all that its model has."""
    program = without_losses(program)
    return Predictor(
        program,
        {n: value for n, value in params.items() if n in program.layout.leaves},
        position.step,
        position.seed,
        position.languages,
        position.backbone,
        position.vocabulary,
        position.evaluation,
        program.layout.trained_values,
        inventory=inventory,
    )


def _at_start(job: Any, program: Program, base: BaseSource | None) -> Predictor:
    layout = program.layout
    params = load_base(layout, base, job.model.is_encoder) if base is not None else {}
    params |= draw_params(layout, [n for n in layout.leaves if n not in params], job.train.seed)
    trained = layout.trained_values
    predictor = Predictor(program, params, 0, job.train.seed, (), Fingerprint(""), trained=trained)
    predictor = dataclasses.replace(predictor, start=predictor.backbone())
    check_start(job.model.deltas, predictor.start)
    return predictor


def recomposed(predictor: Predictor, job: Any, composed: Composed, base: Fingerprint) -> Predictor:
    """The same backbone with other modules: those of a library, and what is kept of its own.

    job: the run's configs; of these the model is that of `composed`. base: of the backbone.
    """
    values = composed.values(base)
    everything = dataclasses.replace(job.train, trainable=(".*",), frozen=(), frozen_dtype=None)
    wanted = dataclasses.replace(job, model=composed.model, train=everything)
    program = without_losses(program_of(wanted))
    layout = program.layout
    params = {
        n: jax.device_put(values[n], layout.shardings[n]) if n in values else predictor.params[n]
        for n in layout.leaves
    }
    chosen = {**predictor.chosen, **composed.names}
    return dataclasses.replace(predictor, program=program, params=params, chosen=chosen)


def resolve_step(checkpoints: Checkpoints, step: int | str | None) -> int:
    """Returns the step that is meant: a number, 'best', or None for the newest."""
    steps = checkpoints.steps()
    if step is not None and step != "best":
        return int(step)
    if not steps:
        raise UserError(
            f"'{checkpoints.workdir}' has no complete checkpoint yet. Train first (`jaxlt train`), "
            "or give another workdir; step 0 is the run as it starts, with what its INIT_FROM "
            "holds and the rest drawn from the seed."
        )
    if step is None:
        return steps[-1]
    best = checkpoints.best()
    if best is None:
        metric = checkpoints.config.best_metric
        why = (
            f"none was evaluated by '{metric}'"
            if metric
            else "CheckpointConfig.best_metric is not set"
        )
        raise UserError(
            f"'{checkpoints.workdir}' has no best checkpoint: {why}. It has steps "
            f"{', '.join(map(str, steps))}."
        )
    return best
