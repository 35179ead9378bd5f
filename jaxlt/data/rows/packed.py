"""Packed batches of a mixture: examples of one or of several languages in each row."""

import numpy as np

from jaxlt.data.rows.batches import Spec, mixed, permute, uniforms
from jaxlt.data.rows.packing import join, pack, packed_spec
from jaxlt.data.rows.views import LanguageInfo, Rows, describe, word_of
from jaxlt.errors import UserError

MOST_EXAMPLES = 1 << 26  # of a cycle: its plan is held in memory


class PackedBatches:
    """An endless BatchSource of packed rows; see jaxlt.data.mixtures.open_mixture.

    A cycle holds every language at least once and in proportion to its rate (in examples): a
    language that the rates repeat comes in a new order each time. The cycle's examples are packed
    once, at the start; each cycle's rows come in an order of their own, and (`cycles_apart`) with
    noise of their own.
    """

    def __init__(
        self,
        make: Rows,
        rates: np.ndarray,
        languages: tuple[str, ...],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        fingerprint: str,
        mixed_rows: bool,
        cycles_apart: bool = True,
    ):
        self.batch_size, self.languages, self.fingerprint = batch_size, languages, fingerprint
        self.mixed_rows = mixed_rows  # a row may hold several languages
        self._cycles_apart = cycles_apart
        self._make, self._rates, self._seed, self._shuffle = make, rates, seed, shuffle
        counts = np.array([t.cache.examples for t in make.texts])
        visits = np.maximum(np.rint((counts / rates).max() * rates), counts).astype(np.int64)
        if visits.sum() > MOST_EXAMPLES:
            raise UserError(
                f"Packing these languages at these rates needs a plan of {visits.sum():,} examples "
                f"(at most {MOST_EXAMPLES:,}): a small language has a high rate beside a large "
                "one. Bring the rates nearer to the counts (DataConfig.alpha towards 1), or set "
                "DataConfig.packing = 'none'."
            )
        self._text = np.repeat(np.arange(len(counts)), visits)
        visit = np.concatenate([np.arange(n) for n in visits])
        self._index = self._ordered(visit, counts[self._text])
        if shuffle:  # languages alternate; examples of one are in their own order already
            turn = uniforms(seed, "packing", np.zeros(1), len(visit))[0].argsort(kind="stable")
            self._text, self._index = self._text[turn], self._index[turn]
        self._plan = self._packed(mixed_rows)

    def _ordered(self, visit: np.ndarray, count: np.ndarray) -> np.ndarray:
        epoch, index = np.divmod(visit, count)
        if not self._shuffle:
            return index
        names = np.array([word_of(t.name) for t in self._make.texts], np.uint64)
        return permute(index, count, mixed(self._seed, names[self._text], epoch))

    def _packed(self, mixed_rows: bool):
        spec = self._make.objective.spec()
        widths = [spec[n][0][0] for n in ("encoder_input_tokens", "decoder_target_tokens")]
        lengths = np.zeros((2, len(self._text)), np.int64)
        for which, text in enumerate(self._make.texts):
            here = self._text == which
            for side, feature in enumerate(("inputs", "targets")):
                offsets = text.cache.columns[feature].offsets
                own = np.minimum(np.diff(offsets) + 1, widths[side])  # eos is one more
                lengths[side, here] = own[self._index[here]]
        groups = np.zeros_like(self._text) if mixed_rows else self._text
        return pack(lengths[0], lengths[1], widths[0], widths[1], groups)

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        spec = self._make.spec()
        widths = [spec[n][0][0] for n in ("encoder_input_tokens", "decoder_target_tokens")]
        return {**spec, **packed_spec(*widths)}

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Returns rows [start, stop) of the global batch of `step`."""
        row = step * self.batch_size + np.arange(start, stop, dtype=np.int64)
        cycle, index = np.divmod(row, self._plan.rows)
        if self._shuffle:
            index = permute(index, self._plan.rows, mixed(self._seed, word_of("rows"), cycle))
        parts = [self._plan.members[slice(*self._plan.starts[i : i + 2])] for i in index]
        members = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        place = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        text = self._text[members]
        index = self._index[members]
        places = np.stack([cycle[place], members], axis=1) if self._cycles_apart else members
        fields = self._make.take(text, index, self._seed, "noise", places, grow=False)
        ids = {n: fields.pop(n) for n in ("language", "target_language") if n in fields}
        packed = join(fields, place, len(parts), ids.get("target_language", ids["language"]))
        if "target_language" in ids:  # what the encoder reads is in the other language
            packed["encoder_language_ids"] = join(fields, place, len(parts), ids["language"])[
                "encoder_language_ids"
            ]
        first = np.searchsorted(place, np.arange(len(parts)))
        return packed | {name: values[first] for name, values in ids.items()}

    def info(self) -> list[LanguageInfo]:
        """Returns rate (in examples) and size of each language; `rows` are its share of a cycle."""
        visits = np.bincount(self._text, minlength=len(self._rates))
        rows = visits / visits.sum() * self._plan.rows
        every = zip(self._make.texts, rows, visits, strict=True)
        own = [max(round(n * t.cache.examples / v), 1) for t, n, v in every]
        return self._make.info(self._rates, own)

    def describe(self) -> str:
        """Returns a table of the languages with their rates and sizes."""
        return describe(self.info())
