"""Language identification: hashed character n-grams and a linear softmax.

    model = train({"eng_Latn": lines, "swh_Latn": lines, ...})
    model.predict(["habari ya asubuhi"])        # [("swh_Latn", 0.99)]
    model.save("lid/")                          # model.safetensors and model.json

Weights begin as the log frequencies of n-grams by language (naive Bayes), which a few lines a
language are enough for; stochastic gradient descent (AdaGrad) then tells relatives apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from jaxlt.data.sources.files import missing, write_atomically
from jaxlt.data.text.ngrams import hashed
from jaxlt.errors import UserError

_BATCH = 2048  # lines scored together: their n-grams and scores stay in the processor's caches


@dataclass(frozen=True)
class LidConfig:
    """Settings of training.

    `orders` is the longest n-gram in characters, `bits` the size of the table of weights
    (2**bits rows), `max_chars` how much of a line is read.
    """

    orders: int = 4
    bits: int = 16
    max_chars: int = 300
    epochs: int = 3
    learning_rate: float = 0.1
    smoothing: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.orders <= 8 and 8 <= self.bits <= 24 and self.max_chars >= 1):
            raise UserError(
                f"Language identification takes n-grams of 1 to 8 characters, 8 to 24 bits and "
                f"max_chars of at least 1, not orders={self.orders}, bits={self.bits}, "
                f"max_chars={self.max_chars}."
            )
        if self.epochs < 0 or self.learning_rate <= 0 or self.smoothing <= 0:
            raise UserError("epochs is at least 0, learning_rate and smoothing are above 0.")


class LidModel:
    """A trained identifier: `languages` by column, weights [2**bits + 1, languages] float32.

    The last row is zero: it is where n-grams go that a line does not have.
    """

    def __init__(self, languages: Sequence[str], weights: np.ndarray, config: LidConfig):
        self.languages = tuple(languages)
        self.config = config
        self._weights = np.ascontiguousarray(weights, np.float32)

    def scores(self, lines: Sequence[str]) -> np.ndarray:
        """Returns logits [lines, languages] float32."""
        parts = [
            np.asarray(_features(lines[i : i + _BATCH], self.config) @ self._weights)
            for i in range(0, len(lines), _BATCH)
        ]
        return np.concatenate([np.zeros((0, len(self.languages)), np.float32), *parts])

    def probabilities(self, lines: Sequence[str]) -> np.ndarray:
        """Returns probabilities [lines, languages] float32."""
        return _softmax(self.scores(lines))

    def predict(self, lines: Sequence[str]) -> list[tuple[str, float]]:
        """Returns (language, its probability) of each line; equal scores go to the first."""
        named: list[tuple[str, float]] = []
        for i in range(0, len(lines), _BATCH):
            shares = self.probabilities(lines[i : i + _BATCH])
            best = shares.argmax(1)
            named += [
                (self.languages[b], float(row[b])) for b, row in zip(best, shares, strict=True)
            ]
        return named

    def save(self, folder: str | Path) -> None:
        """Writes model.safetensors and model.json to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self._weights}, folder / "model.safetensors")
        state = {"languages": self.languages, "config": asdict(self.config)}
        write_atomically(folder / "model.json", json.dumps(state, ensure_ascii=False, indent=1))


def load(folder: str | Path) -> LidModel:
    """Returns the model that `save` wrote to a folder."""
    folder = Path(folder)
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(
                f"'{folder}' holds no language identifier. {missing(str(folder / name))} Train one "
                "with `jaxlt data lid train`."
            )
    try:
        state = json.loads((folder / "model.json").read_text("utf-8"))
        config = LidConfig(**state["config"])
        weights = load_file(folder / "model.safetensors")["weights"]
        languages = [str(name) for name in state["languages"]]
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"The language identifier in '{folder}' is damaged: {error}.") from None
    if weights.shape != (2**config.bits + 1, len(languages)):
        raise UserError(
            f"The language identifier in '{folder}' is damaged: weights of shape {weights.shape} "
            f"do not fit {len(languages)} languages and {config.bits} bits."
        )
    return LidModel(languages, weights, config)


def train(texts: Mapping[str, Sequence[str]], config: LidConfig | None = None) -> LidModel:
    """Returns an identifier of the languages of `texts`, trained on their lines.

    Every language weighs alike, however much text it has.
    """
    config = config or LidConfig()
    texts = {name: [t for t in lines if t.strip()] for name, lines in sorted(texts.items())}
    empty = [name for name, lines in texts.items() if not lines]
    if empty:
        raise UserError(f"There is no text of {', '.join(empty)} to learn from.")
    if len(texts) < 2:
        raise UserError(f"Identification needs two languages or more, not {len(texts)}.")
    lines = [line for part in texts.values() for line in part]
    labels = np.repeat(np.arange(len(texts)), [len(part) for part in texts.values()])
    rows = sparse.vstack(
        [_features(lines[i : i + _BATCH], config) for i in range(0, len(lines), _BATCH)],
        format="csr",
    )
    weights = _log_frequencies(rows, labels, len(texts), config)
    weights /= _temperature(rows, labels, weights)
    _descend(weights, rows, labels, config)
    weights[-1] = 0
    return LidModel(tuple(texts), weights, config)


