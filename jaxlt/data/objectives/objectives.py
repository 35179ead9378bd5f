"""From token ids to the fields of a batch: span corruption, masked LM, text to text. Numpy alone.

An objective is a pure function of tokens and random streams, a stream a row:

    SpanCorruption(vocabulary, inputs_length=1024)({"targets": (tokens, lengths)}, draw)

`tokens` [R, N] int32 are padded rows, `lengths` [R] how much of each is there, and `draw(rows, n)`
returns n uniforms a row, float64 [len(rows), n], always the same ones for a row.
"""

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np

from jaxlt.data.rows.batches import Spec
from jaxlt.data.vocabulary.vocabularies import EOS, Vocabulary
from jaxlt.errors import UserError

Draw = Callable[[np.ndarray, int], np.ndarray]
Features = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (tokens [R, N], lengths [R])

FEW_SPANS = 3  # that a row has at least, where there are as many tokens of noise

_INT, _FLOAT = np.dtype(np.int32), np.dtype(np.float32)


class Objective(Protocol):
    """What turns tokens into batch fields."""

    features: tuple[str, ...]  # what it reads
    window: int  # tokens of running text a row takes; 0 where a row is one example

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        """Returns the batch fields, each [R, ...]."""


def span_counts(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Returns (noise tokens, noise spans) of a text of `length` tokens, as T5 counts them."""
    noise = min(max(round(length * density), 1), length - 1)
    spans = max(round(noise / mean_span), 1)
    return noise, min(spans, noise, length - noise)


def corrupted_lengths(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Returns the lengths of inputs and targets, eos included, that `length` raw tokens make."""
    noise, spans = span_counts(length, density, mean_span)
    return length - noise + spans + 1, noise + spans + 1


def raw_length(inputs_length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Returns (raw tokens, targets length) of a row whose inputs fill `inputs_length`.

    T5's random_spans_helper: 1024 inputs give 229 targets at mean span 3, and 189 at 20.
    """
    length = 2
    if corrupted_lengths(length, density, mean_span)[0] > inputs_length:
        raise UserError(
            f"inputs_length={inputs_length} is too small for span corruption: the shortest row has "
            f"{corrupted_lengths(length, density, mean_span)[0]} input tokens."
        )
    while corrupted_lengths(length + 1, density, mean_span)[0] <= inputs_length:
        length += 1
    return length, corrupted_lengths(length, density, mean_span)[1]


def fitting_targets(
    inputs_length: int, targets_length: int | None, needed: int, by: str = ""
) -> int:
    """Returns the length of targets: what is needed (`by` what), or more that is asked for."""
    if targets_length is not None and targets_length < needed:
        raise UserError(
            f"targets_length={targets_length} is too small: inputs_length={inputs_length} "
            f"makes targets of {needed} tokens{by}. Leave targets_length out, or make it {needed}."
        )
    return targets_length or needed


def fitting_span(inputs_length: int, density: float, mean_span: float) -> float:
    """Returns the mean span, shortened where a row of `inputs_length` has fewer than FEW_SPANS.

    A row ends with noise: of one span alone nothing but the row's end would ever be asked for.
    """
    length = raw_length(inputs_length, density, mean_span)[0]
    noise, spans = span_counts(length, density, mean_span)
    return mean_span if spans >= FEW_SPANS else max(1.0, noise / FEW_SPANS)


def noise_mask(length: int, density: float, mean_span: float, uniforms: np.ndarray) -> np.ndarray:
    """Returns bool [R, length], true where noise is: T5's random_spans_noise_mask, row by row.

    Noise and the rest are each cut into as many pieces, at places chosen by the smallest of
    `uniforms` [R, length - 2], and interleaved; a row starts with text and ends with noise.
    """
    noise, spans = span_counts(length, density, mean_span)
    noise_lengths = _segments(noise, spans, uniforms[:, : noise - 1])
    text_lengths = _segments(length - noise, spans, uniforms[:, noise - 1 : length - 2])
    both = np.stack([text_lengths, noise_lengths], axis=2).reshape(len(uniforms), -1)
    starts = np.cumsum(both, axis=1)[:, :-1]
    turns = np.zeros((len(uniforms), length), np.int32)
    np.put_along_axis(turns, starts, 1, axis=1)
    return np.cumsum(turns, axis=1) % 2 == 1


def _segments(items: int, segments: int, uniforms: np.ndarray) -> np.ndarray:
    """Returns the lengths [R, segments], each at least 1, of a random cut of `items`."""
    rows = len(uniforms)
    cuts = np.full((rows, segments + 1), items)
    cuts[:, 0] = 0
    if segments > 1:
        smallest = np.argpartition(uniforms, segments - 2, axis=1)[:, : segments - 1]
        cuts[:, 1:-1] = np.sort(smallest, axis=1) + 1
    return np.diff(cuts, axis=1)


def decoder_fields(targets: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the decoder's inputs (shifted right, from 0), targets and weights, each [R, T]."""
    shifted = np.zeros_like(targets)
    shifted[:, 1:] = targets[:, :-1]
    inside = np.arange(targets.shape[1]) < lengths[:, None]
    return {
        "decoder_input_tokens": shifted,  # as seqio: eos itself goes in at the first padding
        "decoder_target_tokens": targets,
        "decoder_loss_weights": inside.astype(np.float32),
    }


class EncoderDecoder:
    """Objectives whose batch an encoder-decoder reads, of these lengths of inputs and targets."""

    features: tuple[str, ...] = ("targets",)
    inputs_length: int
    targets_length: int

    def spec(self) -> Spec:
        return {
            "encoder_input_tokens": ((self.inputs_length,), _INT),
            "decoder_input_tokens": ((self.targets_length,), _INT),
            "decoder_target_tokens": ((self.targets_length,), _INT),
            "decoder_loss_weights": ((self.targets_length,), _FLOAT),
            "target_bytes": ((), _INT),
        }


class Parted(EncoderDecoder):
    """Objectives that make inputs and targets of running text; texts are of 2 tokens or more."""

    def parts(
        self, text: np.ndarray, draw: Callable[[int], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (inputs [R, n], targets [R, m], bytes of text that targets spell [R]).

        text: [R, length], whole. draw(n) gives n uniforms a row.
        """
        raise TypeError("span corruption and prefix LM say how they part a text")

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        tokens, lengths = features["targets"]
        rows = len(tokens)
        inputs = np.zeros((rows, self.inputs_length), np.int32)
        targets = np.zeros((rows, self.targets_length), np.int32)
        ends, spelled = np.zeros(rows, np.int64), np.zeros(rows, np.int32)
        for length in np.unique(lengths):  # nearly always one: rows are full
            if length < 2:
                continue
            here = np.flatnonzero(lengths == length)
            kept, asked, sizes = self.parts(tokens[here, :length], functools.partial(draw, here))
            inputs[here, : kept.shape[1]] = kept
            targets[here, : asked.shape[1]] = asked
            ends[here], spelled[here] = asked.shape[1], sizes
        fields = decoder_fields(targets, ends)
        return {"encoder_input_tokens": inputs, **fields, "target_bytes": spelled}


def with_eos(ids: np.ndarray) -> np.ndarray:
    """Returns rows of ids [R, n] with an end each: int32 [R, n + 1]."""
    out = np.full((len(ids), ids.shape[1] + 1), EOS, np.int32)
    out[:, :-1] = ids
    return out


class SpanCorruption(Parted):
    """T5's pretraining: spans of the text are replaced by sentinels and asked for in the targets.

    `targets_length` None takes what `inputs_length` gives; a larger one pads. `window` None takes
    as many tokens of text as fill the inputs.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        inputs_length: int,
        targets_length: int | None = None,
        density: float = 0.15,
        mean_span: float = 3.0,
        window: int | None = None,
    ):
        if not 0 < density < 1 or mean_span < 1:
            raise UserError(
                "Span corruption needs 0 < noise_density < 1 and mean_span >= 1, not "
                f"noise_density={density}, mean_span={mean_span}."
            )
        self.window = window or raw_length(inputs_length, density, mean_span)[0]
        needed = corrupted_lengths(self.window, density, mean_span)[1]
        self.inputs_length = inputs_length
        self.targets_length = fitting_targets(inputs_length, targets_length, needed)
        self._density, self._mean_span = density, mean_span
        self._byte_lengths = vocabulary.byte_lengths
        self._sentinels = vocabulary.sentinels(span_counts(self.window, density, mean_span)[1])

    def parts(
        self, text: np.ndarray, draw: Callable[[int], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length = text.shape[1]
        mask = noise_mask(length, self._density, self._mean_span, draw(length - 2))
        sizes = (self._byte_lengths[text] * mask).sum(axis=1)
        return self._replace(text, mask), self._replace(text, ~mask), sizes

    def _replace(self, text: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Returns [R, n]: each run of `mask` one sentinel, in order, the rest kept, then eos."""
        before = np.zeros_like(mask)
        before[:, 1:] = mask[:, :-1]
        first = mask & ~before
        out = np.where(first, self._sentinels[np.cumsum(first, axis=1) - 1], text)
        return with_eos(out[~mask | first].reshape(len(text), -1))


class MaskedLM:
    """The encoder's pretraining: of 15% of tokens 80% are masked, 10% random, 10% kept; all asked.

    The first sentinel stands for the mask; eos ends a row. Random tokens are ordinary pieces; those
    of the first revision (not `ordinary`) any ids of the vocabulary, sentinels among them.

    `encoder_target_places` [R, P] are the places that are asked for, as many as a full row has; a
    shorter row has others among them, whose weights are 0. Logits are made at these alone.
    """

    features: tuple[str, ...] = ("targets",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        inputs_length: int,
        density: float = 0.15,
        ordinary: bool = True,
    ):
        if inputs_length < 3:
            raise UserError(
                f"inputs_length={inputs_length} is too small for masked LM: at least 3."
            )
        if not 0 < density < 1:
            raise UserError(f"Masked LM needs 0 < noise_density < 1, not {density}.")
        self.inputs_length, self.window = inputs_length, inputs_length - 1
        self._density, self._byte_lengths = density, vocabulary.byte_lengths
        self._mask_id = vocabulary.sentinels(1)[0]
        self._most = int(self._asked(np.array(self.window)))
        self._first, last = (0, 0) if ordinary else vocabulary.text_ids
        drawn = vocabulary.ordinary_ids
        self._drawn = drawn[drawn != self._mask_id] if ordinary else np.arange(last, dtype=np.int32)

    def spec(self) -> Spec:
        return {
            "encoder_input_tokens": ((self.inputs_length,), _INT),
            "encoder_target_tokens": ((self.inputs_length,), _INT),
            "encoder_loss_weights": ((self.inputs_length,), _FLOAT),
            "encoder_target_places": ((self._most,), _INT),
            "target_bytes": ((), _INT),
        }

    def _asked(self, lengths: np.ndarray) -> np.ndarray:
        """Returns how many tokens are asked for of rows of these lengths."""
        return np.maximum(np.rint(lengths * self._density), 1)

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        tokens, lengths = features["targets"]
        rows, width = len(tokens), self.window
        uniforms = draw(np.arange(rows), 3 * width).reshape(rows, 3, width)
        inside = np.arange(width) < lengths[:, None]
        text = np.zeros((rows, width), np.int32)
        text[:, : tokens.shape[1]] = tokens
        text *= inside
        order = np.argsort(np.where(inside, uniforms[:, 0], 2.0), axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(width), order.shape), axis=1)
        chosen = inside & (rank < self._asked(lengths)[:, None])
        first, count = self._first, len(self._drawn)
        random_ids = self._drawn[(first + uniforms[:, 2] * (count - first)).astype(np.int64)]
        action = uniforms[:, 1]
        seen = np.where(chosen & (action < 0.8), self._mask_id, text)
        seen = np.where(chosen & (action >= 0.9), random_ids, seen)
        inputs = np.zeros((rows, self.inputs_length), np.int32)
        targets, weights = inputs.copy(), np.zeros(inputs.shape, np.float32)
        inputs[:, :-1], targets[:, :-1], weights[:, :-1] = np.where(inside, seen, 0), text, chosen
        filled = np.flatnonzero(lengths > 0)
        inputs[filled, lengths[filled]] = targets[filled, lengths[filled]] = EOS
        spelled = (self._byte_lengths[text] * chosen).sum(axis=1).astype(np.int32)
        return {
            "encoder_input_tokens": inputs,
            "encoder_target_tokens": targets,
            "encoder_loss_weights": weights,
            "encoder_target_places": np.sort(order[:, : self._most], axis=1).astype(np.int32),
            "target_bytes": spelled,
        }


class TextToText(EncoderDecoder):
    """Given inputs and targets: each is cut to its length and ended by eos; nothing is drawn."""

    features: tuple[str, ...] = ("inputs", "targets")
    window = 0

    def __init__(self, vocabulary: Vocabulary, inputs_length: int, targets_length: int):
        if min(inputs_length, targets_length) < 2:
            raise UserError(
                f"inputs_length={inputs_length} or targets_length={targets_length} is too small "
                "for text to text: at least 2 each."
            )
        self.inputs_length, self.targets_length = inputs_length, targets_length
        self._byte_lengths = vocabulary.byte_lengths

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        inputs, _, _ = _ended(*features["inputs"], self.inputs_length)
        targets, ends, text = _ended(*features["targets"], self.targets_length)
        spelled = (self._byte_lengths[targets] * text).sum(axis=1).astype(np.int32)
        fields = decoder_fields(targets, ends)
        return {"encoder_input_tokens": inputs, **fields, "target_bytes": spelled}


def _ended(
    tokens: np.ndarray, lengths: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (tokens [R, width] with eos, lengths with it, mask of the text proper)."""
    kept = np.minimum(lengths, width - 1)
    out = np.zeros((len(tokens), width), np.int32)
    held = min(width, tokens.shape[1])
    out[:, :held] = tokens[:, :held]
    text = np.arange(width) < kept[:, None]
    out = np.where(text, out, 0).astype(np.int32)
    out[np.arange(len(out)), kept] = EOS
    return out, kept + 1, text
