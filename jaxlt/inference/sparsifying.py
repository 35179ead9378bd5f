"""What a run changed, cut down to a sparse delta or a mask.

cut = Cut(share=0.005)
made = cut.of(run, predictor)
delta_files.save("mask.safetensors", made.arrays, made.facts)
"""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxlt.engine.state import load_base
from jaxlt.errors import UserError, nearest
from jaxlt.inference import opening
from jaxlt.inference.predictor import Predictor
from jaxlt.inference.states.gradient_scores import mean_squared_gradients
from jaxlt.modules import delta_files
from jaxlt.modules.delta_files import INDICES, VALUES
from jaxlt.modules.deltas import Delta, changes, delta
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.layout import stack
from jaxlt.modules.magnitude import random_scores, sparsify

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


class Sparse(NamedTuple):
    """A sparse delta as its file has it: `kept` of `maskable` entries, in so many parameters."""

    arrays: dict[str, Any]
    facts: dict[str, str]
    kept: int
    maskable: int
    parameters: int


@dataclasses.dataclass(frozen=True)
class Cut:
    """What stays: `count` entries over all parameters, or a `share` of them; neither: all.

    delta: which of the run's deltas (its only one). by: the largest changes, random entries, or
    those with the largest mean squared gradient of the run as it starts. values: kept too.
    """

    delta: str | None = None
    count: int | None = None
    share: float | None = None
    by: Literal["magnitude", "random", "gradient"] = "magnitude"
    seed: int = 0
    values: bool = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise UserError(f"--share={self.share} is no share: above 0 and at most 1.")
        every = self.count is None and self.share is None
        if self.by != "magnitude" and every:
            raise UserError(f"--by={self.by} chooses entries: say how many (--count or --share).")
        if self.by != "magnitude" and self.values:
            raise UserError(
                "--values keeps what was learnt, and entries are chosen --by=magnitude."
            )
        if every and not self.values:
            raise UserError(
                "A mask of everything masks nothing: give --count or --share, or --values."
            )

    def of(self, run: "RunConfig", predictor: Predictor) -> Sparse:
        """Returns what stays of a run's changes."""
        item, start = delta(self.delta or "tuned"), predictor.start
        if run.model.deltas:
            item = chosen_delta(run, self.delta)
            changed = changes(predictor.params, item)
            if item.start:  # a file's, which may have come from another run
                start = Fingerprint(item.start, dict(item.start_parts))
        else:
            changed = _difference(run, predictor, item)
        sizes = [v.size for n, v in changed.items() if n.endswith(VALUES)]
        total = sum(sizes)
        count = self.count if self.share is None else max(1, round(self.share * total))
        scores = None
        if self.by == "random":
            scores = random_scores(changed, self.seed)
        elif self.by == "gradient":
            scores = _gradients(run, predictor, item)
        arrays = sparsify(changed, count, scores=scores, keep_values=self.values)
        kept = sum(len(v) for n, v in arrays.items() if n.endswith(INDICES))
        facts = {
            "delta": item.name,
            "by": self.by,
            "count": str(kept),
            "maskable": str(total),
            "step": str(predictor.step),
        }
        facts |= delta_files.start_of(start)
        return Sparse(arrays, facts, kept, total, len(sizes))


def chosen_delta(run: "RunConfig", name: str | None) -> Delta:
    """The run's delta of that name, or its only one."""
    deltas = {d.name: d for d in run.model.deltas}
    if name is None and len(deltas) > 1:
        raise UserError(f"Which delta? The run has {', '.join(deltas)}: name one with --delta.")
    if name is not None and name not in deltas:
        raise UserError(
            f"The run has no delta '{name}'.{nearest(name, deltas)} It has: {', '.join(deltas)}."
        )
    return deltas[name or next(iter(deltas))]


def _difference(run: "RunConfig", predictor: Predictor, item: Delta) -> dict[str, Any]:
    """What a run without deltas changed in its backbone."""
    layout = predictor.program.layout
    names = [n for n in item.targets(layout.leaves) if n in layout.trainable]
    base = opening.base_of(run)
    if not names or base is None:
        raise UserError(
            f"'{run.workdir}' has neither a delta (T5Config.deltas) nor a backbone that it trained "
            "from an INIT_FROM: there is no change to cut down."
        )
    before = load_base(layout, base, run.model.is_encoder, names)
    changed = {n: predictor.params[n] - v for n, v in before.items()}
    return {n + VALUES: v for n, v in stack(changed).items()}


def _gradients(run: "RunConfig", predictor: Predictor, item: Delta) -> dict[str, Any]:
    """Mean squared gradients of a dense delta over one pass of the run's data, by parameter."""
    if item.kind != "dense" or not run.model.deltas:
        raise UserError(
            "--by=gradient scores the entries of a dense delta: use runs/lt_sft_full.gin, or set "
            "T5Config.deltas = [@lang/delta()]."
        )
    data = opening.open_all(run, False).data
    steps = max(1, -(-sum(info.rows for info in data.info()) // data.batch_size))
    leaves = item.parts(predictor.params)
    program, params = predictor.program, predictor.params
    scores = mean_squared_gradients(program, params, data, list(leaves.values()), steps)
    return stack({param: scores[leaf] for param, leaf in leaves.items()})
