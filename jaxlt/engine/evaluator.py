"""Scores of a model on held-out batches, by language.

An evaluator is anything with a `name` that is called as `evaluator(program, params)` and returns
numbers; the loop writes them as `<name>/<metric>`, and may keep the best checkpoint by one of them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxlt import progress
from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.checkpoint.fingerprint import modules_of
from jaxlt.engine.config import CheckpointConfig
from jaxlt.engine.feed import Feed
from jaxlt.engine.log.history import Listener
from jaxlt.engine.loss.results import loss_results, means
from jaxlt.engine.open import LOSSES
from jaxlt.engine.resume import Position
from jaxlt.engine.state import TrainState
from jaxlt.engine.step import Program
from jaxlt.errors import UserError, nearest
from jaxlt.metrics.result import Result


class Evaluator(Protocol):
    """What the loop calls at every evaluation; it may have `results`, those of its last call."""

    name: str

    def __call__(self, program: Program, params: Mapping[str, jax.Array]) -> dict[str, float]:
        """Returns metrics by name."""
        ...


class EvalSource(BatchSource, Protocol):
    """A finite pass over a split; rows that only fill the last batch have zero weights."""

    num_batches: int


class LossEvaluator:
    """Loss, accuracy and bits per byte (of labels none): over all text, and for each language.

    bpb is the summed negative log-likelihood of the targets in bits over the bytes of text that
    they spell, so it compares vocabularies.
    """

    def __init__(self, source: EvalSource, name: str = "eval", split: str = ""):
        self.name, self._source, self._split = name, source, split
        self.results: list[Result] = []  # of the last call

    def __call__(self, program: Program, params: Mapping[str, jax.Array]) -> dict[str, float]:
        """Returns nll, accuracy, bpb, bpb/<language>, and bpb_mean over languages.

        Of labels, which spell no text, accuracy/<language> and accuracy_mean instead.
        """
        totals, languages = self.totals(program, params), self._source.languages
        own = "bpb" if totals.get("target_bytes", np.zeros(1)).sum() else "accuracy"
        alone = np.count_nonzero(totals["rows"]) == 1
        of: dict[str, Any] = {"split": self._split, "data": self._source.fingerprint}
        found = loss_results(totals, languages)
        self.results = [
            dataclasses.replace(one, **of)
            for one in (*found, *means(found))
            if one.aggregate == "pooled" or one.metric == own or alone
        ]
        return _metrics(totals, languages)

    def totals(self, program: Program, params: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
        """Returns sums by language, each float64 [languages], by the source's ids.

        row_nll (nats), row_correct, row_weight (target tokens), rows, and where the targets spell
        text target_bytes and, for the interval of bits per byte, the sums of the products of both:
        nll_nll, nll_bytes, bytes_bytes.
        """
        languages, slots = self._source.languages, slots_of(program.spec.model)
        totals: dict[str, np.ndarray] = {}
        with Feed(
            self._source, program.spec.mesh, 0, self._source.num_batches, slots=slots
        ) as feed:
            for _, batch, _ in feed:
                out: dict[str, Any] = jax.device_get(program.evaluate(dict(params), batch))
                out["rows"] = out["row_weight"] > 0  # those that fill the last batch are none
                if not getattr(self._source, "spells_text", True):
                    out.pop("target_bytes", None)
                if "target_bytes" in out:
                    nll, size = (out[k].astype(np.float64) for k in ("row_nll", "target_bytes"))
                    out |= {"nll_nll": nll * nll, "nll_bytes": nll * size, "bytes_bytes": size**2}
                self._take(out)
                for key, rows in out.items():
                    if key in ("language", "head") or "/" in key:  # of which nothing is a sum
                        continue
                    sums = totals.setdefault(key, np.zeros(len(languages)))
                    np.add.at(sums, out["language"], rows.astype(np.float64))
                progress.advance(1)
        return totals

    def _take(self, out: Mapping[str, Any]) -> None:
        """Looks at what the program says of a batch, beside its sums."""


def evaluate(
    evaluators: Sequence[Evaluator],
    program: Program,
    state: TrainState,
    position: Position,
    config: CheckpointConfig,
    say: Listener,
) -> Position:
    """Runs the evaluators; returns the position with best and patience brought up to date."""
    both = {**state.frozen, **state.trainable}
    params = {n: value for n, value in both.items() if not n.startswith(LOSSES)}
    metrics: dict[str, float] = {}
    with say.busy("evaluating"):
        for evaluator in evaluators:
            metrics |= {f"{evaluator.name}/{k}": v for k, v in evaluator(program, params).items()}
    say.evaluation(position.step, metrics)
    say.results(results_of(evaluators, program, position))
    if config.best_metric is None:
        return position.after_evaluation(metrics, None, config.best_mode)
    for field in ("best_metric", "ties"):
        name = getattr(config, field)
        if name is not None and name not in metrics:
            raise UserError(
                f"CheckpointConfig.{field} '{name}' is not among the metrics of this "
                f"run: {', '.join(sorted(metrics))}.{nearest(name, metrics)}"
            )
    tie = metrics[config.ties] if config.ties else None
    return position.after_evaluation(metrics, metrics[config.best_metric], config.best_mode, tie)


def results_of(
    evaluators: Sequence[Evaluator], program: Program, position: Position
) -> list[Result]:
    """What evaluators have just found, with what is known here of how it came about."""
    size = program.layout.trained_values
    return [
        dataclasses.replace(
            one,
            seed=position.seed,
            step=position.step,
            modules=modules_of(program.spec.model),
            parameters=size,
            base=position.base_fingerprint,
            command=f"jaxlt eval --step={position.step} --split={one.split}",
        )
        for evaluator in evaluators
        for one in getattr(evaluator, "results", ())
    ]


def _metrics(totals: Mapping[str, np.ndarray], languages: tuple[str, ...]) -> dict[str, float]:
    """Sums by language -> the numbers reported."""
    weight = totals["row_weight"]
    metrics = {
        "nll": float(totals["row_nll"].sum() / max(weight.sum(), 1.0)),
        "accuracy": float(totals["row_correct"].sum() / max(weight.sum(), 1.0)),
        "target_tokens": float(weight.sum()),
    }
    bytes_ = totals.get("target_bytes")
    if bytes_ is None:  # labels, whose numbers are not those of a text
        known = [i for i in range(len(languages)) if weight[i]]
        right = {languages[i]: float(totals["row_correct"][i] / weight[i]) for i in known}
        metrics["accuracy_mean"] = float(np.mean(list(right.values()))) if right else 0.0
        return metrics | {f"accuracy/{name}": value for name, value in right.items()}
    if not bytes_.sum():
        return metrics
    bits = totals["row_nll"] / math.log(2)
    metrics["bpb"] = float(bits.sum() / bytes_.sum())
    seen = [i for i in range(len(languages)) if bytes_[i]]
    each = {languages[i]: float(bits[i] / bytes_[i]) for i in seen}
    metrics["bpb_mean"] = float(np.mean(list(each.values())))
    metrics |= {f"bpb/{name}": value for name, value in each.items()}
    metrics |= {f"bytes/{languages[i]}": float(bytes_[i]) for i in seen}
    return metrics
