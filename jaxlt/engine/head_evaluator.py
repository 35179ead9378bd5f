"""Heads on held-out batches by their tasks' own metrics: span F1, LAS, accuracy, answer F1.

They are counted on what is read at once: a text that is read in parts counts by part, and an arc is
each word's own best, before they are made a tree. `jaxlt eval --answers` scores whole answers.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlt.data.labelling import Labels
from jaxlt.engine.evaluator import EvalSource, LossEvaluator
from jaxlt.engine.step import Program
from jaxlt.metrics.result import Result, Unit
from jaxlt.metrics.spans import span_f1

METRICS = {  # of what a head labels
    "tags": "accuracy",
    "tree": "las",
    "entities": "span_f1",
    "class": "accuracy",
    "pair": "accuracy",
    "span": "answer_f1",
}
UNITS: dict[str, Unit] = {
    "tags": "words",
    "tree": "words",
    "class": "examples",
    "pair": "examples",
    "span": "questions",
}
_BOTH, _LISTED = ("predicted", "gold"), ("entities", "span")
_log = logging.getLogger(__name__)
_Key = tuple[int, int]  # head, language


class HeadEvaluator(LossEvaluator):
    """The loss, and each task's own metric by language; `score` is the mean over both.

    A task of which every answer is one label is warned of, once.
    """

    def __init__(self, source: EvalSource, labels: Labels, name: str = "eval", split: str = ""):
        super().__init__(source, name, split=split)
        self._labels = labels
        self._warned: set[str] = set()
        self._start()

    def _start(self) -> None:
        self._sums: dict[_Key, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self._tags: dict[_Key, list[tuple[list[str], list[str]]]] = defaultdict(list)
        self._predicted: dict[str, set[int]] = defaultdict(set)
        self._gold: dict[str, set[int]] = defaultdict(set)

    def __call__(self, program: Program, params: Mapping[str, jax.Array]) -> dict[str, float]:
        """Returns what LossEvaluator does, and score, <metric> and <metric>/<language>."""
        self._start()
        metrics = super().__call__(program, params)
        own = self._scores()
        self.results += own
        metrics["score"] = _mean([one.value or 0.0 for one in own])
        each: dict[str, list[float]] = defaultdict(list)
        by_language: dict[str, list[float]] = defaultdict(list)
        for one in own:
            if one.metric != "accuracy":  # which is there already
                each[one.metric].append(one.value or 0.0)
                by_language[f"{one.metric}/{one.target}"].append(one.value or 0.0)
        self._warn()
        found = {name: _mean(values) for name, values in (*each.items(), *by_language.items())}
        return metrics | found

    def _take(self, out: Mapping[str, Any]) -> None:
        for i, task in enumerate(self._labels.tasks):
            there = (out["head"] == i) & (out["row_weight"] > 0)
            if not there.any():
                continue
            if task.shape in ("tags", "entities", "class", "pair"):
                known = out[f"gold/{task.name}"][there] >= 0
                for which, seen in (("predicted", self._predicted), ("gold", self._gold)):
                    labels = out[f"{which}/{task.name}"][there][known]
                    seen[task.name] |= set(np.unique(labels).tolist())
            for language in np.unique(out["language"][there]).tolist():
                rows = np.flatnonzero(there & (out["language"] == language))
                key = i, language
                pair = (
                    [out[f"{w}/{task.name}"][rows] for w in _BOTH] if task.shape in _LISTED else []
                )
                if task.shape == "entities":
                    self._tags[key] += self._named(task.name, *pair)
                elif task.shape == "span":
                    self._sums[key] += np.array([_overlaps(*pair).sum(), len(rows)])
                else:
                    sums = [out[name][rows].sum() for name in ("row_correct", "row_weight")]
                    self._sums[key] += np.array(sums, np.float64)

    def _named(
        self, head: str, predicted: np.ndarray, gold: np.ndarray
    ) -> list[tuple[list[str], list[str]]]:
        """The (predicted, gold) tags of each row's words; a label without a name is none."""
        names = self._labels.inventory.labels[head]
        pairs = []
        for ours, right in zip(predicted, gold, strict=True):
            known = np.flatnonzero(right >= 0)
            given = [names[i] if i < len(names) else "O" for i in ours[known].tolist()]
            pairs.append((given, [names[i] for i in right[known].tolist()]))
        return pairs

    def _scores(self) -> list[Result]:
        """Each task's own score in each language."""
        languages, found = self._source.languages, list[Result]()
        for i, task in enumerate(self._labels.tasks):
            common: dict[str, Any] = {
                "metric": METRICS[task.shape],
                "task": task.name,
                "split": self._split,
                "data": self._source.fingerprint,
                "higher_is_better": True,
                "scale": 1.0,
            }
            for (head, language), (right, count) in self._sums.items():
                if head == i:
                    common |= {"unit": UNITS[task.shape], "target": languages[language]}
                    found.append(Result(value=float(right / count), n=int(count), **common))
            for (head, language), pairs in self._tags.items():
                if head == i:
                    common["target"] = languages[language]
                    score = span_f1(*zip(*pairs, strict=True)).total()
                    found.append(Result(value=score, n=len(pairs), **common))
        return found

    def _warn(self) -> None:
        for head, labels in self._predicted.items():
            if len(labels) == 1 and len(self._gold[head]) > 1 and head not in self._warned:
                names, (only,) = self._labels.inventory.labels[head], labels
                label = names[only] if only < len(names) else "one that has no name"
                _log.warning("Every answer of the head '%s' on held-out text is %s.", head, label)
                self._warned.add(head)


def _overlaps(predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """F1 of the tokens of spans [n, 2] (first and last token) and the gold ones [n, 2]; [n]."""
    shared = np.minimum(predicted[:, 1], gold[:, 1]) - np.maximum(predicted[:, 0], gold[:, 0]) + 1
    sizes = (predicted[:, 1] - predicted[:, 0] + 1) + (gold[:, 1] - gold[:, 0] + 1)
    return 2 * np.maximum(shared, 0) / sizes


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
