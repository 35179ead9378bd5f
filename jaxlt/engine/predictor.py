"""A trained run as a function: its parameters on the devices at hand, without the optimizer.

    predictor = open_predictor(run, program_of(run), run.workdir, step="best", base=base)
    predictor.decode_texts(["Guten <extra_id_0>"], codec, inputs_length=64, length=32)
    predictor.score(batch)["row_nll"]

Text is batched by length: rows are sorted, a batch is as wide as its longest row asks for, and
widths are few, so that few shapes are compiled.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath

from jaxlt.engine.checkpoint import Checkpoints
from jaxlt.engine.compose import Composed
from jaxlt.engine.decoding import decode
from jaxlt.engine.decoding_config import EOS, DecodingConfig
from jaxlt.engine.fingerprint import fingerprint
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import batch_shards, place_rows
from jaxlt.engine.resume import frozen_part, position_of
from jaxlt.engine.state import BaseSource, Flat, draw_params, load_base
from jaxlt.engine.step import Program, mesh_context
from jaxlt.errors import UserError, nearest
from jaxlt.models.config import T5Config
from jaxlt.modules.deltas import check_start
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
class Predictor:
    """Parameters of a run at a step, and what is known of how they came about."""

    program: Program
    params: Flat  # base and modules
    step: int
    seed: int
    languages: tuple[str, ...]  # names by the ids that routes go by; () where none are known
    base_fingerprint: str
    vocabulary: str = ""  # fingerprint of the vocabulary it was trained with, where known
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)  # the run's last

    @property
    def config(self) -> T5Config:
        """The model's config."""
        return self.program.spec.model

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of what is plugged into the backbone or added to it, with the files of deltas."""
        deltas = (f"{d.name}={d.file}" if d.file else d.name for d in self.config.deltas)
        return (*(plug.name for plug in self.config.plugs), *deltas)

    @property
    def is_routed(self) -> bool:
        """True where a row's language decides which module serves it."""
        return any(plug.routes and plug.key in FIELDS for plug in self.config.plugs)

    def backbone(self) -> str:
        """Fingerprint of the backbone as it is here: a run may have trained it."""
        return fingerprint({n: v for n, v in self.params.items() if n.startswith("params/")})

    def language_id(self, name: str) -> int:
        """Returns the id of a language; an unknown one is a UserError."""
        if name not in self.languages:
            known = ", ".join(self.languages) or "none"
            raise UserError(
                f"The model was not trained on a language '{name}'."
                f"{nearest(name, self.languages)} Its languages: {known}."
            )
        return self.languages.index(name)

    def score(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns sums a row, without dropout: row_nll, row_correct, row_weight, ...: each [B].

        batch: host arrays [B, ...], any B; the fields of training.
        """
        mesh = self.program.spec.mesh
        rows = len(batch["encoder_input_tokens"])
        whole = -(-rows // batch_shards(mesh)) * batch_shards(mesh)
        padded = {
            n: np.pad(np.asarray(v), [(0, whole - rows)] + [(0, 0)] * (np.ndim(v) - 1))
            for n, v in batch.items()
        }
        padded["row"] = np.arange(whole, dtype=np.int32)
        out = self.program.evaluate(self.params, place_rows([(0, padded)], whole, mesh))
        return {name: np.asarray(values)[:rows] for name, values in out.items()}

    def decode_tokens(
        self,
        rows: Sequence[np.ndarray],
        length: int,
        *,
        batch_size: int = 32,
        languages: Sequence[int] | None = None,
        decoding: DecodingConfig | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[np.ndarray]:
        """Decodes; returns each row's best tokens [<= length], without the end-of-sequence.

        rows: input ids, each ended by eos. languages: the id of each row's language, where modules
        are routed by it. decoding: greedy unless given; draws depend on seed and number of a row
        alone (`numbers`; 0, 1, ... unless given).
        """
        how = dataclasses.replace(decoding or DecodingConfig(), length=length)
        self._check_decoding(rows, languages)
        shards = batch_shards(self.program.spec.mesh)
        batch_size = max(1, batch_size // shards) * shards
        longest = max((len(row) for row in rows), default=0)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        out: list[np.ndarray] = [np.zeros(0, np.int32)] * len(rows)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            width = next(w for w in widths(longest) if w >= len(rows[chosen[0]]))
            if self.config.positions == "absolute":
                width = min(width, self.config.max_positions)
            # The last batch is filled by its first row again: that one's end is waited for anyway.
            size = shards
            while size < len(chosen):
                size = min(2 * size, batch_size)
            filled = chosen + [chosen[0]] * (size - len(chosen))
            tokens = np.zeros((size, width), np.int32)
            for r, i in enumerate(filled):
                tokens[r, : len(rows[i])] = rows[i]
            fields = {"encoder_input_tokens": tokens}
            fields["row"] = np.array([numbers[i] if numbers else i for i in filled], np.int32)
            if languages is not None:
                fields["language"] = np.array([languages[i] for i in filled], np.int32)
            decoded = self._decoded(fields, how)
            for r, i in enumerate(chosen):
                ends = np.flatnonzero(decoded[r] == EOS)
                out[i] = decoded[r, : ends[0] if len(ends) else length]
        return out

    def _decoded(self, fields: Mapping[str, np.ndarray], how: DecodingConfig) -> np.ndarray:
        spec = self.program.spec
        batch = place_rows([(0, fields)], len(fields["encoder_input_tokens"]), spec.mesh)
        with mesh_context(spec.mesh, spec.rules):
            return decode(spec.model, self.params, batch, how).tokens[:, 0]

    def _check_decoding(self, rows: Sequence[np.ndarray], languages: Sequence[int] | None) -> None:
        if self.config.is_encoder:
            raise UserError(
                "This model is an encoder alone (T5Config.decoder_layers = 0): it has no decoder "
                "that could write text."
            )
        limit = self.config.max_positions
        if self.config.positions == "absolute" and any(len(row) > limit for row in rows):
            raise UserError(f"T5Config.max_positions = {limit} is less than the longest input.")
        for plug in self.config.plugs:
            if not (plug.routes and plug.key in FIELDS):
                continue
            if FIELDS[plug.key] != "language":
                raise UserError(
                    f"Plug '{plug.name}' is routed by '{plug.key}', which decoding is not given: "
                    "only a language (key 'source') is."
                )
            if languages is None:
                raise UserError(
                    f"Plug '{plug.name}' goes by the language, so each text needs one of "
                    f"{', '.join(self.languages)}."
                )
            check_indices(np.asarray(languages, np.int64), plug.routes, "Language")

    def decode_texts(
        self,
        texts: Sequence[str],
        codec: Codec,
        *,
        inputs_length: int,
        length: int,
        batch_size: int = 32,
        languages: Sequence[int] | None = None,
        truncate: bool = False,
    ) -> list[str]:
        """Texts in, decoded texts out, in the same order.

        inputs_length: tokens of an input at most, eos included; a longer one is a UserError, or cut
        where `truncate`. length: tokens of an output at most.
        """
        rows = [
            encode(codec, text, inputs_length, truncate, f"Text {i}")[0]
            for i, text in enumerate(texts)
        ]
        decoded = self.decode_tokens(rows, length, batch_size=batch_size, languages=languages)
        return [codec.decode(ids) for ids in decoded]


def widths(longest: int) -> list[int]:
    """Widths of batches: 16, 32, 64, ... up to the first that holds `longest` tokens."""
    out = [_NARROWEST]
    while out[-1] < longest:
        out.append(2 * out[-1])
    return out


def encode(
    codec: Codec, text: str, limit: int, truncate: bool = False, what: str = "The text"
) -> tuple[np.ndarray, bool]:
    """Returns ids [n <= limit] int32 ended by eos, and whether the text was cut."""
    try:
        ids = codec.encode(text)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    if len(ids) >= limit and not truncate:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise UserError(
            f"{what} has {len(ids) + 1} tokens with the end mark, more than the {limit} that the "
            f"model reads (DataConfig.inputs_length): '{shown}'. Shorten it, have it cut "
            "(--truncate), or raise that length."
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
    checkpoints = Checkpoints(workdir, job.checkpoint)
    chosen = resolve_step(checkpoints, step)
    if chosen == 0 and 0 not in checkpoints.steps():
        return _at_start(job, program, base)
    layout = program.layout
    wanted = {"trainable": layout.abstract(layout.trainable)}
    arrays, meta = checkpoints.restore_part(chosen, wanted)
    position = position_of(meta)
    frozen = frozen_part(job, program, checkpoints, base, position)
    return Predictor(
        program,
        {**frozen, **arrays["trainable"]},
        position.step,
        position.seed,
        position.languages,
        position.base_fingerprint,
        position.vocabulary,
        position.evaluation,
    )


def _at_start(job: Any, program: Program, base: BaseSource | None) -> Predictor:
    layout = program.layout
    params = load_base(layout, base, job.model.is_encoder) if base is not None else {}
    params |= draw_params(layout, [n for n in layout.leaves if n not in params], job.train.seed)
    made = Predictor(program, params, 0, job.train.seed, (), "")
    check_start(job.model.deltas, made.backbone())
    return dataclasses.replace(made, base_fingerprint=made.backbone())


def recomposed(
    predictor: Predictor, job: Any, composed: Composed, force: bool = False
) -> Predictor:
    """The same backbone with other modules: those of a library, and what is kept of its own.

    job: the run's configs; of these the model is that of `composed`.
    """
    values = composed.values(predictor.backbone(), force)
    everything = dataclasses.replace(job.train, trainable=(".*",), frozen=(), frozen_dtype=None)
    program = program_of(dataclasses.replace(job, model=composed.model, train=everything))
    layout = program.layout
    params = {
        n: jax.device_put(values[n], layout.shardings[n]) if n in values else predictor.params[n]
        for n in layout.leaves
    }
    return dataclasses.replace(predictor, program=program, params=params)


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
        raise UserError(
            f"'{checkpoints.workdir}' has no best checkpoint: "
            + (
                f"none was evaluated by '{checkpoints.config.best_metric}'."
                if checkpoints.config.best_metric
                else "CheckpointConfig.best_metric is not set."
            )
            + f" It has steps {', '.join(map(str, steps))}."
        )
    return best
