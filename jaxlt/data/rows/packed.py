"""Packed batches of a mixture: examples of one or of several languages in each row."""

from typing import Any

import numpy as np

from jaxlt.data.rows.batches import Spec, mixed, number_of, permute, uniforms
from jaxlt.data.rows.packing import Plan, join, pack, packed_spec
from jaxlt.data.rows.views import EndlessBatches, LanguageInfo, Rows
from jaxlt.errors import UserError

MOST_EXAMPLES = 1 << 26  # of a cycle: its plan is held in memory


class PackedBatches(EndlessBatches):
    """An endless BatchSource of packed rows.

    A cycle holds every language at least once and in proportion to its rate (in examples): a
    language that the rates repeat comes in a new order each time. The cycle's examples are packed
    once, at the start; each cycle's rows come in an order of their own, and (`cycles_apart`) with
    noise of their own. With `mixed_rows` a row may hold several languages.
    """

    def __init__(
        self,
        make: Rows,
        rates: np.ndarray,
        *args: Any,
        mixed_rows: bool,
        cycles_apart: bool = True,
        **kwargs: Any,
    ):
        super().__init__(make, rates, *args, **kwargs)
        self.mixed_rows, self._cycles_apart = mixed_rows, cycles_apart
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
        self._index = self._places(self._text, visit, counts[self._text])
        if self._shuffle:  # languages alternate; examples of one are in their own order already
            turn = uniforms(self._seed, "packing", np.zeros(1), len(visit))[0].argsort(
                kind="stable"
            )
            self._text, self._index = self._text[turn], self._index[turn]
        self._plan = self._packed()

    @property
    def _widths(self) -> tuple[int, int]:
        spec = self._make.objective.spec()
        return spec["encoder_input_tokens"][0][0], spec["decoder_target_tokens"][0][0]

    def _packed(self) -> Plan:
        widths = self._widths
        lengths = np.zeros((2, len(self._text)), np.int64)
        for which, text in enumerate(self._make.texts):
            here = self._text == which
            for side, feature in enumerate(("inputs", "targets")):
                offsets = text.cache.columns[feature].offsets
                sizes = np.minimum(np.diff(offsets) + 1, widths[side])  # eos is one more
                lengths[side, here] = sizes[self._index[here]]
        groups = np.zeros_like(self._text) if self.mixed_rows else self._text
        return pack(lengths.T, widths, groups)

    def spec(self) -> Spec:
        return {**self._make.spec(), **packed_spec(*self._widths)}

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        row = step * self.batch_size + np.arange(start, stop, dtype=np.int64)
        cycle, index = np.divmod(row, self._plan.rows)
        if self._shuffle:
            index = permute(index, self._plan.rows, mixed(self._seed, number_of("rows"), cycle))
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