def _features(lines: Sequence[str], config: LidConfig) -> sparse.csr_matrix:
    """Returns n-gram counts over the root of their number, [lines, 2**bits + 1]."""
    grams = hashed([line[: config.max_chars].lower() for line in lines], config.orders)
    absent = grams.values == 0
    columns = (grams.values >> np.uint32(32 - config.bits)).astype(np.int32)
    columns[absent] = 2**config.bits
    counts = np.add.reduceat((~absent).astype(np.int32), grams.starts[:-1])
    scale = 1 / np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    values = np.repeat(scale, np.diff(grams.starts))
    shape = (len(lines), 2**config.bits + 1)
    return sparse.csr_matrix((values, columns, grams.starts), shape=shape)


def _log_frequencies(
    rows: sparse.csr_matrix, labels: np.ndarray, languages: int, config: LidConfig
) -> np.ndarray:
    """Returns the weights of naive Bayes, centred over the languages."""
    ones = np.ones(len(labels), np.float32)
    pick = sparse.csr_matrix((ones, (labels, np.arange(len(labels)))), (languages, len(labels)))
    counts = np.ascontiguousarray((pick @ rows).toarray().T[:-1])
    counts += config.smoothing
    counts /= counts.sum(0)
    np.log(counts, out=counts)
    counts -= counts.mean(1, keepdims=True)
    return np.vstack([counts, np.zeros((1, languages), np.float32)])


def _temperature(rows: sparse.csr_matrix, labels: np.ndarray, weights: np.ndarray) -> float:
    """Returns what to divide scores by, so that the right language leads by some 5 nats.

    Naive Bayes takes n-grams for independent, which they are not; divided so, gradients of the
    lines that it has right by a little do not vanish.
    """
    sample = np.linspace(0, len(labels) - 1, min(len(labels), 2000)).astype(int)
    scores = np.asarray(rows[sample] @ weights)
    right = scores[np.arange(len(sample)), labels[sample]]
    scores[np.arange(len(sample)), labels[sample]] = -np.inf
    lead = float(np.median(right - scores.max(1)))
    return max(lead / 5, 1e-3)


def _descend(
    weights: np.ndarray, rows: sparse.csr_matrix, labels: np.ndarray, config: LidConfig
) -> None:
    """Refines weights in place by AdaGrad, one learning rate for each n-gram."""
    rng = np.random.default_rng(config.seed)
    balance = (len(labels) / np.bincount(labels) / (labels.max() + 1)).astype(np.float32)
    squares = np.full((len(weights), 1), 1e-8, np.float32)
    for _ in range(config.epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(order), 128):
            batch = order[start : start + 128]
            part, right = rows[batch], labels[batch]
            slopes = _softmax(np.asarray(part @ weights))
            slopes[np.arange(len(batch)), right] -= 1
            slopes *= balance[right][:, None] / len(batch)
            used, where = np.unique(part.indices, return_inverse=True)
            shape = (len(batch), len(used))
            narrow = sparse.csr_matrix((part.data, where, part.indptr), shape=shape)
            gradient = np.asarray(narrow.T @ slopes)
            squares[used] += np.square(gradient).mean(1, keepdims=True)
            weights[used] -= config.learning_rate * gradient / np.sqrt(squares[used])


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@dataclass(frozen=True)
class LidReport:
    """How well a model does. confusion [languages, languages]: rows are the truth."""

    languages: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of lines whose language was found."""
        return float(np.trace(self.confusion) / max(self.confusion.sum(), 1))

    @property
    def f1(self) -> dict[str, float]:
        """F1 of each language that the test has or the model said."""
        right = np.diag(self.confusion)
        both = self.confusion.sum(0) + self.confusion.sum(1)
        return {
            name: float(2 * r / b)
            for name, r, b in zip(self.languages, right, both, strict=True)
            if b
        }

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over languages that the test has."""
        tested = self.confusion.sum(1) > 0
        scores = self.f1
        kept = [scores[n] for n, has in zip(self.languages, tested, strict=True) if has]
        return float(np.mean(kept)) if kept else 0.0

    def confused(self, most: int = 10) -> list[tuple[str, str, int]]:
        """Returns (truth, said, lines) of the pairs most often confused."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [
            (self.languages[i], self.languages[j], int(wrong[i, j]))
            for i, j in pairs
            if wrong[i, j]
        ]

    def by_family(self, families: Mapping[str, str]) -> dict[tuple[str, str], int]:
        """Returns {(family of the truth, family said): lines} of the lines that went wrong.
        `families` is by language; what it lacks or leaves empty counts as '?'.
        """
        pairs: dict[tuple[str, str], int] = {}
        for i, j in zip(*np.nonzero(self.confusion), strict=True):
            if i != j:
                names = self.languages[i], self.languages[j]
                pair = families.get(names[0]) or "?", families.get(names[1]) or "?"
                pairs[pair] = pairs.get(pair, 0) + int(self.confusion[i, j])
        return dict(sorted(pairs.items(), key=lambda item: (-item[1], item[0])))


def evaluate(model: LidModel, texts: Mapping[str, Sequence[str]]) -> LidReport:
    """Returns how well the model finds the languages of `texts`.

    Languages that the model has never learnt count as lines it gets wrong.
    """
    names = (*model.languages, *(n for n in sorted(texts) if n not in model.languages))
    index = {name: i for i, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), np.int64)
    for name, lines in texts.items():
        for start in range(0, len(lines), _BATCH):
            predicted = model.scores(lines[start : start + _BATCH]).argmax(1)
            np.add.at(confusion[index[name]], predicted, 1)
    return LidReport(names, confusion)
