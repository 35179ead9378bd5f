"""Bootstrap intervals: examples drawn with replacement, the score computed anew, percentiles.

Draws become counts by example, and counts times rows of statistics are the sums of every resample
at once: no example is scored twice.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics

_CHUNK = 2**21  # counts in memory at a time


def counts(
    examples: int, resamples: int, seed: int | Sequence[int]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (which resamples, counts [b, examples] float64); each row sums to `examples`."""
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // examples)
    for start in range(0, resamples, size):
        stop = min(start + size, resamples)
        drawn = rng.integers(examples, size=(stop - start, examples))
        drawn += np.arange(stop - start)[:, None] * examples
        flat = np.bincount(drawn.ravel(), minlength=(stop - start) * examples)
        yield slice(start, stop), flat.reshape(stop - start, examples).astype(np.float64)


def draws(
    statistics: Statistics, resamples: int = 1000, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Returns the score of each resample [resamples]; the same seed, the same examples drawn."""
    values = np.empty(resamples)
    for which, weights in counts(statistics.rows.shape[0], resamples, seed):
        values[which] = statistics.value(np.asarray(weights @ statistics.rows))
    return values


def percentiles(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Scores of resamples [B] -> the bounds of the interval that holds `confidence` of them."""
    if not 0 < confidence < 1:
        raise UserError(f"The confidence of an interval is between 0 and 1, not {confidence}.")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
