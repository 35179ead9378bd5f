"""Bits per byte: how well a model predicts text, whatever its vocabulary."""

import math
from collections.abc import Sequence

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, check_pairs, ratio


def bits_per_byte(predictions: Sequence[float], references: Sequence[int]) -> Statistics:
    """Returns the bits of all texts over their bytes.

    `predictions` are negative log-likelihoods in nats and `references` bytes of text, one an
    example (in UTF-8, of what the targets spell).
    """
    check_pairs(predictions, references)
    nats, size = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    if nats.ndim != 1 or size.ndim != 1 or (size < 0).any() or size.sum() == 0:
        raise UserError(
            "Bits per byte takes a log-likelihood and a number of bytes an example, none of them "
            "below 0 and not all of them 0."
        )
    if not np.isfinite(nats).all():
        place = int(np.flatnonzero(~np.isfinite(nats))[0])
        raise UserError(f"The log-likelihood of example {place} is {nats[place]}: it has no bits.")
    rows = np.stack([nats / math.log(2), size], axis=1)
    return Statistics(rows, ratio, len(rows), {"bytes": int(size.sum())})
