"""Batches over tokenised languages: an endless seeded mixture, and one pass for evaluation."""

import hashlib
from dataclasses import dataclass

import numpy as np

from jaxlt.data.batches import Schedule, Spec, mixed, permute, uniforms
from jaxlt.data.objectives import Objective
from jaxlt.data.token_cache import TokenCache


@dataclass(frozen=True)
class Text:
    """The tokens of one language's split; `key` is the digest of all that decided them.

    Where inputs and targets are of different languages, `language` names the pair and `ends` both.
    """

    language: str
    key: str
    cache: TokenCache
    ends: tuple[str, str] | None = None

    @property
    def source(self) -> str:
        """The language of what the encoder reads."""
        return self.ends[0] if self.ends else self.language

    @property
    def target(self) -> str:
        """The language of the targets."""
        return self.ends[1] if self.ends else self.language

    @property
    def amount(self) -> int:
        """What mixing rates count: tokens of text, or examples where a row is an example."""
        paired = "inputs" in self.cache.columns
        return self.cache.examples if paired else self.cache.tokens()

    def windows(self, objective: Objective, partial: bool) -> int:
        """Returns how many rows the text gives.

        Running text is one string, cut into rows that are full; the rest at its end makes a row
        only where `partial` asks for it, or where there is no other.
        """
        if not objective.window:
            return self.cache.examples
        full, rest = divmod(self.cache.tokens(), objective.window)
        return full + int(rest >= 2 and (partial or not full))


@dataclass(frozen=True)
class LanguageInfo:
    """What a mixture knows of one language; `rows` are the rows of one epoch of it."""

    name: str
    rate: float
    documents: int
    tokens: int
    rows: int


def describe(infos: list[LanguageInfo]) -> str:
    """Returns a table of languages with their rates and sizes."""
    width = max(8, *(len(i.name) for i in infos))
    lines = [f"{'language':{width}}   rate %   documents        tokens     rows/epoch"]
    for i in infos:
        numbers = f"{100 * i.rate:8.3f} {i.documents:11,} {i.tokens:13,} {i.rows:14,}"
        lines.append(f"{i.name:{width}} {numbers}")
    return "\n".join(lines)


class Rows:
    """Makes the fields of chosen windows of chosen texts."""

    def __init__(self, objective: Objective, texts: list[Text], languages: tuple[str, ...]):
        self.objective, self.texts = objective, texts
        self.ids = {"language": np.array([languages.index(t.source) for t in texts], np.int32)}
        if any(t.ends for t in texts):
            self.ids["target_language"] = np.array(
                [languages.index(t.target) for t in texts], np.int32
            )

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        return {**self.objective.spec(), **{n: ((), np.dtype(np.int32)) for n in self.ids}}

    def take(
        self, text: np.ndarray, index: np.ndarray, seed: int, purpose: str, places: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the fields of window index[i] of text[i], its noise drawn at places[i]."""
        features = {name: self._gather(name, text, index) for name in self.objective.features}
        fields = self.objective(features, lambda r, n: uniforms(seed, purpose, places[r], n))
        return {**fields, **{name: ids[text] for name, ids in self.ids.items()}}

    def _gather(
        self, feature: str, text: np.ndarray, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        window = self.objective.window
        width = window or self.objective.spec()[_FIELD_OF[feature]][0][0]
        tokens = np.zeros((len(text), width), np.int32)
        lengths = np.zeros(len(text), np.int64)
        for which in np.unique(text):
            here = np.flatnonzero(text == which)
            column = self.texts[which].cache.columns[feature]
            if window:
                starts = index[here] * window
                lengths[here] = np.minimum(len(column.tokens) - starts, window)
                tokens[here] = column.windows(starts, lengths[here], window)
            else:
                tokens[here], lengths[here] = column.examples(index[here], width)
        return tokens, lengths


_FIELD_OF = {"inputs": "encoder_input_tokens", "targets": "decoder_target_tokens"}


class MixtureBatches:
    """An endless BatchSource over languages; see jaxlt.data.mixtures.open_mixture.

    Row r of a step is global row step * batch_size + r. The schedule gives it a language and says
    the how-manieth row of that language it is; epoch and place in the epoch's permutation follow.
    """

    def __init__(
        self,
        objective: Objective,
        texts: list[Text],
        rates: np.ndarray,
        languages: tuple[str, ...],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        fingerprint: str,
    ):
        self.batch_size, self.languages, self.fingerprint = batch_size, languages, fingerprint
        self._make = Rows(objective, texts, languages)
        self._counts = np.array([t.windows(objective, partial=False) for t in texts])
        self._names = np.array([word_of(t.language) for t in texts], np.uint64)
        self._schedule = Schedule(rates, seed)
        self._seed, self._shuffle, self._rates = seed, shuffle, rates

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        return self._make.spec()

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Returns rows [start, stop) of the global batch of `step`."""
        row = step * self.batch_size + np.arange(start, stop, dtype=np.int64)
        text, visit = self._schedule(row)
        count = self._counts[text]
        epoch, index = np.divmod(visit, count)
        if self._shuffle:
            index = permute(index, count, mixed(self._seed, self._names[text], epoch))
        return self._make.take(text, index, self._seed, "noise", row)

    def info(self) -> list[LanguageInfo]:
        """Returns rate and size of each language that takes part."""
        return [
            LanguageInfo(t.language, float(rate), t.cache.examples, t.cache.tokens(), int(rows))
            for t, rate, rows in zip(self._make.texts, self._rates, self._counts, strict=True)
        ]

    def describe(self) -> str:
        """Returns a table of the languages with their rates and sizes."""
        return describe(self.info())


class EvaluationBatches:
    """A finite BatchSource; see jaxlt.data.mixtures.open_evaluation.

    Rows that only fill the last batch are zero, weights and bytes too.
    """

    def __init__(
        self,
        objective: Objective,
        texts: list[Text],
        languages: tuple[str, ...],
        *,
        batch_size: int,
        limit: int | None,
        fingerprint: str,
    ):
        self.batch_size, self.languages, self.fingerprint = batch_size, languages, fingerprint
        self._make = Rows(objective, texts, languages)
        counts = [t.windows(objective, partial=True) for t in texts]
        counts = [min(count, limit) if limit else count for count in counts]
        index = np.concatenate([np.arange(count) for count in counts])
        order = np.argsort(index, kind="stable")
        self._index = index[order]
        self._text = np.repeat(np.arange(len(texts)), counts)[order]
        self._names = np.array([word_of(t.language) for t in texts], np.uint64)
        self.num_rows = len(self._index)
        self.num_batches = -(-self.num_rows // batch_size)

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        return self._make.spec()

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Returns rows [start, stop) of batch `step` of the pass."""
        if not 0 <= step < self.num_batches:
            raise IndexError(f"batch {step} of a pass of {self.num_batches}")
        first = step * self.batch_size
        there = slice(min(first + start, self.num_rows), min(first + stop, self.num_rows))
        text, index = self._text[there], self._index[there]
        places = np.stack([self._names[text].astype(np.int64), index], axis=1)
        fields = self._make.take(text, index, 0, "evaluate", places)
        missing = stop - start - len(text)
        return {
            name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
            for name, array in fields.items()
        }


def word_of(name: str) -> int:
    """A number for a name, so that streams follow the language, not its place in a list."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
