"""Prefix LM, and UL2's mixture of denoisers. Numpy alone; see jaxlt.data.objectives.objectives.

    Denoisers(vocabulary, inputs_length=512)      # rows of R, X and S, drawn row by row

R replaces short spans, X long or many ones, S asks for the text's end. A row of X or S says so at
its start by a mode, as text ("[NLG]", "[S2S]"; R: "[NLU]"), if modes are wanted.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxlt.data.objectives.objectives import (
    Draw,
    EncoderDecoder,
    Features,
    Objective,
    Parted,
    SpanCorruption,
    corrupted_lengths,
    fitting_targets,
    raw_length,
    with_eos,
)
from jaxlt.data.vocabulary.vocabularies import Vocabulary
from jaxlt.errors import UserError


class PrefixLM(Parted):
    """The start of the text is given, its end (a share `density` of its tokens) is asked for.

    Rows are full: `window` tokens of text fill the inputs, and the targets follow from that.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        inputs_length: int,
        targets_length: int | None = None,
        density: float = 0.25,
        window: int | None = None,
    ):
        if not 0 < density < 1:
            raise UserError(f"Prefix LM needs 0 < noise_density < 1, not {density}.")
        self._density = density
        self.window = window or self._fitting(inputs_length)
        needed = self._asked(self.window) + 1
        self.inputs_length = inputs_length
        self.targets_length = fitting_targets(inputs_length, targets_length, needed)
        self._byte_lengths = vocabulary.byte_lengths

    def _asked(self, length: int) -> int:
        """Returns how many of a row's tokens are targets."""
        return min(max(round(length * self._density), 1), length - 1)

    def _fitting(self, inputs_length: int) -> int:
        if inputs_length < 2:
            raise UserError(
                f"inputs_length={inputs_length} is too small for prefix LM: at least 2."
            )
        length = 2
        while length + 1 - self._asked(length + 1) < inputs_length:
            length += 1
        return length

    def parts(
        self, text: np.ndarray, draw: Callable[[int], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = text.shape[1] - self._asked(text.shape[1])
        prefix, rest = text[:, :first], text[:, first:]
        return with_eos(prefix), with_eos(rest), self._byte_lengths[rest].sum(axis=1)


class Denoiser(NamedTuple):
    """One way to corrupt a row. mean_span 0 is the sequential one (S)."""

    mode: str
    mean_span: float
    density: float


UL2 = (
    Denoiser("[NLU]", 3, 0.15),
    Denoiser("[NLU]", 8, 0.15),
    Denoiser("[NLG]", 3, 0.5),
    Denoiser("[NLG]", 8, 0.5),
    Denoiser("[NLG]", 64, 0.15),
    Denoiser("[NLG]", 64, 0.5),
    Denoiser("[S2S]", 0, 0.25),
)


class Denoisers(EncoderDecoder):
    """UL2: each row is corrupted by one of several denoisers, drawn with equal chances.

    All take equally many tokens of text, as many as the mildest fits into `inputs_length`; the
    harsher ones have shorter inputs and longer targets. `modes` puts each row's mode before it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        inputs_length: int,
        targets_length: int | None = None,
        denoisers: tuple[Denoiser, ...] = UL2,
        modes: bool = True,
    ):
        self._modes = [
            vocabulary.encode(d.mode) if modes else np.zeros(0, np.int32) for d in denoisers
        ]
        room = inputs_length - max(len(ids) for ids in self._modes)
        self.window = min(_window(room, d) for d in denoisers)
        needed = max(_asked(self.window, d) for d in denoisers)
        self.inputs_length = inputs_length
        self.targets_length = fitting_targets(
            inputs_length, targets_length, needed, " with UL2's denoisers"
        )
        self._each: list[Objective] = [
            SpanCorruption(
                vocabulary, room, self.targets_length, d.density, d.mean_span, self.window
            )
            if d.mean_span
            else PrefixLM(vocabulary, room, self.targets_length, d.density, self.window)
            for d in denoisers
        ]

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        tokens, lengths = features["targets"]
        rows = len(tokens)
        drawn = draw(np.arange(rows), 1)[:, 0] * len(self._each)
        chosen = np.where(lengths > 1, drawn.astype(np.int64), -1)
        out = {n: np.zeros((rows, *shape), dtype) for n, (shape, dtype) in self.spec().items()}
        for which in np.unique(chosen[chosen >= 0]):
            here = np.flatnonzero(chosen == which)
            mode = self._modes[which]
            # The first uniform of a row chose its denoiser: the noise takes those after it.
            noise = lambda r, n, here=here: draw(here[r], n + 1)[:, 1:]  # noqa: E731
            fields = self._each[which]({"targets": (tokens[here], lengths[here])}, noise)
            for name, values in fields.items():
                if name == "encoder_input_tokens":
                    out[name][here, : len(mode)] = mode
                    out[name][here, len(mode) : len(mode) + values.shape[1]] = values
                else:
                    out[name][here] = values
        return out


def _window(room: int, denoiser: Denoiser) -> int:
    """Returns the tokens of text that a denoiser fits into inputs of `room` tokens."""
    if not denoiser.mean_span:
        return round((room - 1) / (1 - denoiser.density)) - 1
    return raw_length(room, denoiser.density, denoiser.mean_span)[0]


def _asked(window: int, denoiser: Denoiser) -> int:
    """Returns the length of the targets that a denoiser makes of a text of `window` tokens."""
    if not denoiser.mean_span:
        return round(window * denoiser.density) + 1
    return corrupted_lengths(window, denoiser.density, denoiser.mean_span)[1]
