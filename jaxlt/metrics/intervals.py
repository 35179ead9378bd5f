"""Intervals: by bootstrap over examples, and by Student's t over a few independent runs.

Bootstrap: examples drawn with replacement, the score computed anew, percentiles. Draws become
counts by example, and counts times rows of statistics are the sums of every resample at once: no
example is scored twice.
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
    check_confidence(confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def t_critical(df: int, confidence: float = 0.95) -> float:
    """Returns the t beyond which, on both sides, Student's t leaves 1 - confidence: 4 df, 2.776."""
    from scipy.special import stdtrit  # a fifth of a second

    check_confidence(confidence)
    return float(stdtrit(df, (1 + confidence) / 2))


def t_p_value(t: float, df: int) -> float:
    """Returns how often Student's t lies at least as far from 0 as `t`, on either side."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def t_mean(
    values: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [..., n] of n >= 2 independent runs -> their mean, its standard error, half its
    interval, each [...]: [.01, .03, .02, .05, .04] -> .03, .0071, .0196."""
    n = values.shape[-1]
    error = values.std(axis=-1, ddof=1) / np.sqrt(n)
    return values.mean(axis=-1), error, t_critical(n - 1, confidence) * error


def check_confidence(confidence: float) -> None:
    """A UserError unless it lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise UserError(f"The confidence of an interval is between 0 and 1, not {confidence}.")
