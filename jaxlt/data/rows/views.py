"""Batches over tokenised languages: an endless seeded mixture, and one pass for evaluation."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from jaxlt.data.labelling import NUMBER
from jaxlt.data.objectives.objectives import Features, Objective
from jaxlt.data.rows.batches import Schedule, Spec, mixed, number_of, permute, uniforms
from jaxlt.data.rows.token_cache import TokenCache
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError

Forms = Callable[[], Iterable[Form] | None]


@dataclass(frozen=True)
class TokenizedText:
    """The tokens of one language's split; `key` is the digest of all that decided them.

    Where inputs and targets are of different languages, `language` names the pair and `ends` both.
    Where a mixture has several tasks of a language, `task` tells them apart; where pairs come from
    several `origin`s, that does. `forms()` reads the
    examples of the split anew, as texts that no vocabulary has touched (of entities for heads: the
    tokens and their tags); None where there are none. `chosen` are the numbers of those that the
    text is cut to, if it is; `dosed` says whether DataConfig.amounts cut it.
    """

    language: str
    key: str
    cache: TokenCache
    ends: tuple[str, str] | None = None
    task: str = ""
    forms: Forms | None = field(default=None, compare=False, repr=False)
    chosen: tuple[int, ...] | None = field(default=None, repr=False)
    dosed: bool = False
    origin: str = ""

    @property
    def name(self) -> str:
        """What a mixture has once: the task, or else the language, of pairs with their origin."""
        return self.task or f"{self.language}.{self.origin}".removesuffix(".")

    @property
    def kind(self) -> str:
        """What several texts have in common beside languages: the kind of task, or the origin."""
        return self.origin or self.task.partition(".")[0]

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
        return self.cache.tokens() if self.running else self.cache.examples

    @property
    def running(self) -> bool:
        """Whether it is running text, rather than examples of a row each."""
        return [*self.cache.columns] == ["targets"]

    def numbers(self) -> np.ndarray:
        """Returns the number of the example, among those of its split, that each row [n] is of.

        Heads may read a long example in several rows.
        """
        if NUMBER in self.cache.columns:
            return np.array(self.cache.columns[NUMBER].tokens)
        return np.arange(self.cache.examples) if self.chosen is None else np.array(self.chosen)

    def cut(self, rows: np.ndarray, key: str) -> "TokenizedText":
        """Returns the text of some rows alone, under a key of its own."""
        chosen = tuple(self.numbers()[rows].tolist())
        return replace(self, key=key, cache=self.cache.chosen(rows), chosen=chosen)

    def read_forms(self, most: int | None = None) -> Iterator[tuple[int, Form]]:
        """Yields (number, (inputs, targets)) of the text's examples, of the first `most` of them.

        Nothing where the text has no such forms.
        """
        wanted = set(np.unique(self.numbers())[:most].tolist())
        found = self.forms() if self.forms and wanted else None
        if found is None:
            return
        last = max(wanted)
        for number, form in enumerate(found):
            if number in wanted:
                yield number, form
            if number == last:
                return
        raise UserError(
            f"The files of '{self.name}' have fewer examples than when they were tokenised: they "
            "were changed meanwhile. Start the same command again."
        )

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
    """What a mixture knows of one language or task; `rows` are the rows of one epoch of it.

    `languages` are that of the inputs and that of the targets; of what has a dose of 0, none.
    """

    name: str
    rate: float
    documents: int
    tokens: int
    rows: int
    languages: tuple[str, ...] = ()
    dosed: bool = False

    def epochs(self, rows: int) -> float:
        """Returns how often the text is seen in so many rows of the mixture."""
        return self.rate * rows / max(self.rows, 1)


def describe(infos: list[LanguageInfo], rows: int | None = None) -> str:
    """Returns a table of languages with their rates and sizes, and their epochs in some rows."""
    width = max(8, *(len(i.name) for i in infos))
    head = "" if rows is None else "     epochs"
    lines = [f"{'language':{width}}   rate %   documents        tokens     rows/epoch{head}"]
    for i in infos:
        numbers = f"{100 * i.rate:8.3f} {i.documents:11,} {i.tokens:13,} {i.rows:14,}"
        seen = "" if rows is None else f" {i.epochs(rows):10,.2f}"
        lines.append(f"{i.name:{width}} {numbers}{seen}")
    return "\n".join(lines)


class Noise(Protocol):
    """What is done to gathered tokens before the objective; see jaxlt.data.text.noising."""

    @property
    def feature(self) -> str:
        """What it changes: 'inputs' or 'targets'."""

    @property
    def margin(self) -> int:
        """Tokens that it needs beyond a row's own."""

    def __call__(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        text: np.ndarray,
        seed: int,
        places: np.ndarray,
        most: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows changed, row i cut to most[i] tokens, and their lengths."""


# Puts what is drawn anew at places[i] into the features of rows, in place: (features, text [R],
# index [R], seed, places [R, ...], units that each row may fill [R], if that is less than all).
Renew = Callable[[Features, np.ndarray, np.ndarray, int, np.ndarray, np.ndarray | None], None]


class Rows:
    """Makes the fields of chosen windows of chosen texts, with noise if there is any."""

    def __init__(
        self,
        objective: Objective,
        texts: list[TokenizedText],
        languages: tuple[str, ...],
        noise: Noise | None = None,
        absent: Sequence[TokenizedText] = (),
        renew: Renew | None = None,
    ):
        """absent: texts of which nothing trains, for `info` alone."""
        self.objective, self.texts, self._noise = objective, texts, noise
        self._absent, self.renew = absent, renew
        self.ids = {"language": np.array([languages.index(t.source) for t in texts], np.int32)}
        if any(t.ends for t in texts):
            self.ids["target_language"] = np.array(
                [languages.index(t.target) for t in texts], np.int32
            )

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        return {**self.objective.spec(), **{n: ((), np.dtype(np.int32)) for n in self.ids}}

    def info(self, rates: np.ndarray, rows: Iterable[int]) -> list[LanguageInfo]:
        """Returns what is known of each text, given its rate and the rows of an epoch of it."""
        infos = []
        for t, rate, count in zip(self.texts, rates, rows, strict=True):
            size = t.cache.examples, t.cache.tokens(), int(count)
            infos.append(LanguageInfo(t.name, float(rate), *size, (t.source, t.target), t.dosed))
        none = (LanguageInfo(t.name, 0.0, 0, 0, 0, (), t.dosed) for t in self._absent)
        return [*infos, *none]

    def take(
        self,
        text: np.ndarray,
        index: np.ndarray,
        seed: int,
        purpose: str,
        places: np.ndarray,
        grow: bool = True,
        room: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the fields of window index[i] of text[i], its noise drawn at places[i].

        Unless they may `grow`, examples are no longer with noise than without. What heads read is
        no longer than `room`.
        """
        features = {name: self._gather(name, text, index) for name in self.objective.features}
        if self.renew:
            self.renew(features, text, index, seed, places, room)
        if self._noise:
            name = self._noise.feature
            tokens, lengths = features[name]
            most = np.full(len(text), tokens.shape[1]) if grow else lengths
            if self._noise.margin:
                tokens, lengths = self._gather(name, text, index, self._noise.margin)
            features[name] = self._noise(tokens, lengths, text, seed, places, most)
        fields = self.objective(features, lambda r, n: uniforms(seed, purpose, places[r], n))
        return {**fields, **{name: ids[text] for name, ids in self.ids.items()}}

    def _gather(
        self, feature: str, text: np.ndarray, index: np.ndarray, margin: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        window = self.objective.window
        width = window + margin
        if not window:
            width += math.prod(self.objective.spec()[_FIELD_OF.get(feature, feature)][0])
        tokens = np.zeros((len(text), width), np.int32)
        lengths = np.zeros(len(text), np.int64)
        for which in np.unique(text):
            here = np.flatnonzero(text == which)
            column = self.texts[which].cache.columns[feature]
            if window:
                starts = index[here] * window
                lengths[here] = np.minimum(len(column.tokens) - starts, width)
                tokens[here] = column.windows(starts, lengths[here], width)
            else:
                tokens[here], lengths[here] = column.examples(index[here], width)
        return tokens, lengths


_FIELD_OF = {"inputs": "encoder_input_tokens", "targets": "decoder_target_tokens"}


class EndlessBatches:
    """What endless BatchSources over texts have in common; see jaxlt.data.mixtures.open_mixture."""

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
    ):
        self.batch_size, self.languages, self.fingerprint = batch_size, languages, fingerprint
        self._make, self._rates, self._seed, self._shuffle = make, rates, seed, shuffle
        self._names = np.array([number_of(t.name) for t in make.texts], np.uint64)

    def spec(self) -> Spec:
        return self._make.spec()

    def _places(self, text: np.ndarray, visit: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Returns which of the count[i] rows of text[i] its visit[i]-th is, anew each epoch."""
        epoch, index = np.divmod(visit, count)
        if not self._shuffle:
            return index
        return permute(index, count, mixed(self._seed, self._names[text], epoch))

    def info(self) -> list[LanguageInfo]:
        """Returns rate and size of each language that takes part."""
        raise TypeError("a mixture of rows, or of packed ones, knows how large its languages are")

    def describe(self, steps: int | None = None) -> str:
        """Returns a table of the languages with their rates, sizes, and epochs in some steps."""
        return describe(self.info(), None if steps is None else steps * self.batch_size)


class MixtureBatches(EndlessBatches):
    """An endless BatchSource over languages.

    Row r of a step is global row step * batch_size + r. The schedule gives it a language and says
    the how-manieth row of that language it is; epoch and place in the epoch's permutation follow.
    """

    def __init__(self, make: Rows, rates: np.ndarray, *args: Any, **kwargs: Any):
        super().__init__(make, rates, *args, **kwargs)
        counts = [t.windows(make.objective, partial=False) for t in make.texts]
        self._counts, self._schedule = np.array(counts), Schedule(rates, self._seed)

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        return self._taken(step * self.batch_size + np.arange(start, stop, dtype=np.int64))

    def _drawn(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the text of each global row [n], and which of its rows it is."""
        text, visit = self._schedule(row)
        return text, self._places(text, visit, self._counts[text])

    def _taken(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the fields of global rows [n]."""
        drawn = self._drawn(row)
        room = self._room(*drawn) if self._make.renew else None
        return self._make.take(*drawn, self._seed, "noise", row, room=room)

    def _room(self, text: np.ndarray, index: np.ndarray) -> np.ndarray | None:
        """Returns how many units each row may fill; None: those of its spec."""
        return None

    def info(self) -> list[LanguageInfo]:
        return self._make.info(self._rates, self._counts)


class EvaluationBatches:
    """A finite BatchSource; see jaxlt.data.mixtures.open_evaluation.

    Rows that only fill the last batch are zero, weights and bytes too.
    """

    def __init__(
        self,
        objective: Objective,
        texts: list[TokenizedText],
        languages: tuple[str, ...],
        *,
        batch_size: int,
        limit: int | None,
        fingerprint: str,
        spells_text: bool = True,
    ):
        self.batch_size, self.languages, self.fingerprint = batch_size, languages, fingerprint
        self.spells_text = spells_text  # the targets are text, and bytes of it mean something
        self._make = Rows(objective, texts, languages)
        counts = [t.windows(objective, partial=True) for t in texts]
        counts = [min(count, limit) if limit else count for count in counts]
        index = np.concatenate([np.arange(count) for count in counts])
        order = np.argsort(index, kind="stable")
        self._index = index[order]
        self._text = np.repeat(np.arange(len(texts)), counts)[order]
        self._names = np.array([number_of(t.name) for t in texts], np.uint64)
        self.num_rows = len(self._index)
        self.num_batches = -(-self.num_rows // batch_size)

    def spec(self) -> Spec:
        return self._make.spec()

    def examples(self) -> Iterator[tuple[TokenizedText, np.ndarray, np.ndarray]]:
        """Yields (text, input ids, target ids) of every row, whole and without eos.

        For objectives whose rows are given inputs and targets.
        """
        for which, index in zip(self._text, self._index, strict=True):
            text = self._make.texts[which]
            yield text, *(text.cache.columns[name].whole(index) for name in ("inputs", "targets"))

    def forms(self) -> list[Form | None]:
        """Returns (inputs, targets) of every row as texts that no vocabulary has touched.

        They come in the order of `examples`; None where the data has none.
        """
        found: list[Form | None] = [None] * self.num_rows
        for which, text in enumerate(self._make.texts):
            rows = np.flatnonzero(self._text == which)
            numbers = text.numbers()[self._index[rows]]
            by_number = dict(text.read_forms(int(self._index[rows].max()) + 1)) if len(rows) else {}
            for row, number in zip(rows, numbers, strict=True):
                found[row] = by_number.get(int(number))
        return found

    def numbers(self) -> Iterator[tuple[TokenizedText, list[int]]]:
        """Yields each text with the numbers of the examples that its rows are of; of heads."""
        for which, text in enumerate(self._make.texts):
            yield text, np.unique(text.numbers()[self._index[self._text == which]]).tolist()

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
